"""The power cuts of a walk and their results, as data. `harness.systematic.crashpoints` makes the power cuts."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from harness.faults.power_cut import Tail
from harness.systematic.sweep_points import PointOutcome
from node.wording import count

#: What a receipt says of a power cut that was not made: the operation ended before it came to the boundary.
ALIVE: Final = "the operation ended before this boundary"


class WalkedOperation(StrEnum):
    """What the node does when its power is cut."""

    PROPOSE = "propose"
    """It proposes a value, and then accepts another's."""
    BOOT = "boot"
    """It restarts after a kill."""
    LONG = "long"
    """It is proposer and acceptor in turn, often enough that each table of its disk changes several times."""
    SNAPSHOT = "snapshot"
    """It writes a snapshot, in small parts, after each command."""
    CATCH_UP = "catch-up"
    """It was cut off while others decided, and now takes in a snapshot, in small parts, and what followed."""

    @property
    def needs_log(self) -> bool:
        """Whether only an algorithm that keeps a log does it."""
        return self in (WalkedOperation.SNAPSHOT, WalkedOperation.CATCH_UP)


@dataclass(frozen=True, slots=True)
class PowerCutTrial:
    """One power cut, and its result."""

    number: int
    """The boundary's number, from 1."""
    tail: Tail
    """Which un-synced writes survived."""
    where: str
    """Before which write or sync the power was cut."""
    outcome: PointOutcome
    evidence: str
    unsynced_bytes: int = 0
    lost_bytes: int = 0
    damaged: bool = False
    """Whether the last commit on the disk was damaged, too, while the node was down."""

    def to_json(self) -> dict[str, Any]:
        """Return the power cut as plain data for programs."""
        return {
            "number": self.number,
            "tail": self.tail,
            "where": self.where,
            "fate": self.outcome,
            "evidence": self.evidence,
            "unsynced_bytes": self.unsynced_bytes,
            "lost_bytes": self.lost_bytes,
            "damaged": self.damaged,
        }

    def __str__(self) -> str:
        damaged = ", the last commit is damaged" if self.damaged else ""
        return f"boundary {self.number}, {self.where}, {self.tail} of {self.unsynced_bytes:,} un-synced bytes survive{damaged}"


@dataclass(frozen=True, slots=True)
class Walk:
    """The result of a whole walk.

    Which messages share a turn differs from one execution of the operation to the next, and so does the number of boundaries.
    """

    algorithm: str
    operation: WalkedOperation
    boundaries: int
    unreached: int
    """How many tails were not tried, since the operation ended before their boundary each time."""
    trials: tuple[PowerCutTrial, ...]
    violations: tuple[str, ...]
    """What the checkers found in the whole record."""
    took_s: float

    def with_outcome(self, *outcomes: PointOutcome) -> list[PowerCutTrial]:
        """Return the trials with one of these outcomes."""
        return [trial for trial in self.trials if trial.outcome in outcomes]

    def to_json(self) -> dict[str, Any]:
        """Return the walk as plain data for programs."""
        return {
            "algorithm": self.algorithm,
            "operation": self.operation,
            "boundaries": self.boundaries,
            "power_cuts": len(self.trials),
            "unreached": self.unreached,
            **{str(outcome): len(self.with_outcome(outcome)) for outcome in PointOutcome},
            "lost_bytes": sum(trial.lost_bytes for trial in self.trials),
            "violations": list(self.violations),
            "took_s": round(self.took_s, 1),
            "trials": [trial.to_json() for trial in self.trials],
        }

    def text(self) -> str:
        """Return the counts, and each power cut that was not survived, as text for people."""
        lost = sum(trial.lost_bytes for trial in self.trials)
        lines = [
            f"{self.algorithm}, {self.operation}: {self.boundaries} write and sync boundaries, "
            f"{count(len(self.trials), 'power cut')}, which lost {lost:,} un-synced bytes",
            "",
            f"recovered / power cuts    {len(self.with_outcome(PointOutcome.SURVIVED))} / {len(self.trials)}",
        ]
        for tail in Tail:
            lines += _counts(str(tail), [trial for trial in self.trials if trial.tail is tail and not trial.damaged])
        lines += _counts("last commit damaged", [trial for trial in self.trials if trial.damaged])
        if self.unreached:
            lines.append(
                f"  not reached again: {self.unreached}, at boundaries that the operation does not always have"
            )
        for outcome in (PointOutcome.VIOLATES, PointOutcome.BLOCKS, PointOutcome.NO_TEST):
            found = self.with_outcome(outcome)
            lines += ["", f"{outcome}: {len(found)}"] if found else []
            lines += [f"  {trial}: {trial.evidence}" for trial in found]
        if self.violations:
            lines += ["", "the checkers found:", *(f"  {violation}" for violation in self.violations)]
        return "\n".join(lines)


def _counts(what: str, trials: list[PowerCutTrial]) -> list[str]:
    survived = sum(trial.outcome is PointOutcome.SURVIVED for trial in trials)
    return [f"  {what:<23} {survived} / {len(trials)}"] if trials else []


class PowerCutPoint(NamedTuple):
    """Where a walk cuts the power."""

    number: int
    """The boundary's number, from 1."""
    tail: Tail = Tail.NONE
    at_end: bool = False
    """Cut the power after the operation instead of before the boundary."""
    damages: bool = False
    """Damage the last commit, too, while the node is down: one bit of its last frame flips."""


def tails_for(writes: int) -> list[Tail]:
    """Return the tails, besides `NONE`, that differ from each other when this many writes are un-synced."""
    return [*([Tail.ALL, Tail.TORN] if writes else []), *([Tail.PREFIX, Tail.REORDERED] if writes > 1 else [])]
