"""Benchmarks of shoal against other libraries: ``python -m benchmarks.run``."""
