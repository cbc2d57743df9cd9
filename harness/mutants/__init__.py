"""Deliberate breaks of the shipped code, which show that the judges find them: `consensus mutants`."""
