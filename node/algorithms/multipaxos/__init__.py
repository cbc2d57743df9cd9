"""Multi-Paxos: a replicated log. Start at `replica.py`, whose table names the other files."""

from node.algorithms.multipaxos.replica import MultiPaxos

__all__ = ["MultiPaxos"]
