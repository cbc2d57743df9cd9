"""What came of validating one traced run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from harness.replay.trace_wire import Difference

_DIFFERENCES_MAX: Final = 20


@dataclass
class Validation:
    """What came of validating a run."""

    folder: Path
    why_not: str | None = None
    """Why there is nothing to validate, if so."""
    nodes: int = 0
    lives: int = 0
    turns: int = 0
    inputs: int = 0
    messages: int = 0
    """Those on the wire that are what the pure class sent."""
    disk_broken: bool = False
    """Whether a fault may have taken a disk away."""
    differences: list[Difference] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0: no difference; 1: some; 2: nothing was validated."""
        return 1 if self.differences else 2 if self.why_not or not self.messages else 0

    def line(self) -> str:
        """For people."""
        if self.why_not:
            return f"{self.folder.name}: not validated: {self.why_not}"
        what = f"{self.lives} lives, {self.turns:,} turns, {self.inputs:,} inputs, {self.messages:,} messages"
        if not self.differences:
            return (
                f"{self.folder.name}: {what}: all as the pure class has it"
                if self.messages
                else (f"{self.folder.name}: no message was sent, so nothing is shown")
            )
        more = f" (and {len(self.differences) - 1} more)" if len(self.differences) > 1 else ""
        return f"{self.folder.name}: DIFFERS: {self.differences[0].text}{more}"

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "run": str(self.folder),
            "not_validated": self.why_not,
            "lives": self.lives,
            "turns": self.turns,
            "inputs": self.inputs,
            "messages": self.messages,
            "differences": [difference.text for difference in self.differences[:_DIFFERENCES_MAX]],
        }
