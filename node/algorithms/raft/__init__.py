"""Raft: a replicated log. Start at `replica.py`, whose table names the other files."""

from node.algorithms.raft.replica import Raft

__all__ = ["Raft"]
