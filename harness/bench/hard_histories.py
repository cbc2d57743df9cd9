"""Histories that are hard for a linearizability checker, with verdicts that are known by construction.

| kind | what it is | verdict |
|---|---|---|
| circuit | cas calls over few values that all overlap; they are the edges of a walk, so an order exists | valid |
| broken circuit | the same with one edge changed, so that one value is left more often than it is reached | invalid |
| wide | many clients on a register with cas and few values | valid |
| stale end | the same, and two reads of different values, one after the other, at its very end | invalid |
| repeating log | a log whose entries are appended more than once | valid |
| short log | the same, and a last read that lacks the entries of an earlier one | invalid |
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any, Final

from harness.checkers.models import CasRegisterModel, LogModel
from harness.checkers.sequential_model import MISMATCH, Model, ObjectCall

KINDS: Final = ("circuit", "broken circuit", "wide", "stale end", "repeating log", "short log")


@dataclass(frozen=True, slots=True)
class HardHistory:
    """A hard history.

    Attributes:
        kind: one of `KINDS`.
        size: its sizes, for people.
        model: the name of its model.
        calls: its calls.
        expected: its verdict, valid or invalid.
    """

    kind: str
    size: str
    model: str
    calls: list[ObjectCall]
    expected: str


def hard_histories(count: int, seed: int) -> Iterator[HardHistory]:
    """Yield histories of all kinds in turn, with sizes drawn from the seed."""
    rng = Random(seed)
    for number in range(count):
        yield _drawn(KINDS[number % len(KINDS)], rng)


def _drawn(kind: str, rng: Random) -> HardHistory:
    if kind == "circuit":
        calls, values = rng.randint(20, 120), rng.randint(4, 30)
        return HardHistory(
            kind, f"{calls} calls, {values} values", "cas-register", circuit(rng, calls, values), "valid"
        )
    if kind == "broken circuit":
        calls, values = rng.randint(20, 120), rng.randint(4, 30)
        return HardHistory(
            kind, f"{calls} calls, {values} values", "cas-register", broken_circuit(rng, calls, values), "invalid"
        )
    if kind in ("wide", "stale end"):
        clients, values, count = rng.randint(10, 60), rng.randint(2, 6), rng.randint(200, 1_500)
        made = some_run(rng, CasRegisterModel(), clients, count, values)
        size = f"{clients} clients, {values} values, {count} calls"
        if kind == "wide":
            return HardHistory(kind, size, "cas-register", made, "valid")
        return HardHistory(kind, size, "cas-register", with_stale_end(rng, made), "invalid")
    clients, values, count = rng.randint(3, 14), rng.randint(2, 5), rng.randint(100, 500)
    made = some_run(rng, LogModel(), clients, count, values)
    size = f"{clients} clients, {values} entries, {count} calls"
    if kind == "repeating log":
        return HardHistory(kind, size, "log", made, "valid")
    last = max(call.ended or 0 for call in made)
    longest = max((call.answer for call in made if isinstance(call.answer, tuple)), key=len, default=())
    for number, answer in enumerate(((*longest, "0"), longest)):
        made.append(ObjectCall("read", None, answer, last + 1 + 2 * number, last + 2 + 2 * number, None, "last"))
    return HardHistory(kind, size, "log", made, "invalid")


def some_run(rng: Random, model: Model, clients: int, count: int, values: int) -> list[ObjectCall]:
    """Return a history that has an order: every call takes effect at one moment between its begin and its end."""
    state, place, begun = model.initial, 0, 0
    opened: dict[int, ObjectCall] = {}
    effective: set[int] = set()
    calls: list[ObjectCall] = []
    while begun < count or opened:
        client = rng.randrange(clients)
        call = opened.get(client)
        if call is None:
            if begun == count:
                continue
            f = rng.choice([*model.functions, *model.reads])
            value = str(rng.randrange(values))
            argument = (value, str(rng.randrange(values))) if f == "cas" else None if f in model.reads else value
            opened[client] = ObjectCall(f, argument, None, place, None, None, client)
            calls.append(opened[client])
            begun += 1
        elif client not in effective:
            state, call.answer = model.step(state, call)
            effective.add(client)
            continue
        else:
            call.ended = place
            effective.discard(client)
            del opened[client]
        place += 1
    return calls


def circuit(rng: Random, calls: int, values: int) -> list[ObjectCall]:
    """Return cas calls that all overlap, and have an order: they are the edges of a walk."""
    walk = [0]
    for _ in range(calls):
        walk.append(rng.choice([value for value in range(values) if value != walk[-1]]))
    edges = [(str(one), str(other)) for one, other in pairwise(walk)]
    rng.shuffle(edges)
    found = [ObjectCall("write", "0", None, 0, 1, None, "w")]
    for number, edge in enumerate(edges):
        found.append(ObjectCall("cas", edge, "done", 2 + number, 2 + calls + number, None, number))
    return found


def broken_circuit(rng: Random, calls: int, values: int) -> list[ObjectCall]:
    """Return a circuit of which one call makes a value that nothing needs, in the place of one that is left by each way to it."""
    made = circuit(rng, calls, values)
    arrivals: dict[str, list[int]] = {}
    departures: dict[str, int] = {}
    for number, call in enumerate(made[1:], 1):
        assert isinstance(call.argument, tuple)
        source, target = call.argument
        departures[source] = departures.get(source, 0) + 1
        arrivals.setdefault(target, []).append(number)
    needed = [
        number
        for target, numbers in arrivals.items()
        if target != "0" and departures.get(target, 0) == len(numbers)
        for number in numbers
    ]
    number = rng.choice(needed)
    source, _ = made[number].argument  # type: ignore[misc]  # a cas has two values
    made[number] = made[number].changed(argument=(source, str(values)))
    return made


def with_stale_end(rng: Random, calls: list[ObjectCall]) -> list[ObjectCall]:
    """Return a history with two more reads at its end, one after the other, of which one is stale."""
    end = 2 * len(calls)
    values = ("0", "1") if rng.random() < 0.5 else ("1", "0")
    more = [
        ObjectCall("read", None, value, end + 2 * number, end + 2 * number + 1, None, "last")
        for number, value in enumerate(values)
    ]
    return [*(call.changed() for call in calls), *more]


def lines_of(history: HardHistory) -> Iterator[str]:
    """Yield the lines of a history as `consensus check` reads them."""
    moments: list[tuple[int, dict[str, Any]]] = []
    for call in history.calls:
        about = {"process": call.process, "f": call.f}
        asked = [int(part) for part in call.argument] if isinstance(call.argument, tuple) else _value(call.argument)
        moments.append((call.began, {**about, "type": "invoke", "value": asked}))
        if call.ended is None:
            continue
        if call.answer == MISMATCH:
            moments.append((call.ended, {**about, "type": "fail", "value": asked, "error": MISMATCH}))
        else:
            answer = _value(call.answer) if call.f == "read" else asked
            moments.append((call.ended, {**about, "type": "ok", "value": answer}))
    for _, event in sorted(moments, key=lambda moment: moment[0]):
        yield f"{json.dumps(event)}\n"


def _value(value: Any) -> Any:
    if isinstance(value, tuple):
        return [int(part) for part in value]
    return None if value is None else int(value)
