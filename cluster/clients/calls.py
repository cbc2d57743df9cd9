"""Calls to a replicated log: what one is while it is under way, and what can come of it. Every client shares it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from cluster.errors import CommandRefused, Mistake, Unknown

Outcome: TypeAlias = "Ok | NotDone | NotKnown"


class Call:
    """One command or question under way. `outcome` is None until there is one."""

    __slots__ = ("command", "deadline", "machine", "outcome", "packed", "read", "then", "wait_ms")

    def __init__(
        self, machine: str, command: list[Any], packed: bytes, deadline: float, read: bool, wait_ms: int
    ) -> None:
        self.machine, self.command, self.packed, self.read, self.wait_ms = machine, command, packed, read, wait_ms
        self.deadline = deadline
        self.outcome: Outcome | None = None
        self.then: Callable[[Outcome], object] | None = None  # is told the outcome

    def settle(self, outcome: Outcome) -> None:
        """The outcome is known. The first one counts."""
        if self.outcome is None:
            self.outcome = outcome
            if self.then is not None:
                self.then(outcome)


@dataclass(frozen=True, slots=True)
class Ok:
    """It was done; `value` is the machine's result."""

    value: Any


@dataclass(frozen=True, slots=True)
class NotDone:
    """It was definitely not done. `kind` is for programs, `reason` for people."""

    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class NotKnown:
    """It may have been done, or may still be."""

    reason: str


class WindowFull(Mistake):
    """Too many calls are under way. Nothing was sent."""


class Closed(Mistake):
    """The client is closed. Nothing was sent."""


def outcome_value(call: Call) -> Any:
    """The value of a call that has an outcome, or its exception."""
    match call.outcome:
        case Ok(value):
            return value
        case NotDone(kind, reason):
            raise CommandRefused(kind, reason)
        case NotKnown(reason):
            raise Unknown(reason if call.read else f"{reason}: it may have been done, or may still be")
    raise AssertionError("the call is still under way")
