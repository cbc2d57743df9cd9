"""Launches, finds and talks to nodes."""

from cluster.client import Client
from cluster.errors import ConsensusError, Refused, Unknown
from cluster.local import Cluster
from node.wire import BadValue

__all__ = ["BadValue", "Client", "Cluster", "ConsensusError", "Refused", "Unknown"]
