"""Adding, removing and replacing the nodes of a running cluster that keeps a log.

Theory of operation
-------------------
To add a node, its name first goes through the log; then the node starts on an empty disk. It takes in a snapshot and the log as
a learner, and the leader makes it a voter when it has caught up. A node that was removed, or that lost its disk, never comes
back under its name: a node with a new name takes its place.
"""

import contextlib
import time
from collections.abc import Mapping
from itertools import cycle
from typing import Any, Final

from cluster.clients.log_client import LogClient
from cluster.clients.operation import TIMEOUT_S as CALL_S
from cluster.cluster import Cluster
from cluster.errors import BootFailed, NoSuchNode, Unknown, WrongState
from cluster.processes import ProcessState
from node.contract import NodeId
from node.quorum import is_quorum
from node.settings import check_node_name

#: How long a change may take by default, in seconds.
TIMEOUT_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.02
_HAND_OVER_S: Final = 0.5


def add_node(cluster: Cluster, node: NodeId, timeout_s: float = TIMEOUT_S) -> None:
    """Add a node, and return when it votes. Raises as `add_learner` and `wait_until_it_votes` do."""
    deadline = time.monotonic() + timeout_s
    add_learner(cluster, node, timeout_s)
    with cluster.log_client("membership") as client:
        wait_until_it_votes(client, node, max(deadline - time.monotonic(), 0.0))


def add_learner(cluster: Cluster, node: NodeId, timeout_s: float = CALL_S) -> None:
    """Add a node and start it. The leader makes it a voter when it has caught up.

    Args:
        cluster: a running cluster that keeps a log.
        node: a name that no node of this cluster has had.
        timeout_s: how long the change may take in the log, in seconds.

    Raises:
        BadSpec: a node cannot have this name. Nothing was changed.
        CommandRefused: it is a member, or was one, or another change is under way. Nothing was changed.
        BootFailed: it is a learner and could not start.
        Unknown: no reply came, so it may be a learner; it was not started.
    """
    check_node_name(node)
    with cluster.log_client("membership") as client:
        client.configuration.add(node, timeout_s)
    try:
        cluster.launch_new(node)
    except BootFailed as error:
        raise BootFailed(f"{error}. It is a learner now: restart it, or remove it and add another one") from error


def wait_until_it_votes(client: LogClient, node: NodeId, timeout_s: float = TIMEOUT_S) -> None:
    """Return when `node`, which was added, votes. Raises Unknown if it has not caught up within `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while node not in client.configuration.list().voters:
        if time.monotonic() > deadline:
            raise Unknown(f"{node} is a learner and has not caught up within {timeout_s:g} s: see its log")
        time.sleep(_LOOK_EVERY_S)


def remove_node(cluster: Cluster, node: NodeId, timeout_s: float = TIMEOUT_S) -> None:
    """Remove a node for ever, and end its process. If it leads, it hands over first.

    Args:
        cluster: a running cluster that keeps a log.
        node: the node's name.
        timeout_s: how long the change may take, in seconds.

    Raises:
        NoSuchNode: it is no member. Nothing was changed.
        CommandRefused: it is the last node, or the others would have no majority, or another change is under way. Nothing was
            changed.
        Unknown: no other node took over from it, and nothing was changed; or no reply came.
    """
    remove_member(cluster, node, timeout_s)
    if node in cluster.processes:
        end_removed(cluster, node)


def remove_member(cluster: Cluster, node: NodeId, timeout_s: float = TIMEOUT_S) -> None:
    """Remove a node for ever, and let its process run. Arguments and errors are those of `remove_node`."""
    deadline = time.monotonic() + timeout_s
    with cluster.log_client("membership") as client:
        voters = check_member(client, node, timeout_s)
        successors = cycle([voter for voter in voters if voter != node and _is_up(cluster, voter)])
        while who_leads(cluster) == node and len(voters) > 1:
            if time.monotonic() > deadline:
                raise Unknown(f"{node} leads, and no other node took over within {timeout_s:g} s. Nothing was changed")
            _hand_over(cluster, client, node, next(successors, None))
        client.configuration.remove(node, timeout_s)
    _wait_until_known(cluster, node, [voter for voter in voters if voter != node], deadline)


def end_removed(cluster: Cluster, node: NodeId) -> None:
    """End the process of a node that was removed, and forget it."""
    process = cluster.process(node)
    if process.look() is ProcessState.UP:
        with contextlib.suppress(WrongState):  # it may have ended in this very moment
            cluster.terminate(node)
    process.end()
    cluster.forget(node)


def replace_node(cluster: Cluster, old: NodeId, new: NodeId, timeout_s: float = TIMEOUT_S) -> None:
    """Put a node with a new name and an empty disk in the place of `old`, which may be down.

    Raises as `add_node` and `remove_node` do. If `old` is no member or `new` cannot be added, nothing was changed.
    """
    with cluster.log_client("membership") as client:
        check_member(client, old, timeout_s)
    add_node(cluster, new, timeout_s)
    remove_node(cluster, old, timeout_s)


def check_member(client: LogClient, node: NodeId, timeout_s: float = CALL_S) -> tuple[NodeId, ...]:
    """Return the nodes that vote. Raises NoSuchNode if `node` neither votes nor learns."""
    voters, learners, removed = client.configuration.list(timeout_s)
    if node not in (*voters, *learners):
        gone = f"{node} was removed already" if node in removed else f"there is no node {node!r}"
        raise NoSuchNode(f"{gone}: there are {', '.join((*voters, *learners))}")
    return voters


def leader_of(cluster: Cluster, timeout_s: float = CALL_S) -> NodeId:
    """Return the leader of a cluster that keeps a log, and wait for one if there is none.

    Raises:
        Mistake: the cluster keeps no log.
        Unknown: no node has reported within `timeout_s` seconds that it leads.
    """
    cluster.check_log()
    deadline = time.monotonic() + timeout_s
    while (leader := who_leads(cluster)) is None:
        if time.monotonic() > deadline:
            raise Unknown(f"no node has reported within {timeout_s:g} s that it leads: is a majority up and connected?")
        time.sleep(_LOOK_EVERY_S)
    return leader


def who_leads(cluster: Cluster) -> NodeId | None:
    """Return the node that reports now that it leads, under the highest ballot; None if there is none."""
    return leading_node(cluster.status())


def leading_node(statuses: Mapping[NodeId, dict[str, Any]]) -> NodeId | None:
    """Return the node that leads, by the statuses of all nodes; None if no node reports that it leads.

    If several do, the one with the highest ballot: a leader that was cut off may not know yet that another node leads. Without
    ballots, the first one.
    """
    leading = [
        (tuple(replica.get("ballot") or ()), node)
        for node, status in statuses.items()
        for replica in status.get("variables", {}).values()
        if replica.get("leads")
    ]
    return max(leading, key=lambda ballot_and_node: ballot_and_node[0])[1] if leading else None


def _hand_over(cluster: Cluster, client: LogClient, leader: NodeId, successor: NodeId | None) -> None:
    """Ask `leader` to let `successor` lead. Return when `leader` leads no more, or soon: the successor may not respond."""
    deadline = time.monotonic() + _HAND_OVER_S
    if successor is not None:
        client.configuration.hand_over(successor)
    while who_leads(cluster) == leader and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)


def _wait_until_known(cluster: Cluster, removed: NodeId, voters: list[NodeId], deadline: float) -> None:
    """Return when a majority of the remaining voters has the removal on disk, or at the deadline: the change itself is done.

    Until then the removed node may be needed: a node that restarts without knowing of the removal asks it for its vote.
    """
    while time.monotonic() < deadline:
        statuses = cluster.status()
        known = [node for node in voters if removed in _replica(statuses, node).get("removed", ())]
        if is_quorum(known, voters):
            return
        time.sleep(_LOOK_EVERY_S)


def _replica(statuses: Mapping[NodeId, dict[str, Any]], node: NodeId) -> dict[str, Any]:
    """Return the status of a node's replica of the log; empty if the node did not reply."""
    replica: dict[str, Any] = statuses.get(node, {}).get("variables", {}).get("", {})
    return replica


def _is_up(cluster: Cluster, node: NodeId) -> bool:
    return node in cluster.processes and cluster.state(node) is ProcessState.UP
