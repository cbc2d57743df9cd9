"""Further sequential models: several registers with transactions, a register with versions, a lock without owners, a semaphore.

`sequential_model.py` says what a model is, and which rules it follows.

| model | f (aliases) | value of the invoke | value of the ok |
|---|---|---|---|
| multi-register | txn (read, write) | `[["r", key, null], ["w", key, value]]` | the same, each `r` with its value |
| versioned-register | write (w, set, put), cas | value; `[old, new]` | the version, `[version, ...]`, or nothing |
| | read (r, get) | | `[version, value]`, or null for nothing |
| mutex | acquire (lock), release (unlock) | | |
| semaphore | acquire (lock), release (unlock) | how many permits; 1 without a value | |

The version of a versioned register counts its writes, from 1. A mutex and a semaphore have no owners: who holds a permit may
leave the release to another process.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, NamedTuple

from harness.checkers.sequential_model import (
    DONE,
    HELD,
    MISMATCH,
    NO_ANSWER,
    NO_SINGLE_STATE,
    NOT_FOUND,
    NOT_HELD,
    Model,
    ModelState,
    ObjectCall,
    definite_answer,
    text_of,
)

_LOCK_ALIASES: Final[Mapping[str, str]] = {"lock": "acquire", "unlock": "release"}
_KINDS: Final[Mapping[object, Literal["r", "w"]]] = {
    name: kind
    for kind in ("r", "w")
    for name in (kind, f":{kind}", *(("read", ":read") if kind == "r" else ("write", ":write")))
}


class TxnStep(NamedTuple):
    """One step of a transaction on registers."""

    kind: Literal["r", "w"]
    key: str | None
    value: str | None
    """What a write writes."""


class MultiRegisterModel(Model):
    """Several registers, which a transaction reads and writes at one moment.

    The state has a pair of key and value for each register that does not have its first value, sorted by key.
    """

    functions = ("txn",)
    reads = ()
    aliases: ClassVar[Mapping[str, str]] = {"read": "txn", "write": "txn"}
    initial: ClassVar[ModelState] = ()

    def __init__(self) -> None:
        self.first: str | None = None
        """The first value of every register."""

    def start_with(self, value: str) -> None:
        self.first = value

    def step(self, state: ModelState, call: ObjectCall) -> tuple[ModelState, Hashable]:
        assert isinstance(state, tuple)
        assert isinstance(call.argument, tuple)
        values = dict(state)
        answer = []
        for kind, key, value in call.argument:
            if kind == "r":
                answer.append(values.get(key, self.first))
            else:
                values[key] = value
        after = tuple(sorted((key, value) for key, value in values.items() if value != self.first))
        return after, tuple(answer)

    def argument_from(self, f: str, value: Any, process: Hashable) -> Hashable:
        return tuple(TxnStep(kind, key, None if kind == "r" else text_of(what)) for kind, key, what in _steps(value))

    def answer_from(self, f: str, argument: Hashable, value: Any) -> Hashable:
        steps = _steps(value)
        assert isinstance(argument, tuple)
        if [step[:2] for step in steps] != [tuple(step[:2]) for step in argument]:
            raise ValueError(f"the ok of a transaction has its own steps, and this one has {value!r}")
        for (kind, key, what), step in zip(steps, argument, strict=True):
            if kind == "w" and text_of(what) != step.value:
                raise ValueError(
                    f"the ok of a transaction has its own steps, and this one writes {text_of(what) or 'null'} to {key} "
                    f"in the place of {step.value or 'null'}"
                )
        return tuple(text_of(what) for kind, _, what in steps if kind == "r")

    def is_read(self, call: ObjectCall) -> bool:
        assert isinstance(call.argument, tuple)
        return all(step.kind == "r" for step in call.argument)


def _steps(value: Any) -> list[tuple[Literal["r", "w"], str | None, Any]]:
    steps: Any = value if isinstance(value, Sequence) and not isinstance(value, str) else None
    if steps is None or not all(isinstance(step, list | tuple) and len(step) == 3 for step in steps):
        raise ValueError(
            f'the value of a transaction must be [["r", key, null], ["w", key, value], ...], and it is {value!r}'
        )
    for kind, _, _ in steps:
        if not isinstance(kind, str) or kind not in _KINDS:
            raise ValueError(f"a step of a transaction must be r or w, and this one is {kind!r}")
    return [(_KINDS[kind], text_of(key), what) for kind, key, what in steps]


class Versioned(NamedTuple):
    """What a versioned register holds."""

    version: int
    value: str | None


class VersionedRegisterModel(Model):
    """A register that counts its writes. The state is a `Versioned`; nothing was written at version 0."""

    functions = ("write", "read", "cas")
    reads = ("read",)
    aliases: ClassVar[Mapping[str, str]] = {
        "w": "write",
        "set": "write",
        "put": "write",
        "r": "read",
        "get": "read",
        "compare-and-set": "cas",
        "compare_and_set": "cas",
    }
    initial: ClassVar[ModelState] = Versioned(0, None)
    counts_changes = True

    def step(self, state: ModelState, call: ObjectCall) -> tuple[ModelState, Hashable]:
        assert isinstance(state, Versioned)
        if call.f == "read":
            return state, state
        written = call.argument
        if call.f == "cas":
            assert isinstance(call.argument, tuple)
            old, written = call.argument
            if state.value != old:
                return state, NOT_FOUND if state.value is None and call.answer == NOT_FOUND else MISMATCH
        assert written is None or isinstance(written, str)
        version = state.version + 1
        return Versioned(version, written), DONE if call.answer == DONE else version

    def argument_from(self, f: str, value: Any, process: Hashable) -> Hashable:
        if f == "read":
            return None
        if f == "write":
            # Jepsen has [version, value] here, with the version that the write will get: null.
            return text_of(value[1] if _is_pair(value) and value[0] is None else value)
        if _is_pair(value) and value[0] is None and _is_pair(value[1]):
            value = value[1]
        if not _is_pair(value):
            raise ValueError(f"the value of a cas must be [old, new], and this one is {value!r}")
        return text_of(value[0]), text_of(value[1])

    def answer_from(self, f: str, argument: Hashable, value: Any) -> Hashable:
        if f == "read":
            if value is None:
                return self.initial
            if not _is_pair(value) or type(value[0]) not in (int, type(None)):
                raise ValueError(f"a read of a versioned register must return [version, value], and it is {value!r}")
            return Versioned(value[0] or 0, text_of(value[1]))
        if f == "cas" and value is False:
            return MISMATCH
        if f == "cas" and _is_pair(value) and (text_of(value[0]), text_of(value[1])) == argument:
            return DONE
        version = value[0] if _is_pair(value) else value
        return version if type(version) is int and text_of(value) not in (argument, None) else DONE

    def answer_from_error(self, f: str, error: object) -> Hashable:
        answer = definite_answer(error)
        if f == "read" and answer == NOT_FOUND:
            return self.initial
        return answer if f == "cas" and answer in (MISMATCH, NOT_FOUND) else NO_ANSWER

    def is_read(self, call: ObjectCall) -> bool:
        return call.f == "read" or (not call.is_pending and call.answer in (MISMATCH, NOT_FOUND))

    def resulting_state(self, call: ObjectCall) -> ModelState:
        if not isinstance(call.answer, int) or call.is_pending:
            return NO_SINGLE_STATE
        written = call.argument[1] if isinstance(call.argument, tuple) else call.argument
        assert written is None or isinstance(written, str)
        return Versioned(call.answer, written)

    def required_state(self, call: ObjectCall) -> ModelState:
        if call.is_pending or call.f == "write":
            return NO_SINGLE_STATE
        if call.f == "read":
            return call.answer
        if isinstance(call.answer, int) and isinstance(call.argument, tuple):
            return Versioned(call.answer - 1, call.argument[0])
        return NO_SINGLE_STATE


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2


class MutexModel(Model):
    """A lock without owners: an acquire takes it if it is free, and a release frees it, whoever calls. The state: is it held?"""

    functions = ("acquire", "release")
    reads = ()
    without_value = ("acquire", "release")
    aliases = _LOCK_ALIASES
    initial: ClassVar[ModelState] = False

    def step(self, state: ModelState, call: ObjectCall) -> tuple[ModelState, Hashable]:
        if call.f == "acquire":
            return (state, HELD) if state else (True, None)
        return (False, None) if state else (state, NOT_HELD)

    def argument_from(self, f: str, value: Any, process: Hashable) -> Hashable:
        return None

    def answer_from(self, f: str, argument: Hashable, value: Any) -> Hashable:
        return None

    def answer_from_error(self, f: str, error: object) -> Hashable:
        answer = definite_answer(error)
        return answer if answer == (HELD if f == "acquire" else NOT_HELD) else NO_ANSWER

    def is_read(self, call: ObjectCall) -> bool:
        return not call.is_pending and call.answer in (HELD, NOT_HELD)

    def resulting_state(self, call: ObjectCall) -> ModelState:
        return NO_SINGLE_STATE if self.is_read(call) else call.f == "acquire"

    def required_state(self, call: ObjectCall) -> ModelState:
        return (call.f == "release") is not self.is_read(call)


class Permits(int):
    """How many permits a call acquires or releases."""


class SemaphoreModel(MutexModel):
    """Permits that are acquired and released, one or several at a time, whoever calls. The state: how many are held."""

    initial: ClassVar[ModelState] = 0

    def __init__(self) -> None:
        self.permits = 1

    @property
    def setting(self) -> str:
        return "there is 1 permit" if self.permits == 1 else f"there are {self.permits} permits"

    def start_with(self, value: str) -> None:
        if not value.isdecimal():
            raise ValueError(f"the first value of a semaphore is its number of permits, and this one is {value}")
        self.permits = int(value)

    def step(self, state: ModelState, call: ObjectCall) -> tuple[ModelState, Hashable]:
        assert isinstance(state, int)
        assert isinstance(call.argument, int)
        if call.f == "acquire":
            return (state, HELD) if state + call.argument > self.permits else (state + call.argument, None)
        return (state, NOT_HELD) if state < call.argument else (state - call.argument, None)

    def argument_from(self, f: str, value: Any, process: Hashable) -> Hashable:
        if value is None:
            return Permits(1)
        if type(value) is not int or value < 1:
            raise ValueError(f"the value of an {f} is a number of permits, and this one is {value!r}")
        return Permits(value)

    def resulting_state(self, call: ObjectCall) -> ModelState:
        return NO_SINGLE_STATE

    def required_state(self, call: ObjectCall) -> ModelState:
        return NO_SINGLE_STATE
