"""An adversary who only chooses the order of deliveries, and keeps Paxos from ever deciding. In virtual time.

    report = stand_off(rounds=1000)
    print("\\n".join(report.lines()))

Theory of operation
-------------------
Two proposers, `n1` and `n2`, are asked for different values at the same time. The adversary lets one of them prepare, and
holds what it then asks to accept until the other's higher ballot has the promises of a quorum. Released, it comes too late:
whoever gets it has promised more. Then the two change places. Each of a round's messages arrives by the end of the next.

Rules
-----
1. **One rule is the whole adversary**: a proposer's Accept, and its Prepare to its rival, wait until a higher ballot has the
   promises of a quorum. Everything else is delivered at once. `harness.virtual.flp_real` keeps the same rule, on processes.
2. Why nothing can be decided meanwhile: of those who promise a ballot none has accepted the rival's, since its Accepts were
   held until then, and the rival itself, which accepts at once, is not among them. So of five, a ballot is accepted by
   its owner and at most by one more.
3. No message is lost, repeated or altered, nobody is crashed. That is counted from the steps, not assumed.
4. The configuration in the middle of each round is **shown to be bivalent**: the cluster is copied twice, each copy goes on
   without the adversary, and one decides one value, the other the other. Both schedules are kept.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

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
    kind_name,
    plain,
)
from node.algorithms.paxos import Accept, Paxos, Prepare, Promise
from node.contract import NodeId, Value
from node.quorum import NO_BALLOT, Ballot
from node.wire import encode_value

BLUE: Final = encode_value("blue")
RED: Final = encode_value("red")
#: The round whose steps are told: from here on all are alike.
_TOLD_ROUND: Final = 3
_STEPS_MAX: Final = 100


class Stuck(Exception):
    """The algorithm does not do what the adversary expects: it is another Paxos than the one that this was made for."""


@dataclass(slots=True)
class StandOff:
    """What came of it. `ways` has, for the last configuration that was looked at, a schedule to each value."""

    nodes: int
    rounds: int = 0
    ballot: Ballot = NO_BALLOT
    steps: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    waiting: int = 0
    """Messages that were sent and neither delivered nor lost, in the end."""
    decisions: int = 0
    """Decisions during the rounds."""
    bivalent: int = 0
    """Rounds in whose middle both values were shown to be reachable."""
    ways: dict[str, list[str]] = field(default_factory=dict)
    told_round: list[str] = field(default_factory=list)
    decided: object = None
    """What was decided once the adversary had stopped."""
    deliveries_to_decision: int = 0
    violations: list[str] = field(default_factory=list)

    @property
    def delivered(self) -> int:
        """Messages that arrived."""
        return self.steps[kind_name(Deliver)]

    @property
    def nothing_broken(self) -> bool:
        """Whether every message that was sent has arrived, once, and nobody has crashed."""
        kinds = (DropPacket, DuplicatePacket, Crash, Recover, LoseDisk)
        return (
            self.sent == self.delivered and not self.waiting and not any(self.steps[kind_name(kind)] for kind in kinds)
        )

    @property
    def shown(self) -> bool:
        """Whether it is as FLP says: no decision in any round, both values possible in each, and one after the stop."""
        return (
            not self.violations
            and not self.decisions
            and self.bivalent == self.rounds
            and self.nothing_broken
            and self.decided is not None
        )

    @property
    def exit_code(self) -> int:
        """0: shown; 1: a promise was violated; 2: it has shown nothing."""
        return 1 if self.violations else 0 if self.shown else 2

    def lines(self) -> list[str]:
        """The report, for people."""
        told = [
            f"Paxos, {self.nodes} nodes without processes; blue is proposed at n1, red at n2.",
            "The adversary may only choose the order of deliveries. A whole round of it:",
            *(f"  {number}. {line}" for number, line in enumerate(self.told_round, 1)),
            "",
            f"{self.rounds:,} rounds: the highest ballot is {plain(self.ballot)}, decisions {self.decisions}; "
            f"{self.bivalent:,} times both values were still reachable.",
            "From the middle of the last round, where the two schedules part:",
        ]
        for value, story in self.ways.items():
            told += [f"  to {value}:", *(f"    {number}. {line}" for number, line in enumerate(story, 1))]
        told += [
            "",
            f"The adversary stops: {self.decided} is decided after {self.deliveries_to_decision} deliveries."
            if self.decided is not None
            else "The adversary stops, and nothing is decided.",
            f"{self.sent:,} messages sent, {self.delivered:,} delivered, {self.steps[kind_name(DropPacket)]} lost, "
            f"{self.steps[kind_name(DuplicatePacket)]} repeated, {self.waiting} still on their way; "
            f"{self.steps[kind_name(Crash)]} crashes; {self.steps[kind_name(Fire)]:,} timers ran out.",
            f"Safety was checked after each of {sum(self.steps.values()):,} steps: "
            + ("; ".join(self.violations) or "no violation."),
        ]
        return told

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "nodes": self.nodes,
            "rounds": self.rounds,
            "ballot": plain(self.ballot),
            "decisions": self.decisions,
            "bivalent_rounds": self.bivalent,
            "ways": self.ways,
            "round": self.told_round,
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
    """Keep Paxos from deciding for so many rounds, then let it. `progress` is called after each round.

    Raises:
        Stuck: a proposer does not get as far as it must for a round.
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
    """Chooses what arrives next. Call `round` as often as you like, then `stop`."""

    def __init__(self, nodes: int = 5, algorithm: type[Paxos] = Paxos) -> None:
        assert nodes >= 3, "a rival must be left out of every quorum"
        members = tuple(f"n{number}" for number in range(1, nodes + 1))
        self.cluster = VirtualCluster(algorithm, members)
        self.report = StandOff(nodes)
        self._proposer, self._rival = members[:2]
        self._noted = 0
        self._found_ahead: list[str] = []
        for node, value in ((self._proposer, BLUE), (self._rival, RED)):
            self.cluster.propose(node, value)
            self._hear_themselves()
        self._note()

    def round(self) -> None:
        """One proposer prepares; then its rival's Accepts, of the round before, are released, too late."""
        proposer, rival = self._proposer, self._rival
        if not self._asks(proposer, Prepare):
            self._do(Fire(proposer, "again"))  # its pause after the last defeat is over
        for packet in self._asks(proposer, Prepare):
            if packet.to != rival:
                self._do(Deliver(packet))
        for packet in [packet for packet in self.cluster.pending if isinstance(packet.message, Promise)]:
            self._do(Deliver(packet))
        accepts = self._asks(proposer, Accept)
        if not accepts:
            raise Stuck(f"{proposer} has the promises of all but {rival}, and asks nobody to accept")
        self.report.ballot = max(ballot for packet in accepts for ballot in ballots_in(packet.message))
        self.report.rounds += 1
        while late := [packet for packet in self.cluster.pending if not self._must_wait(packet)]:
            self._do(Deliver(late[0]))
        if self.report.rounds == _TOLD_ROUND:
            self.report.told_round = self.cluster.story
        self.cluster.happened.clear()
        self._noted = 0
        self._look_ahead()
        self._proposer, self._rival = rival, proposer

    def stop(self) -> None:
        """Deliver whatever waits, in the order in which it was sent, until nothing is on its way."""
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
        """Rule 1."""
        match packet.message:
            case Prepare(ballot) | Accept(ballot):
                return ballot >= self.report.ballot
        return False

    def _asks(self, proposer: NodeId, what: type[Prepare] | type[Accept]) -> list[Packet]:
        """What `proposer` asks under its newest ballot, and nobody has heard yet."""
        return [
            packet
            for packet in self.cluster.pending
            if packet.sender == proposer
            and isinstance(packet.message, what)
            and packet.message.ballot > self.report.ballot
        ]

    def _look_ahead(self) -> None:
        """Rule 4."""
        ways = {}
        for favoured, other in ((self._proposer, self._rival), (self._rival, self._proposer)):
            copy = fork(self.cluster, (BLUE, RED))
            value = favour(copy, favoured, other)
            ways[str(plain(value))] = copy.story
            self._found_ahead += map(str, copy.violations)
        if ways.keys() == {"blue", "red"}:
            self.report.bivalent += 1
        self.report.ways = dict(sorted(ways.items()))

    def _do(self, step: Step, *, stopped: bool = False) -> None:
        """A step, and the turns in which nodes hear themselves; all is checked after each."""
        self.cluster.apply(step)
        self._hear_themselves()
        self._note()
        if not stopped:
            self.report.decisions = len(self.cluster.judge.decided)

    def _hear_themselves(self) -> None:
        for turn in self.cluster.own_turns():
            self.cluster.apply(turn)

    def _note(self) -> None:
        for happened in self.cluster.happened[self._noted :]:
            self.report.steps[kind_name(type(happened.step))] += 1
            self.report.sent += len(happened.outcome.packets)
        self._noted = len(self.cluster.happened)
        self.report.violations = [*map(str, self.cluster.violations), *self._found_ahead]


def fork(cluster: VirtualCluster, proposed: Iterable[Value]) -> VirtualCluster:
    """A cluster in the same state, whose own story begins now."""
    copy = VirtualCluster(cluster.algorithm, cluster.members)
    for value in proposed:
        copy.judge.see_proposal(value)
    for name, node in cluster.nodes.items():
        thaw_node(copy.nodes[name], freeze_node(node))
        copy.judge.see_node(name, facts_of(node))
    copy.pending = dict(cluster.pending)
    return copy


def favour(cluster: VirtualCluster, proposer: NodeId, rival: NodeId) -> Value:
    """Deliver what `proposer` and all but its rival say to each other, until there is a decision.

    Raises:
        Stuck: there is none.
    """
    for _ in range(_STEPS_MAX):
        if cluster.judge.decided:
            return next(iter(cluster.judge.decided))
        heard = [packet for packet in cluster.pending if proposer in packet and rival not in packet]
        cluster.apply(Deliver(heard[-1]) if heard else Fire(proposer, "again"))
        for turn in cluster.own_turns():
            cluster.apply(turn)
    raise Stuck(f"{proposer} does not get a decision although nobody hinders it")
