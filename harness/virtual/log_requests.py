"""What a client of a simulated log asks, by the kind of a scheduled operation; and the history that its calls make.

The history has the form of a recorded one, so that `harness.checkers.answers` judges it as it judges a run on real processes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple

from cluster.clients.log_call import LogCall
from cluster.clients.outcomes import NotDone, NotKnown, Ok, Outcome
from harness.records.history import Event, RecordedCall
from harness.virtual.log_events import ScheduledOperation
from node.contract import Value
from node.wire import Malformed, decode_value

#: How long a lease lasts, in milliseconds of the log's time.
_LEASE_MS: Final = 150
#: How long a leader may hold back the answer to a watch, in milliseconds.
_WATCH_MS: Final = 2000
_MOST: Final = 1000


@dataclass(slots=True)
class ClientMemory:
    """What a client knows from its answers: the tokens of its locks, the versions of keys, and how far its watches have come."""

    name: str
    owner: str
    """What the client calls itself as the owner of locks: another name after each restart, when it holds none of them."""
    tokens: dict[str, int] = field(default_factory=dict)
    seen: int = 0
    view: tuple[int, dict[str, Any]] = (0, {})


class LogRequest(NamedTuple):
    """A call: what goes to the log, and what stands in the history."""

    machine: str
    command: list[Any]
    f: str
    key: str
    value: Any
    """The value of the invoke."""
    answer: Callable[[Any], Any] = lambda result: result
    """Makes the answer that an API gives of the machine's result."""
    read: bool = False
    wait_ms: int = 0


def request_of(operation: ScheduledOperation, memory: ClientMemory, version: int) -> LogRequest:
    """Return what an operation asks.

    Args:
        operation: what was scheduled.
        memory: what its client knows.
        version: the version of the operation's key that a compare-and-set expects.
    """
    key = operation.key
    made = _OF_KEYS.get(operation.kind) or _OF_LOCKS.get(operation.kind) or _OF_GROUPS[operation.kind]
    return made(operation, memory, key, version)


# --- keys -------------------------------------------------------------------------------------------------------------

_Maker = Callable[[ScheduledOperation, ClientMemory, str, int], LogRequest]


def _put(operation: ScheduledOperation, _memory: ClientMemory, key: str, _version: int) -> LogRequest:
    return LogRequest("kv", ["put", key, operation.value], "put", key, _shown(operation.value))


def _cas(operation: ScheduledOperation, _memory: ClientMemory, key: str, version: int) -> LogRequest:
    return LogRequest("kv", ["cas", key, version, operation.value], "cas", key, [version, _shown(operation.value)])


def _get(_operation: ScheduledOperation, _memory: ClientMemory, key: str, _version: int) -> LogRequest:
    return LogRequest("kv", ["get", key], "get", key, None, lambda entry: entry and _decoded(entry[0]), read=True)


def _delete(_operation: ScheduledOperation, _memory: ClientMemory, key: str, _version: int) -> LogRequest:
    return LogRequest("kv", ["delete", key], "delete", key, None)


def _range(_operation: ScheduledOperation, _memory: ClientMemory, _key: str, _version: int) -> LogRequest:
    def answer(result: Any) -> Any:
        return [[key, _decoded(value), version] for key, value, version in result[0]]

    return LogRequest("kv", ["range", "k", "", _MOST], "range", "k", None, answer, read=True)


def _version(_operation: ScheduledOperation, _memory: ClientMemory, _key: str, _version: int) -> LogRequest:
    return LogRequest("kv", ["version"], "version", "", None, read=True)


def _watch(_operation: ScheduledOperation, memory: ClientMemory, _key: str, _version: int) -> LogRequest:
    after = memory.seen

    def answer(result: Any) -> Any:
        seen, changes = result
        memory.seen = max(memory.seen, seen)
        return {"seen": seen, "changes": [[version, key, _decoded(value)] for version, key, value in changes]}

    return LogRequest(
        "kv", ["watch", "k", after, _MOST], "watch", "k", {"after": after}, answer, read=True, wait_ms=_WATCH_MS
    )


_OF_KEYS: Final[Mapping[str, _Maker]] = {
    "put": _put,
    "cas": _cas,
    "get": _get,
    "delete": _delete,
    "range": _range,
    "version": _version,
    "watch": _watch,
}


def _shown(value: bytes) -> Any:
    """Return what is encoded in a value; the value itself if that is nothing."""
    try:
        return decode_value(Value(value))
    except Malformed:
        return value


def _decoded(value: bytes | None) -> Any:
    return None if value is None else _shown(value)


# --- locks ------------------------------------------------------------------------------------------------------------


def _try(_operation: ScheduledOperation, memory: ClientMemory, lock: str, _version: int) -> LogRequest:
    def answer(token: Any) -> Any:
        memory.tokens[lock] = token
        return token

    return LogRequest("locks", ["try", lock, memory.owner, _LEASE_MS], "acquire", lock, {"owner": memory.owner}, answer)


def _of_holder(word: str) -> _Maker:
    def make(_operation: ScheduledOperation, memory: ClientMemory, lock: str, _version: int) -> LogRequest:
        token = memory.tokens.get(lock, 0)
        return LogRequest("locks", [word, lock, token], word, lock, {"token": token})

    return make


def _holder(_operation: ScheduledOperation, _memory: ClientMemory, lock: str, _version: int) -> LogRequest:
    return LogRequest("locks", ["holder", lock], "holder", lock, None, read=True)


_OF_LOCKS: Final[Mapping[str, _Maker]] = {
    "try": _try,
    "renew": _of_holder("renew"),
    "release": _of_holder("release"),
    "holder": _holder,
}


# --- members and tasks ------------------------------------------------------------------------------------------------


def _of_member(group: str, word: str) -> _Maker:
    """Return what makes a join, a heartbeat or a leave of the client itself in a group."""

    def make(_operation: ScheduledOperation, memory: ClientMemory, _key: str, _version: int) -> LogRequest:
        value: dict[str, Any] = {"group": group}
        command: list[Any] = [word, memory.name]
        if word == "join":
            value |= {"details": None, "lease_s": _LEASE_MS / 1000}
            command += [b"", _LEASE_MS]
        return LogRequest(group, command, word, memory.name, value)

    return make


def _view(_operation: ScheduledOperation, _memory: ClientMemory, _key: str, _version: int) -> LogRequest:
    def answer(result: Any) -> Any:
        return [result[0], {name: _details(details) for name, details in result[1]}]

    return LogRequest("members", ["view"], "view", "members", None, answer, read=True)


def _views(_operation: ScheduledOperation, memory: ClientMemory, _key: str, _version: int) -> LogRequest:
    after = memory.view

    def answer(result: Any) -> Any:
        found = []
        present = dict(after[1])
        for number, event, name, details in result or ():  # None: nothing has changed in time
            if event == "joined":
                present[name] = _details(details)
            else:
                present.pop(name, None)
            found.append([number, dict(present)])
        if found and found[-1][0] > memory.view[0]:
            memory.view = (found[-1][0], dict(present))
        return found

    command = ["watch", after[0], _MOST]
    value = {"after": list(after)}
    return LogRequest("members", command, "views", "members", value, answer, read=True, wait_ms=_WATCH_MS)


def _details(details: bytes) -> Any:
    return _decoded(details) if details else None


def _of_task(word: str) -> _Maker:
    def make(_operation: ScheduledOperation, _memory: ClientMemory, task: str, _version: int) -> LogRequest:
        return LogRequest("assignment", [word, task], word, task, None)

    return make


def _mine(_operation: ScheduledOperation, memory: ClientMemory, _key: str, _version: int) -> LogRequest:
    def answer(result: Any) -> Any:
        return [result[0], dict(result[1])]

    return LogRequest("assignment", ["mine", memory.name, 0], "mine", memory.name, None, answer, read=True)


def _owners(_operation: ScheduledOperation, _memory: ClientMemory, _key: str, _version: int) -> LogRequest:
    def answer(result: Any) -> Any:
        version, shares, unassigned = result
        owners: dict[str, Any] = dict.fromkeys(unassigned)
        owners |= {task: [member, token] for member, tasks in shares for task, token in tasks}
        return [version, owners]

    return LogRequest("assignment", ["owners", 0], "owners", "", None, answer, read=True)


_OF_GROUPS: Final[Mapping[str, _Maker]] = {
    **{word: _of_member("members", word) for word in ("join", "heartbeat", "leave")},
    "view": _view,
    "views": _views,
    **{f"{word} tasks": _of_member("assignment", word) for word in ("join", "heartbeat", "leave")},
    "add": _of_task("add"),
    "remove": _of_task("remove"),
    "mine": _mine,
    "owners": _owners,
}


# --- the history ------------------------------------------------------------------------------------------------------


class CallRecord:
    """The history of a simulated run, call by call."""

    def __init__(self) -> None:
        self.odd: list[str] = []
        """Answers that no API could have read, in English."""
        self._events = 0
        self._invokes: list[Event] = []
        self._completions: dict[int, Event] = {}

    def begin(self, client: str, request: LogRequest, call: LogCall) -> None:
        """Note that a call begins. Its end is noted when it has an outcome."""
        event = self._event(client, "invoke", request, request.value)
        self._invokes.append(event)
        call.on_outcome = partial(self._ended, event, request)

    def _ended(self, invoke: Event, request: LogRequest, outcome: Outcome) -> None:
        match outcome:
            case Ok(value):
                try:
                    answer = request.answer(value)
                except Exception as error:  # noqa: BLE001 - a broken machine may answer with anything
                    self.odd.append(f"{invoke.process} is answered {value!r:.200} to {request.command} ({error!r})")
                    return
                self._completions[invoke.index] = self._event(invoke.process, "ok", request, answer)
            case NotDone(kind, reason):
                self._completions[invoke.index] = self._event(
                    invoke.process, "fail", request, None, f"{kind}: {reason}"
                )
            case NotKnown():
                pass

    def _event(self, client: str, kind: Any, request: LogRequest, value: Any, error: str | None = None) -> Event:
        self._events += 1
        return Event(self._events, self._events, client, kind, request.f, request.key, value, error)

    @property
    def calls(self) -> list[RecordedCall]:
        """Every call so far."""
        return [RecordedCall(invoke, self._completions.get(invoke.index)) for invoke in self._invokes]
