"""Benchmarks: each returns rows of figures with the floor beside them, measured in the same run."""
