"""The parts of the algorithm: each takes a state and gives the next."""
