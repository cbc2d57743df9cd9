"""What a simulated run has met: its features, as hashable data without names of nodes, values or times.

| feature | example |
|---|---|
| a state of the cluster | one node prepares, two are idle, and the ballots of what they have accepted differ |
| what a node took in, in which state | an idle node gets an Accept under a ballot below its promise |
| what struck a node, in which state | a crash of a node that prepares |
| how often something happened, as a power of two | 8 losses |

The state of a cluster is, of each node, whether it is up, its role, the order of its ballots, whether it has decided, and by how
much of a log it lags. States are abstract as in Mallory (Meng et al., CCS 2023): ballots count by their order alone.
"""

from collections.abc import Hashable
from typing import Any, NamedTuple

from harness.virtual.judge import ballots_in
from harness.virtual.node import VirtualNode
from harness.virtual.steps import Deliver, Fire, Step, Turn
from node.authors import status_of
from node.contract import Message, NodeId, Status
from node.quorum import Ballot

_DOWN = Status(role="down")
#: A node lags by so many slots at least, by class.
_LAGS = (0, 1, 3, 10)


class _Seen(NamedTuple):
    """What counts of a node's status."""

    role: str
    leads: bool
    decided: bool
    promised: Ballot | None
    accepted: Ballot | None
    commit: int


class MetStates:
    """Collects the features of one run, while it goes on."""

    def __init__(self) -> None:
        self.features: set[Hashable] = set()
        self._nodes: dict[NodeId, _Seen] = {}

    def took_in(self, node: VirtualNode, step: Step) -> None:
        """Take note of a step of a node that has happened."""
        before = self._nodes.get(node.id)
        for one in step.inputs if isinstance(step, Turn) else (step,):
            self.features.add(("takes in", *_situation(before, one)))
        now = _seen(node)
        if now != before:
            self._nodes[node.id] = now
            self.features.add(self._cluster())

    def struck(self, node: NodeId, fault: str) -> None:
        """Take note of a fault that has struck a node."""
        before = self._nodes.get(node)
        self.features.add(("struck", fault, before and (before.role, before.decided, before.accepted is None)))
        self._nodes[node] = _of_status(_DOWN)
        self.features.add(self._cluster())

    def _cluster(self) -> Hashable:
        nodes = self._nodes.values()
        order = sorted({ballot for one in nodes for ballot in (one.promised, one.accepted) if ballot is not None})
        rank = {None: -1} | {ballot: place for place, ballot in enumerate(order)}
        first = max(one.commit for one in nodes)
        return tuple(
            sorted(
                (
                    one.role,
                    one.leads,
                    one.decided,
                    rank[one.promised],
                    rank[one.accepted],
                    sum(first - one.commit > lag for lag in _LAGS),
                )
                for one in nodes
            )
        )


def _seen(node: VirtualNode) -> _Seen:
    return _of_status(status_of(node.instance) if node.up and node.instance is not None else _DOWN)


def _of_status(status: Status) -> _Seen:
    commit = status.details.get("commit")
    return _Seen(
        status.role,
        status.leads,
        status.decided is not None,
        status.ballot,
        status.accepted_ballot,
        commit if isinstance(commit, int) else 0,
    )


def _situation(before: _Seen | None, step: Any) -> tuple[Hashable, ...]:
    role = before and (before.role, before.decided)
    match step:
        case Deliver(packet):
            return role, packet.message.type_name(), _order(before, packet.message)
        case Fire(timer=timer):
            return role, "timer", timer
    return role, type(step).__name__


def _order(before: _Seen | None, message: Message) -> tuple[int, ...]:
    """Return how the ballots of a message stand to what its receiver has promised and accepted: -1 below, 0 equal, 1 above."""
    own = () if before is None else (before.promised, before.accepted)
    return tuple(
        2 if one is None else (ballot > one) - (ballot < one) for ballot in ballots_in(message)[:2] for one in own
    )
