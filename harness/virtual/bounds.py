"""How far an exploration goes, and which calls its clients make."""

from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

from harness.virtual.fault_model import SOUND, FaultModel
from harness.virtual.judge import EVERYTHING, with_contract
from harness.virtual.steps import Propose, Query, Step
from node.contract import NodeId, Request, Value
from node.wire import encode_value
from node.wording import count

COLOURS: Final = ("blue", "red", "green", "yellow", "purple")


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds that make a state space finite. `harness.virtual.space` explains why they suffice."""

    nodes: int = 3
    proposals: int = 2
    queries: int = 0
    ballots: int = 2
    ballot_fields: tuple[str, ...] = ()
    """Fields of messages whose integers count as ballots, besides those that the algorithm names."""
    crashes: int = 0
    turn_inputs: int = 1
    """How many inputs may share a turn of a node, in any order."""
    lose_disk: bool = False
    """A node that is down may lose its disk, too. It then refuses to boot, unless the fault model says otherwise."""
    fault_model: FaultModel = SOUND
    calls_at: tuple[NodeId, ...] = ()
    """The nodes at which the calls are made: one each, then again from the first. Empty: n1, n2, ..."""
    symmetry: bool = False
    """Of states that differ only in names, follow one: fewer states and less memory, but more time for each."""
    look_for: tuple[str, ...] = EVERYTHING
    """The kinds of violation that end the search; "contract" is always among them. Others are ignored."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "look_for", with_contract(self.look_for))

    def to_json(self) -> dict[str, Any]:
        """Return the bounds as plain data. Reports call the fault model `oddities`."""
        return {"oddities" if key == "fault_model" else key: item for key, item in asdict(self).items()}

    def lines(self) -> list[str]:
        """Return the bounds in English, a line each."""
        where = ", ".join(self.calls_at) or "n1, n2, ..."
        of_log = self.fault_model.time_stands_still
        calls = (
            f"{count(self.proposals, 'command')} and {count(self.queries, 'question')}, each made once, at a node that leads"
            if of_log
            else f"{count(self.proposals, 'proposal')} and {count(self.queries, 'query', 'queries')}, each made once, at {where}"
        )
        timers = (
            "any election timeout may end at any time, and so may any other timer that is set; no time passes in the log"
            if of_log
            else "any timer that is set may expire at any time"
        )
        text = [
            f"{count(self.nodes, 'node')}; {calls}",
            f"at most {count(self.ballots, 'ballot')} begun in all, at most {count(self.crashes, 'crash', 'crashes')}",
            f"{timers}; a message may be lost, repeated, late, out of order",
        ]
        alone = self.turn_inputs == 1
        inputs = "each input has a turn of its own" if alone else f"up to {self.turn_inputs} inputs share a turn"
        if self.lose_disk:
            then = "boots as if it were new" if self.fault_model.empty_disks_vote else "refuses to boot"
            text.append(f"a node that is down may lose its disk, and then {then}")
        if self.fault_model.disks_sync_late:
            text.append("disks sync late: a crash loses the last commit")
        if self.symmetry:
            text.append(
                "of states that differ only in the names of nodes and values that may change places, one is followed"
            )
        if self.look_for != EVERYTHING:
            text.append(f"looked for: {', '.join(self.look_for)}, and nothing else")
        text.append(
            "what a node sends to itself travels like any other message"
            if self.fault_model.own_messages_wait
            else f"{inputs}, and a node takes in its own messages in the turn after"
        )
        return text


class ExploredCall(NamedTuple):
    """One call of a client. `value` is None for a query."""

    node: NodeId
    request: Request
    value: Value | None

    def step(self) -> Step:
        """Return the call as a step."""
        if self.value is None:
            return Query(self.node, self.request)
        return Propose(self.node, self.request, self.value)


def clients_of(members: tuple[NodeId, ...], bounds: Bounds) -> list[ExploredCall]:
    """Return the calls of an exploration: the proposals, each of a different value, then the queries."""
    places = bounds.calls_at or members
    clients = []
    for number in range(bounds.proposals + bounds.queries):
        colour = COLOURS[number] if number < len(COLOURS) else f"colour {number + 1}"
        value = encode_value(colour) if number < bounds.proposals else None
        clients.append(ExploredCall(places[number % len(places)], Request(f"c{number + 1}", 1), value))
    return clients
