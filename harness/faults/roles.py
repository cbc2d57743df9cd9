"""Nodes named by their roles, such as "leader": which node that is, is found when the fault strikes.

| name | the node |
|---|---|
| leader | the node that reports that it leads; without one, the first that is up |
| heir | of the others that vote and are up, the one whose log is the longest: it would lead next |
| follower | a random one of the others that are up |
| learner | a node that receives the log and does not vote |
| candidate | a node that seeks to lead, or to have its ballot chosen, at this moment |
| sender, receiver | the ends of the message for which the step of a plan has waited |

A role that no node has raises `Missed`: the fault struck no node, and nothing was changed. What each name stood for is kept by
thread (`Strike`), so that the nemesis can write down who was struck.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, Final

from cluster.errors import ConsensusError
from cluster.membership import leading_node
from cluster.node_set import NodeSet
from harness.records.links import Link
from node.contract import NodeId

ROLES: Final = ("leader", "heir", "follower", "learner", "candidate", "sender", "receiver")
#: The roles, as statuses name them, in which a node of Paxos or of a log seeks to have its ballot accepted.
_SEEKING: Final = ("canvassing", "preparing", "accepting")
#: How long to look for a candidate, in seconds. One that wins is one for some milliseconds.
_CANDIDATE_S: Final = 1.5
_STATUS_S: Final = 0.5
_LOOK_S: Final = 0.01


class Missed(ConsensusError):
    """The fault found no node to strike, such as a learner. Nothing was changed, and nothing went wrong."""


class Strike(threading.local):
    """What this thread's fault strikes: the nodes that it has found by their roles, and the message for which it has waited."""

    def __init__(self) -> None:
        self.roles: dict[str, NodeId] = {}
        self.link: Link | None = None

    def begin(self, link: Link | None = None) -> None:
        """Forget the last fault. `link` is that of the message for which the next one has waited."""
        self.roles, self.link = {}, link


def node_in_role(cluster: NodeSet, strike: Strike, role: str, rng: Random) -> NodeId:
    """Return the node that `role` stands for now, and note it. Raises Missed."""
    found = _find(cluster, strike, role, rng)
    if found is None:
        raise Missed(f"no node is the {role} now")
    strike.roles[role] = found
    return found


def _find(cluster: NodeSet, strike: Strike, role: str, rng: Random) -> NodeId | None:
    if role in ("sender", "receiver"):
        end = None if strike.link is None else strike.link[role == "receiver"]
        return end if end in cluster.nodes else None
    if role == "candidate":
        return _candidate(cluster)
    statuses = cluster.status(_STATUS_S)
    leader = leading_node(statuses) or next((node for node in cluster.nodes if node in statuses), cluster.nodes[0])
    others = [node for node in cluster.nodes if node in statuses and node != leader]
    learners = [node for node in others if "learner" in _roles(statuses[node])]
    match role:
        case "leader":
            return leader
        case "learner":
            return rng.choice(learners) if learners else None
        case "heir":
            voters = [node for node in others if node not in learners]
            return max(voters, key=lambda node: _progress(statuses[node]), default=None)
    return rng.choice(others) if others else None


def _candidate(cluster: NodeSet) -> NodeId | None:
    until = time.monotonic() + _CANDIDATE_S
    while True:
        for node, status in cluster.status(_STATUS_S).items():
            if any(role in _SEEKING for role in _roles(status)):
                return node
        if time.monotonic() > until:
            return None
        time.sleep(_LOOK_S)


def _replicas(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return iter(status.get("variables", {}).values())


def _roles(status: Mapping[str, Any]) -> list[str]:
    return [str(replica.get("role", "")) for replica in _replicas(status)]


def _progress(status: Mapping[str, Any]) -> int:
    return max((int(replica.get("commit", 0)) for replica in _replicas(status)), default=0)
