"""Where shards live: behind one protocol, on this machine or on many."""
