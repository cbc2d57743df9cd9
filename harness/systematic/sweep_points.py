"""The points of a sweep, and the judgement of the answers at a point, as data. `harness.systematic.sweep` runs the points."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple

from cluster.clients.outcomes import NotDone, Ok, Outcome
from harness.records.jsonable import shown
from harness.systematic.scheduler import MessageStep
from node.contract import NodeId
from node.wording import count

COLOURS: Final = ("blue", "red")


class PointFault(StrEnum):
    """The fault at a point."""

    CRASH = "crash"
    CUT = "cut"
    LOSS = "loss"


class LinkEnd(StrEnum):
    """Which end of the message the fault hits."""

    SENDER = "sender"
    RECEIVER = "receiver"


class PointOutcome(StrEnum):
    """The outcome of a point: see `harness.systematic.sweep`."""

    SURVIVED = "survived"
    BLOCKS = "blocks"
    VIOLATES = "violates"
    NO_TEST = "no test"


@dataclass(frozen=True, slots=True)
class Point:
    """One single fault: a message of the operation, an end of it, and the fault."""

    number: int
    """The message's number in the dry run, from 1."""
    message: MessageStep
    end: LinkEnd
    fault: PointFault

    @property
    def node(self) -> NodeId:
        """The node that the fault hits. Of a loss: the sender, or the receiver."""
        return self.message.sender if self.end is LinkEnd.SENDER else self.message.receiver

    def __str__(self) -> str:
        return f"{self.fault} of {self.node} at message {self.number}, {self.message}, as its {self.end}"


@dataclass(frozen=True, slots=True)
class PointResult:
    """The result of a point."""

    point: Point
    outcome: PointOutcome
    evidence: str
    """Why it has this outcome."""
    variable: str = ""
    folder: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data for programs."""
        point = self.point
        return {
            "number": point.number,
            "message": str(point.message),
            "type": point.message.type,
            "end": point.end,
            "fault": point.fault,
            "node": point.node,
            "fate": self.outcome,
            "evidence": self.evidence,
            "variable": self.variable,
            "folder": self.folder.name if self.folder else None,
        }


@dataclass(frozen=True, slots=True)
class Sweep:
    """The result of a whole sweep."""

    algorithm: str
    nodes: int
    messages: tuple[MessageStep, ...]
    results: tuple[PointResult, ...]
    violations: tuple[str, ...]
    """What the checkers found in the whole record."""
    took_s: float

    def with_outcome(self, outcome: PointOutcome) -> list[PointResult]:
        """Return the results with this outcome."""
        return [result for result in self.results if result.outcome is outcome]

    def to_json(self) -> dict[str, Any]:
        """Return the sweep as plain data for programs."""
        return {
            "algorithm": self.algorithm,
            "nodes": self.nodes,
            "messages": [str(step) for step in self.messages],
            "points": len(self.results),
            **{str(outcome): len(self.with_outcome(outcome)) for outcome in PointOutcome},
            "violations": list(self.violations),
            "took_s": round(self.took_s, 1),
            "results": [result.to_json() for result in self.results],
        }

    def text(self) -> str:
        """Return the counts, and each point that was not survived, as text for people."""
        lines = [
            f"{self.algorithm}, {count(self.nodes, 'node')}: {count(len(self.messages), 'message')}, "
            f"{count(len(self.results), 'point')}",
            "",
        ]
        lines.append(f"survived / points    {len(self.with_outcome(PointOutcome.SURVIVED))} / {len(self.results)}")
        for fault in PointFault:
            own = [result for result in self.results if result.point.fault is fault]
            if own:
                lines.append(f"  {fault:<18} {sum(one.outcome is PointOutcome.SURVIVED for one in own)} / {len(own)}")
        for outcome in (PointOutcome.VIOLATES, PointOutcome.BLOCKS, PointOutcome.NO_TEST):
            found = self.with_outcome(outcome)
            lines += ["", f"{outcome}: {len(found)}"] if found else []
            lines += [f"  {result.point}: {result.evidence}" for result in found]
        if self.violations:
            lines += ["", "the checkers found:", *(f"  {violation}" for violation in self.violations)]
        return "\n".join(lines)


def points(messages: Sequence[MessageStep], faults: Sequence[PointFault] = tuple(PointFault)) -> list[Point]:
    """Return every single fault, in the order of the messages."""
    return [
        Point(number, message, end, fault)
        for (number, message), fault, end in product(enumerate(messages, start=1), faults, LinkEnd)
    ]


# --- the judgement of a point ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PointAnswer:
    """A call at a point, and its outcome."""

    source: str
    """The node that was asked, for people."""
    call: str
    """`propose` or `query`."""
    outcome: Outcome
    must_answer: bool = False
    """Whether a majority was up and connected, and the node with it."""
    after_decision: bool = False
    """Whether the call began after a client had seen a decision."""
    after_return: bool = False
    """Whether the call began after the node that the fault hit had come back."""

    @property
    def value(self) -> object:
        """The decided value in the answer, or None."""
        return self.outcome.value if isinstance(self.outcome, Ok) else None


class Judgement(NamedTuple):
    """The outcome of a point, and the evidence for it."""

    outcome: PointOutcome
    evidence: str


def judge_point(answers: Sequence[PointAnswer], proposed: Sequence[object] = COLOURS) -> Judgement:
    """Judge a point whose fault bit.

    Args:
        answers: every call at the point, with its outcome.
        proposed: the values that the clients proposed.
    """
    decided = [one for one in answers if one.value is not None]
    for one in decided:
        if one.value not in proposed:
            return Judgement(
                PointOutcome.VIOLATES, f"{one.source} answered {shown(one.value)}, which no client had proposed"
            )
        if one.value != decided[0].value:
            return Judgement(
                PointOutcome.VIOLATES,
                f"{decided[0].source} answered {shown(decided[0].value)}, {one.source} {shown(one.value)}",
            )
    for one in answers:
        if one.after_decision and isinstance(one.outcome, Ok) and one.value is None:
            return Judgement(
                PointOutcome.VIOLATES,
                f"{one.source} answered undecided after {decided[0].source} {shown(decided[0].value)}",
            )
    unanswered = [one for one in answers if one.must_answer and not isinstance(one.outcome, Ok)]
    if unanswered:
        return Judgement(PointOutcome.BLOCKS, _blocked(answers, unanswered))
    return Judgement(
        PointOutcome.SURVIVED,
        f"{len(decided)} answers of {shown(decided[0].value)}" if decided else "undecided everywhere",
    )


def _blocked(answers: Sequence[PointAnswer], unanswered: Sequence[PointAnswer]) -> str:
    """Return which nodes did not answer, whether another node did, and the answer after the return of the node."""
    calls_at: dict[str, list[str]] = {}
    for one in unanswered:
        calls_at.setdefault(one.source, []).append(one.call)
    calls = ", ".join(f"{source} ({' and '.join(verbs)})" for source, verbs in calls_at.items())
    answered = [one for one in answers if one.must_answer and one.value is not None and not one.after_return]
    text = f"{'some nodes never answer' if answered else 'no node can decide'}: no answer at {calls}"
    refused = next((one.outcome.reason for one in unanswered if isinstance(one.outcome, NotDone)), None)
    back = next((one for one in answers if one.after_return and isinstance(one.outcome, Ok)), None)
    if back is not None:
        text += f"; {back.source} it is {'undecided' if back.value is None else shown(back.value)}"
    return text + (f" ({refused})" if refused else "")
