"""What the judges are given, and how they put it into words.

Rules
-----
1. Disks are read, and records closed, after the last operation: what a node sent must be on its disk by then.
2. `messages` holds the lines of the proxy's record, of every link between nodes, in the order in which the proxy saw them.
3. Times are shown in seconds since the first event of the history.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

from harness.checkers.chosen_log import ChosenLog
from harness.checkers.models import evidence_in
from harness.checkers.verdict import count
from harness.checkers.wire_record import WireRecord, read_record
from harness.records.disks import decided_on_disk
from harness.records.history import Event, History, RecordedCall
from harness.records.jsonable import canonical, shown
from harness.records.receipts import Receipt, Timeline
from node.contract import Algorithm, NodeId
from node.storage.disk import Contents

#: How the errors of a `fail` begin that tell what a lock is like, beside those of `harness.checkers.models`.
_ANSWERS: Final = ("stale_token:", "not_yours:")


class Finding(NamedTuple):
    """A broken rule of a protocol: the property that it endangers, and a line for people."""

    property: str
    text: str


class SeenDecision(NamedTuple):
    """Somebody, or some disk, showed a variable's decided value. `text` tells it to people."""

    key: str
    value: Any
    text: str
    operation: RecordedCall | None = None

    @property
    def same(self) -> str:
        """Equal for equal values."""
        return canonical(self.value)


@dataclass
class RunEvidence:
    """One run's evidence. `earlier_disks` are snapshots taken during the run, the oldest first, if there are any. `replicas`
    is what each replica of a log said of itself at the end: see the status of `MultiPaxos`.
    """

    members: tuple[NodeId, ...]
    algorithm: type[Algorithm]
    history: History = field(default_factory=History)
    receipts: Sequence[Receipt] = ()
    disks: Mapping[NodeId, Contents] = field(default_factory=dict)
    messages: Sequence[Mapping[str, Any]] = ()
    faults_expected: bool = False
    earlier_disks: Sequence[Mapping[NodeId, Contents]] = ()
    replicas: Mapping[NodeId, Mapping[str, Any]] = field(default_factory=dict)
    failures: Sequence[str] = ()
    """Nodes that have failed by themselves, and nodes that say nothing though they are up: a line each."""

    @cached_property
    def timeline(self) -> Timeline:
        """Who was up and reachable when."""
        return Timeline(self.members, self.receipts)

    @cached_property
    def record(self) -> WireRecord:
        """The messages between nodes."""
        return read_record(self.messages, self.members)

    @cached_property
    def log(self) -> ChosenLog:
        """What the disks of an algorithm that keeps a log amount to."""
        return ChosenLog(self.algorithm, self.members, self.disks, self.replicas)

    @cached_property
    def operations(self) -> tuple[RecordedCall, ...]:
        """Proposals and queries, in the order of their invokes."""
        return tuple(operation for operation in self.calls if operation.f in ("propose", "query"))

    @property
    def calls(self) -> tuple[RecordedCall, ...]:
        """Every call, whatever was asked, in the order of the invokes."""
        return self.history.operations

    @cached_property
    def by_key(self) -> dict[str, list[RecordedCall]]:
        """The operations of each variable."""
        found: dict[str, list[RecordedCall]] = {}
        for operation in self.operations:
            found.setdefault(operation.key, []).append(operation)
        return found

    @cached_property
    def proposals_of(self) -> dict[tuple[str, str], list[RecordedCall]]:
        """The proposals of each variable and value (its `canonical` text)."""
        found: dict[tuple[str, str], list[RecordedCall]] = {}
        for operation in self.operations:
            if operation.f == "propose":
                found.setdefault((operation.key, canonical(operation.invoke.value)), []).append(operation)
        return found

    @cached_property
    def decided_on_disks(self) -> list[tuple[NodeId, dict[str, Any]]]:
        """For every snapshot of every disk, the oldest first: whose it is, and the decided values by variable."""
        return [
            (node, decided_on_disk(self.algorithm, self.members, contents))
            for snapshot in (*self.earlier_disks, self.disks)
            for node, contents in snapshot.items()
        ]

    def answers(self) -> Iterator[SeenDecision]:
        """Every decided value that anybody was told, in the order of the answers, then those on disks."""
        told = [operation for operation in self.operations if operation.answer is not None]
        for operation in sorted(told, key=lambda operation: _completion(operation).index):
            yield SeenDecision(operation.key, operation.answer, self.told(operation), operation)
        for node, decided in self.decided_on_disks:
            for key, value in decided.items():
                yield SeenDecision(key, value, f"the disk of {node} says {shown(value)}")

    def told(self, operation: RecordedCall) -> str:
        """An answered operation in words."""
        return told(self.history, operation)

    def at(self, event: Event) -> str:
        """When an event was."""
        return f"{self.history.seconds(event.time):.2f} s"

    def shows_nothing(self, operations: Sequence[RecordedCall]) -> str | None:
        """Why these operations are no test, if they are none: nobody succeeded, or what was to break did not."""
        if not any(was_answered(operation) for operation in operations):
            return f"none of {count(len(operations), 'operation')} succeeded"
        if not self.faults_expected:
            return None
        if not self.receipts:
            return "faults were expected, and there is no receipt of any"
        for receipt in self.receipts:
            if not receipt.bit:
                return f"{receipt.fault} did not bite: nobody but its injector saw it"
            if not any(ended_ns(operation) >= receipt.began_ns for operation in operations):
                return f"every operation was over when {receipt.fault} began"
        return None


def was_answered(operation: RecordedCall) -> bool:
    """Whether the client got an answer; "mismatch" and the like, which tell what the object is like, are answers too."""
    completion = operation.completion
    if operation.outcome != "fail" or completion is None:
        return operation.outcome == "ok"
    return evidence_in(completion.error) is not None or (completion.error or "").startswith(_ANSWERS)


def told(history: History, operation: RecordedCall) -> str:
    """An answered operation in words: "n2 answered 'blue' at 0.81 s"."""
    who = f"{operation.node} answered" if operation.node is not None else f"{operation.invoke.process} was told"
    undecided = operation.answer is None and operation.f in ("propose", "query")
    what = "undecided" if undecided else shown(operation.answer)
    return f"{who} {what} at {history.seconds(_completion(operation).time):.2f} s"


def ended_ns(operation: RecordedCall) -> float:
    """When the client got an answer or gave up."""
    return float("inf") if operation.completion is None else operation.completion.time


def _completion(operation: RecordedCall) -> Event:
    assert operation.completion is not None
    return operation.completion
