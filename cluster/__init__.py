"""Launches, finds and talks to nodes."""
