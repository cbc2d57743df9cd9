"""Histories: what clients asked and what they were told, as JSON lines with Jepsen's fields.

```
{"index": 0, "time": 120, "process": "c1", "type": "invoke", "f": "propose", "key": "x", "value": "blue", "timeout_s": 2.0}
{"index": 1, "time": 950, "process": "c1", "type": "ok", "f": "propose", "key": "x", "value": "red"}
```

Rules
-----
1. `time` is in nanoseconds of the harness's one monotonic clock. The order of the lines is the order of real time:
   both are taken under one lock, the invoke before anything is sent, the completion after everything is received.
2. `ok` is an answer: a propose's value is the decided one, a query's is the decided one or null for undecided. `fail` was
   not done and never will be. `info` may have been done, or may yet be. **A timeout is always info.**
3. A process has one call open at a time. `fail` and `info` end the call; what an `info` asked for may still happen, for
   ever. A call with no completion is one too.
4. Of a register, `f` is `write` (of `value`) or `read` (its ok's value is what was read; null for nothing). What else there
   is to ask, and with which values, is in `harness/checkers/models.py`. Locks that have leases are `renew`ed too,
   and `use` is what
   their holder does to what they protect: see `harness/checkers/lock_leases.py`.
5. `node` is the node that was asked; without it any node may answer. `timeout_s`, on the invoke, is how long the client waits.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, cast

from harness.records.jsonable import (
    BadFile,
    canonical,
    from_jsonable,
    read_lines,
    to_jsonable,
    to_line,
    write_lines,
)

__all__ = [
    "BadFile",
    "BadHistory",
    "Event",
    "History",
    "RecordedCall",
    "HistoryRecorder",
    "canonical",
    "from_jsonable",
    "load",
    "save",
    "to_jsonable",
]

EventType = Literal["invoke", "ok", "fail", "info"]
CallOutcome = Literal["ok", "fail", "info"]

EVENT_TYPES: Final = ("invoke", "ok", "fail", "info")
#: What can be asked for: see `harness/checkers/models.py` for what each model makes of them.
FUNCTIONS: Final = (
    "propose",
    "query",
    "write",
    "read",
    "put",
    "get",
    "delete",
    "cas",
    "acquire",
    "renew",
    "release",
    "use",
    "append",
)

#: Field of a line -> the types that it may have, and whether it may be left out.
_FIELDS: Final[dict[str, tuple[tuple[type, ...], bool]]] = {
    "index": ((int,), False),
    "time": ((int,), False),
    "process": ((str,), False),
    "type": ((str,), False),
    "f": ((str,), False),
    "key": ((str,), False),
    "value": ((object,), True),
    "error": ((str, type(None)), True),
    "node": ((str, type(None)), True),
    "timeout_s": ((int, float, type(None)), True),
}


class BadHistory(ValueError):
    """The events are no history. The message says which event, and why."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a history. An invoke's event is also the handle by which its completion is recorded."""

    index: int
    time: int
    process: str
    type: EventType
    f: str
    key: str
    value: object = None
    error: str | None = None
    node: str | None = None
    timeout_s: float | None = None

    def to_json(self) -> dict[str, object]:
        """The line, without what is None and may be left out."""
        optional = {"error": self.error, "node": self.node, "timeout_s": self.timeout_s}
        return {
            "index": self.index,
            "time": self.time,
            "process": self.process,
            "type": self.type,
            "f": self.f,
            "key": self.key,
            "value": to_jsonable(self.value),
            **{name: item for name, item in optional.items() if item is not None},
        }


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A call: its invoke, and its completion if there is one."""

    invoke: Event
    completion: Event | None = None

    @property
    def outcome(self) -> CallOutcome:
        """How it ended; a call that nobody saw end is `info`."""
        if self.completion is None or self.completion.type == "invoke":
            return "info"
        return self.completion.type

    @property
    def f(self) -> str:
        """What was asked for: one of `FUNCTIONS`."""
        return self.invoke.f

    @property
    def key(self) -> str:
        """The variable."""
        return self.invoke.key

    @property
    def answer(self) -> object:
        """What an `ok` said. None, which means undecided, for anything else too: look at `outcome` first."""
        return self.completion.value if self.completion is not None and self.outcome == "ok" else None

    @property
    def node(self) -> str | None:
        """Who answered, if that is known; else who was asked; None for any node."""
        return (self.completion.node if self.completion is not None else None) or self.invoke.node

    def ended_before(self, later: "RecordedCall") -> bool:
        """Whether this call was over, for certain, before `later` began."""
        return self.completion is not None and self.outcome != "info" and self.completion.index < later.invoke.index


@dataclass(frozen=True)
class History:
    """Events in the order in which they happened. Making one checks them.

    Raises:
        BadHistory: an event is out of order, ends a call that is not open, or opens a second one in its process.
    """

    events: tuple[Event, ...] = ()

    def __init__(self, events: Iterable[Event] = ()) -> None:
        object.__setattr__(self, "events", tuple(events))
        _ = self.operations

    @cached_property
    def operations(self) -> tuple[RecordedCall, ...]:
        """Every call, in the order of the invokes."""
        calls: dict[int, RecordedCall] = {}
        open_calls: dict[str, Event] = {}
        before: Event | None = None
        for event in self.events:
            if before is not None and (event.index <= before.index or event.time < before.time):
                raise BadHistory(
                    f"event {event.index} comes after event {before.index}, but its index or time does not"
                )
            before = event
            if event.type == "invoke":
                earlier = open_calls.get(event.process)
                if earlier is not None:
                    raise BadHistory(
                        f"event {event.index}: process {event.process} calls while its call {earlier.index} is open: "
                        "give each thread a process name of its own"
                    )
                open_calls[event.process] = event
                calls[event.index] = RecordedCall(event)
                continue
            invoke = open_calls.pop(event.process, None)
            if invoke is None or (invoke.f, invoke.key) != (event.f, event.key):
                what = "which has no call open" if invoke is None else f"whose open call is {invoke.f} of {invoke.key}"
                raise BadHistory(
                    f"event {event.index} ends {event.f} of {event.key} in process {event.process}, {what}"
                )
            calls[invoke.index] = RecordedCall(invoke, event)
        return tuple(calls.values())

    def seconds(self, time_ns: int) -> float:
        """A time of the harness's clock, as seconds since the first event."""
        return (time_ns - self.events[0].time) / 1e9 if self.events else 0.0


@dataclass
class HistoryRecorder:
    """Records a history as it happens, from any number of threads.

    Every event is written to the file before its call returns, so a harness that is killed leaves what it has seen.
    """

    path: Path | None = None
    clock: Callable[[], int] = time.monotonic_ns
    _events: list[Event] = field(default_factory=list, init=False)
    _open: dict[str, Event] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self._file = self.path.open("w", encoding="utf-8") if self.path is not None else None

    def invoke(
        self,
        process: str,
        f: str,
        key: str,
        value: object = None,
        *,
        node: str | None = None,
        timeout_s: float | None = None,
    ) -> Event:
        """Record that `process` is about to call. Returns the handle for `ok`, `fail` or `info`.

        Raises:
            BadHistory: the process has a call open, or there is no such `f`.
            TypeError: the value cannot be recorded. Nothing was.
        """
        if f not in FUNCTIONS:
            raise BadHistory(f"f is {f!r}, and there are {', '.join(FUNCTIONS)}")
        with self._lock:
            if process in self._open:
                raise BadHistory(f"process {process} calls while its call {self._open[process].index} is open")
            event = self._append(process, "invoke", f, key, value, node=node, timeout_s=timeout_s)
            self._open[process] = event
            return event

    def ok(self, handle: Event, value: object = None, *, node: str | None = None) -> None:
        """The call was answered with `value`; None means undecided. `node` says who answered, if that is known."""
        self._complete(handle, "ok", value, None, node)

    def fail(self, handle: Event, error: str, *, node: str | None = None) -> None:
        """The call was not done, and never will be."""
        self._complete(handle, "fail", None, error, node)

    def info(self, handle: Event, error: str, *, node: str | None = None) -> None:
        """Nobody knows whether the call was done or will be. A timeout is this."""
        self._complete(handle, "info", None, error, node)

    @property
    def history(self) -> History:
        """What has been recorded up to now."""
        with self._lock:
            return History(self._events)

    def close(self) -> None:
        """Close the file. The history stays."""
        with self._lock:
            if self._file is not None:
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _complete(self, handle: Event, type_: CallOutcome, value: object, error: str | None, node: str | None) -> None:
        with self._lock:
            if self._open.get(handle.process) is not handle:
                raise BadHistory(f"call {handle.index} of process {handle.process} has ended already")
            self._append(handle.process, type_, handle.f, handle.key, value, error=error, node=node)
            del self._open[handle.process]

    def _append(
        self,
        process: str,
        type_: EventType,
        f: str,
        key: str,
        value: object,
        *,
        error: str | None = None,
        node: str | None = None,
        timeout_s: float | None = None,
    ) -> Event:
        event = Event(len(self._events), self.clock(), process, type_, f, key, value, error, node, timeout_s)
        text = to_line(event.to_json())
        self._events.append(event)
        if self._file is not None:
            self._file.write(text)
            self._file.flush()
        return event


# --- files ----------------------------------------------------------------------------------------------------------


def load(path: Path) -> History:
    """Read a history.

    Raises:
        BadFile: a line is not an event, or is not in order; the message names it.
    """
    events = []
    for number, data in read_lines(path):
        try:
            events.append(_event(data))
        except ValueError as error:
            raise BadFile(f"{path}, line {number}: {error}") from None
    try:
        return History(events)
    except BadHistory as error:
        raise BadFile(f"{path}: {error}") from None


def save(history: History, path: Path) -> None:
    """Write a history."""
    write_lines(path, (event.to_json() for event in history.events))


def _event(data: dict[str, Any]) -> Event:
    for name, (wanted, optional) in _FIELDS.items():
        if name not in data:
            if not optional:
                raise BadHistory(f"{name} is missing")
        elif not isinstance(data[name], wanted) or (isinstance(data[name], bool) and name != "value"):
            raise BadHistory(f"{name} is {data[name]!r}, which is a {type(data[name]).__name__}")
    unknown = [name for name in data if name not in _FIELDS]
    if unknown:
        raise BadHistory(f"{unknown[0]!r} is not a field; there are {', '.join(_FIELDS)}")
    if data["type"] not in EVENT_TYPES:
        raise BadHistory(f"type is {data['type']!r}, and there are {', '.join(EVENT_TYPES)}")
    if data["f"] not in FUNCTIONS:
        raise BadHistory(f"f is {data['f']!r}, and there are {', '.join(FUNCTIONS)}")
    return Event(**{**data, "type": cast(EventType, data["type"]), "value": from_jsonable(data.get("value"))})
