"""The history of a run: what clients asked and what they got, as JSON lines with Jepsen's fields.

```
{"index": 0, "time": 120, "process": "c1", "type": "invoke", "f": "propose", "key": "x", "value": "blue", "timeout_s": 2.0}
{"index": 1, "time": 950, "process": "c1", "type": "ok", "f": "propose", "key": "x", "value": "red"}
```

`docs/reference/formats.md` has a table of the fields. `harness.records.history_recorder` writes a history during a run.

Rules
-----
1. `time` is in nanoseconds of the harness's one monotonic clock. The order of the lines is the order of real time: the
   recorder takes both under one lock. It records the invoke before the client sends anything, and the completion after
   the client has received everything.
2. `ok` is an answer: a propose's value is the decided one; a query's is the decided one, or null for undecided. `fail` was
   not done and never will be. `info` may have been done, or may still be. **A timeout is always info.**
3. A process has one call open at a time. `fail` and `info` end the call. What an `info` asked for may still take effect
   at any later time. A call without a completion counts as `info`.
4. For a register, `f` is `write` (of `value`) or `read` (the value of its ok is what was read; null for nothing).
   `harness/checkers/models.py` lists the other operations and their values. Locks that have leases also have `renew`, and
   `use` is what the holder of a lock does to the protected resource: see `harness/checkers/lock_leases.py`.
5. `node` is the node that the client asked; without it any node may answer. `timeout_s`, on the invoke, is how long the
   client waits.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, cast

from harness.records.jsonable import BadFile, from_jsonable, read_lines, to_jsonable

EventType = Literal["invoke", "ok", "fail", "info"]
CallOutcome = Literal["ok", "fail", "info"]

EVENT_TYPES: Final = ("invoke", "ok", "fail", "info")
#: What the names of the processes begin with that call the API as people do.
API: Final = "api"
#: The reason that stands with a call that its caller has given up: it was owed no answer.
GIVEN_UP: Final = "its caller gave it up"
#: The operations. `harness/checkers/models.py` defines what each model makes of them.
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
    # Of logs: `harness/checkers/asked.py` has the table. "holds" and "stays" ask a keeper whether it is sure of its lease; "end"
    # ends a session.
    "version",
    "range",
    "watch",
    "holder",
    "holds",
    "join",
    "heartbeat",
    "stays",
    "leave",
    "view",
    "views",
    "add",
    "remove",
    "mine",
    "owners",
    "end",
    # Of other systems: `docs/reference/judges.md` has the tables. "txn" is a transaction, and "drain" empties a queue.
    "echo",
    "generate",
    "broadcast",
    "enqueue",
    "dequeue",
    "drain",
    "send",
    "poll",
    "commit_offsets",
    "list_committed_offsets",
    "txn",
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
    """The events do not form a history. The message names the event and says why."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a history. An invoke's event is also the handle with which its completion is recorded."""

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
        """Return the line's object, without the optional fields that are None."""
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
        """How the call ended; `info` if the history does not show its end."""
        if self.completion is None or self.completion.type == "invoke":
            return "info"
        return self.completion.type

    @property
    def f(self) -> str:
        """The operation: one of `FUNCTIONS`."""
        return self.invoke.f

    @property
    def key(self) -> str:
        """The variable, key or lock that the call is about."""
        return self.invoke.key

    @property
    def answer(self) -> object:
        """The value of an `ok`. None, which also means undecided, for any other outcome: look at `outcome` first."""
        return self.completion.value if self.completion is not None and self.outcome == "ok" else None

    @property
    def node(self) -> str | None:
        """The node that answered, if that is known; else the node that the client asked; None for any node."""
        return (self.completion.node if self.completion is not None else None) or self.invoke.node

    def ended_before(self, later: "RecordedCall") -> bool:
        """Return whether this call had certainly ended before `later` began."""
        return self.completion is not None and self.outcome != "info" and self.completion.index < later.invoke.index


@dataclass(frozen=True)
class History:
    """Events in the order in which they happened. The constructor checks them.

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
        """Convert a time of the harness's clock, in nanoseconds, to seconds since the first event."""
        return (time_ns - self.events[0].time) / 1e9 if self.events else 0.0


def load(path: Path) -> History:
    """Read a history's file.

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


def _event(data: dict[str, Any]) -> Event:
    for name, (wanted, optional) in _FIELDS.items():
        if name not in data:
            if not optional:
                raise BadHistory(f"{name} is missing")
        elif not isinstance(data[name], wanted) or (isinstance(data[name], bool) and name != "value"):
            raise BadHistory(f"{name} is {data[name]!r}, which is a {type(data[name]).__name__}")
    unknown = [name for name in data if name not in _FIELDS]
    if unknown:
        raise BadHistory(f"{unknown[0]!r} is not a field; the fields are {', '.join(_FIELDS)}")
    if data["type"] not in EVENT_TYPES:
        raise BadHistory(f"type is {data['type']!r}; the types are {', '.join(EVENT_TYPES)}")
    if data["f"] not in FUNCTIONS:
        raise BadHistory(f"f is {data['f']!r}; the operations are {', '.join(FUNCTIONS)}")
    return Event(**{**data, "type": cast(EventType, data["type"]), "value": from_jsonable(data.get("value"))})
