"""Sequential specifications: what one object would answer if calls came one at a time.

Rules
-----
1. A model is pure: `step` takes a state and a call, and returns the next state and the answer. States, arguments and
   answers are hashable; values are given in their `canonical` text, and None stands for no value. A step may look at the
   call's own answer where more than one is right (a `cas` on nothing: "mismatch" or "not found"); it echoes one that is.
2. A call whose outcome nobody knows has no end: it takes effect at any time after its beginning, or never. One that
   failed for certain never happened, and is left out (`calls_of`), unless its error says what the object was like: "not
   found", "mismatch", "held", "not held". That is an answer, and evidence.
3. `asked`, `told` and `refused` turn what a history says into arguments and answers. A subclass that answers otherwise in
   `step` looks at its other methods too: the checkers believe them.

| model | f (aliases) | value of the invoke | value of the ok |
|---|---|---|---|
| consensus | propose, query | proposed value | decided value; null for undecided |
| register | write (w, set, put), read (r, get) | value to write | of a read: what was read; null for nothing |
| cas-register | and cas | `[old, new]` | of a cas: `false` says mismatch |
| kv | put, get, delete (del, remove), cas | value, `[old, new]` | of a get: value; of a delete: `true` or `false` if it says |
| lock | acquire (lock), release (unlock) | | of an acquire: its fencing token, or `{"token": 7}`, or nothing |
| log | append, read | entry | of a read: all entries; of an append: its index, which need only rise, or nothing |
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import Any, ClassVar, Final

from harness.records.history import RecordedCall
from harness.records.jsonable import canonical

ModelState = Hashable

MISMATCH: Final = "mismatch"
NOT_FOUND: Final = "not found"
DONE: Final = "done"
HELD: Final = "held"
NOT_HELD: Final = "not held"
#: No answer at all, and nothing that `makes` or `needs` could tell.
VOID: Final = object()

#: How the errors of a `fail` begin that are evidence, in lower case, with spaces for dashes and underscores.
_ERRORS: Final = {
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


@dataclass(slots=True, eq=False)
class ObjectCall:
    """One call on one object. `began` and `ended` are places in the order of events; `ended` is None if it is unknown."""

    f: str
    argument: Hashable
    answer: Hashable
    began: int
    ended: int | None = None
    operation: RecordedCall | None = None
    process: Hashable = ""

    @property
    def is_pending(self) -> bool:
        """Whether nobody knows if it happened."""
        return self.ended is None

    def precedes(self, other: "ObjectCall") -> bool:
        """Whether it was over before `other` began."""
        return self.ended is not None and self.ended < other.began


def text_of(value: object) -> str | None:
    """A value's `canonical` text; None for None. Numbers and strings, the usual values, take the short way."""
    kind = type(value)
    if kind is int:
        return repr(value)
    if kind is str:
        return encode_basestring_ascii(value)  # type: ignore[arg-type]  # it is a str
    return None if value is None else canonical(value)


def evidence_in(error: object) -> str | None:
    """The answer that an error amounts to, if it says what the object was like."""
    if isinstance(error, list | tuple) and error:
        error = error[0]
    if isinstance(error, Mapping):
        error = error.get("type")
    if not isinstance(error, str):
        return None
    words = error.lower().lstrip(":").replace("-", " ").replace("_", " ")
    for phrase, answer in _ERRORS.items():
        if words == phrase or words.startswith((f"{phrase}:", f"{phrase} ", f"{phrase},")):
            return answer
    return None


class Model(ABC):
    """What an object does, one call at a time."""

    functions: ClassVar[tuple[str, ...]]
    """The names of the calls that it takes."""
    reads: ClassVar[tuple[str, ...]]
    """Those that change nothing, so that one whose answer is unknown tells nothing."""
    bare: ClassVar[tuple[str, ...]] = ()
    """Those that are asked with no value of their own, other than `reads`."""
    aliases: ClassVar[Mapping[str, str]] = {}
    """Other names for functions."""
    initial: ClassVar[ModelState] = None

    @abstractmethod
    def step(self, state: ModelState, call: ObjectCall) -> tuple[ModelState, Hashable]:
        """The state after `call`, and its answer."""

    def asked(self, f: str, value: Any, process: Hashable) -> Hashable:
        """A call's argument.

        Raises:
            ValueError: the value is not one that `f` takes.
        """
        return None if f in self.reads else text_of(value)

    def told(self, f: str, argument: Hashable, value: Any) -> Hashable:
        """The answer that an `ok` gave.

        Raises:
            ValueError: the value is not one that `f` answers.
        """
        return text_of(value) if f in self.reads else None

    def refused(self, f: str, error: object) -> Hashable:
        """The answer that a `fail` amounts to; VOID if it says only that nothing was done."""
        return VOID

    def is_read(self, call: ObjectCall) -> bool:
        """Whether a call with that answer changes nothing, in any state in which it has that answer."""
        return call.f in self.reads

    def is_blind(self, call: ObjectCall) -> bool:
        """Whether the state after the call, and its answer, do not depend on the state before."""
        return False

    def makes(self, call: ObjectCall) -> ModelState:
        """The only state that the call can lead to when it changes anything; VOID if there are several."""
        return VOID

    def needs(self, call: ObjectCall) -> ModelState:
        """The only state in which the call has its answer, or if it is pending, an effect; VOID if there are several."""
        return VOID


class ConsensusModel(Model):
    """A variable that is set once: the first proposal wins, and every answer is the decided value."""

    functions = ("propose", "query")
    reads = ("query",)

    def step(self, state: ModelState, call: ObjectCall) -> tuple[ModelState, Hashable]:
        decided = call.argument if call.f == "propose" and state is None else state
        return decided, decided

    def told(self, f: str, argument: Hashable, value: Any) -> Hashable:
        return text_of(value)


class RegisterModel(Model):
    """A variable that can be overwritten. What a write is answered says nothing."""

    functions: ClassVar[tuple[str, ...]] = ("write", "read")
    reads: ClassVar[tuple[str, ...]] = ("read",)
    aliases: ClassVar[Mapping[str, str]] = {"w": "write", "set": "write", "put": "write", "r": "read", "get": "read"}

    def step(self, state: ModelState, call: ObjectCall) -> tuple[ModelState, Hashable]:
        return (state, state) if call.f in self.reads else (call.argument, call.answer)

    def refused(self, f: str, error: object) -> Hashable:
        return None if f in self.reads and evidence_in(error) == NOT_FOUND else VOID

    def is_blind(self, call: ObjectCall) -> bool:
        return call.f not in self.reads

    def makes(self, call: ObjectCall) -> ModelState:
        return VOID if call.f in self.reads else call.argument

    def needs(self, call: ObjectCall) -> ModelState:
        return call.answer if call.f in self.reads else VOID


class CasRegisterModel(RegisterModel):
    """A register with compare-and-set: `cas` of (old, new) writes new if the value is old."""

    functions: ClassVar[tuple[str, ...]] = ("write", "read", "cas")
    aliases: ClassVar[Mapping[str, str]] = {**RegisterModel.aliases, "compare-and-set": "cas", "compare_and_set": "cas"}

    def step(self, state: ModelState, call: ObjectCall) -> tuple[ModelState, Hashable]:
        if call.f != "cas":
            return RegisterModel.step(self, state, call)
        old, new = _pair(call)
        if state == old:
            return new, DONE
        return state, NOT_FOUND if state is None and call.answer == NOT_FOUND else MISMATCH

    def asked(self, f: str, value: Any, process: Hashable) -> Hashable:
        if f != "cas":
            return super().asked(f, value, process)
        if not (isinstance(value, list | tuple) and len(value) == 2):
            raise ValueError(f"a cas has [old, new] for its value, not {value!r}")
        return text_of(value[0]), text_of(value[1])

    def told(self, f: str, argument: Hashable, value: Any) -> Hashable:
        if f != "cas":
            return super().told(f, argument, value)
        return MISMATCH if value is False else DONE

    def refused(self, f: str, error: object) -> Hashable:
        if f != "cas":
            return super().refused(f, error)
        answer = evidence_in(error)
        return answer if answer in (MISMATCH, NOT_FOUND) else VOID

    def is_read(self, call: ObjectCall) -> bool:
        return call.f in self.reads or (not call.is_pending and call.answer in (MISMATCH, NOT_FOUND))

    def is_blind(self, call: ObjectCall) -> bool:
        return call.f not in self.reads and call.f != "cas"

    def makes(self, call: ObjectCall) -> ModelState:
        if call.f != "cas":
            return super().makes(call)
        return VOID if self.is_read(call) else _pair(call)[1]

    def needs(self, call: ObjectCall) -> ModelState:
        if call.f != "cas":
            return super().needs(call)
        old, _ = _pair(call)
        if self.is_read(call):
            return None if call.answer == NOT_FOUND and old is not None else VOID
        return old


class KvModel(CasRegisterModel):
    """One key of a store: a register with compare-and-set that can be deleted. A `cas` from None creates."""

    functions = ("put", "get", "delete", "cas")
    reads = ("get",)
    bare = ("delete",)
    aliases: ClassVar[Mapping[str, str]] = {
        "write": "put",
        "set": "put",
        "w": "put",
        "read": "get",
        "r": "get",
        "del": "delete",
        "remove": "delete",
        "compare-and-set": "cas",
        "compare_and_set": "cas",
    }

    def step(self, state: ModelState, call: ObjectCall) -> tuple[ModelState, Hashable]:
        if call.f != "delete":
            return super().step(state, call)
        return None, None if call.answer is None else NOT_FOUND if state is None else DONE

    def asked(self, f: str, value: Any, process: Hashable) -> Hashable:
        return None if f == "delete" else super().asked(f, value, process)

    def told(self, f: str, argument: Hashable, value: Any) -> Hashable:
        if f != "delete":
            return super().told(f, argument, value)
        return DONE if value is True else NOT_FOUND if value is False else None

    def refused(self, f: str, error: object) -> Hashable:
        if f != "delete":
            return super().refused(f, error)
        return NOT_FOUND if evidence_in(error) == NOT_FOUND else VOID

    def is_blind(self, call: ObjectCall) -> bool:
        return super().is_blind(call) and (call.f == "put" or call.answer is None)

    def makes(self, call: ObjectCall) -> ModelState:
        if call.f != "delete":
            return super().makes(call)
        return VOID if self.is_read(call) else None

    def needs(self, call: ObjectCall) -> ModelState:
        if call.f != "delete":
            return super().needs(call)
        return None if call.answer == NOT_FOUND else VOID


class LockModel(Model):
    """A lock that one process holds at a time. Each holder's fencing token, if it is given one, is above all before.

    The state is the holder, or None, and the highest token. The argument of each call is the process that makes it.
    """

    functions = ("acquire", "release")
    reads = ()
    bare = ("acquire", "release")
    aliases: ClassVar[Mapping[str, str]] = {"lock": "acquire", "unlock": "release"}
    initial = (None, None)

    def step(self, state: ModelState, call: ObjectCall) -> tuple[ModelState, Hashable]:
        assert isinstance(state, tuple)
        holder, highest = state
        if call.f == "release":
            return (state, NOT_HELD) if holder != call.argument else ((None, highest), None)
        if holder is not None:
            return state, HELD
        token = call.answer if isinstance(call.answer, int) else None
        if token is None:
            return (call.argument, highest), None
        if highest is not None and token <= highest:
            return state, VOID
        return (call.argument, token), token

    def asked(self, f: str, value: Any, process: Hashable) -> Hashable:
        if isinstance(value, Mapping) and "lease_s" in value:
            raise ValueError("this lock has leases, which end by themselves: no model here knows of that")
        return process

    def told(self, f: str, argument: Hashable, value: Any) -> Hashable:
        if value is False:
            return HELD if f == "acquire" else NOT_HELD
        if f == "release":
            return None
        token = value.get("token") if isinstance(value, Mapping) else value
        return token if type(token) is int else None

    def refused(self, f: str, error: object) -> Hashable:
        answer = evidence_in(error)
        return answer if answer == (HELD if f == "acquire" else NOT_HELD) else VOID

    def is_read(self, call: ObjectCall) -> bool:
        return not call.is_pending and call.answer in (HELD, NOT_HELD)


class LogModel(Model):
    """A list that only grows. The state is its entries, and the highest index that an append was answered with."""

    functions = ("append", "read")
    reads = ("read",)
    initial = ((), None)

    def step(self, state: ModelState, call: ObjectCall) -> tuple[ModelState, Hashable]:
        assert isinstance(state, tuple)
        entries, highest = state
        if call.f == "read":
            return state, entries
        index = call.answer
        if index is None:
            return ((*entries, call.argument), highest), None
        if highest is not None and index <= highest:
            return state, VOID
        return ((*entries, call.argument), index), index

    def told(self, f: str, argument: Hashable, value: Any) -> Hashable:
        if f == "append":
            return value if type(value) is int and text_of(value) != argument else None
        if not isinstance(value, list | tuple):
            raise ValueError(  # noqa: TRY004 - a bad file, not a bad program
                f"a read of a log is answered with the list of its entries, not {value!r}"
            )
        return tuple([text_of(entry) for entry in value])


#: By the name that a command line uses.
MODELS: Final[Mapping[str, type[Model]]] = {
    "consensus": ConsensusModel,
    "register": RegisterModel,
    "cas-register": CasRegisterModel,
    "kv": KvModel,
    "lock": LockModel,
    "log": LogModel,
}


def _pair(call: ObjectCall) -> tuple[Hashable, Hashable]:
    assert isinstance(call.argument, tuple)
    old, new = call.argument
    return old, new


def calls_of(operations: Iterable[RecordedCall], model: Model) -> dict[str, list[ObjectCall]]:
    """The calls on each key, in the order in which they began."""
    found: dict[str, list[ObjectCall]] = {}
    for operation in operations:
        f = operation.f
        if f not in model.functions or (operation.outcome == "info" and f in model.reads):
            continue
        argument = model.asked(f, operation.invoke.value, operation.invoke.process)
        completion, answer = operation.completion, None
        if completion is not None and operation.outcome == "ok":
            answer = model.told(f, argument, completion.value)
        elif completion is not None and operation.outcome == "fail":
            answer = model.refused(f, completion.error)
            if answer is VOID:
                continue
        ended = completion.index if completion is not None and operation.outcome != "info" else None
        call = ObjectCall(f, argument, answer, operation.invoke.index, ended, operation, operation.invoke.process)
        found.setdefault(operation.key, []).append(call)
    return found
