"""Adding, removing and replacing the nodes of a running cluster that keeps a log.

A node is added by its name's going through the log, and then started on an empty disk. It takes in a snapshot and the log as
a learner; the leader makes it a voter when it has caught up. A node that was removed, or that lost its disk, never comes back
under its name: a node with a new name takes its place.
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

TIMEOUT_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.02
_HAND_OVER_S: Final = 0.5


def add_node(cluster: Cluster, node: NodeId, timeout_s: float = TIMEOUT_S) -> None:
    """Add a node and return when it votes. Raises as `add_learner` and `wait_until_it_votes` do."""
    deadline = time.monotonic() + timeout_s
    add_learner(cluster, node, timeout_s)
    with cluster.log_client("membership") as client:
        wait_until_it_votes(client, node, max(deadline - time.monotonic(), 0.0))


def add_learner(cluster: Cluster, node: NodeId, timeout_s: float = CALL_S) -> None:
    """Add a node and start it. It comes to vote by itself.

    Raises:
        BadSpec: a node cannot be called so. Nothing was changed.
        CommandRefused: it is a member, or was one, or another change is under way. Nothing was changed.
        BootFailed: it is a learner and could not start.
        Unknown: the answer did not come, so it may be a learner; it was not started.
    """
    check_node_name(node)
    with cluster.log_client("membership") as client:
        client.configuration.add(node, timeout_s)
    try:
        cluster.launch_new(node)
    except BootFailed as error:
        raise BootFailed(f"{error}. It is a learner now: restart it, or remove it and add another one") from error


def wait_until_it_votes(client: LogClient, node: NodeId, timeout_s: float = TIMEOUT_S) -> None:
    """Return when `node`, which was added, has caught up. Raises Unknown if it has not in time."""
    deadline = time.monotonic() + timeout_s
    while node not in client.configuration.list()[0]:
        if time.monotonic() > deadline:
            raise Unknown(f"{node} is a learner and has not caught up within {timeout_s:g} s: see its log")
        time.sleep(_LOOK_EVERY_S)


def remove_node(cluster: Cluster, node: NodeId, timeout_s: float = TIMEOUT_S) -> None:
    """Remove a node for ever, and end its process. A leader hands over first.

    Raises:
        NoSuchNode: it is no member. Nothing was changed.
        CommandRefused: it is the last one, or the others would have no majority, or another change is under way. Nothing was
            changed.
        Unknown: nobody took over from it, and nothing was changed; or the answer did not come.
    """
    deadline = time.monotonic() + timeout_s
    with cluster.log_client("membership") as client:
        voters = check_member(client, node, timeout_s)
        heirs = cycle([heir for heir in voters if heir != node and _is_up(cluster, heir)])
        while who_leads(cluster) == node and len(voters) > 1:
            if time.monotonic() > deadline:
                raise Unknown(f"{node} leads and nobody took over within {timeout_s:g} s. Nothing was changed")
            _hand_over(cluster, client, node, next(heirs, None))
        client.configuration.remove(node, timeout_s)
    _wait_until_known(cluster, node, [voter for voter in voters if voter != node], deadline)
    if node in cluster.processes:
        process = cluster.process(node)
        if process.look() is ProcessState.UP:
            with contextlib.suppress(WrongState):  # it may have ended in this very moment
                cluster.terminate(node)
        process.bury()
        cluster.forget(node)


def replace_node(cluster: Cluster, old: NodeId, new: NodeId, timeout_s: float = TIMEOUT_S) -> None:
    """Put a node with a new name and an empty disk in the place of `old`, which may be down.

    Raises as `add_node` and `remove_node` do; if `old` is no member or `new` cannot be added, nothing was changed.
    """
    with cluster.log_client("membership") as client:
        check_member(client, old, timeout_s)
    add_node(cluster, new, timeout_s)
    remove_node(cluster, old, timeout_s)


def check_member(client: LogClient, node: NodeId, timeout_s: float = CALL_S) -> tuple[NodeId, ...]:
    """Who votes. Raises NoSuchNode if `node` neither does nor learns to."""
    voters, learners, removed = client.configuration.list(timeout_s)
    if node not in (*voters, *learners):
        gone = f"{node} was removed already" if node in removed else f"there is no node {node!r}"
        raise NoSuchNode(f"{gone}: there are {', '.join((*voters, *learners))}")
    return voters


def leader_of(cluster: Cluster, timeout_s: float = CALL_S) -> NodeId:
    """Who leads a cluster that keeps a log, as soon as somebody does.

    Raises:
        Mistake: it keeps none.
        Unknown: nobody has said so in time.
    """
    cluster.check_log()
    deadline = time.monotonic() + timeout_s
    while (leader := who_leads(cluster)) is None:
        if time.monotonic() > deadline:
            raise Unknown(f"nobody has said within {timeout_s:g} s that it leads: is a majority up and connected?")
        time.sleep(_LOOK_EVERY_S)
    return leader


def who_leads(cluster: Cluster) -> NodeId | None:
    """Who says now that it leads, under the highest ballot."""
    leading = [
        (status["variables"][""]["ballot"], node)
        for node, status in cluster.status().items()
        if status["variables"].get("", {}).get("role") == "leading"
    ]
    return max(leading)[1] if leading else None


def _hand_over(cluster: Cluster, client: LogClient, node: NodeId, heir: NodeId | None) -> None:
    """Ask the leader, `node`, to have `heir` lead, and return when it leads no more; or soon, for the heir may not answer."""
    deadline = time.monotonic() + _HAND_OVER_S
    if heir is not None:
        client.configuration.hand_over(heir)
    while who_leads(cluster) == node and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)


def _wait_until_known(cluster: Cluster, removed: NodeId, voters: list[NodeId], deadline: float) -> None:
    """Return when a majority of those that are left has on disk that `removed` is none of them.

    Until then it may be needed: whoever starts again without knowing asks it for its vote. Beyond the deadline nobody waits,
    since the change itself is done.
    """
    while time.monotonic() < deadline:
        statuses = cluster.status()
        known = [node for node in voters if removed in _replica(statuses, node).get("removed", ())]
        if is_quorum(known, voters):
            return
        time.sleep(_LOOK_EVERY_S)


def _replica(statuses: Mapping[NodeId, dict[str, Any]], node: NodeId) -> dict[str, Any]:
    """What a node says of its replica of the log; nothing if it does not answer."""
    replica: dict[str, Any] = statuses.get(node, {}).get("variables", {}).get("", {})
    return replica


def _is_up(cluster: Cluster, node: NodeId) -> bool:
    return node in cluster.processes and cluster.state(node) is ProcessState.UP
