"""The points of a sweep, and how what clients were told at one is weighed. Pure; `harness.systematic.sweep` makes them happen."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import Any, Final

from cluster.clients.outcomes import NotDone, Ok, Outcome
from harness.records.jsonable import shown
from harness.systematic.scheduler import MessageStep
from node.contract import NodeId

COLOURS: Final = ("blue", "red")


class PointFault(StrEnum):
    """What happens at a point."""

    CRASH = "crash"
    CUT = "cut"
    LOSS = "loss"


class LinkEnd(StrEnum):
    """To whom."""

    SENDER = "sender"
    RECEIVER = "receiver"


class PointOutcome(StrEnum):
    """What came of it."""

    SURVIVED = "survived"
    BLOCKS = "blocks"
    VIOLATES = "violates"
    NO_TEST = "no test"


@dataclass(frozen=True, slots=True)
class Point:
    """A message of the operation, which number it has in the dry run (from 1), and what is done to whom."""

    number: int
    message: MessageStep
    end: LinkEnd
    fault: PointFault

    @property
    def node(self) -> NodeId:
        """Who is struck, or whose message is lost."""
        return self.message.sender if self.end is LinkEnd.SENDER else self.message.receiver

    def __str__(self) -> str:
        return f"{self.fault} of {self.node} at message {self.number}, {self.message}, as its {self.end}"


@dataclass(frozen=True, slots=True)
class PointResult:
    """What came of a point. `evidence` says why."""

    point: Point
    fate: PointOutcome
    evidence: str
    variable: str = ""
    folder: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        point = self.point
        return {
            "number": point.number,
            "message": str(point.message),
            "type": point.message.type,
            "end": point.end,
            "fault": point.fault,
            "node": point.node,
            "fate": self.fate,
            "evidence": self.evidence,
            "variable": self.variable,
            "folder": self.folder.name if self.folder else None,
        }


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a whole sweep found. `violations` are the checkers' own."""

    algorithm: str
    nodes: int
    messages: tuple[MessageStep, ...]
    results: tuple[PointResult, ...]
    violations: tuple[str, ...]
    took_s: float

    def of(self, fate: PointOutcome) -> list[PointResult]:
        """The points with that fate."""
        return [result for result in self.results if result.fate is fate]

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "algorithm": self.algorithm,
            "nodes": self.nodes,
            "messages": [str(step) for step in self.messages],
            "points": len(self.results),
            **{str(fate): len(self.of(fate)) for fate in PointOutcome},
            "violations": list(self.violations),
            "took_s": round(self.took_s, 1),
            "results": [result.to_json() for result in self.results],
        }

    def text(self) -> str:
        """For people: how many were survived, and each point that was not."""
        lines = [f"{self.algorithm}, {self.nodes} nodes: {len(self.messages)} messages, {len(self.results)} points", ""]
        lines.append(f"survived / points    {len(self.of(PointOutcome.SURVIVED))} / {len(self.results)}")
        for fault in PointFault:
            own = [result for result in self.results if result.point.fault is fault]
            if own:
                lines.append(f"  {fault:<18} {sum(one.fate is PointOutcome.SURVIVED for one in own)} / {len(own)}")
        for fate in (PointOutcome.VIOLATES, PointOutcome.BLOCKS, PointOutcome.NO_TEST):
            lines += ["", f"{fate}: {len(self.of(fate))}"] if self.of(fate) else []
            lines += [f"  {result.point}: {result.evidence}" for result in self.of(fate)]
        if self.violations:
            lines += ["", "the checkers say:", *(f"  {violation}" for violation in self.violations)]
        return "\n".join(lines)


def points(messages: Sequence[MessageStep], faults: Sequence[PointFault] = tuple(PointFault)) -> list[Point]:
    """Every single fault, in the order of the messages."""
    return [
        Point(number, message, end, fault)
        for (number, message), fault, end in product(enumerate(messages, start=1), faults, LinkEnd)
    ]


# --- what came of a point -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PointAnswer:
    """An answer, or none, to a call. `owed`: a majority was up and connected, and this node with it."""

    who: str
    asked: str  # propose or query
    outcome: Outcome
    owed: bool = False
    late: bool = False  # began after a decision had been seen
    back: bool = False  # when the struck node had come back

    @property
    def value(self) -> object:
        """The decided value that was told, or None."""
        return self.outcome.value if isinstance(self.outcome, Ok) else None


def weigh(told: Sequence[PointAnswer], proposed: Sequence[object] = COLOURS) -> tuple[PointOutcome, str]:
    """The fate of a point whose fault bit, and why."""
    decided = [one for one in told if one.value is not None]
    for one in decided:
        if one.value not in proposed:
            return PointOutcome.VIOLATES, f"{one.who} answered {shown(one.value)}, which nobody had proposed"
        if one.value != decided[0].value:
            return (
                PointOutcome.VIOLATES,
                f"{decided[0].who} answered {shown(decided[0].value)}, {one.who} {shown(one.value)}",
            )
    for one in told:
        if one.late and isinstance(one.outcome, Ok) and one.value is None:
            return (
                PointOutcome.VIOLATES,
                f"{one.who} answered undecided after {decided[0].who} {shown(decided[0].value)}",
            )
    silent = [one for one in told if one.owed and not isinstance(one.outcome, Ok)]
    if silent:
        return PointOutcome.BLOCKS, _blocked(told, silent)
    return (
        PointOutcome.SURVIVED,
        f"{len(decided)} answers of {shown(decided[0].value)}" if decided else "undecided everywhere",
    )


def _blocked(told: Sequence[PointAnswer], silent: Sequence[PointAnswer]) -> str:
    """Who had no answer, whether anybody had, and what ended it."""
    asked: dict[str, list[str]] = {}
    for one in silent:
        asked.setdefault(one.who, []).append(one.asked)
    calls = ", ".join(f"{who} ({' and '.join(verbs)})" for who, verbs in asked.items())
    answered = [one for one in told if one.owed and one.value is not None and not one.back]
    text = f"{'some are never told' if answered else 'nobody can decide'}: no answer at {calls}"
    refused = next((one.outcome.reason for one in silent if isinstance(one.outcome, NotDone)), None)
    back = next((one for one in told if one.back and isinstance(one.outcome, Ok)), None)
    if back is not None:
        text += f"; {back.who} it is {'undecided' if back.value is None else shown(back.value)}"
    return text + (f" ({refused})" if refused else "")
