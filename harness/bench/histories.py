"""Histories of up to millions of calls, for measuring checkers: correct by construction, or with one flaw.

Each client has one call open at a time. At every step one client, drawn from the seed, makes progress: it begins a call, or
its call takes effect on the one true register, or its call is answered. So the order in which calls took effect explains all
answers.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

#: How many calls old the value of a stale read is, as a multiple of the number of clients.
_STALE_CALLS_PER_CLIENT: Final = 20


@dataclass(frozen=True, slots=True)
class HistorySpec:
    """The parameters of a generated history.

    Attributes:
        calls: how many calls it has.
        clients: how many clients make them.
        values: how many different values there are; None if every write has a value of its own.
        reads: the share of the calls that are reads.
        cas: the share of the calls that are compare-and-sets. The rest are writes.
        unanswered: the share of writes and compare-and-sets whose outcome stays unknown; half of these take effect.
        stale_at: after this share of the calls, the first read returns an old value; None for no flaw.
        seed: the seed of every draw.
    """

    calls: int
    clients: int
    values: int | None = None
    reads: float = 0.5
    cas: float = 0.0
    unanswered: float = 0.0
    stale_at: float | None = None
    seed: int = 0


@dataclass(slots=True)
class _Call:
    f: str
    value: object
    answer: object = None
    has_taken_effect: bool = False


def history_lines(spec: HistorySpec) -> Iterator[str]:
    """Yield the lines of a history on a register, in the format of `consensus check`."""
    rng = Random(spec.seed)
    state: object = None
    past: list[object] = []
    open_calls: dict[int, _Call] = {}
    begun = index = time = 0
    is_stale = False
    while begun < spec.calls or open_calls:
        client = int(rng.random() * spec.clients)
        time += 1 + int(rng.random() * 2_000)
        call = open_calls.get(client)
        if call is None:
            if begun == spec.calls:
                continue
            f, value = _draw_call(spec, rng, begun, state)
            begun += 1
            open_calls[client] = _Call(f, value)
            yield _line(index, time, client, "invoke", f, value)
        elif not call.has_taken_effect:
            is_lost = call.f != "read" and rng.random() < spec.unanswered
            if not is_lost or rng.random() < 0.5:
                state, call.answer = _effect(call.f, call.value, state)
                past.append(state)
            call.has_taken_effect = True
            if is_lost:
                del open_calls[client]
                yield _line(index, time, client, "info", call.f, call.value, "timeout")
            else:
                continue
        else:
            f, value, answer = call.f, call.value, call.answer
            del open_calls[client]
            behind = _STALE_CALLS_PER_CLIENT * spec.clients
            if spec.stale_at is not None and not is_stale and f == "read" and begun > spec.stale_at * spec.calls:
                answer, is_stale = past[max(len(past) - behind, 0)], True
            error = "mismatch" if answer == "mismatch" else None
            yield _line(index, time, client, "fail" if error else "ok", f, answer if f == "read" else value, error)
        index += 1


def unanswered_writes(count: int, *, is_unique: bool) -> Iterator[str]:
    """Yield the lines of a history with `count` writes of unknown outcome and then a read of a value that cannot be there.

    If `is_unique`, each value is written once, and the read returns a value that was overwritten. Otherwise two writes have
    each value, and one value is read, overwritten, read, overwritten and read.
    """
    rows: list[tuple[str, str, object]] = []
    for number in range(count):
        rows += [(f"w{number}", "invoke", number if is_unique else number // 2)]
    definite: list[tuple[str, object]] = [("write", "old"), ("write", "new"), ("read", "old")]
    if not is_unique:
        definite = [("read", 0), ("write", "a"), ("read", 0), ("write", "b"), ("read", "b"), ("read", 0)]
    index = 0
    for process, type_, value in rows:
        yield _line(index, index * 1_000, process, type_, "write", value)
        index += 1
    for f, value in definite:
        for type_ in ("invoke", "ok"):
            yield _line(index, index * 1_000, "r", type_, f, None if type_ == "invoke" and f == "read" else value)
            index += 1


def list_transactions(count: int, clients: int, seed: int = 0) -> Iterator[str]:
    """Yield transactions of one to four steps that read lists or append to them, each at one moment, so that an order exists.

    Args:
        count: how many transactions.
        clients: how many clients.
        seed: the seed of all draws.
    """
    rng = Random(seed)
    lists: dict[int, list[int]] = {}
    opened: dict[int, list[list[object]]] = {}
    begun = appended = index = 0
    while begun < count or opened:
        client = rng.randrange(clients)
        done = opened.pop(client, None)
        if done is not None:
            yield _line(index, index * 1_000, client, "ok", "txn", done)
        elif begun < count:
            asked: list[list[object]] = []
            opened[client] = []
            for _ in range(rng.randint(1, 4)):
                key = begun // 400 * 10 + rng.randrange(10)  # ten lists at a time, which stay short
                elements = lists.setdefault(key, [])
                if rng.random() < 0.5:
                    asked.append(["r", key, None])
                    opened[client].append(["r", key, list(elements)])
                else:
                    appended += 1
                    elements.append(appended)
                    asked.append(["append", key, appended])
                    opened[client].append(asked[-1])
            begun += 1
            yield _line(index, index * 1_000, client, "invoke", "txn", asked)
        else:
            continue
        index += 1


def _draw_call(spec: HistorySpec, rng: Random, number: int, state: object) -> tuple[str, object]:
    kind = rng.random()
    if kind < spec.reads:
        return "read", None
    value = number if spec.values is None else int(rng.random() * spec.values)
    return ("cas", [state, value]) if kind < spec.reads + spec.cas else ("write", value)


def _effect(f: str, value: object, state: object) -> tuple[object, object]:
    """Return the state after a call, and the call's answer."""
    if f == "read":
        return state, state
    if f == "write":
        return value, None
    assert isinstance(value, list)
    return (value[1], None) if state == value[0] else (state, "mismatch")


def _line(index: int, time: int, process: object, type_: str, f: str, value: object, error: str | None = None) -> str:
    tail = "" if error is None else f', "error": "{error}"'
    text = value if type(value) is int else json.dumps(value)
    name = process if isinstance(process, int) else f'"{process}"'
    return f'{{"index": {index}, "time": {time}, "process": {name}, "type": "{type_}", "f": "{f}", "value": {text}{tail}}}\n'
