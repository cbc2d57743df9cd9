"""Launches, finds and talks to nodes.

The names below are imported when a program first uses them. The proxy and many nodes need one small module of this
package each, and would otherwise import every client, asyncio with them, at each start.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cluster.clients.client import Client
    from cluster.clients.lease_renewal import LeaseLost
    from cluster.cluster import Cluster
    from cluster.errors import ConsensusError, Refused, Unknown
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

#: The module of each name.
_HOMES = {
    "BadValue": "node.wire",
    "Client": "cluster.clients.client",
    "Cluster": "cluster.cluster",
    "ConsensusError": "cluster.errors",
    "LeaseLost": "cluster.clients.lease_renewal",
    "Refused": "cluster.errors",
    "RunningCluster": "cluster.running",
    "Unknown": "cluster.errors",
    "leader_of": "cluster.membership",
}


def __getattr__(name: str) -> Any:
    """Import the module of a public name at its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value
