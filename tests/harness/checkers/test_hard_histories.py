"""Histories that are wide, long or repetitive: their verdicts, how quickly they come, and that the quick searches are right."""

import time
from collections.abc import Iterator
from itertools import pairwise
from random import Random

import pytest

from harness.checkers.jit_linearizability import _judge_window, search
from harness.checkers.models import CasRegisterModel, LockModel, LogModel, RegisterModel
from harness.checkers.object_linearizability import certify, find_contradiction
from harness.checkers.sequential_model import Model, ObjectCall
from harness.checkers.suspect_windows import windows


def some_run(
    rng: Random, model: Model, clients: int, count: int, values: int, *, is_long: bool = True
) -> list[ObjectCall]:
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
    assert is_long == (len(calls) > 60)
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


def ruined(rng: Random, calls: list[ObjectCall]) -> list[ObjectCall]:
    """Return a history with two more reads at its end, one after the other, of which one is stale."""
    end = 2 * len(calls)
    for number, value in enumerate(("0", "1") if rng.random() < 0.5 else ("1", "0")):
        calls.append(ObjectCall("read", None, value, end + 2 * number, end + 2 * number + 1, None, "last"))
    return calls


def hard_ones() -> Iterator[tuple[str, Model, list[ObjectCall], bool]]:
    rng = Random(17)
    for clients, values in ((40, 6), (100, 30)):
        yield f"circuit of {clients}", CasRegisterModel(), circuit(rng, clients, values), True
    for clients, values in ((30, 3), (60, 5)):
        yield (
            f"{clients} clients",
            CasRegisterModel(),
            ruined(rng, some_run(rng, CasRegisterModel(), clients, 1_000, values)),
            False,
        )
    yield "log with repeated entries", LogModel(), some_run(rng, LogModel(), 10, 400, 3), True


@pytest.mark.parametrize(
    ("model", "calls", "expected"), [case[1:] for case in hard_ones()], ids=[case[0] for case in hard_ones()]
)
def test_a_hard_history_is_judged_quickly(model: Model, calls: list[ObjectCall], expected: bool) -> None:
    began = time.process_time()
    found = find_contradiction(calls, model, 100_000)
    assert expected == (found is None)
    if found is not None:
        certificate = certify(calls, model, found, lambda place: place / 10)
        assert len(certificate.contradiction.calls) <= 4
    assert time.process_time() - began < 2


@pytest.mark.parametrize("model", [RegisterModel(), CasRegisterModel()])
def test_a_window_of_a_history_with_an_order_has_an_order(model: Model) -> None:
    rng = Random(3)
    for _ in range(6):
        calls = some_run(rng, model, rng.randint(2, 6), 80, 3)
        assert search(calls, model) is None
        for window in windows(calls, model):
            assert _judge_window(window, model, None)[0] is None


def test_two_holds_of_a_lock_are_named_among_many_that_found_it_held() -> None:
    calls = [ObjectCall("acquire", "a", None, 0, 1, None, "a")]
    calls += [
        ObjectCall("acquire", f"p{number}", "held", 2 + 2 * number, 3 + 2 * number, None, f"p{number}")
        for number in range(100)
    ]
    calls.append(ObjectCall("acquire", "b", None, 300, 301, None, "b"))
    found = find_contradiction(calls, LockModel())
    assert found is not None
    certificate = certify(calls, LockModel(), found, lambda place: place / 10)
    assert [call.process for call in certificate.history] == ["a", "b"]


def test_a_log_whose_entries_repeat_and_whose_read_came_too_early() -> None:
    calls = [
        ObjectCall("append", "1", None, 0, 1, None, "a"),
        ObjectCall("read", None, ("1", "1"), 2, 3, None, "r"),
        ObjectCall("append", "1", None, 4, 5, None, "b"),
    ]
    found = find_contradiction(calls, LogModel())
    assert found is not None
    certificate = certify(calls, LogModel(), found, lambda place: place / 10)
    assert "read 2 entries" in certificate.sentence
