"""The services that Maelstrom offers to nodes: stores of keys and values, and an oracle of timestamps.

| service | what it is |
|---|---|
| lin-kv | a linearizable store |
| seq-kv | a sequentially consistent store: each node sees a past state, and never goes back; what it writes, it sees |
| lww-kv | five stores that do not know of each other until they gossip; the last write wins by its timestamp |
| lin-tso | a linearizable oracle of rising timestamps |

They live in the harness, and no fault strikes them or the links to them. Every draw comes from the run's seed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from harness.records.jsonable import canonical
from harness.systems.maelstrom.protocol import KEY_DOES_NOT_EXIST, NOT_SUPPORTED, PRECONDITION_FAILED, Body, JsonLine

_REPLICAS: Final = 5
#: The probability that a request to lww-kv makes two of its stores gossip first.
_GOSSIP: Final = 0.3
#: How far back a reader of seq-kv may be, in updates.
_BEHIND_MAX: Final = 8


class _Refused(Exception):
    """A request is answered by an error: its code and its text."""


def _apply(state: dict[str, Any], body: Body) -> Body:
    """Apply a request of a store to a state, and return the answer. Raises _Refused; the state is as before then."""
    key = canonical(body.get("key"))
    match body["type"]:
        case "read":
            if key not in state:
                raise _Refused(KEY_DOES_NOT_EXIST, "key does not exist")
            return {"type": "read_ok", "value": state[key]}
        case "write":
            state[key] = body.get("value")
            return {"type": "write_ok"}
        case "cas":
            if key not in state and not body.get("create_if_not_exists"):
                raise _Refused(KEY_DOES_NOT_EXIST, "key does not exist")
            if key in state and canonical(state[key]) != canonical(body.get("from")):
                raise _Refused(PRECONDITION_FAILED, f"current value {state[key]!r} is not {body.get('from')!r}")
            state[key] = body.get("to")
            return {"type": "cas_ok"}
    raise _Refused(NOT_SUPPORTED, f"a store takes read, write and cas, and no {body['type']}")


@dataclass
class _Linearizable:
    state: dict[str, Any] = field(default_factory=dict)

    def handle(self, _src: str, body: Body) -> Body:
        return _apply(self.state, body)


@dataclass
class _Sequential:
    """Keeps the last states. A reader sees one that is not older than the last one it has seen."""

    rng: Random
    states: list[dict[str, Any]] = field(default_factory=lambda: [{}])
    number: int = 0
    seen: dict[str, int] = field(default_factory=dict)

    def handle(self, src: str, body: Body) -> Body:
        if body["type"] == "read":
            oldest = self.number - len(self.states) + 1
            at = self.rng.randint(max(self.seen.get(src, 0), oldest), self.number)
            self.seen[src] = at
            return _apply(dict(self.states[at - oldest]), body)
        state = dict(self.states[-1])
        answer = _apply(state, body)
        self.states = [*self.states, state][-_BEHIND_MAX:]
        self.number += 1
        self.seen[src] = self.number
        return answer


@dataclass
class _LastWriteWins:
    """Stores whose values carry timestamps."""

    rng: Random
    clock: int = 0
    stores: list[dict[str, tuple[int, Any]]] = field(default_factory=lambda: [{} for _ in range(_REPLICAS)])

    def handle(self, _src: str, body: Body) -> Body:
        if self.rng.random() < _GOSSIP:
            one, other = self.rng.sample(self.stores, 2)
            for key in dict.fromkeys((*one, *other)):
                newest = max((store[key] for store in (one, other) if key in store), key=lambda stamped: stamped[0])
                one[key] = other[key] = newest
        store = self.rng.choice(self.stores)
        state = {key: value for key, (_, value) in store.items()}
        answer = _apply(state, body)
        if body["type"] != "read":
            self.clock += 1
            key = canonical(body.get("key"))
            store[key] = (self.clock, state[key])
        return answer


@dataclass
class _Oracle:
    last: int = 0

    def handle(self, _src: str, body: Body) -> Body:
        if body["type"] != "ts":
            raise _Refused(NOT_SUPPORTED, f"the oracle takes ts, and no {body['type']}")
        self.last += 1
        return {"type": "ts_ok", "ts": self.last}


#: The names of all services.
SERVICES: Final = ("lin-kv", "seq-kv", "lww-kv", "lin-tso")


class Services:
    """All services of one run."""

    def __init__(self, seed: int) -> None:
        self._handlers: dict[str, Callable[[str, Body], Body]] = {
            "lin-kv": _Linearizable().handle,
            "seq-kv": _Sequential(Random(f"seq-kv/{seed}")).handle,
            "lww-kv": _LastWriteWins(Random(f"lww-kv/{seed}")).handle,
            "lin-tso": _Oracle().handle,
        }

    def handle(self, line: JsonLine) -> Body | None:
        """Return the body of the reply to a request; None if it asks for no reply."""
        try:
            answer = self._handlers[line.dest](line.src, line.body)
        except _Refused as error:
            code, text = error.args
            answer = {"type": "error", "code": code, "text": text}
        return {**answer, "in_reply_to": line.body["msg_id"]} if "msg_id" in line.body else None
