"""What must never happen, checked after every step.

| property | meaning |
|---|---|
| agreement | no two decisions differ, whoever saw them and whenever |
| validity | what is decided was proposed |
| stability | no node's decision changes or goes away, and no query answers "undecided" that began after a decision was seen |
| promise | the ballots that a node has promised, and under which it has accepted, never go down |
| ballot | under one ballot, one value is asked for |
| contract | no algorithm raises, or does what its contract forbids |

A node that has lost its disk may say less than before; what others saw of it still counts. What a replicated log has to
keep beyond these is in `harness.virtual.log_judge`.
"""

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Final

from harness.virtual.node import VirtualNode
from harness.virtual.node_state import NO_FACTS, Facts, facts_of
from harness.virtual.output import VirtualReply
from harness.virtual.steps import Packet, plain
from node.contract import Message, NodeId, Request, Value
from node.frames import CommandFrame, ReadFrame
from node.quorum import NO_BALLOT, Ballot

SAFETY: Final = (
    "agreement", "validity", "stability", "promise", "ballot", "contract",
    *("incarnation", "leader", "state", "once", "order", "lock"),
)  # fmt: skip
FAULT_TOLERANCE: Final = "fault tolerance"
EVERYTHING: Final = (*SAFETY, "client", FAULT_TOLERANCE)


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not kept."""

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


def asks_for(packet: Packet) -> tuple[Ballot, Value] | None:
    """The ballot and the value of a phase 2a message: one with a single ballot, the sender's own, and a value."""
    ballots, values = _ballots_and_values(packet.message)
    if len(ballots) == 1 and len(values) == 1 and ballots[0].node == packet.sender:
        return ballots[0], values[0]
    return None


def ballots_in(message: Message) -> tuple[Ballot, ...]:
    """Every ballot that a message names."""
    return _ballots_and_values(message)[0]


@lru_cache(maxsize=65536)
def _ballots_and_values(message: Message) -> tuple[tuple[Ballot, ...], tuple[Value, ...]]:
    items = [getattr(message, field.name) for field in fields(message)]
    ballots = tuple(item for item in items if isinstance(item, Ballot) and item != NO_BALLOT)
    return ballots, tuple(Value(item) for item in items if isinstance(item, bytes))


def reused(ballot: Ballot, before: Value, now: Value) -> Violation:
    """One ballot, two values."""
    return Violation(
        "ballot", f"{ballot.node} asks for {plain(now)} under ballot {plain(ballot)}, after {plain(before)}"
    )


def changed(node: NodeId, before: Facts, after: Facts) -> list[Violation]:
    """What one node's step has broken, judged by that node alone."""
    found = []
    if before.decided is not None and after.decided != before.decided:
        now = "nothing" if after.decided is None else plain(after.decided)
        found.append(Violation("stability", f"{node} had decided {plain(before.decided)} and now says {now}"))
    for verb, was, is_ in (
        ("promised", before.promised, after.promised),
        ("accepted under", before.accepted, after.accepted),
    ):
        if was is not None and (is_ is None or is_ < was):
            now = "nothing" if is_ is None else plain(is_)
            found.append(Violation("promise", f"{node} had {verb} {plain(was)} and now says {now}"))
    return found


class VirtualJudge:
    """Sees everything, forgets nothing. Plain data."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self._proposed: dict[Value, None] = {}
        self._decided: dict[Value, str] = {}
        self._nodes: dict[NodeId, Facts] = {}
        self._asked: dict[Ballot, Value] = {}
        self._late_queries: dict[Request, str] = {}

    @property
    def decided(self) -> dict[Value, str]:
        """Every value that anybody has seen decided, with who saw it first."""
        return self._decided

    def see_proposal(self, value: Value) -> None:
        """A client proposes."""
        self._proposed[value] = None

    def see_query(self, request: Request) -> None:
        """A client queries."""
        if self._decided:
            self._late_queries[request] = next(iter(self._decided.values()))

    def see_frame(self, request: Request, frame: CommandFrame | ReadFrame) -> None:
        """A client's frame of commands or questions reaches a node; of a log only."""

    def look(self, node: VirtualNode) -> None:
        """A node, after a step of its own."""
        self.see_node(node.id, facts_of(node))

    def look_at_applied(self, node: VirtualNode) -> None:
        """What a node of a log has applied in a turn that ends in a crash: what it has said early rests on it."""

    def see_node(self, node: NodeId, facts: Facts) -> None:
        """A node, after a step of its own."""
        before = self._nodes.get(node)
        if before == facts:
            return
        self._nodes[node] = facts
        if before is not None:
            self.violations.extend(changed(node, before, facts))
        if facts.decided is not None:
            self._see_decided(facts.decided, node)

    def forget_node(self, node: NodeId) -> None:
        """A node has lost its disk."""
        self._nodes[node] = NO_FACTS

    def see_reply(self, node: NodeId, reply: VirtualReply) -> None:
        """A client gets an answer from `node`."""
        if reply.value is not None:
            self._see_decided(reply.value, f"{reply.request.client} at {node}")
        elif reply.refused is None and reply.request in self._late_queries:
            self.violations.append(
                Violation(
                    "stability",
                    f"{node} answers {reply.request.client} undecided, though "
                    f"{self._late_queries[reply.request]} had seen a decision before it asked",
                )
            )

    def see_packet(self, packet: Packet) -> None:
        """A node sends."""
        if (asked := asks_for(packet)) is not None:
            ballot, value = asked
            before = self._asked.setdefault(ballot, value)
            if before != value:
                self._asked[ballot] = value
                self.violations.append(reused(ballot, before, value))

    def see_failure(self, node: NodeId, error: BaseException) -> None:
        """A node stops because of its algorithm."""
        self.violations.append(Violation("contract", f"{node} fails: {type(error).__name__} {error}"))

    def see_unanswered(self, nodes: list[NodeId], up: list[NodeId]) -> None:
        """These nodes have not answered in time, though `up` are a majority and nothing hinders them."""
        who = ", ".join(dict.fromkeys(nodes))
        self.violations.append(
            Violation(FAULT_TOLERANCE, f"{who} cannot answer, though {', '.join(up)} are up and connected")
        )

    def _see_decided(self, value: Value, who: str) -> None:
        if value in self._decided:
            return
        if value not in self._proposed:
            self.violations.append(Violation("validity", f"{who} decides {plain(value)}, which nobody has proposed"))
        if self._decided:
            other, witness = next(iter(self._decided.items()))
            self.violations.append(
                Violation("agreement", f"{witness} has decided {plain(other)}, and {who} {plain(value)}")
            )
        self._decided[value] = who
