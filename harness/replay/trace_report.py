"""The report of one run's trace validation."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from harness.replay.trace_wire import Difference
from node.wording import count

_DIFFERENCES_MAX: Final = 20


@dataclass
class Validation:
    """What was compared in a run, and what differs."""

    folder: Path
    why_not: str | None = None
    """Why the run cannot be validated, if so."""
    nodes: int = 0
    lives: int = 0
    turns: int = 0
    inputs: int = 0
    messages: int = 0
    """How many messages on the wire equal what the pure class sends."""
    disk_broken: bool = False
    """Whether a fault may have taken a disk away."""
    differences: list[Difference] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0: no difference; 1: a difference; 2: nothing was validated."""
        return 1 if self.differences else 2 if self.why_not or not self.messages else 0

    def line(self) -> str:
        """Return the report as one line for people."""
        if self.why_not:
            return f"{self.folder.name}: not validated: {self.why_not}"
        counted = (
            (self.lives, "life", "lives"),
            (self.turns, "turn"),
            (self.inputs, "input"),
            (self.messages, "message"),
        )
        what = ", ".join(count(*each) for each in counted)
        if not self.differences:
            return (
                f"{self.folder.name}: {what}: all equal to the pure class's"
                if self.messages
                else (f"{self.folder.name}: no message was sent, so nothing was validated")
            )
        more = f" (and {len(self.differences) - 1} more)" if len(self.differences) > 1 else ""
        return f"{self.folder.name}: DIFFERS: {self.differences[0].text}{more}"

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data for programs."""
        return {
            "run": str(self.folder),
            "not_validated": self.why_not,
            "lives": self.lives,
            "turns": self.turns,
            "inputs": self.inputs,
            "messages": self.messages,
            "differences": [difference.text for difference in self.differences[:_DIFFERENCES_MAX]],
        }
