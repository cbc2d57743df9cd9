"""What a client of a simulated log asks, by the kind of a scheduled operation; and the history that its calls make.

The history has the form of a recorded one, so that `harness.checkers.answers` judges it as it judges a run on real processes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple, cast

from cluster.clients.log_call import LogCall
from cluster.clients.outcomes import NotDone, NotKnown, Ok, Outcome
from harness.records.history import Event, RecordedCall
from harness.virtual.log_events import KEYS, SAME, SAME_KEY, ScheduledOperation
from node.contract import Value
from node.wire import Malformed, decode_value, encode_value

#: How long leases last, in milliseconds of the log's time. One that is renewed may get another length.
_LEASES_MS: Final = (150, 150, 200, 250)
_DETAILS: Final = (None, None, "d")
#: How long a leader may hold back the answer to a watch, in milliseconds.
_WATCH_MS: Final = 2000
#: The same for a place in the queue of a lock: some are answered that they still wait.
_GRANTED_MS: Final = 100
_MOST: Final = 1000
#: By the key of the call, how many entries a page has: few, so that there often are more.
_PAGES: Final = dict(zip(KEYS, (2, 1, 2), strict=True))
#: The owner of locks that every client can be.
_SHARED_OWNER: Final = "shared"
#: The client whose membership others meddle with.
_FIRST_CLIENT: Final = "c1"


@dataclass(slots=True)
class ClientMemory:
    """What a client knows from its answers: the tokens of its locks, the versions of keys, and how far its watches have come."""

    name: str
    owner: str
    """What the client calls itself as the owner of locks: another name after each restart, when it holds none of them."""
    tokens: dict[str, int] = field(default_factory=dict)
    tickets: dict[str, int] = field(default_factory=dict)
    session: int = 0
    seen: int = 0
    seen_of: dict[str, int] = field(default_factory=dict)
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
        version: the version of the operation's key that a compare-and-set expects; of a lock, its latest token.
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
    return _page_of("", _MOST)


def _page(_operation: ScheduledOperation, _memory: ClientMemory, key: str, _version: int) -> LogRequest:
    """Ask for a page that begins after the key before this one; before the first key, at the beginning."""
    return _page_of(("", *KEYS)[KEYS.index(key)], _PAGES[key])


def _page_of(after: str, most: int) -> LogRequest:
    def answer(result: Any) -> Any:
        entries, more = result
        return [[[key, _decoded(value), version] for key, value, version in entries], more]

    return LogRequest("kv", ["range", "k", after, most], "page", "k", {"after": after, "most": most}, answer, read=True)


def _put_same(_operation: ScheduledOperation, _memory: ClientMemory, _key: str, _version: int) -> LogRequest:
    return LogRequest("kv", ["put", SAME_KEY, SAME], "put", SAME_KEY, _shown(SAME))


def _get_same(operation: ScheduledOperation, memory: ClientMemory, _key: str, version: int) -> LogRequest:
    return _get(operation, memory, SAME_KEY, version)


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


def _watch_one(_operation: ScheduledOperation, memory: ClientMemory, key: str, _version: int) -> LogRequest:
    """Ask for the next change of one key."""
    after = memory.seen_of.get(key, 0)

    def answer(result: Any) -> Any:
        seen, changes = result
        memory.seen_of[key] = max(memory.seen_of.get(key, 0), seen)
        return {"seen": seen, "changes": [[version, changed, _decoded(value)] for version, changed, value in changes]}

    command = ["watch", key, after, 1]
    return LogRequest("kv", command, "watch", key, {"after": after}, answer, read=True, wait_ms=_WATCH_MS)


def _close(_operation: ScheduledOperation, memory: ClientMemory, _key: str, _version: int) -> LogRequest:
    """End the client's session. It opens another one with its next command."""
    return LogRequest("session", ["close", memory.session], "end", "", None)


_OF_KEYS: Final[Mapping[str, _Maker]] = {
    "put": _put,
    "put same": _put_same,
    "get same": _get_same,
    "page": _page,
    "watch one": _watch_one,
    "close": _close,
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


def _drawn(operation: ScheduledOperation, of: Sequence[Any]) -> Any:
    """Return one of several things, by what the operation writes, which is unique in the run."""
    return of[sum(operation.value) % len(of)]


def _lease_ms(operation: ScheduledOperation) -> int:
    return cast(int, _drawn(operation, _LEASES_MS))


# --- locks ------------------------------------------------------------------------------------------------------------


def _try(operation: ScheduledOperation, memory: ClientMemory, lock: str, _version: int) -> LogRequest:
    def answer(token: Any) -> Any:
        memory.tokens[lock] = token
        return token

    return LogRequest(
        "locks", ["try", lock, memory.owner, _lease_ms(operation)], "acquire", lock, {"owner": memory.owner}, answer
    )


def _try_shared(operation: ScheduledOperation, memory: ClientMemory, lock: str, _version: int) -> LogRequest:
    """Try under an owner's name that other clients use, too: they are no holder of this client's lock."""

    def answer(token: Any) -> Any:
        memory.tokens[lock] = token
        return token

    value = {"owner": _SHARED_OWNER, "lease_ms": _lease_ms(operation)}
    return LogRequest("locks", ["try", lock, _SHARED_OWNER, _lease_ms(operation)], "try", lock, value, answer)


def _acquire(operation: ScheduledOperation, memory: ClientMemory, lock: str, _version: int) -> LogRequest:
    """Take a place in the queue."""

    def answer(place: Any) -> Any:
        memory.tickets[lock], token = place
        memory.tokens[lock] = token or memory.tokens.get(lock, 0)
        return place

    value = {"owner": memory.owner, "lease_ms": _lease_ms(operation)}
    return LogRequest("locks", ["acquire", lock, memory.owner, _lease_ms(operation)], "queue", lock, value, answer)


def _granted(_operation: ScheduledOperation, memory: ClientMemory, lock: str, _version: int) -> LogRequest:
    """Wait until the client's last place in the queue is the first one."""
    ticket = memory.tickets.get(lock, 0)

    def answer(token: Any) -> Any:
        memory.tokens[lock] = token or memory.tokens.get(lock, 0)
        return token

    command = ["granted", lock, ticket]
    return LogRequest("locks", command, "granted", lock, {"ticket": ticket}, answer, read=True, wait_ms=_GRANTED_MS)


def _give_up(_operation: ScheduledOperation, memory: ClientMemory, lock: str, _version: int) -> LogRequest:
    return LogRequest("locks", ["give_up", lock, memory.owner], "give_up", lock, {"owner": memory.owner})


def _resume(operation: ScheduledOperation, memory: ClientMemory, lock: str, token: int) -> LogRequest:
    """Go on with a lock that some client holds with the latest token that was answered."""

    def answer(new: Any) -> Any:
        memory.tokens[lock] = new
        return new

    command = ["resume", lock, token, memory.owner, _lease_ms(operation)]
    value = {"token": token, "owner": memory.owner, "lease_ms": _lease_ms(operation)}
    return LogRequest("locks", command, "resume", lock, value, answer)


def _of_any_holder(word: str) -> _Maker:
    """Return what makes a call with the latest token that any client was answered."""

    def make(_operation: ScheduledOperation, _memory: ClientMemory, lock: str, token: int) -> LogRequest:
        return LogRequest("locks", [word, lock, token], word, lock, {"token": token})

    return make


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
    "try shared": _try_shared,
    "acquire": _acquire,
    "granted": _granted,
    "give up": _give_up,
    "resume": _resume,
    "renew any": _of_any_holder("renew"),
    "release any": _of_any_holder("release"),
}


# --- members and tasks ------------------------------------------------------------------------------------------------


def _of_member(group: str, word: str) -> _Maker:
    """Return what makes a join, a heartbeat or a leave of the client itself in a group."""

    def make(operation: ScheduledOperation, memory: ClientMemory, _key: str, _version: int) -> LogRequest:
        value: dict[str, Any] = {"group": group}
        command: list[Any] = [word, memory.name]
        if word == "join":  # a member that joins again with other details is refused
            details, lease_ms = _drawn(operation, _DETAILS), _lease_ms(operation)
            value |= {"details": details, "lease_s": lease_ms / 1000}
            command += [b"" if details is None else encode_value(details), lease_ms]
        return LogRequest(group, command, word, memory.name, value)

    return make


def _of_first_member(group: str, word: str) -> _Maker:
    """Return what makes a call of any client about the membership of the first one."""

    def make(_operation: ScheduledOperation, _memory: ClientMemory, _key: str, _version: int) -> LogRequest:
        return LogRequest(group, [word, _FIRST_CLIENT], word, _FIRST_CLIENT, {"group": group})

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
    **{f"{word} first": _of_first_member("members", word) for word in ("heartbeat", "leave")},
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
