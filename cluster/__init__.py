"""Launches, finds and talks to nodes."""

from cluster.clients.client import Client
from cluster.cluster import Cluster
from cluster.errors import ConsensusError, LeaseLost, Refused, Unknown
from cluster.membership import leader_of
from cluster.running import RunningCluster
from node.wire import BadValue

__all__ = [
    "BadValue",
    "Client",
    "Cluster",
    "ConsensusError",
    "LeaseLost",
    "Refused",
    "RunningCluster",
    "Unknown",
    "leader_of",
]
