"""Finds the nodes of a virtual cluster by their roles, so that a fault can strike the leader, its heir or a candidate.

A role is read from `Algorithm.status`, as a person would read it. So any algorithm whose status names a role can be struck.
"""

from collections.abc import Mapping
from enum import StrEnum
from random import Random
from typing import Final

from harness.virtual.node import VirtualNode
from node.authors import status_of
from node.contract import NodeId, Status
from node.log_contract import LogAlgorithm
from node.quorum import NO_BALLOT


class NodeRole(StrEnum):
    """What a node is in a cluster at some time."""

    LEADER = "leader"
    """It acts as the leader, under the highest ballot of all that do."""
    CANDIDATE = "candidate"
    """It is about to lead, or to have a value chosen."""
    HEIR = "heir"
    """The leader hands over to it."""
    SUCCESSOR = "successor"
    """It leads a log and serves clients, and the last leader that was bound is another node."""
    LEARNER = "learner"
    """It receives the log, and is no voter."""
    FOLLOWER = "follower"
    """None of these."""


#: By role, the name that a schedule uses for the node that had the role when a plot began.
BOUND: Final[Mapping[NodeRole, str]] = {
    NodeRole.LEADER: "the old leader",
    NodeRole.CANDIDATE: "the candidate",
    NodeRole.HEIR: "the heir",
    NodeRole.SUCCESSOR: "the successor",
    NodeRole.LEARNER: "the learner",
    NodeRole.FOLLOWER: "the follower",
}
_CANDIDACIES: Final = ("canvassing", "preparing", "accepting", "candidate", "proposer", "proposing")


def holder_of(role: NodeRole, nodes: Mapping[NodeId, VirtualNode], rng: Random) -> NodeId | None:
    """Return a node that is up and has the role, or None. If several have it, draw one; of leaders, take the latest."""
    statuses = {name: status for name, node in nodes.items() if (status := _status(node)) is not None}
    leading = {name: status.ballot for name, status in statuses.items() if status.leads}
    if role is NodeRole.LEADER:
        return max(leading, key=lambda name: leading[name] or NO_BALLOT, default=None)
    heirs = [node.instance.heir for node in nodes.values() if node.up and isinstance(node.instance, LogAlgorithm)]
    found = [
        name
        for name, status in statuses.items()
        if role is (NodeRole.HEIR if name in heirs else _role(status)) and name not in leading
    ]
    return rng.choice(found) if found else None


def _role(status: Status) -> NodeRole:
    name = str(status.role)
    return NodeRole.LEARNER if name == "learner" else NodeRole.CANDIDATE if name in _CANDIDACIES else NodeRole.FOLLOWER


def _status(node: VirtualNode) -> Status | None:
    """Return the status of a node's replica; None if there is none, or if it cannot be read."""
    if not node.up or node.instance is None:
        return None
    try:
        return status_of(node.instance)
    except Exception:  # noqa: BLE001 - the author's code may raise anything, and the judge has recorded it
        return None
