"""Sequential models: what one object answers if calls come one at a time. The base class, and calls as models see them.

Theory of operation
-------------------
A linearizability checker asks: can all calls on an object be put in one order that real time and a *sequential model* allow?
This module defines the interface between checkers and models. A `Model` turns the values of a history into an `ObjectCall`
(its argument and its answer), and `step` says what the object would answer in a given state. The models themselves are in
`models.py`.

Rules
-----
1. A model is pure: `step` takes a state and a call, and returns the next state and the answer. States, arguments and
   answers are hashable. Values are compared by their `canonical` text, and None stands for no value. Where more than one
   answer is right (a `cas` on nothing: "mismatch" or "not found"), `step` may read the call's own answer and return it.
2. A call whose outcome is unknown is *pending*: it has no end, and takes effect at any time after its beginning, or never.
   A call that failed for certain never happened, and `calls_of` leaves it out, unless its error describes the object:
   "not found", "mismatch", "held" or "not held". Such an error is an answer.
3. The methods `is_read`, `is_blind`, `resulting_state` and `required_state` let checkers avoid steps. The checkers rely on
   them, so a subclass that changes `step` must check them too.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, ClassVar, Final

from harness.records.jsonable import canonical

if TYPE_CHECKING:
    from harness.records.history import RecordedCall

ModelState = Hashable

MISMATCH: Final = "mismatch"
NOT_FOUND: Final = "not found"
DONE: Final = "done"
HELD: Final = "held"
NOT_HELD: Final = "not held"
#: No answer: `step` returns it if no answer is right, and `answer_from_error` if the call was not done.
NO_ANSWER: Final = object()
#: `resulting_state` and `required_state` return it if they cannot name one state.
NO_SINGLE_STATE: Final = object()

#: The errors of a `fail` that are answers: how they begin, in lower case, with spaces for dashes and underscores.
_DEFINITE_ERRORS: Final = {
    "mismatch": MISMATCH,
    "value mismatch": MISMATCH,
    "precondition failed": MISMATCH,
    "compare failed": MISMATCH,
    "not found": NOT_FOUND,
    "key not found": NOT_FOUND,
    "no such key": NOT_FOUND,
    "held": HELD,
    "already held": HELD,
    "locked": HELD,
    "not held": NOT_HELD,
    "not the holder": NOT_HELD,
}


class ObjectCall:
    """One call on one object.

    Attributes:
        f: what the call does, one of the model's `functions`.
        argument: what the client asked, as the model sees it.
        answer: what the client received, as the model sees it.
        began: the place of the invoke in the order of events.
        ended: the place of the completion in the order of events; None if the outcome is unknown (rule 2).
        operation: the recorded call, if the history came from a run.
        process: the client.
    """

    # No dataclass: importing these takes a fifth of the time in which `consensus check` starts.
    __slots__ = ("answer", "argument", "began", "ended", "f", "operation", "process")

    def __init__(
        self,
        f: str,
        argument: Hashable,
        answer: Hashable,
        began: int,
        ended: int | None = None,
        operation: "RecordedCall | None" = None,
        process: Hashable = "",
    ) -> None:
        self.f, self.argument, self.answer = f, argument, answer
        self.began, self.ended = began, ended
        self.operation, self.process = operation, process

    def changed(self, **fields: Any) -> "ObjectCall":
        """Return a copy with other values of some attributes."""
        return ObjectCall(**{name: getattr(self, name) for name in self.__slots__} | fields)

    def __repr__(self) -> str:
        return f"ObjectCall({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"

    @property
    def is_pending(self) -> bool:
        """Whether the outcome is unknown: the call may have taken effect, may do so later, or never will."""
        return self.ended is None


class Model(ABC):
    """The sequential model of one object."""

    functions: ClassVar[tuple[str, ...]]
    """The names of the calls that the object takes."""
    reads: ClassVar[tuple[str, ...]]
    """Those functions that never change the state. Without an answer, such a call shows nothing."""
    without_value: ClassVar[tuple[str, ...]] = ()
    """Those functions, other than `reads`, whose invoke has no value of its own."""
    aliases: ClassVar[Mapping[str, str]] = {}
    """Other names of the functions: alias to function."""
    initial: ClassVar[ModelState] = None
    """The state before the first call."""
    counts_changes: ClassVar[bool] = False
    """Whether an answer tells how many calls have changed the object so far. States are then `(number, ...)`."""

    @property
    def setting(self) -> str:
        """What a reader of evidence must know of the object besides the calls, such as "there are 2 permits"; or nothing."""
        return ""

    def start_with(self, value: str) -> None:
        """Let the object begin with another value than none, a `canonical` text.

        Raises:
            ValueError: this model has no such value.
        """
        raise ValueError(f"{type(self).__name__.removesuffix('Model')} has no initial value")

    @abstractmethod
    def step(self, state: ModelState, call: ObjectCall) -> tuple[ModelState, Hashable]:
        """Return the state after `call`, and the answer that the object gives in `state`."""

    def argument_from(self, f: str, value: Any, process: Hashable) -> Hashable:
        """Return a call's argument, from the value of its invoke and its process.

        Raises:
            ValueError: `f` does not take this value.
        """
        return None if f in self.reads else text_of(value)

    def answer_from(self, f: str, argument: Hashable, value: Any) -> Hashable:
        """Return the answer, from the value of an `ok`.

        Raises:
            ValueError: `f` does not return this value.
        """
        return text_of(value) if f in self.reads else None

    def answer_from_error(self, f: str, error: object) -> Hashable:
        """Return the answer that the error of a `fail` amounts to; `NO_ANSWER` if the call was simply not done."""
        return NO_ANSWER

    def is_read(self, call: ObjectCall) -> bool:
        """Return whether a call with this answer changes nothing, in every state in which it has this answer."""
        return call.f in self.reads

    def is_blind(self, call: ObjectCall) -> bool:
        """Return whether neither the state after the call nor its answer depends on the state before (a blind write)."""
        return False

    def resulting_state(self, call: ObjectCall) -> ModelState:
        """Return the only state that the call leads to if it changes anything; `NO_SINGLE_STATE` if there are several."""
        return NO_SINGLE_STATE

    def required_state(self, call: ObjectCall) -> ModelState:
        """Return the only state in which the object gives the call's answer; `NO_SINGLE_STATE` if there are several.

        For a pending call, which has no answer: the only state in which the call would have an effect.
        """
        return NO_SINGLE_STATE

    def accepts_all(self, state: ModelState) -> bool:
        """Return whether from this state on every call that changes something has the answer it got, in any order."""
        return False


def text_of(value: object) -> str | None:
    """Return the `canonical` text of a value; None for None. Numbers and strings, the usual values, take a faster path."""
    kind = type(value)
    if kind is int:
        return repr(value)
    if kind is str:
        return encode_basestring_ascii(value)  # type: ignore[arg-type]  # it is a str
    return None if value is None else canonical(value)


def definite_answer(error: object) -> str | None:
    """Return the answer that an error amounts to, if it describes the object; else None.

    Args:
        error: a text, a list whose first item is the text, or a map with the text under `type`.

    Returns:
        `MISMATCH`, `NOT_FOUND`, `HELD`, `NOT_HELD` or None.
    """
    if isinstance(error, list | tuple) and error:
        error = error[0]
    if isinstance(error, Mapping):
        error = error.get("type")
    if not isinstance(error, str):
        return None
    text = error.lower().lstrip(":").replace("-", " ").replace("_", " ")
    for beginning, answer in _DEFINITE_ERRORS.items():
        if text == beginning or text.startswith((f"{beginning}:", f"{beginning} ", f"{beginning},")):
            return answer
    return None


def calls_of(operations: "Iterable[RecordedCall]", model: Model) -> dict[str, list[ObjectCall]]:
    """Return the calls on each key that the model judges (rule 2), in the order in which they began.

    Calls with other functions, reads of unknown outcome, and calls that were not done are left out.

    Raises:
        ValueError: a value is not one that the model takes.
    """
    found: dict[str, list[ObjectCall]] = {}
    for operation in operations:
        f = operation.f
        if f not in model.functions or (operation.outcome == "info" and f in model.reads):
            continue
        argument = model.argument_from(f, operation.invoke.value, operation.invoke.process)
        completion, answer = operation.completion, None
        if completion is not None and operation.outcome == "ok":
            answer = model.answer_from(f, argument, completion.value)
        elif completion is not None and operation.outcome == "fail":
            answer = model.answer_from_error(f, completion.error)
            if answer is NO_ANSWER:
                continue
        ended = completion.index if completion is not None and operation.outcome != "info" else None
        call = ObjectCall(f, argument, answer, operation.invoke.index, ended, operation, operation.invoke.process)
        found.setdefault(operation.key, []).append(call)
    return found
