"""Histories by the million, for measuring checkers: right by construction, or with one flaw.

A number of clients each have one call open at a time. At every step one of them, drawn from the seed, goes on: it asks, or
its call takes effect on the one true register, or it is answered. So the order in which calls took effect explains the whole.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

#: How many calls a stale read is behind, in units of the number of clients.
_BEHIND: Final = 20


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a history is made of. `values` is how many different ones there are; None: every write has its own.

    Of all calls, `reads` and `cas` are those shares, and the rest are writes. `unanswered` is the share of the writes and
    `cas` whose outcome stays unknown; half of these take effect. With `stale_at`, the first read after that share of the
    calls is answered with a value of long before.
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
    is_done: bool = False


def lines(recipe: Recipe) -> Iterator[str]:
    """Its lines."""
    rng = Random(recipe.seed)
    state: object = None
    past: list[object] = []
    waiting: dict[int, _Call] = {}
    begun = index = time = 0
    is_stale = False
    while begun < recipe.calls or waiting:
        client = int(rng.random() * recipe.clients)
        time += 1 + int(rng.random() * 2_000)
        call = waiting.get(client)
        if call is None:
            if begun == recipe.calls:
                continue
            f, value = _question(recipe, rng, begun, state)
            begun += 1
            waiting[client] = _Call(f, value)
            yield _line(index, time, client, "invoke", f, value)
        elif not call.is_done:
            is_lost = call.f != "read" and rng.random() < recipe.unanswered
            if not is_lost or rng.random() < 0.5:
                state, call.answer = _effect(call.f, call.value, state)
                past.append(state)
            call.is_done = True
            if is_lost:
                del waiting[client]
                yield _line(index, time, client, "info", call.f, call.value, "timeout")
            else:
                continue
        else:
            f, value, answer = call.f, call.value, call.answer
            del waiting[client]
            behind = _BEHIND * recipe.clients
            if recipe.stale_at is not None and not is_stale and f == "read" and begun > recipe.stale_at * recipe.calls:
                answer, is_stale = past[max(len(past) - behind, 0)], True
            error = "mismatch" if answer == "mismatch" else None
            yield _line(index, time, client, "fail" if error else "ok", f, answer if f == "read" else value, error)
        index += 1


def unanswered_writes(count: int, *, is_unique: bool) -> Iterator[str]:
    """Writes that never return, and then a read of what cannot be there.

    Unique: a value is written and overwritten, and read. Else every value is written twice, and one is read, overwritten,
    read, overwritten and read.
    """
    rows: list[tuple[str, str, object]] = []
    for number in range(count):
        rows += [(f"w{number}", "invoke", number if is_unique else number // 2)]
    told: list[tuple[str, object]] = [("write", "old"), ("write", "new"), ("read", "old")]
    if not is_unique:
        told = [("read", 0), ("write", "a"), ("read", 0), ("write", "b"), ("read", "b"), ("read", 0)]
    index = 0
    for process, type_, value in rows:
        yield _line(index, index * 1_000, process, type_, "write", value)
        index += 1
    for f, value in told:
        for type_ in ("invoke", "ok"):
            yield _line(index, index * 1_000, "r", type_, f, None if type_ == "invoke" and f == "read" else value)
            index += 1


def _question(recipe: Recipe, rng: Random, number: int, state: object) -> tuple[str, object]:
    kind = rng.random()
    if kind < recipe.reads:
        return "read", None
    value = number if recipe.values is None else int(rng.random() * recipe.values)
    return ("cas", [state, value]) if kind < recipe.reads + recipe.cas else ("write", value)


def _effect(f: str, value: object, state: object) -> tuple[object, object]:
    """The state after, and the answer."""
    if f == "read":
        return state, state
    if f == "write":
        return value, None
    assert isinstance(value, list)
    return (value[1], None) if state == value[0] else (state, "mismatch")


def _line(index: int, time: int, process: object, type_: str, f: str, value: object, error: str | None = None) -> str:
    tail = "" if error is None else f', "error": "{error}"'
    text = value if type(value) is int else json.dumps(value)
    who = process if isinstance(process, int) else f'"{process}"'
    return f'{{"index": {index}, "time": {time}, "process": {who}, "type": "{type_}", "f": "{f}", "value": {text}{tail}}}\n'
