"""Launch the nodes of a cluster, find running nodes, and connect clients to them.

The names below are the public API. Their docstrings describe the arguments; `cluster/README.md` explains how they work together.

Python imports a name's module when a program first uses the name. The proxy needs only a small module of this package. Otherwise
it would import every client, and asyncio, at each start.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cluster.clients.async_client import AsyncLogClient
    from cluster.clients.client import Client, VariableCall
    from cluster.clients.group_operations import Share, TaskOwner, TaskOwners, View
    from cluster.clients.kv_operations import KeyChange, KeyChanges, KeyEntry, VersionedValue
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
    from cluster.recovering import Recovery, recover
    from cluster.restoring import restore
    from cluster.running import RunningCluster
    from cluster.save_file import BadSave, SaveHeader
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
    # Saves, and new clusters from them or from what is left of a cluster.
    "Recovery",
    "SaveHeader",
    "recover",
    "restore",
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
    "KeyChanges",
    "KeyEntry",
    "Share",
    "TaskOwner",
    "TaskOwners",
    "VersionedValue",
    "View",
    # Errors. All but the last three are a ConsensusError; those three are a ValueError.
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
    "BadSave",
    "BadValue",
]

_NAMES_OF_MODULES = {
    "cluster.clients.async_client": ("AsyncLogClient",),
    "cluster.clients.client": ("Client", "VariableCall"),
    "cluster.clients.group_operations": ("Share", "TaskOwner", "TaskOwners", "View"),
    "cluster.clients.kv_operations": ("KeyChange", "KeyChanges", "KeyEntry", "VersionedValue"),
    "cluster.clients.lock_operations": ("Holder",),
    "cluster.clients.locks": ("AsyncLock", "Lock"),
    "cluster.clients.log_call": ("LogCall",),
    "cluster.clients.log_client": ("LogClient",),
    "cluster.clients.operation": ("Operation",),
    "cluster.clients.outcomes": ("NotDone", "NotKnown", "Ok", "Outcome", "value_of"),
    "cluster.cluster": ("Cluster",),
    "cluster.errors": (
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
    ),
    "cluster.membership": ("add_node", "leader_of", "remove_node", "replace_node"),
    "cluster.recovering": ("Recovery", "recover"),
    "cluster.restoring": ("restore",),
    "cluster.running": ("RunningCluster",),
    "cluster.save_file": ("BadSave", "SaveHeader"),
    "node.contract": ("BadInput",),
    "node.wire": ("BadValue",),
}
_MODULE_OF = {name: module for module, names in _NAMES_OF_MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name's module at the first use of the name."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
    return value
