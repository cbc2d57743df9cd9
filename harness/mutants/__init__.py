"""Deliberate breaks of the shipped code, by which the suite is judged: `consensus mutants`."""
