"""The invariants against Paxos itself, under random schedules: never a finding for correct Paxos, one for each broken one.

The nodes are virtual. A proxy like the real one reads each link in order, and passes, drops, holds or duplicates each message.
Nodes crash between turns and recover.
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
from harness.checkers.protocols import PAXOS
from harness.checkers.verdict import VerdictStatus
from harness.mutants import majority_and_leader, paxos
from harness.records.history import Event
from harness.records.history_recorder import HistoryRecorder
from harness.records.messages import readable_fields
from harness.virtual.cluster import VirtualCluster
from harness.virtual.steps import (
    Crash,
    Deliver,
    DropPacket,
    DuplicatePacket,
    Fire,
    Packet,
    Propose,
    Query,
    Recover,
    Step,
    TakeOwnMessages,
)
from node.algorithms.majority import Majority
from node.algorithms.paxos import Accept, Accepted, Decided, Paxos, Prepare, Promise
from node.contract import Algorithm, NodeId, Request
from node.storage.disk import Contents
from node.wire import decode_value, encode_value

Line = dict[str, Any]


class RandomRun:
    """A cluster, its proxy and its clients, driven by one generator."""

    def __init__(self, algorithm: type[Algorithm], seed: int, nodes: int = 3) -> None:
        self.rng = Random(seed)
        self.algorithm = algorithm
        self.members = tuple(f"n{number}" for number in range(1, nodes + 1))
        self.cluster = VirtualCluster(algorithm, self.members)
        self.lines: list[Line] = []
        self.kept: list[tuple[Line, Packet]] = []
        """Messages that the proxy holds, or of which it has a copy."""
        ticks = itertools.count()
        self.recorder = HistoryRecorder(clock=lambda: next(ticks))
        self.calls: dict[Request, Event] = {}
        self.calls_at: dict[Request, NodeId] = {}

    def apply(self, step: Step) -> None:
        for reply in self.cluster.apply(step).replies:
            value = None if reply.value is None else decode_value(reply.value)
            self.recorder.ok(self.calls.pop(reply.request), value, node=self.calls_at[reply.request])

    def step(self, faults: bool) -> None:
        name = self.rng.choice(self.members)
        node = self.cluster.nodes[name]
        draw = self.rng.random()
        if not node.up:
            if draw < 0.3 or not faults:
                self.apply(Recover(name))
        elif draw < 0.04:
            self.ask(name)
        elif draw < 0.053 and faults:
            self.apply(Crash(name))
        elif draw < 0.14 and node.timer_names():
            self.apply(Fire(name, self.rng.choice(node.timer_names())))
        elif draw < 0.3 and node.owes_turn:
            self.apply(TakeOwnMessages(name))
        elif draw < 0.9:
            self.proxy_reads(faults)
        elif self.kept:
            line, packet = self.kept.pop(self.rng.randrange(len(self.kept)))
            self.apply(DuplicatePacket(packet))
            self.deliver(line, packet, "released")

    def ask(self, node: NodeId) -> None:
        request = Request("client", len(self.recorder.history.events))
        process = f"c{request.number}"
        self.calls_at[request] = node
        if self.rng.random() < 0.7:
            value = self.rng.choice(["blue", "red", "green"])
            self.calls[request] = self.recorder.invoke(process, "propose", "x", value, node=node)
            self.apply(Propose(node, request, encode_value(value)))
        else:
            self.calls[request] = self.recorder.invoke(process, "query", "x", node=node)
            self.apply(Query(node, request))

    def proxy_reads(self, faults: bool) -> None:
        first: dict[tuple[NodeId, NodeId], Packet] = {}
        for packet in self.cluster.pending:
            first.setdefault((packet.sender, packet.to), packet)
        if not first:
            return
        packet = first[self.rng.choice(list(first))]
        line = {
            "from": packet.sender,
            "to": packet.to,
            "type": packet.message.type_name(),
            "variable": "x",
            "incarnation": packet.incarnation,
            "fields": readable_fields(packet.message),
        }
        draw = self.rng.random() if faults else 1.0
        if draw < 0.25:
            self.note(line, "dropped")
            self.apply(DropPacket(packet))
        elif draw < 0.5:
            self.note(line, "held")
            self.apply(DropPacket(packet))
            self.kept.append((self.lines[-1], packet))
        else:
            self.deliver(line, packet, "passed")
            if draw < 0.6:
                self.kept.append((self.lines[-1], packet))

    def deliver(self, line: Line, packet: Packet, fate: str) -> None:
        up = self.cluster.nodes[packet.to].up
        self.note(line, fate if up else "undeliverable")
        self.apply(Deliver(packet) if up else DropPacket(packet))

    def note(self, line: Line, fate: str) -> None:
        later = {"of": line.get("of", line["index"])} if "index" in line else {}
        self.lines.append({**line, "index": len(self.lines), "time": len(self.lines), "fate": fate, **later})

    def run(self, steps: int) -> RunEvidence:
        for number in range(steps):
            self.step(faults=number < steps * 0.8)
        contents = {
            name: Contents("", name, node.incarnation, {"x": node.disk.synced.get("colour", {})})
            for name, node in self.cluster.nodes.items()
        }
        return RunEvidence(self.members, self.algorithm, self.recorder.history, disks=contents, messages=self.lines)


def runs(algorithm: type[Algorithm], seeds: range, nodes: int = 3, steps: int = 1500) -> Iterator[RunEvidence]:
    for seed in seeds:
        yield RandomRun(algorithm, seed, nodes).run(steps)


@pytest.mark.parametrize(("algorithm", "nodes", "count"), [(Paxos, 3, 30), (Paxos, 5, 10), (Majority, 3, 10)])
def test_a_correct_algorithm_has_no_finding(algorithm: type[Algorithm], nodes: int, count: int) -> None:
    seen: Counter[str] = Counter()
    for run in runs(algorithm, range(count), nodes):
        for check in (invariants, coherence, conflict_resolution, no_decoherence):
            verdict = check(run)
            assert verdict.status != VerdictStatus.INVALID, verdict
            assert "failed" not in verdict.evidence, verdict
            seen[f"{check.__name__} {verdict.status}"] += 1
        seen["restarts"] += sum(contents.incarnation - 1 for contents in run.disks.values())
    assert seen["invariants valid"] > count * 0.9
    assert seen["coherence valid"] > count * 0.3
    assert seen["no_decoherence valid"] > count * 0.3
    assert seen["restarts"] > count


@pytest.mark.parametrize(
    ("algorithm", "nodes", "property_", "expected"),
    [
        (paxos.IgnoresAccepted, 3, "no decoherence", "although its promises reported"),
        (paxos.AdoptsLowest, 5, "no decoherence", "although its promises reported"),
        (paxos.AcceptIgnoresPromise, 3, "no decoherence", "after it had promised"),
        (paxos.PromiseInMemory, 3, "no decoherence", "after it had promised"),
        (paxos.ReusesBallots, 3, "no decoherence", "was used by two incarnations"),
        (paxos.SmallQuorum2, 5, "coherence", "when at most"),
        (paxos.SmallQuorum1, 5, "no decoherence", "promises of 5 nodes"),
        (paxos.ForgetsDecisions, 3, "no decoherence", "but its disk is undecided"),
        (majority_and_leader.ChangesItsVote, 3, "coherence", "voted twice"),
    ],
)
def test_a_broken_algorithm_is_caught(algorithm: type[Algorithm], nodes: int, property_: str, expected: str) -> None:
    seeds = range(120, 320) if algorithm is paxos.AdoptsLowest else range(200)  # it takes three ballots to show
    found = (text for run in runs(algorithm, seeds, nodes, 600) for text in findings(run, property_))
    assert next((text for text in found if expected in text), None) is not None


def test_the_rules_know_the_fields_of_every_message() -> None:
    for message in (Prepare, Promise, Accept, Accepted, Decided):
        assert PAXOS[message.__name__] == set(message.__match_args__)
