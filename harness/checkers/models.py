"""The sequential models: consensus, registers, a key-value store, a lock and a log.

`sequential_model.py` says what a model is, and which rules it follows. `other_models.py` has further ones.

| model | f (aliases) | value of the invoke | value of the ok |
|---|---|---|---|
| consensus | propose, query | proposed value | decided value; null for undecided |
| register | write (w, set, put), read (r, get) | value to write | of a read: the value; null for nothing |
| cas-register | the same, and cas | `[old, new]` | of a cas: `false` means mismatch |
| kv | put, get, delete (del), cas, append | value, `[old, new]`, text | of a get: value; of a delete: true, false or nothing |
| lock | acquire (lock), release (unlock) | | of an acquire: its fencing token, or `{"token": 7}`, or nothing |
| log | append, read | entry | of a read: all entries; of an append: its index, which need only rise, or nothing |
"""

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar, Final, Literal

from harness.checkers.other_models import MultiRegisterModel, MutexModel, SemaphoreModel, VersionedRegisterModel
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

#: What a failed `cas` shows: a mismatch if its error says so; also if it has no error; nothing.
FailedCas = Literal["by-error", "mismatch", "ignore"]


class ConsensusModel(Model):
    """A variable that is set once: the first proposal wins, and every answer is the decided value."""

    functions = ("propose", "query")
    reads = ("query",)

    def step(self, state: ModelState, call: ObjectCall) -> tuple[ModelState, Hashable]:
        decided = call.argument if call.f == "propose" and state is None else state
        return decided, decided

    def answer_from(self, f: str, argument: Hashable, value: Any) -> Hashable:
        return text_of(value)


class RegisterModel(Model):
    """A variable that can be overwritten. The answer of a write carries no information."""

    functions: ClassVar[tuple[str, ...]] = ("write", "read")
    reads: ClassVar[tuple[str, ...]] = ("read",)
    aliases: ClassVar[Mapping[str, str]] = {"w": "write", "set": "write", "put": "write", "r": "read", "get": "read"}

    def start_with(self, value: str) -> None:
        self.initial = value  # type: ignore[misc]  # of this model only

    def step(self, state: ModelState, call: ObjectCall) -> tuple[ModelState, Hashable]:
        return (state, state) if call.f in self.reads else (call.argument, call.answer)

    def answer_from_error(self, f: str, error: object) -> Hashable:
        return None if f in self.reads and definite_answer(error) == NOT_FOUND else NO_ANSWER

    def is_blind(self, call: ObjectCall) -> bool:
        return call.f not in self.reads

    def resulting_state(self, call: ObjectCall) -> ModelState:
        return NO_SINGLE_STATE if call.f in self.reads else call.argument

    def required_state(self, call: ObjectCall) -> ModelState:
        return call.answer if call.f in self.reads else NO_SINGLE_STATE


class CasRegisterModel(RegisterModel):
    """A register with compare-and-set: `cas` of (old, new) writes new if the value is old."""

    functions: ClassVar[tuple[str, ...]] = ("write", "read", "cas")
    aliases: ClassVar[Mapping[str, str]] = {**RegisterModel.aliases, "compare-and-set": "cas", "compare_and_set": "cas"}
    failed_cas: FailedCas = "by-error"
    """Whether a `cas` that failed is evidence that another value was there."""

    def step(self, state: ModelState, call: ObjectCall) -> tuple[ModelState, Hashable]:
        if call.f != "cas":
            return RegisterModel.step(self, state, call)
        old, new = _pair(call)
        if state == old:
            return new, DONE
        return state, NOT_FOUND if state is None and call.answer == NOT_FOUND else MISMATCH

    def argument_from(self, f: str, value: Any, process: Hashable) -> Hashable:
        if f != "cas":
            return super().argument_from(f, value, process)
        if not (isinstance(value, list | tuple) and len(value) == 2):
            raise ValueError(f"the value of a cas must be [old, new], and this one is {value!r}")
        return text_of(value[0]), text_of(value[1])

    def answer_from(self, f: str, argument: Hashable, value: Any) -> Hashable:
        if f != "cas":
            return super().answer_from(f, argument, value)
        return MISMATCH if value is False else DONE

    def answer_from_error(self, f: str, error: object) -> Hashable:
        if f != "cas":
            return super().answer_from_error(f, error)
        answer = definite_answer(error)
        if self.failed_cas == "mismatch" and error is None:
            answer = MISMATCH
        return answer if answer in (MISMATCH, NOT_FOUND) and self.failed_cas != "ignore" else NO_ANSWER

    def is_read(self, call: ObjectCall) -> bool:
        if call.f in self.reads or call.is_pending:
            return call.f in self.reads
        return call.answer in (MISMATCH, NOT_FOUND) or (call.f == "cas" and _pair(call)[0] == _pair(call)[1])

    def is_blind(self, call: ObjectCall) -> bool:
        return call.f not in self.reads and call.f != "cas"

    def resulting_state(self, call: ObjectCall) -> ModelState:
        if call.f != "cas":
            return super().resulting_state(call)
        return NO_SINGLE_STATE if self.is_read(call) else _pair(call)[1]

    def required_state(self, call: ObjectCall) -> ModelState:
        if call.f != "cas":
            return super().required_state(call)
        old, _ = _pair(call)
        if not call.is_pending and call.answer in (MISMATCH, NOT_FOUND):
            return None if call.answer == NOT_FOUND and old is not None else NO_SINGLE_STATE
        return old


class KvModel(CasRegisterModel):
    """One key of a store: a register with compare-and-set that can be deleted, and whose text grows by an append.

    A `cas` from None creates, and so does an append.
    """

    functions = ("put", "get", "delete", "cas", "append")
    reads = ("get",)
    without_value = ("delete",)
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
        if call.f == "append":
            assert isinstance(call.argument, str)
            if state is None:
                return call.argument, None
            if not (isinstance(state, str) and state.startswith('"')):
                return state, NO_ANSWER  # the value is no text
            return f"{state[:-1]}{call.argument[1:]}", None
        if call.f != "delete":
            return super().step(state, call)
        return None, None if call.answer is None else NOT_FOUND if state is None else DONE

    def argument_from(self, f: str, value: Any, process: Hashable) -> Hashable:
        if f == "append" and not isinstance(value, str):
            raise ValueError(f"the value of an append must be a text, and this one is {value!r}")
        return None if f == "delete" else super().argument_from(f, value, process)

    def answer_from(self, f: str, argument: Hashable, value: Any) -> Hashable:
        if f != "delete":
            return super().answer_from(f, argument, value)
        return DONE if value is True else NOT_FOUND if value is False else None

    def answer_from_error(self, f: str, error: object) -> Hashable:
        if f != "delete":
            return super().answer_from_error(f, error)
        return NOT_FOUND if definite_answer(error) == NOT_FOUND else NO_ANSWER

    def is_blind(self, call: ObjectCall) -> bool:
        return call.f == "put" or (call.f == "delete" and not self.is_read(call) and call.answer is None)

    def resulting_state(self, call: ObjectCall) -> ModelState:
        if call.f == "append":
            return NO_SINGLE_STATE
        if call.f != "delete":
            return super().resulting_state(call)
        return NO_SINGLE_STATE if self.is_read(call) else None

    def required_state(self, call: ObjectCall) -> ModelState:
        if call.f != "delete":
            return super().required_state(call)
        return None if call.answer == NOT_FOUND else NO_SINGLE_STATE


class LockModel(Model):
    """A lock that one process holds at a time. A fencing token, if an acquire returns one, is above all earlier tokens.

    The state is a pair: the holder (None if free) and the highest token. The argument of each call is its process.
    """

    functions = ("acquire", "release")
    reads = ()
    without_value = ("acquire", "release")
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
            return state, NO_ANSWER
        return (call.argument, token), token

    def argument_from(self, f: str, value: Any, process: Hashable) -> Hashable:
        if isinstance(value, Mapping) and "lease_s" in value:
            raise ValueError("this lock has leases, which expire without a call, and no model here supports leases")
        return process

    def answer_from(self, f: str, argument: Hashable, value: Any) -> Hashable:
        if value is False:
            return HELD if f == "acquire" else NOT_HELD
        if f == "release":
            return None
        token = value.get("token") if isinstance(value, Mapping) else value
        return token if type(token) is int else None

    def answer_from_error(self, f: str, error: object) -> Hashable:
        answer = definite_answer(error)
        return answer if answer == (HELD if f == "acquire" else NOT_HELD) else NO_ANSWER

    def is_read(self, call: ObjectCall) -> bool:
        return not call.is_pending and call.answer in (HELD, NOT_HELD)


class LogModel(Model):
    """A list that only grows. The state is a pair: the entries, and the highest index that an append returned."""

    functions = ("append", "read")
    reads = ("read",)
    initial: ClassVar[ModelState] = ((), None)

    def step(self, state: ModelState, call: ObjectCall) -> tuple[ModelState, Hashable]:
        assert isinstance(state, tuple)
        entries, highest = state
        if call.f == "read":
            return state, entries
        index = call.answer
        if index is None:
            return ((*entries, call.argument), highest), None
        if highest is not None and index <= highest:
            return state, NO_ANSWER
        return ((*entries, call.argument), index), index

    def answer_from(self, f: str, argument: Hashable, value: Any) -> Hashable:
        if f == "append":
            return value if type(value) is int and text_of(value) != argument else None
        if not isinstance(value, list | tuple):
            raise ValueError(  # noqa: TRY004 - the file is wrong, not the program
                f"a read of a log must return the list of its entries, and this one returned {value!r}"
            )
        return tuple([text_of(entry) for entry in value])


#: The models by the names that the command line uses.
MODELS: Final[Mapping[str, type[Model]]] = {
    "consensus": ConsensusModel,
    "register": RegisterModel,
    "cas-register": CasRegisterModel,
    "kv": KvModel,
    "lock": LockModel,
    "log": LogModel,
    "multi-register": MultiRegisterModel,
    "versioned-register": VersionedRegisterModel,
    "mutex": MutexModel,
    "semaphore": SemaphoreModel,
}


def _pair(call: ObjectCall) -> tuple[Hashable, Hashable]:
    assert isinstance(call.argument, tuple)
    old, new = call.argument
    return old, new
