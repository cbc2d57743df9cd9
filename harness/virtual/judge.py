"""Judges a virtual cluster: checks after every step that its nodes and replies keep these properties.

| property | meaning |
|---|---|
| agreement | no two decisions of nodes or clients differ |
| validity | every decided value was proposed |
| stability | no node's decision changes or disappears, and no query that begins after a decision was seen gets "undecided" |
| promise | the ballots that a node has promised, and under which it has accepted, never go down |
| ballot | the owner of a ballot asks for one value under it, in all messages of a class (`Message.asks_acceptance`) |
| contract | no algorithm raises, or does what its contract forbids |
| timer | a node that waits for what may be lost has a timer set: those that its algorithm names in `awaits` |

A node that has lost its disk may report less than before. What nodes and clients saw of it earlier still counts.
`harness.virtual.log_judge` checks the further properties of a replicated log.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Final, NamedTuple

from harness.virtual.node import VirtualNode
from harness.virtual.node_state import NO_FACTS, Facts, StatusFailed, facts_of
from harness.virtual.output import VirtualReply
from harness.virtual.steps import Packet, in_words
from node.authors import describe_failure, place_of_function
from node.contract import ContractBroken, Message, NodeId, Request, Value
from node.frames import CommandFrame, ReadFrame
from node.quorum import NO_BALLOT, Ballot

SAFETY: Final = (
    "agreement", "validity", "stability", "promise", "ballot", "contract",
    *("incarnation", "leader", "state", "once", "order", "lock", "durability"),
)  # fmt: skip
#: The node of a ballot that is a number of its author's own: any node may begin it.
UNOWNED: Final = ""
FAULT_TOLERANCE: Final = "fault tolerance"
TIMER: Final = "timer"
#: What steps alone can violate, whatever time passes between them.
STEPWISE: Final = (*SAFETY, TIMER)
EVERYTHING: Final = (*STEPWISE, "client", FAULT_TOLERANCE)


def with_contract(look_for: tuple[str, ...]) -> tuple[str, ...]:
    """Return these kinds and "contract": a run in which an algorithm has failed by itself shows nothing about any other kind."""
    return look_for if "contract" in look_for else (*look_for, "contract")


@dataclass(frozen=True, slots=True)
class Violation:
    """A property that does not hold."""

    kind: str
    """One of `EVERYTHING`."""
    text: str
    """What has happened, for people."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class AcceptRequest(NamedTuple):
    """What a phase 2a message asks its receiver to accept. `kind` is the name of the message."""

    kind: str
    ballot: Ballot
    value: Value


def accept_request_in(packet: Packet) -> AcceptRequest | None:
    """Return the request of a phase 2a message; None for any other message.

    A message of any algorithm counts as phase 2a if it names one ballot, which its sender owns, and one value, and its class does
    not say otherwise.
    """
    if not packet.message.asks_acceptance:
        return None
    ballots, values = _ballots_and_values(packet.message)
    if len(ballots) == 1 and len(values) == 1 and ballots[0].node == packet.sender:
        return AcceptRequest(packet.message.type_name(), ballots[0], values[0])
    return None


def contradict(one: AcceptRequest, other: AcceptRequest) -> bool:
    """Return whether two requests of one kind ask for different values under one ballot."""
    return one[:2] == other[:2] and one.value != other.value


def numbers_in(message: Message, ballot_fields: tuple[str, ...]) -> Iterator[Ballot]:
    """Yield each integer above 0 in the fields of a message that are named to count as ballots, as a ballot without an owner."""
    for name in ballot_fields:
        number = getattr(message, name, None)
        if isinstance(number, int) and number > 0:
            yield Ballot(number, UNOWNED)


def ballots_in(message: Message) -> tuple[Ballot, ...]:
    """Return every ballot that a message names."""
    return _ballots_and_values(message)[0]


@lru_cache(maxsize=65536)
def _ballots_and_values(message: Message) -> tuple[tuple[Ballot, ...], tuple[Value, ...]]:
    items = [getattr(message, field.name) for field in fields(message)]
    ballots = tuple(item for item in items if isinstance(item, Ballot) and item != NO_BALLOT)
    return ballots, tuple(Value(item) for item in items if isinstance(item, bytes))


def reused_ballot(request: AcceptRequest, before: Value) -> Violation:
    """Return the violation that the owner of a ballot asks for a value under it, and has asked for `before`."""
    kind, ballot, now = request
    return Violation(
        "ballot",
        f"{ballot.node} asks with {kind} for {in_words(now)} under ballot {in_words(ballot)}, after {in_words(before)}",
    )


def contract_violation(node: NodeId, error: BaseException) -> Violation:
    """Return the violation that the algorithm of a node has raised `error`. It names the line of the author's code."""
    return Violation("contract", f"{node} fails: {describe_failure(error)}")


def violations_of_change(node: NodeId, before: Facts, after: Facts) -> list[Violation]:
    """Return what a step of one node has violated, judged by the node's facts before and after the step."""
    found = []
    if before.decided is not None and after.decided != before.decided:
        now = in_words(after.decided)
        found.append(Violation("stability", f"{node} had decided {in_words(before.decided)} and now reports {now}"))
    for verb, was, is_ in (
        ("promised", before.promised, after.promised),
        ("accepted under", before.accepted, after.accepted),
    ):
        if was is not None and (is_ is None or is_ < was):
            now = in_words(is_)
            found.append(Violation("promise", f"{node} had {verb} {in_words(was)} and now reports {now}"))
    return found


def missing_timers(node: VirtualNode) -> list[Violation]:
    """Return the violations that timers are not set that the replica of `node`, which is up, rests on after a turn."""
    instance = node.instance
    if instance is None:
        return []
    awaited = instance.awaits()
    if isinstance(awaited, str):  # which is a sequence of texts, too
        broken = ContractBroken(f"awaits() returned {awaited!r}, where a tuple is wanted: ({awaited!r},)")
        broken.place = str(place_of_function(type(instance).awaits))
        raise broken
    of, running, missing = node.instance_name, node.timers.running, []
    for name in awaited:  # after every turn, so without a call
        if (of, name) not in running:
            text = f"{node.id} waits for something that may be lost, and its timer {name!r} is not set"
            missing.append(Violation(TIMER, text))
    return missing


#: What a simulated run has seen if a node reported a ballot.
BALLOT: Final = "a reported ballot"


class VirtualJudge:
    """Checks the nodes and replies of one cluster, and keeps what it has seen. Holds plain data only."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self._proposed: dict[Value, None] = {}
        self._decided: dict[Value, str] = {}
        self._nodes: dict[NodeId, Facts] = {}
        self._requested: dict[tuple[str, Ballot], Value] = {}
        self._late_queries: dict[Request, str] = {}
        self.has_ballots = False
        """Whether a node has reported a ballot. Only then is there a promise to judge."""

    @property
    def decided(self) -> dict[Value, str]:
        """Every value that a node or a client has seen decided, with the one that saw it first."""
        return self._decided

    def record_proposal(self, value: Value) -> None:
        """Record that a client proposes `value`."""
        self._proposed[value] = None

    def record_query(self, request: Request) -> None:
        """Record that a client queries."""
        if self._decided:
            self._late_queries[request] = next(iter(self._decided.values()))

    def record_frame(self, request: Request, frame: CommandFrame | ReadFrame) -> None:
        """Record that a client's frame reaches a node for the first time. Only a log's judge does something here."""

    def check_node(self, node: VirtualNode) -> None:
        """Check a node after a step of its own."""
        try:
            facts = facts_of(node)
        except StatusFailed as error:
            self.record_failure(node.id, error)
        else:
            self.check_facts(node.id, facts)

    def check_applied(self, node: VirtualNode) -> None:
        """Check what a node has applied in a turn that ends in a crash. Only a log's judge does something here.

        The early output of that turn rests on it.
        """

    def check_end(self, nodes: Iterable[VirtualNode]) -> None:
        """Check what can be checked only when no step follows. Only a log's judge does something here."""

    def check_timers(self, node: VirtualNode) -> None:
        """Check after a turn that the timers are set that the replica's algorithm names."""
        try:
            missing = missing_timers(node)
        except Exception as error:  # noqa: BLE001 - the author's code may raise anything
            self.record_failure(node.id, error)
            return
        if missing:
            self.violations.extend(missing)

    def check_facts(self, node: NodeId, facts: Facts) -> None:
        """Check the facts of a node after a step of its own."""
        before = self._nodes.get(node)
        if before == facts:
            return
        self._nodes[node] = facts
        self.has_ballots |= facts.promised is not None or facts.accepted is not None
        if before is not None:
            self.violations.extend(violations_of_change(node, before, facts))
        if facts.decided is not None:
            self._record_decided(facts.decided, node)

    def check_copies(self, nodes: Mapping[NodeId, VirtualNode]) -> None:
        """Check that what was applied in this step is on disks enough. Only a log's judge does something here."""

    def forget_node(self, node: NodeId) -> None:
        """Record that a node has lost its disk, so that it may report less from now on."""
        self._nodes[node] = NO_FACTS

    def check_reply(self, node: NodeId, reply: VirtualReply) -> None:
        """Check the answer that a client gets from `node`."""
        if reply.value is not None:
            self._record_decided(reply.value, f"{reply.request.client} at {node}")
        elif reply.refused is None and reply.request in self._late_queries:
            self.violations.append(
                Violation(
                    "stability",
                    f"{node} answers {reply.request.client} undecided, though "
                    f"{self._late_queries[reply.request]} had seen a decision before it asked",
                )
            )

    def check_packet(self, packet: Packet) -> None:
        """Check a packet that a node sends for the first time."""
        if (request := accept_request_in(packet)) is not None:
            kind, ballot, value = request
            before = self._requested.setdefault((kind, ballot), value)
            if before != value:
                self._requested[kind, ballot] = value
                self.violations.append(reused_ballot(request, before))

    def record_failure(self, node: NodeId, error: BaseException) -> None:
        """Record that a node stops because its algorithm has raised `error`."""
        self.violations.append(contract_violation(node, error))

    def record_unanswered(self, nodes: list[NodeId], up: list[NodeId]) -> None:
        """Record that `nodes` have not answered in time, though the nodes `up` are a connected majority."""
        names = ", ".join(dict.fromkeys(nodes))
        self.violations.append(
            Violation(FAULT_TOLERANCE, f"{names} cannot answer, though {', '.join(up)} are up and connected")
        )

    def record_overdue(self, what: str, node: NodeId, up: list[NodeId]) -> None:
        """Record that a call, `what`, at `node` has no answer though it is owed one by now, while the nodes `up` are up."""
        self.violations.append(
            Violation(
                FAULT_TOLERANCE, f"{what} at {node} is owed an answer by now, and has none; up are {', '.join(up)}"
            )
        )

    def _record_decided(self, value: Value, witness: str) -> None:
        if value in self._decided:
            return
        if value not in self._proposed:
            self.violations.append(
                Violation("validity", f"{witness} decides {in_words(value)}, which no client has proposed")
            )
        if self._decided:
            other, first = next(iter(self._decided.items()))
            self.violations.append(
                Violation("agreement", f"{first} has decided {in_words(other)}, and {witness} {in_words(value)}")
            )
        self._decided[value] = witness
