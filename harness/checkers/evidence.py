"""The evidence of one run: what every checker receives, and how checkers describe it in sentences.

Theory of operation
-------------------
After a run has ended, its owner (`harness/runs/experiment.py`, or a sweep, a replay, a test) builds one `RunEvidence` from four
independent sources: the history (what the clients called and received), the receipts (which faults were in force, and what
an observer saw of them), the disks of the nodes, and the proxy's record of messages. The owner gives the same object to
each checker. A checker reads it, changes nothing, and returns a `Verdict` (see `verdict.py`).

Rules
-----
1. The owner reads the disks and closes the records after the last operation. Therefore everything that a node sent must be
   on its disk by then, if the protocol demands it.
2. `messages` holds the lines of the proxy's record, of every link between nodes, in the order in which the proxy saw them.
3. Sentences show times in seconds since the first event of the history.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Any, Final, NamedTuple

from harness.checkers.chosen_log import ChosenLog, tuning_on
from harness.checkers.sequential_model import definite_answer
from harness.checkers.verdict import Verdict
from harness.checkers.wire_record import WireRecord, read_record
from harness.checkers.wording import answer_clause
from harness.records.disks import decided_on_disk
from harness.records.history import Event, History, RecordedCall
from harness.records.jsonable import canonical, shown, wording
from harness.records.receipts import ALLOWED_ROUND_TRIPS, Receipt, Timeline
from node.contract import Algorithm, NodeId
from node.quorum import majority
from node.storage.disk import Contents
from node.tuning import SHIPPED, Tuning
from node.wording import count

#: Two looks of an observer at a node, in nanoseconds: one that is up for less may be missed.
_MOMENT_NS: Final = 200_000_000
#: The proxy's name among the processes of a run.
PROXY: Final = "proxy"
#: The key in a receipt's evidence that lists the nodes whose disks a fault took away or set back to an earlier state.
DISK_LOST: Final = "disk_lost"
#: The key in a receipt's evidence for the nodes whose last commit a fault has damaged.
COMMIT_LOST: Final = "commit_lost"
#: The key in a receipt's evidence for the nodes that have started again without a doubt, though what they had relied on was lost.
UNNOTICED: Final = "unnoticed"
#: The key in a receipt's evidence for the nodes whose disks a fault has damaged, set back or taken away for a time.
DISK_DAMAGED: Final = "disk_damaged"
#: The key in a receipt's evidence that lists what the links of a fault let through although they should not.
LEAKED: Final = "leaked"

#: How the errors of a `fail` begin that describe a lock, a member, a task or a history, in addition to those in
#: `sequential_model.py`. Whether such an answer is right is another question.
_ANSWERS: Final = (
    "stale_token:",
    "not_yours:",
    "not_member:",
    "already_member:",
    "no_task:",
    "not_waiting:",
    "compacted:",
)


#: Two of the article's properties, by which `Finding.property` names them.
COHERENCE: Final = "coherence"
NO_DECOHERENCE: Final = "no decoherence"


class Finding(NamedTuple):
    """A violation of a protocol's rule."""

    property: str
    """The article's property that the violation endangers: `COHERENCE` or `NO_DECOHERENCE`."""
    text: str
    """One sentence for people."""


class SeenDecision(NamedTuple):
    """A decided value that a client received or that a disk shows."""

    key: str
    """The variable."""
    value: Any
    text: str
    """Who showed the value and when, such as "n2 answered 'blue' at 0.81 s"."""
    operation: RecordedCall | None = None
    """The client's call; None if a disk shows the value."""

    @property
    def canonical_value(self) -> str:
        """The value as text, which is equal exactly for equal values."""
        return canonical(self.value)


class DiskDecisions(NamedTuple):
    """The decisions that one copy of one node's disk shows."""

    node: NodeId
    decided: dict[str, Any]
    """The decided value of each variable that is decided on the disk."""


class Stall(NamedTuple):
    """A time in which the machine did not run the harness, in nanoseconds of its clock. Nodes fare no better meanwhile."""

    began_ns: int
    ended_ns: int


class ProcessorWait(NamedTuple):
    """How long each process of a run was ready to run and did not because of other programs, between two moments.

    `lost_ns` is that time in nanoseconds, by the node's name; `PROXY` stands for the proxy.
    """

    began_ns: int
    ended_ns: int
    lost_ns: Mapping[str, int]


class RefusedStart(NamedTuple):
    """A node that was started again and did not come up."""

    node: NodeId
    at_ns: int
    """When, in nanoseconds of the harness's clock."""
    reason: str
    """What the node reported, or how its process ended."""


class ProtocolFindings(NamedTuple):
    """What `invariants.py` has found in a run, and the error that ended its search, if any."""

    findings: tuple[Finding, ...]
    error: Exception | None


@dataclass
class RunEvidence:
    """The evidence of one run.

    Attributes:
        members: the nodes of the cluster at the start. Receipts of changes name those that joined later.
        algorithm: the class that each node ran.
        history: the clients' calls, stamped by the harness's clock.
        receipts: the faults of the run, each with what an observer other than the injector saw of it.
        disks: what each node's disk holds after the run. A disk that cannot be read is missing here.
        messages: the lines of the proxy's record (rule 2).
        faults_expected: whether the run was meant to have faults. If so, a run in which none has bitten shows nothing.
        earlier_disks: copies of the disks that were taken during the run, the oldest first.
        replicas: the status that each replica of a log returned at the end of the run (see `node/status.py`).
        failures: one sentence for each node that failed without a fault, and for each node that was up and did not answer.
        refusals: each time that a node was started again on its own disk, and did not come up.
        stalls: each time that the machine let the harness wait for much longer than it had asked to rest.
        waits: how long processes waited for a processor, in the order of time.
        settings: the settings of the cluster.
        protocol: what `invariants.py` has found, once it has looked.
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
    refusals: Sequence[RefusedStart] = ()
    stalls: Sequence[Stall] = ()
    waits: Sequence[ProcessorWait] = ()
    settings: Tuning = SHIPPED
    protocol: ProtocolFindings | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def tuning(self) -> Tuning:
        """The settings on which answers depend: what the log means, as the disks name it, and the size of an answer."""
        size = {name: getattr(self.settings, name) for name in ("kv_answer_entries", "kv_answer_bytes")}
        return replace(tuning_on(self.disks), **size)

    @cached_property
    def timeline(self) -> Timeline:
        """Which nodes were up and which links were whole, at any time of the run."""
        return Timeline(self.members, self.receipts)

    @cached_property
    def record(self) -> WireRecord:
        """The messages between nodes."""
        return read_record(self.messages, self.timeline.everyone)

    @cached_property
    def log(self) -> ChosenLog:
        """The chosen log, put together from the disks and the messages; only for an algorithm that `keeps_log`."""
        quorum = majority(self.timeline.voters_max)
        return ChosenLog(self.algorithm, self.members, self.disks, self.replicas, quorum, self.messages)

    @cached_property
    def lost_disks(self) -> set[NodeId]:
        """The nodes whose disks a fault took away or set back, by the receipts."""
        return {node for receipt in self.receipts for node in receipt.evidence.get(DISK_LOST, ())}

    @cached_property
    def lost_commits(self) -> set[NodeId]:
        """The nodes whose last commit a fault damaged, by the receipts."""
        return {node for receipt in self.receipts for node in receipt.evidence.get(COMMIT_LOST, ())}

    @cached_property
    def unnoticed(self) -> tuple[NodeId, ...]:
        """The nodes that have not noticed that their last commit was lost, by the receipts."""
        return tuple(node for receipt in self.receipts for node in receipt.evidence.get(UNNOTICED, ()))

    def allowance_s(self, began_ns: int, ended_ns: int) -> float:
        """Return by how much later an answer was owed at any time between the two, because links or the machine were slow.

        A process that is not run for a while delays each message through it by so much. So the longest stall counts for each
        way of the round trips that an answer may take. An answer cannot lose more than the processes on its way have lost: each
        message passes the proxy and comes to one node at a time. The larger of both counts.
        """
        stalls = (
            one.ended_ns - one.began_ns for one in self.stalls if one.began_ns < ended_ns and one.ended_ns > began_ns
        )
        stalled_s = 2 * ALLOWED_ROUND_TRIPS * max(stalls, default=0) / 1e9
        return self.timeline.allowance_s(began_ns, ended_ns) + max(stalled_s, self._lost_s(began_ns, ended_ns))

    def _lost_s(self, began_ns: int, ended_ns: int) -> float:
        """Return how long the proxy and the node that lost most waited for a processor between the two, in seconds."""
        first = bisect_right(self.waits, began_ns, key=lambda wait: wait.ended_ns)
        lost: Counter[str] = Counter()
        for wait in islice(self.waits, first, None):
            if wait.began_ns >= ended_ns:
                break
            lost.update(wait.lost_ns)
        proxy_ns = lost.pop(PROXY, 0)
        return (proxy_ns + max(lost.values(), default=0)) / 1e9

    @cached_property
    def damaged_disks(self) -> set[NodeId]:
        """The nodes whose disks a fault damaged, set back or took away for a time, by the receipts."""
        damaged = {node for receipt in self.receipts for node in receipt.evidence.get(DISK_DAMAGED, ())}
        return damaged | self.lost_disks | self.lost_commits

    @property
    def calls(self) -> tuple[RecordedCall, ...]:
        """Every call of every kind, in the order of the invokes."""
        return self.history.operations

    @cached_property
    def operations(self) -> tuple[RecordedCall, ...]:
        """The calls that are proposals or queries, in the order of the invokes."""
        return tuple(operation for operation in self.calls if operation.f in ("propose", "query"))

    @cached_property
    def operations_by_variable(self) -> dict[str, list[RecordedCall]]:
        """The proposals and queries of each variable."""
        found: dict[str, list[RecordedCall]] = {}
        for operation in self.operations:
            found.setdefault(operation.key, []).append(operation)
        return found

    @cached_property
    def proposals_of(self) -> dict[tuple[str, str], list[RecordedCall]]:
        """The proposals by variable and `canonical` text of the proposed value."""
        found: dict[tuple[str, str], list[RecordedCall]] = {}
        for operation in self.operations:
            if operation.f == "propose":
                found.setdefault((operation.key, canonical(operation.invoke.value)), []).append(operation)
        return found

    @cached_property
    def decided_on_disks(self) -> list[DiskDecisions]:
        """The decisions on every copy of every disk, the oldest copies first."""
        return [
            DiskDecisions(node, decided_on_disk(self.algorithm, self.members, contents))
            for copies in (*self.earlier_disks, self.disks)
            for node, contents in copies.items()
        ]

    def seen_decisions(self) -> Iterator[SeenDecision]:
        """Yield every decided value that a client received, in the order of the answers, and then those on the disks."""
        answered = [operation for operation in self.operations if operation.answer is not None]
        for operation in sorted(answered, key=lambda operation: _completion(operation).index):
            yield SeenDecision(operation.key, operation.answer, self.describe_answer(operation), operation)
        for node, decided in self.decided_on_disks:
            for key, value in decided.items():
                yield SeenDecision(key, value, f"the disk of {node} shows {shown(value)}")

    @wording
    def describe_answer(self, operation: RecordedCall) -> str:
        """Return an answered operation as a clause, such as "n2 answered 'blue' at 0.81 s"."""
        completion = _completion(operation)
        undecided = operation.answer is None and operation.f in ("propose", "query")
        value = "undecided" if undecided else shown(operation.answer)
        seconds = self.history.seconds(completion.time)
        return answer_clause(operation.node, operation.invoke.process, value, seconds)

    @wording
    def time_of(self, event: Event) -> str:
        """Return the time of an event as text, such as "0.81 s"."""
        return f"{self.history.seconds(event.time):.2f} s"

    def why_unbitten(self) -> str | None:
        """Return which fault no observer has seen have an effect; None if there is none.

        A fault of nodes that other faults kept down for all of its time, but for moments, had nothing to strike. It is left out.
        """
        for receipt in self.receipts:
            if leaked := receipt.evidence.get(LEAKED):
                return f"{receipt.fault} did not bite: its links let through what they should not: {', '.join(leaked)}"
            if not receipt.bit and not self._had_nothing_to_strike(receipt):
                return f"{receipt.fault} did not bite: no observer other than its injector saw an effect"
        return None

    def _had_nothing_to_strike(self, receipt: Receipt) -> bool:
        """Return whether each node or link of a fault was down by other faults for all of its time."""
        others = [one for one in self.receipts if one is not receipt and one.nodes_down]
        links = (*receipt.links_cut, *receipt.links_disturbed)
        struck = [(node,) for node in [receipt.evidence.get("node")] if isinstance(node, str)] or links
        return bool(struck) and all(any(self._was_down(node, receipt, others) for node in ends) for ends in struck)

    @staticmethod
    def _was_down(node: NodeId, during: Receipt, faults: Sequence[Receipt]) -> bool:
        """Return whether `faults`, in the order in which they began, kept a node down for all the time of another one."""
        until_ns = during.began_ns
        for one in faults:
            if node in one.nodes_down and one.began_ns <= until_ns + _MOMENT_NS:
                if one.ended_ns is None:
                    return True
                until_ns = max(until_ns, one.ended_ns)
        was_down = until_ns > during.began_ns  # otherwise a fault that was shorter than a moment would be excused
        return was_down and during.ended_ns is not None and until_ns + _MOMENT_NS >= during.ended_ns

    def why_untested(self, operations: Sequence[RecordedCall]) -> str | None:
        """Return why these operations cannot make a promise valid, or None if they can.

        They cannot if no operation succeeded, or if faults were expected and a fault has no receipt, did not bite, or began
        after the last operation.
        """
        if not any(was_answered(operation) for operation in operations):
            return f"none of {count(len(operations), 'operation')} succeeded"
        if not self.faults_expected:
            return None
        if not self.receipts:
            return "faults were expected, and the run has no receipt"
        if (reason := self.why_unbitten()) is not None:
            return reason
        for receipt in self.receipts:
            if not any(ended_ns(operation) >= receipt.began_ns for operation in operations):
                return f"every operation was over when {receipt.fault} began"
        return None


#: A checker as a suite calls it: everything else that it needs is bound already.
Checker = Callable[[RunEvidence], Verdict]


def was_answered(operation: RecordedCall) -> bool:
    """Return whether the client received an answer. A `fail` that describes the object, such as "mismatch", is an answer too."""
    completion = operation.completion
    if operation.outcome != "fail" or completion is None:
        return operation.outcome == "ok"
    return definite_answer(completion.error) is not None or (completion.error or "").startswith(_ANSWERS)


def ended_ns(operation: RecordedCall) -> float:
    """When the client received an answer or gave up, in nanoseconds of the harness's clock; infinity if neither is known."""
    return float("inf") if operation.completion is None else operation.completion.time


def _completion(operation: RecordedCall) -> Event:
    assert operation.completion is not None
    return operation.completion
