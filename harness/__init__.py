"""Breaks clusters for real, and judges them from evidence."""
