"""Launches the nodes of a cluster, finds running ones, and talks to them.

The names below are the public API. What they need to be called with is in their docstrings; `cluster/README.md` explains how
they work together.
"""

from cluster.clients.async_client import AsyncLogClient
from cluster.clients.client import Client, VariableCall
from cluster.clients.group_operations import Share, TaskOwner, TaskOwners, View
from cluster.clients.kv_operations import KeyChange, KeyEntry, VersionedValue
from cluster.clients.lock_operations import Holder
from cluster.clients.locks import AsyncLock, Lock
from cluster.clients.log_call import LogCall
from cluster.clients.log_client import LogClient
from cluster.clients.operation import Operation
from cluster.clients.outcomes import NotDone, NotKnown, Ok, Outcome, value_of
from cluster.cluster import Cluster
from cluster.errors import (
    AlreadyUp,
    BootFailed,
    ClientClosed,
    CommandRefused,
    ConsensusError,
    FaultFailed,
    LeaseLost,
    Mistake,
    NoSuchNode,
    NotUp,
    Refused,
    Unknown,
    WindowFull,
    WrongState,
)
from cluster.membership import add_node, leader_of, remove_node, replace_node
from cluster.running import RunningCluster
from node.contract import BadInput
from node.wire import BadValue

__all__ = [
    # Clusters, and their nodes.
    "Cluster",
    "RunningCluster",
    "add_node",
    "leader_of",
    "remove_node",
    "replace_node",
    # Clients.
    "AsyncLock",
    "AsyncLogClient",
    "Client",
    "Lock",
    "LogCall",
    "LogClient",
    "Operation",
    "VariableCall",
    # Outcomes of calls that are not waited for.
    "NotDone",
    "NotKnown",
    "Ok",
    "Outcome",
    "value_of",
    # Results.
    "Holder",
    "KeyChange",
    "KeyEntry",
    "Share",
    "TaskOwner",
    "TaskOwners",
    "VersionedValue",
    "View",
    # Errors. All but the last two are a ConsensusError; those two are a ValueError.
    "AlreadyUp",
    "BootFailed",
    "ClientClosed",
    "CommandRefused",
    "ConsensusError",
    "FaultFailed",
    "LeaseLost",
    "Mistake",
    "NoSuchNode",
    "NotUp",
    "Refused",
    "Unknown",
    "WindowFull",
    "WrongState",
    "BadInput",
    "BadValue",
]
