"""How far an exploration goes, and who calls what in it."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from harness.virtual.fault_model import SOUND, FaultModel
from harness.virtual.judge import EVERYTHING
from harness.virtual.steps import Propose, Query, Step
from node.contract import NodeId, Request, Value
from node.wire import encode_value

_COLOURS: Final = ("blue", "red", "green", "yellow", "purple")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What makes a state space finite; see `harness.virtual.space` for why it is enough."""

    nodes: int = 3
    proposals: int = 2
    queries: int = 0
    ballots: int = 2
    crashes: int = 0
    lose_disk: bool = False
    """A node that is down may lose its disk, too. It then refuses to boot, unless `oddities` say otherwise."""
    oddities: FaultModel = SOUND
    calls_at: tuple[NodeId, ...] = ()
    """Where the calls are made, one after the other and then again from the first; empty: n1, n2, ..."""
    symmetry: bool = False
    """Of states that differ in names alone, follow one: fewer states and less memory, but more time for each."""
    look_for: tuple[str, ...] = EVERYTHING
    """The kinds of violation that end the search; others are passed over."""

    def lines(self) -> list[str]:
        """The bounds in words."""
        where = ", ".join(self.calls_at) or "n1, n2, ..."
        told = [
            f"{self.nodes} nodes; {self.proposals} proposals and {self.queries} queries, each made once, at {where}",
            f"at most {self.ballots} ballots begun in all, at most {self.crashes} crashes",
            "any timer that is set may run out at any time; a message may be lost, repeated, late, out of order",
        ]
        if self.lose_disk:
            then = "boots as if it were new" if self.oddities.empty_disks_vote else "refuses to boot"
            told.append(f"a node that is down may lose its disk, and then {then}")
        if self.oddities.disks_sync_late:
            told.append("disks lie: a crash loses the last commit")
        if self.symmetry:
            told.append(
                "of states that differ only in the names of nodes and values that may change places, one is followed"
            )
        if self.look_for != EVERYTHING:
            told.append(f"looked for: {', '.join(self.look_for)}, and nothing else")
        told.append(
            "what a node sends to itself travels like any other message"
            if self.oddities.own_messages_wait
            else "each input has a turn of its own, and a node hears itself in the turn after"
        )
        return told


class ExploredCall(NamedTuple):
    """One call. `value` is None for a query."""

    node: NodeId
    request: Request
    value: Value | None

    def step(self) -> Step:
        """The call, as a step."""
        if self.value is None:
            return Query(self.node, self.request)
        return Propose(self.node, self.request, self.value)


def clients_of(members: tuple[NodeId, ...], bounds: Bounds) -> list[ExploredCall]:
    """Who calls what, and where: proposals first, one a node, each of a value of its own."""
    places = bounds.calls_at or members
    clients = []
    for number in range(bounds.proposals + bounds.queries):
        colour = _COLOURS[number] if number < len(_COLOURS) else f"colour {number + 1}"
        value = encode_value(colour) if number < bounds.proposals else None
        clients.append(ExploredCall(places[number % len(places)], Request(f"c{number + 1}", 1), value))
    return clients
