"""Judges: each takes evidence and returns a verdict."""
