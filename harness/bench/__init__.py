"""Benchmarks: each returns rows of figures, with the floor measured in the same run. See README.md."""
