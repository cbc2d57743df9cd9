"""Adding, removing and replacing the nodes of a running cluster that keeps a log.

A node is added by its name's going through the log, and then started on an empty disk. It takes in a snapshot and the log as
a learner; the leader makes it a voter when it has caught up. A node that was removed, or that lost its disk, never comes back
under its name: a node with a new name takes its place.
"""

import contextlib
import time
from typing import Final

from cluster.errors import Unknown, WrongState
from cluster.local import Cluster
from cluster.log_client import LogClient
from cluster.processes import State
from node.contract import NodeId

TIMEOUT_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.02


def add_node(cluster: Cluster, node: NodeId, timeout_s: float = TIMEOUT_S) -> None:
    """Add a node and return when it votes.

    Raises:
        CommandRefused: it is a member, or was one, or another change is under way. Nothing was changed.
        Unknown: it is added and has not caught up in time, or the answer did not come.
    """
    deadline = time.monotonic() + timeout_s
    with cluster.log_client("membership") as client:
        client.members.add(node, timeout_s)
        cluster.launch_new(node)
        while node not in client.members.list()[0]:
            if time.monotonic() > deadline:
                raise Unknown(f"{node} is a learner and has not caught up within {timeout_s:g} s: see its log")
            time.sleep(_LOOK_EVERY_S)


def remove_node(cluster: Cluster, node: NodeId, timeout_s: float = TIMEOUT_S) -> None:
    """Remove a node for ever, and end its process. A leader hands over first. Raises as `add_node` does."""
    deadline = time.monotonic() + timeout_s
    with cluster.log_client("membership") as client:
        while _leads(cluster, node) and len(client.members.list()[0]) > 1:
            if time.monotonic() > deadline:
                raise Unknown(f"{node} leads and nobody took over within {timeout_s:g} s. Nothing was changed")
            _hand_over_from(client, node)
            time.sleep(_LOOK_EVERY_S)
        client.members.remove(node, timeout_s)
    if node in cluster.processes:
        process = cluster.process(node)
        if process.look() is State.UP:
            with contextlib.suppress(WrongState):  # it may have ended in this very moment
                cluster.terminate(node)
        process.bury()
        cluster.forget(node)


def replace_node(cluster: Cluster, old: NodeId, new: NodeId, timeout_s: float = TIMEOUT_S) -> None:
    """Put a node with a new name and an empty disk in the place of `old`, which may be down. Raises as `add_node` does."""
    add_node(cluster, new, timeout_s)
    remove_node(cluster, old, timeout_s)


def leader_of(cluster: Cluster) -> NodeId | None:
    """Who says that it leads, under the highest ballot."""
    leading = [
        (status["variables"][""]["ballot"], node)
        for node, status in cluster.status().items()
        if status["variables"].get("", {}).get("role") == "leading"
    ]
    return max(leading)[1] if leading else None


def _leads(cluster: Cluster, node: NodeId) -> bool:
    return leader_of(cluster) == node


def _hand_over_from(client: LogClient, node: NodeId) -> None:
    heirs = [voter for voter in client.members.list()[0] if voter != node]
    client.members.hand_over(heirs[0])
