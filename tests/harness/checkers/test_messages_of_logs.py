"""What is said of the messages and disks of a log, whole and with one difference, word by word.

A short life of a log is acted in virtual time: leaders change, disks lose their last commit, nodes join and leave, and a node
takes in a snapshot. Its messages are recorded as the proxy records them. `pytest --regenerate` writes the file
`sentences/of_log_messages.txt` again: read it as a diff.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from harness.checkers.durability import durability
from harness.checkers.evidence import RunEvidence
from harness.checkers.invariants import invariants
from harness.checkers.replicas import agreement, effects
from harness.checkers.verdict import VerdictStatus
from harness.records.history import History
from harness.records.messages import readable_fields
from harness.records.receipts import Receipt
from harness.virtual.log_script import LogWorld
from harness.virtual.output import TurnOutput
from harness.virtual.steps import Deliver, LastCommit, Step
from node.algorithms.multipaxos import MultiPaxos
from node.algorithms.raft import Raft
from node.contract import NodeId
from node.log_contract import LogAlgorithm
from node.storage.disk import Contents
from node.storage.log_store import MemoryLog
from node.tuning import Tuning
from node.wire import encode_value

FILE = Path(__file__).with_name("sentences") / "of_log_messages.txt"
#: How many messages are changed, one at a time; and how many disks.
CHANGES, DISKS = 160, 40
TUNING = Tuning(snapshot_slots=12, kept_slots=2, kept_bytes=1)


class Recorded(LogWorld):
    """A world that records each message that arrives, as the proxy does."""

    def __init__(self, algorithm: type[LogAlgorithm]) -> None:
        self.lines: list[dict[str, Any]] = []
        super().__init__(3, 1, algorithm, TUNING)

    def _apply(self, node: NodeId, step: Step) -> TurnOutput:
        if isinstance(step, Deliver):
            packet = step.packet
            self.lines.append(
                {
                    "index": len(self.lines), "time": len(self.lines), "rule": None, "variable": "", "fate": "passed",
                    "from": packet.sender, "to": packet.to, "type": packet.message.type_name(),
                    "incarnation": packet.incarnation, "fields": readable_fields(packet.message),
                }
            )  # fmt: skip
        return super()._apply(node, step)

    def evidence(self) -> RunEvidence:
        disks = {}
        for name in self.members:
            node = self.cluster.nodes[name]
            disks[name] = Contents("", name, node.incarnation, {"": dict(node.disk.synced.get("", {}))})
            log = disks[name].log = MemoryLog()
            log.records, log.parts, log.first = (
                dict(node.disk.log.records),
                dict(node.disk.log.parts),
                node.disk.log.first,
            )
        calls = self._record.calls
        events = sorted(
            (event for call in calls for event in (call.invoke, call.completion) if event is not None),
            key=lambda event: event.index,
        )
        history = History([replace(event, index=number) for number, event in enumerate(events)])
        progress = {name: self.replica(name).progress() for name in self.members}
        replicas = {
            name: {
                "applied": one.applied,
                "commit": one.commit,
                "chain": one.chain,
                "marks": {str(slot): chain for slot, chain in one.marks.items()},
            }
            for name, one in progress.items()
        }
        assert issubclass(self._algorithm, LogAlgorithm)
        return RunEvidence(
            self.members, self._algorithm, history, disks=disks, messages=self.lines, replicas=replicas, settings=TUNING
        )


def life_of(algorithm: type[LogAlgorithm]) -> RunEvidence:
    world = Recorded(algorithm)
    for number in range(6):
        world.do("c", "put", f"k{number % 2}", encode_value(f"first {number}"))
    for _ in range(2):
        old = world.wait_leader()
        world.crash(old)
        world.wait_leader(other_than=old)
        world.do("c", "put", "k", encode_value(f"after the crash of {old}"))
        world.damage(LastCommit.TORN, old)
        world.restart(old)
        world.pass_s(0.5)
    world.restart("n4")
    world.change("add", "n4")
    world.pass_s(0.5)
    world.change("remove", "n4")
    behind = next(node for node in world.members if node != world.leader())
    world.isolate(behind)
    for number in range(15):
        world.do("c", "put", f"k{number % 3}", encode_value(f"many {number}"))
    world.heal()
    world.pass_s(1.0)
    return world.evidence()


def varied(item: Any, rng: Random) -> Any:
    """Return what a field holds with one difference of the same form."""
    match item:
        case bool():
            return not item
        case int():
            return max(0, item + rng.choice((-1, 1)))
        case [int(round_), str(owner)]:
            return rng.choice(([round_ + rng.choice((-1, 1)), owner], [round_, rng.choice(("n1", "n2", "n3"))]))
        case [*items] if items:
            place = rng.randrange(len(items))
            return rng.choice((
                [*items[:place], *items[place + 1 :]],
                [*items[:place], varied(items[place], rng), *items[place + 1 :]],
            ))  # fmt: skip
        case str():
            return ""
    return item


def changed(line: dict[str, Any], rng: Random) -> dict[str, Any]:
    """Return a message of a record with one difference."""
    name = rng.choice([*line["fields"], *line["fields"], "from", "to", "fate", "incarnation"])
    if name in line["fields"]:
        return {**line, "fields": {**line["fields"], name: varied(line["fields"][name], rng)}}
    if name == "fate":
        return {**line, name: "dropped"}
    return {**line, name: line[name] + 1 if name == "incarnation" else rng.choice(("n1", "n2", "n3"))}


def with_another_disk(run: RunEvidence, rng: Random) -> RunEvidence:
    disks = {name: replace(contents, variables=deepcopy(contents.variables)) for name, contents in run.disks.items()}
    node = rng.choice(run.members)
    log = disks[node].log = deepcopy(run.disks[node].log)
    assert isinstance(log, MemoryLog)
    record = rng.choice(list(log.records.values()))
    match rng.randrange(5):
        case 0:
            del log.records[record.slot]
        case 1:
            other = rng.choice(list(log.records.values()))
            log.records[record.slot] = record._replace(batch=other.batch)
        case 2:
            log.records[record.slot] = record._replace(round=record.round + rng.choice((-1, 1)))
        case 3:
            of_log = disks[node].variables[""]
            name = rng.choice(
                [name for name in of_log if name in ("commit", "promised", "term", "snapshot", "applied")]
            )
            item: Any = of_log[name]
            of_log[name] = max(0, item - 1) if isinstance(item, int) else (max(0, item[0] - 1), *item[1:])
        case 4:
            del disks[node]
    return replace(run, disks=disks)


def said(run: RunEvidence) -> str:
    verdicts = {check.__name__: check(run) for check in (invariants, agreement, effects, durability)}
    return "; ".join(
        f"{name} {verdict.status}: {'; '.join((verdict.evidence, *verdict.more))}" for name, verdict in verdicts.items()
    )


def sentences(algorithm: type[LogAlgorithm]) -> Iterator[str]:
    run = life_of(algorithm)
    whole = said(run)
    assert invariants(run).status is VerdictStatus.VALID, whole
    assert {check(run).status for check in (agreement, effects, durability)} == {VerdictStatus.VALID}, whole
    yield f"{algorithm.__name__}: {whole}"
    torn = Receipt("torn", 0, 1, bit=True, evidence={"commit_lost": list(run.members)})
    yield f"{algorithm.__name__} with torn disks: {said(replace(run, receipts=[torn]))}"
    rng = Random(2)
    by_type: dict[str, list[int]] = {}
    for place, line in enumerate(run.messages):
        by_type.setdefault(line["type"], []).append(place)
    for _ in range(CHANGES):
        place = rng.choice(by_type[rng.choice(list(by_type))])
        line = dict(run.messages[place])
        other = changed(line, rng)
        lines = [*run.messages[:place], other, *run.messages[place + 1 :]]
        verdict = invariants(replace(run, messages=lines, receipts=[torn] if rng.random() < 0.3 else []))
        yield f"{algorithm.__name__} {line['type']}: {verdict.status}: {'; '.join((verdict.evidence, *verdict.more))}"
    for _ in range(DISKS):
        yield f"{algorithm.__name__} disk: {said(with_another_disk(run, rng))}"


def test_what_is_said_of_messages_and_disks_of_a_log_is_what_was_said(regenerate: bool) -> None:
    lines = [line for algorithm in (MultiPaxos, Raft) for line in sentences(algorithm)]
    found = "".join(f"{line}\n" for line in dict.fromkeys(lines))
    if regenerate:
        FILE.write_text(found)
    assert found.splitlines() == FILE.read_text().splitlines()
