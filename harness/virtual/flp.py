"""The adversary of Fischer, Lynch and Paterson in virtual time: it only chooses the order of deliveries, and Paxos never decides.

    report = stand_off(rounds=1000)
    print("\\n".join(report.lines()))

Theory of operation
-------------------
Clients propose different values at two nodes, `n1` and `n2`, at the same time. The adversary lets one of these proposers
prepare a ballot, and holds its Accepts until the higher ballot of the other proposer has the promises of a quorum. Then it
releases the Accepts, and their receivers reject them, since they have promised the higher ballot. The next round exchanges the
two proposers. Each message of a round arrives by the end of the next round.

Rules
-----
1. **The adversary has one rule**: a proposer's Accepts, and its Prepare to its rival, wait until a higher ballot has the
   promises of a quorum. Every other message is delivered at once. `harness.systematic.flp_real` applies this rule to processes.
2. Why nothing is decided during the rounds: the acceptors that promise a ballot have not accepted the rival's ballot, since its
   Accepts were held until then. The rival itself, which accepts at once, is not among them. So of five acceptors, at most two
   accept a ballot: its owner and one more.
3. No message is lost, repeated or altered, and no node crashes. The report counts this from the steps.
4. In the middle of each round the configuration is **shown to be bivalent**: the cluster is copied twice, each copy continues
   without the adversary, and the two copies decide different values. The report keeps both schedules.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from harness.records.jsonable import shown
from harness.virtual.cluster import VirtualCluster
from harness.virtual.judge import ballots_in
from harness.virtual.node_state import facts_of, freeze_node, thaw_node
from harness.virtual.steps import (
    Crash,
    Deliver,
    DropPacket,
    DuplicatePacket,
    Fire,
    LoseDisk,
    Packet,
    Recover,
    Step,
    in_words,
    kind_name,
    plain,
)
from node.algorithms.paxos import Accept, Paxos, Prepare, Promise
from node.contract import NodeId, Value
from node.quorum import NO_BALLOT, Ballot
from node.wire import encode_value
from node.wording import count

BLUE: Final = encode_value("blue")
RED: Final = encode_value("red")
#: The round whose steps the report describes. Every later round has the same steps.
_NARRATED_ROUND: Final = 3
_STEPS_MAX: Final = 100


class Stuck(Exception):
    """The algorithm does not do what the adversary expects of Paxos."""


@dataclass(slots=True)
class StandOff:
    """The report of the rounds and of what followed them."""

    nodes: int
    rounds: int = 0
    ballot: Ballot = NO_BALLOT
    """The highest ballot under which a proposer has sent Accepts."""
    steps: Counter[str] = field(default_factory=Counter)
    """How many steps of each kind have happened, by the names of schedule files."""
    sent: int = 0
    waiting: int = 0
    """Messages that are neither delivered nor lost at the end."""
    decisions: int = 0
    """Decisions during the rounds."""
    bivalent: int = 0
    """Rounds in whose middle both values were shown to be reachable."""
    ways: dict[str, list[str]] = field(default_factory=dict)
    """By value, a schedule to its decision from the middle of the last round, a line for each step."""
    narrated_round: list[str] = field(default_factory=list)
    """The steps of round `_NARRATED_ROUND`, a line for each."""
    decided: object = None
    """The value that was decided after the adversary had stopped."""
    deliveries_to_decision: int = 0
    """Messages that were delivered after the adversary had stopped, up to the decision."""
    violations: list[str] = field(default_factory=list)

    @property
    def delivered(self) -> int:
        """How many messages have arrived."""
        return self.steps[kind_name(Deliver)]

    @property
    def nothing_broken(self) -> bool:
        """Whether every message that was sent has arrived once, and no node has crashed."""
        kinds = (DropPacket, DuplicatePacket, Crash, Recover, LoseDisk)
        return (
            self.sent == self.delivered and not self.waiting and not any(self.steps[kind_name(kind)] for kind in kinds)
        )

    @property
    def shown(self) -> bool:
        """Whether the run shows FLP: no decision in any round, both values reachable in each, a decision after the stop."""
        return (
            not self.violations
            and not self.decisions
            and self.bivalent == self.rounds
            and self.nothing_broken
            and self.decided is not None
        )

    @property
    def exit_code(self) -> int:
        """0 if the run shows FLP, 1 if a property was violated, 2 otherwise."""
        return 1 if self.violations else 0 if self.shown else 2

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        text = [
            f"Paxos, {count(self.nodes, 'node')} without processes; blue is proposed at n1, red at n2.",
            "The adversary may only choose the order of deliveries. One of its rounds:",
            *(f"  {number}. {line}" for number, line in enumerate(self.narrated_round, 1)),
            "",
            f"{count(self.rounds, 'round')}: the highest ballot is {in_words(self.ballot)}, decisions {self.decisions}; "
            f"{count(self.bivalent, 'time')} both values were still reachable.",
            "From the middle of the last round, where the two schedules part:",
        ]
        for value, story in self.ways.items():
            text += [f"  to {value}:", *(f"    {number}. {line}" for number, line in enumerate(story, 1))]
        text += [
            "",
            f"The adversary stops: {shown(self.decided)} is decided after {self.deliveries_to_decision} deliveries."
            if self.decided is not None
            else "The adversary stops, and nothing is decided.",
            f"{count(self.sent, 'message')} sent, {self.delivered:,} delivered, {self.steps[kind_name(DropPacket)]} lost, "
            f"{self.steps[kind_name(DuplicatePacket)]} repeated, {self.waiting} still on their way; "
            f"{self.steps[kind_name(Crash)]} crashes; {self.steps[kind_name(Fire)]:,} timers expired.",
            f"Safety was checked after each of {count(sum(self.steps.values()), 'step')}: "
            + ("; ".join(self.violations) or "no violation."),
        ]
        return text

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "nodes": self.nodes,
            "rounds": self.rounds,
            "ballot": plain(self.ballot),
            "decisions": self.decisions,
            "bivalent_rounds": self.bivalent,
            "ways": self.ways,
            "round": self.narrated_round,
            "decided": self.decided,
            "deliveries_to_decision": self.deliveries_to_decision,
            "sent": self.sent,
            "delivered": self.delivered,
            "lost": self.steps[kind_name(DropPacket)],
            "repeated": self.steps[kind_name(DuplicatePacket)],
            "waiting": self.waiting,
            "crashes": self.steps[kind_name(Crash)],
            "steps": dict(self.steps),
            "violations": self.violations,
            "shown": self.shown,
        }


def stand_off(
    rounds: int = 1000,
    nodes: int = 5,
    progress: Callable[[StandOff], object] = id,
    algorithm: type[Paxos] = Paxos,
) -> StandOff:
    """Keep Paxos from deciding for a number of rounds, then deliver every message.

    Args:
        rounds: how many rounds. A decision or a violation ends them earlier.
        nodes: the size of the cluster, at least 3.
        progress: called with the report after each round.
        algorithm: the class to run.

    Raises:
        Stuck: the promises of a round do not lead its proposer to send Accepts.
    """
    adversary = Adversary(nodes, algorithm)
    for _ in range(rounds):
        adversary.round()
        progress(adversary.report)
        if adversary.report.decisions or adversary.report.violations:
            break
    adversary.stop()
    return adversary.report


class Adversary:
    """Chooses which message arrives next. Call `round` any number of times, then `stop`."""

    def __init__(self, nodes: int = 5, algorithm: type[Paxos] = Paxos) -> None:
        assert nodes >= 3, "a rival must be left out of every quorum"
        members = tuple(f"n{number}" for number in range(1, nodes + 1))
        self.cluster = VirtualCluster(algorithm, members)
        self.report = StandOff(nodes)
        self._proposer, self._rival = members[:2]
        self._counted = 0  # of the steps in `cluster.happened`
        self._violations_of_copies: list[str] = []
        for node, value in ((self._proposer, BLUE), (self._rival, RED)):
            self.cluster.propose(node, value)
            self._take_own_messages()
        self._count_steps()

    def round(self) -> None:
        """Let one proposer prepare a ballot, then release its rival's Accepts of the round before.

        Raises:
            Stuck: the proposer sends no Accepts.
        """
        proposer, rival = self._proposer, self._rival
        if not self._new_packets(proposer, Prepare):
            self._do(Fire(proposer, "again"))  # ends the proposer's pause after the rejection of its last ballot
        for packet in self._new_packets(proposer, Prepare):
            if packet.to != rival:
                self._do(Deliver(packet))
        for packet in [packet for packet in self.cluster.pending if isinstance(packet.message, Promise)]:
            self._do(Deliver(packet))
        accepts = self._new_packets(proposer, Accept)
        if not accepts:
            raise Stuck(f"{proposer} has the promises of all but {rival}, and asks no node to accept")
        self.report.ballot = max(ballot for packet in accepts for ballot in ballots_in(packet.message))
        self.report.rounds += 1
        while late := [packet for packet in self.cluster.pending if not self._must_wait(packet)]:
            self._do(Deliver(late[0]))
        if self.report.rounds == _NARRATED_ROUND:
            self.report.narrated_round = self.cluster.story
        self.cluster.happened.clear()
        self._counted = 0
        self._check_bivalence()
        self._proposer, self._rival = rival, proposer

    def stop(self) -> None:
        """Deliver every message, in the order in which they were sent, until none is on its way."""
        before = self.report.delivered
        for _ in range(_STEPS_MAX * len(self.cluster.members)):
            if not self.cluster.pending:
                break
            self._do(Deliver(next(iter(self.cluster.pending))), stopped=True)
            if self.report.decided is None and self.cluster.judge.decided:
                self.report.decided = plain(next(iter(self.cluster.judge.decided)))
                self.report.deliveries_to_decision = self.report.delivered - before
        self.report.waiting = sum(self.cluster.pending.values())

    def _must_wait(self, packet: Packet) -> bool:
        """Return whether a packet must wait by rule 1."""
        match packet.message:
            case Prepare(ballot) | Accept(ballot):
                return ballot >= self.report.ballot
        return False

    def _new_packets(self, proposer: NodeId, kind: type[Prepare] | type[Accept]) -> list[Packet]:
        """Return the packets of `proposer` that are of this kind, on their way, and of a ballot of this round."""
        return [
            packet
            for packet in self.cluster.pending
            if packet.sender == proposer
            and isinstance(packet.message, kind)
            and packet.message.ballot > self.report.ballot
        ]

    def _check_bivalence(self) -> None:
        """Check by rule 4 that both values are reachable, and keep the schedules."""
        ways = {}
        for favoured, other in ((self._proposer, self._rival), (self._rival, self._proposer)):
            copy = fork(self.cluster, (BLUE, RED))
            value = favour(copy, favoured, other)
            ways[str(plain(value))] = copy.story
            self._violations_of_copies += map(str, copy.violations)
        if ways.keys() == {"blue", "red"}:
            self.report.bivalent += 1
        self.report.ways = dict(sorted(ways.items()))

    def _do(self, step: Step, *, stopped: bool = False) -> None:
        """Apply a step, and the turns in which nodes take in their own messages."""
        self.cluster.apply(step)
        self._take_own_messages()
        self._count_steps()
        if not stopped:
            self.report.decisions = len(self.cluster.judge.decided)

    def _take_own_messages(self) -> None:
        for turn in self.cluster.own_turns():
            self.cluster.apply(turn)

    def _count_steps(self) -> None:
        for happened in self.cluster.happened[self._counted :]:
            self.report.steps[kind_name(type(happened.step))] += 1
            self.report.sent += len(happened.outcome.packets)
        self._counted = len(self.cluster.happened)
        self.report.violations = [*map(str, self.cluster.violations), *self._violations_of_copies]


def fork(cluster: VirtualCluster, proposed: Iterable[Value]) -> VirtualCluster:
    """Return a copy of a cluster that has no steps yet. `proposed` are the values that clients have proposed so far."""
    copy = VirtualCluster(cluster.algorithm, cluster.members)
    for value in proposed:
        copy.judge.record_proposal(value)
    for name, node in cluster.nodes.items():
        thaw_node(copy.nodes[name], freeze_node(node))
        copy.judge.check_facts(name, facts_of(node))
    copy.pending = dict(cluster.pending)
    return copy


def favour(cluster: VirtualCluster, proposer: NodeId, rival: NodeId) -> Value:
    """Deliver only messages between `proposer` and nodes other than `rival`, until a value is decided. Return the value.

    Raises:
        Stuck: no value is decided within `_STEPS_MAX` steps.
    """
    for _ in range(_STEPS_MAX):
        if cluster.judge.decided:
            return next(iter(cluster.judge.decided))
        packets = [packet for packet in cluster.pending if proposer in packet and rival not in packet]
        cluster.apply(Deliver(packets[-1]) if packets else Fire(proposer, "again"))
        for turn in cluster.own_turns():
            cluster.apply(turn)
    raise Stuck(f"{proposer} does not get a decision although its messages to all but {rival} arrive")
