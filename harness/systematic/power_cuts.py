"""The power cuts of a walk, and what came of them. Pure; `harness.systematic.crashpoints` makes them happen."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from harness.faults.power_cut import Tail
from harness.systematic.sweep_points import PointOutcome

#: What is said of a power cut that was not made, because this time the operation was over before its boundary.
ALIVE: Final = "the node got through alive"


class WalkedOperation(StrEnum):
    """What the node is doing when the power goes."""

    PROPOSE = "propose"
    BOOT = "boot"


@dataclass(frozen=True, slots=True)
class PowerCutTrial:
    """One power cut. `number` is the boundary, `where` what it was before, `fate` what came of it."""

    number: int
    tail: Tail
    where: str
    fate: PointOutcome
    evidence: str
    unsynced_bytes: int = 0
    lost_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        names = ("number", "tail", "where", "fate", "evidence", "unsynced_bytes", "lost_bytes")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        return f"boundary {self.number}, {self.where}, {self.tail} of {self.unsynced_bytes:,} un-synced bytes survive"


@dataclass(frozen=True, slots=True)
class Walk:
    """What a whole walk found. `violations` are the checkers' own.

    How the messages fall into turns differs a little from time to time, and the number of boundaries with it. `unreached` are
    the tails that could not be tried at the last few, since the operation was over before them.
    """

    algorithm: str
    operation: WalkedOperation
    boundaries: int
    unreached: int
    trials: tuple[PowerCutTrial, ...]
    violations: tuple[str, ...]
    took_s: float

    def of(self, *fates: PointOutcome) -> list[PowerCutTrial]:
        """The trials with those fates."""
        return [trial for trial in self.trials if trial.fate in fates]

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "algorithm": self.algorithm,
            "operation": self.operation,
            "boundaries": self.boundaries,
            "power_cuts": len(self.trials),
            "unreached": self.unreached,
            **{str(fate): len(self.of(fate)) for fate in PointOutcome},
            "lost_bytes": sum(trial.lost_bytes for trial in self.trials),
            "violations": list(self.violations),
            "took_s": round(self.took_s, 1),
            "trials": [trial.to_json() for trial in self.trials],
        }

    def text(self) -> str:
        """For people: what was walked, and each power cut that was not survived."""
        lost = sum(trial.lost_bytes for trial in self.trials)
        lines = [
            f"{self.algorithm}, {self.operation}: {self.boundaries} write and sync boundaries, {len(self.trials)} power cuts, "
            f"which lost {lost:,} un-synced bytes",
            "",
            f"recovered / power cuts    {len(self.of(PointOutcome.SURVIVED))} / {len(self.trials)}",
        ]
        for tail in Tail:
            own = [trial for trial in self.trials if trial.tail is tail]
            if own:
                lines.append(f"  {tail:<23} {sum(trial.fate is PointOutcome.SURVIVED for trial in own)} / {len(own)}")
        if self.unreached:
            lines.append(
                f"  not reached again: {self.unreached}, at boundaries that the operation does not always have"
            )
        for fate in (PointOutcome.VIOLATES, PointOutcome.BLOCKS, PointOutcome.NO_TEST):
            lines += ["", f"{fate}: {len(self.of(fate))}"] if self.of(fate) else []
            lines += [f"  {trial}: {trial.evidence}" for trial in self.of(fate)]
        if self.violations:
            lines += ["", "the checkers say:", *(f"  {violation}" for violation in self.violations)]
        return "\n".join(lines)


def tails_for(writes: int) -> list[Tail]:
    """The ways in which so many un-synced writes can survive that differ from each other, beside none."""
    return [*([Tail.ALL, Tail.TORN] if writes else []), *([Tail.PREFIX, Tail.REORDERED] if writes > 1 else [])]
