"""What data is, in one adapter each: a source gives batches, a batch is a list of shards."""
