"""The invariants against Paxos itself, under random schedules: correct Paxos must never be blamed, broken ones must be.

A small world in memory: each link is a queue from its sender to the proxy, read in any order, as real connections are; the
proxy passes, loses, copies or keeps each message; nodes crash between turns, lose what is not saved, and come back.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from harness.checkers.evidence import RunEvidence
from harness.checkers.invariants import findings, invariants
from harness.checkers.properties import coherence, conflict_resolution, no_decoherence
from harness.checkers.verdict import Status
from harness.records.history import Event, HistoryRecorder
from harness.records.messages import readable_fields
from node.algorithms.majority import Majority
from node.algorithms.paxos import Accept, Accepted, Decided, Paxos, Prepare, Promise
from node.contract import Algorithm, Message, Node, NodeId, Request, Stored, Value
from node.quorum import NO_BALLOT
from node.storage.disk import Contents
from node.wire import decode_value, encode_value

Line = dict[str, Any]


class World(Node):
    """One node of a small cluster in memory."""

    def __init__(self, cluster: "Cluster", node: NodeId) -> None:
        self.cluster, self.id, self.members = cluster, node, cluster.members
        self.incarnation = 0
        self.saved: dict[str, Stored] = {}
        self.replica: Algorithm | None = None
        self.sends: list[tuple[NodeId, Message]] = []
        self.answers: list[tuple[Request, Value | None]] = []
        self.to_self: list[Message] = []
        self.timers: dict[str, None] = {}

    def boot(self) -> None:
        self.incarnation += 1
        self.disk = dict(self.saved)
        self.sends, self.answers, self.to_self, self.timers = [], [], [], {}
        self.replica = self.cluster.algorithm(self)
        self.replica.start()

    def send(self, to: NodeId, message: Message) -> None:
        self.sends.append((to, message))

    def reply(self, request: Request, value: Value | None) -> None:
        self.answers.append((request, value))

    def refuse(self, request: Request, reason: str) -> None:
        raise AssertionError(reason)

    def set_timer(self, name: str, least_s: float, most_s: float) -> None:
        self.timers[name] = None

    def cancel_timer(self, name: str) -> None:
        self.timers.pop(name, None)

    def end_turn(self) -> None:
        """Save, then release."""
        self.saved = dict(self.disk)
        for to, message in self.sends:
            if to == self.id:
                self.to_self.append(message)
            else:
                self.cluster.links[self.id, to].append((self.incarnation, message))
        for request, value in self.answers:
            self.cluster.answered(self.id, request, value)
        self.sends, self.answers = [], []


class Cluster:
    """The cluster, its proxy and its clients, driven by one generator."""

    def __init__(self, algorithm: type[Algorithm], seed: int, nodes: int = 3) -> None:
        self.rng = Random(seed)
        self.algorithm = algorithm
        self.members = tuple(f"n{number}" for number in range(1, nodes + 1))
        self.links: dict[tuple[str, str], list[tuple[int, Message]]] = {
            (a, b): [] for a in self.members for b in self.members if a != b
        }
        self.lines: list[Line] = []
        self.kept: list[tuple[Line, Message]] = []
        ticks = itertools.count()
        self.recorder = HistoryRecorder(clock=lambda: next(ticks))
        self.calls: dict[Request, Event] = {}
        self.nodes = {member: World(self, member) for member in self.members}
        for node in self.nodes.values():
            node.boot()
            node.end_turn()

    def answered(self, node: NodeId, request: Request, value: Value | None) -> None:
        event = self.calls.pop(request, None)
        if event is not None:
            self.recorder.ok(event, None if value is None else decode_value(value), node=node)

    def step(self, faults: bool) -> None:
        node = self.nodes[self.rng.choice(self.members)]
        replica = node.replica
        what = self.rng.random()
        if replica is None:
            if what < 0.3 or not faults:
                node.boot()
                node.end_turn()
            return
        if what < 0.04:
            self.ask(node, replica)
        elif what < 0.05 and faults:
            node.replica = None  # between two turns
            return
        elif what < 0.053 and faults:
            self.handle(node, replica)
            node.replica = None  # in the middle of one, before it was saved
            return
        elif what < 0.14 and node.timers:
            name = self.rng.choice(list(node.timers))
            del node.timers[name]
            replica.timeout(name)
        elif what < 0.3:
            self.handle(node, replica)
        elif what < 0.9:
            self.proxy_reads(faults)
        elif self.kept:
            line, message = self.kept.pop(self.rng.randrange(len(self.kept)))
            self.deliver(line, message, "released")
        if node.replica is not None:
            node.end_turn()

    def ask(self, node: World, replica: Algorithm) -> None:
        request = Request("client", len(self.recorder.history.events))
        process = f"c{request.number}"
        if self.rng.random() < 0.7:
            value = self.rng.choice(["blue", "red", "green"])
            self.calls[request] = self.recorder.invoke(process, "propose", "x", value, node=node.id)
            replica.propose(request, encode_value(value))
        else:
            self.calls[request] = self.recorder.invoke(process, "query", "x", node=node.id)
            replica.query(request)

    def handle(self, node: World, replica: Algorithm) -> None:
        if node.to_self:
            replica.receive(node.id, node.to_self.pop(0))

    def proxy_reads(self, faults: bool) -> None:
        waiting = [link for link, queue in self.links.items() if queue]
        if not waiting:
            return
        link = self.rng.choice(waiting)
        incarnation, message = self.links[link].pop(0)
        line = {
            "from": link[0],
            "to": link[1],
            "type": type(message).__name__,
            "variable": "x",
            "incarnation": incarnation,
            "fields": readable_fields(message),
        }
        what = self.rng.random() if faults else 1.0
        if what < 0.25:
            self.note(line, "dropped")
        elif what < 0.5:
            self.note(line, "held")
            self.kept.append((self.lines[-1], message))
        elif what < 0.6:
            self.deliver(line, message, "passed")
            self.kept.append((self.lines[-1], message))  # a copy, later
        else:
            self.deliver(line, message, "passed")

    def deliver(self, line: Line, message: Message, fate: str) -> None:
        node = self.nodes[line["to"]]
        self.note(line, fate if node.replica is not None else "undeliverable")
        if node.replica is not None:
            node.replica.receive(line["from"], message)
            node.end_turn()

    def note(self, line: Line, fate: str) -> None:
        later = {"of": line.get("of", line["index"])} if "index" in line else {}
        self.lines.append({**line, "index": len(self.lines), "time": len(self.lines), "fate": fate, **later})

    def run(self, steps: int) -> RunEvidence:
        for number in range(steps):
            self.step(faults=number < steps * 0.8)
        contents = {node.id: Contents("", node.id, node.incarnation, {"x": node.saved}) for node in self.nodes.values()}
        return RunEvidence(self.members, self.algorithm, self.recorder.history, disks=contents, messages=self.lines)


def runs(algorithm: type[Algorithm], count: int, nodes: int = 3, steps: int = 1500) -> Iterator[RunEvidence]:
    for seed in range(count):
        yield Cluster(algorithm, seed, nodes).run(steps)


@pytest.mark.parametrize(("algorithm", "nodes", "count"), [(Paxos, 3, 60), (Paxos, 5, 25), (Majority, 3, 25)])
def test_a_correct_algorithm_is_never_blamed(algorithm: type[Algorithm], nodes: int, count: int) -> None:
    seen: Counter[str] = Counter()
    for run in runs(algorithm, count, nodes):
        for check in (invariants, coherence, conflict_resolution, no_decoherence):
            verdict = check(run)
            assert verdict.status != Status.INVALID, verdict
            assert "failed" not in verdict.evidence, verdict
            seen[f"{check.__name__} {verdict.status}"] += 1
        seen["restarts"] += sum(contents.incarnation - 1 for contents in run.disks.values())
    assert seen["invariants valid"] > count * 0.9
    assert seen["coherence valid"] > count * 0.3
    assert seen["no_decoherence valid"] > count * 0.3
    assert seen["restarts"] > count


class IgnoresAccepted(Paxos):
    """Break 1: what promises report is ignored."""

    def promised_by_quorum(self) -> None:
        value = next(iter(self.proposals.values()), None)
        self.become_idle() if value is None else self.become_accepting(value)


class AdoptsLowest(Paxos):
    """Break 2: the lowest accepted value is adopted."""

    def promised_by_quorum(self) -> None:
        told = [(ballot, value) for ballot, value in self.voters.values() if value is not None]
        self.voters = {str(number): entry for number, entry in enumerate(sorted(told)[:1])}
        self.voters = self.voters or {"": (NO_BALLOT, None)}
        super().promised_by_quorum()


class AcceptsBelowItsPromise(Paxos):
    """Break 3: Accept ignores the promise."""

    def receive(self, sender: NodeId, message: Message) -> None:
        match message:
            case Accept(ballot, value) if self.decided() is None:
                self.node.disk["accepted"] = (*ballot, value)
                self.node.send(sender, Accepted(ballot))
            case _:
                super().receive(sender, message)


class ForgetsPromises(Paxos):
    """Break 5: the promise is not on disk."""

    def start(self) -> None:
        self.node.disk.pop("promised", None)
        super().start()


class ReusesBallots(Paxos):
    """Break 8: the round is counted in memory only."""

    def become_preparing(self) -> None:
        self.node.disk["round"] = self.seen.round
        promised = self.node.disk.pop("promised", None)
        super().become_preparing()
        if promised is not None:
            self.node.disk["promised"] = promised


class DecidesAlone(Paxos):
    """Break 9: a quorum of one."""

    def receive(self, sender: NodeId, message: Message) -> None:
        match message:
            case Accepted(ballot) if ballot == self.ballot and self.value is not None:
                self.chosen(self.value)
            case _:
                super().receive(sender, message)


class PreparesAlone(Paxos):
    """Break 9, in phase 1."""

    def receive(self, sender: NodeId, message: Message) -> None:
        match message:
            case Promise(ballot, accepted, value) if ballot == self.ballot and self.role == "preparing":
                self.voters[sender] = (accepted or NO_BALLOT, value)
                self.promised_by_quorum()
            case _:
                super().receive(sender, message)


class ForgetsDecisions(Paxos):
    """Says that a value is decided, and does not keep it."""

    def learn(self, value: Value) -> None:
        super().learn(value)
        del self.node.disk["decided"]


class VotesTwice(Majority):
    """Votes for whatever it hears last."""

    def start(self) -> None:
        self.node.disk.pop(f"vote of {self.node.id}", None)


@pytest.mark.parametrize(
    ("algorithm", "nodes", "property_", "words"),
    [
        (IgnoresAccepted, 3, "no decoherence", "although its promises reported"),
        (AdoptsLowest, 5, "no decoherence", "although its promises reported"),
        (AcceptsBelowItsPromise, 3, "no decoherence", "after it had promised"),
        (ForgetsPromises, 3, "no decoherence", "after it had promised"),
        (ReusesBallots, 3, "no decoherence", "was used by two incarnations"),
        (DecidesAlone, 5, "coherence", "when at most"),
        (PreparesAlone, 5, "no decoherence", "promises of 5 nodes"),
        (ForgetsDecisions, 3, "no decoherence", "and its disk is undecided"),
        (VotesTwice, 3, "coherence", "voted twice"),
    ],
)
def test_a_broken_algorithm_is_caught(algorithm: type[Algorithm], nodes: int, property_: str, words: str) -> None:
    found = (text for run in runs(algorithm, 100, nodes) for text in findings(run, property_))
    assert next((text for text in found if words in text), None) is not None


def test_messages_are_the_ones_that_the_rules_know() -> None:
    from harness.checkers.paxos_rules import FIELDS  # noqa: PLC0415 - beside what it is compared with

    for message in (Prepare, Promise, Accept, Accepted, Decided):
        assert FIELDS[message.__name__] == set(message.__match_args__)
