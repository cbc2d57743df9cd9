"""Workloads: the calls that clients make during a run, drawn from a seed. See README.md."""
