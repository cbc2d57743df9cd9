"""Sequential specifications: what one object would answer if calls came one at a time.

Rules
-----
1. A model is pure: `step` takes a state and a call, and returns the next state and the answer. States, arguments and
   answers are hashable; values are given in their `canonical` text, and None stands for no value.
2. A call whose outcome nobody knows has no end: it takes effect at any time after its beginning, or never. One that
   failed for certain never happened, and is left out (`calls_of`).
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from harness.history import Operation
from harness.jsonable import canonical

State = Hashable


@dataclass(frozen=True, slots=True)
class Call:
    """One call on one object. `began` and `ended` are places in the order of events; `ended` is None if it is unknown."""

    f: str
    argument: str | None
    answer: str | None
    began: int
    ended: int | None = None
    operation: Operation | None = None

    @property
    def is_pending(self) -> bool:
        """Whether nobody knows if it happened."""
        return self.ended is None

    def precedes(self, other: "Call") -> bool:
        """Whether it was over before `other` began."""
        return self.ended is not None and self.ended < other.began


class Model(ABC):
    """What an object does, one call at a time."""

    functions: ClassVar[tuple[str, ...]]
    """The names of the calls that it takes."""
    reads: ClassVar[tuple[str, ...]]
    """Those that change nothing, so that one whose answer is unknown tells nothing."""
    initial: ClassVar[State] = None

    @abstractmethod
    def step(self, state: State, call: Call) -> tuple[State, str | None]:
        """The state after `call`, and its answer."""


class Consensus(Model):
    """A variable that is set once: the first proposal wins, and every answer is the decided value."""

    functions = ("propose", "query")
    reads = ("query",)

    def step(self, state: State, call: Call) -> tuple[State, str | None]:
        assert state is None or isinstance(state, str)
        decided = call.argument if call.f == "propose" and state is None else state
        return decided, decided


class Register(Model):
    """A variable that can be overwritten. What a write is answered says nothing."""

    functions = ("write", "read")
    reads = ("read",)

    def step(self, state: State, call: Call) -> tuple[State, str | None]:
        assert state is None or isinstance(state, str)
        return (call.argument, call.answer) if call.f == "write" else (state, state)


def calls_of(operations: Iterable[Operation], model: Model) -> dict[str, list[Call]]:
    """The calls on each key, in the order in which they began."""
    found: dict[str, list[Call]] = {}
    for operation in operations:
        if operation.f not in model.functions or operation.outcome == "fail":
            continue
        if operation.outcome == "info" and operation.f in model.reads:
            continue
        ended = operation.completion.index if operation.completion is not None else None
        call = Call(
            operation.f,
            _text(operation.invoke.value),
            _text(operation.answer),
            operation.invoke.index,
            ended if operation.outcome == "ok" else None,
            operation,
        )
        found.setdefault(operation.key, []).append(call)
    return found


def _text(value: object) -> str | None:
    return None if value is None else canonical(value)
