"""Clients of a cluster: see README.md."""
