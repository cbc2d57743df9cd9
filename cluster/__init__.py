"""Launches, finds and talks to nodes."""

from cluster.client import Client
from cluster.errors import ConsensusError, Refused, Unknown
from cluster.keeping import LeaseLost
from cluster.local import Cluster
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
