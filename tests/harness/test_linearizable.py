from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from harness.checkers.evidence import Run
from harness.checkers.linearizable import (
    TooHard,
    blocks,
    consensus,
    decide,
    linearizable,
    search,
    writes_are_unique,
)
from harness.checkers.verdict import Status
from harness.history import Event, EventType, History
from harness.models import Call, Consensus, Model, Register, State, calls_of
from harness.receipts import Receipt
from node.algorithms.paxos import Paxos

CONSENSUS, REGISTER = Consensus(), Register()


# --- the brute force ------------------------------------------------------------------------------------------------


def has_an_order(calls: Sequence[Call], model: Model) -> bool:
    """The definition, word by word: try every order that real time allows, with and without what is pending."""

    def explore(left: tuple[Call, ...], state: State) -> bool:
        if all(call.is_pending for call in left):
            return True
        for call in left:
            if any(other.precedes(call) for other in left):
                continue
            after, answer = model.step(state, call)
            others = tuple(other for other in left if other is not call)
            if (call.is_pending or answer == call.answer) and explore(others, after):
                return True
        return False

    return explore(tuple(calls), model.initial)


def some_calls(rng: Random, model: Model, values: Sequence[str]) -> list[Call]:
    """A random small history. Half are right by construction, or all but one answer."""
    write, read = model.functions
    count = rng.randint(0, 6)
    places = rng.sample(range(20), 2 * count)
    intervals = [sorted(places[2 * number : 2 * number + 2]) for number in range(count)]
    fresh = iter(rng.sample(values, len(values)))
    drafts = []
    for began, ended in intervals:
        f = write if rng.random() < 0.5 else read
        argument = (next(fresh, None) or values[0] if len(values) > 3 else rng.choice(values)) if f == write else None
        is_pending = f == write and rng.random() < 0.25
        drafts.append((f, argument, began, None if is_pending else ended, rng.uniform(began, ended)))
    answers: dict[int, str | None] = {}
    if rng.random() < 0.7:
        state: State = model.initial
        for number in sorted(range(count), key=lambda number: drafts[number][4]):
            f, argument, began, end, _ = drafts[number]
            if end is None and rng.random() < 0.5:
                continue
            state, answers[number] = model.step(state, Call(f, argument, None, began, end))
        if answers and rng.random() < 0.5:
            answers[rng.choice(list(answers))] = rng.choice([None, *values[:3]])
    else:
        answers = {number: rng.choice([None, *values[:3]]) for number in range(count)}
    return [
        Call(f, argument, None if ended is None else answers[number], began, ended)
        for number, (f, argument, began, ended, _) in enumerate(drafts)
    ]


FEW, MANY = ("a", "b", "c"), tuple("abcdefgh")


@pytest.mark.parametrize(
    ("model", "values", "procedure", "fits"),
    [
        (CONSENSUS, FEW, consensus, lambda _: True),
        (CONSENSUS, FEW, None, lambda _: True),
        (REGISTER, MANY, blocks, writes_are_unique),
        (REGISTER, MANY, None, lambda _: True),
        (REGISTER, FEW, None, lambda _: True),
        (REGISTER, FEW, decide, lambda _: True),
    ],
)
def test_agrees_with_the_brute_force(
    model: Model, values: Sequence[str], procedure: Any, fits: Callable[[Sequence[Call]], bool]
) -> None:
    rng = Random(7)
    seen: Counter[str] = Counter()
    for _ in range(10_000):
        calls = some_calls(rng, model, values)
        if not fits(calls):
            seen["skipped"] += 1
            continue
        expected = has_an_order(calls, model)
        if procedure is None:
            found = search(calls, model)
        elif procedure is decide:
            found = decide(calls, model)
        else:
            found = procedure(calls)
        assert expected == (found is None), (calls, found)
        seen["legal" if expected else "illegal"] += 1
        seen["pending"] += any(call.is_pending for call in calls)
        seen["repeated"] += len({call.argument for call in calls}) < len(calls)
    assert seen["skipped"] == 0
    assert min(seen["legal"], seen["illegal"], seen["pending"], seen["repeated"]) > 2_000


# --- by hand --------------------------------------------------------------------------------------------------------


def write(value: str | None, began: int, ended: int | None) -> Call:
    return Call("write", value, None, began, ended)


def read(value: str | None, began: int, ended: int) -> Call:
    return Call("read", None, value, began, ended)


@pytest.mark.parametrize(
    ("calls", "why"),
    [
        ([], None),
        ([write("a", 1, 2), read("a", 3, 4)], None),
        ([write("a", 1, 2), read(None, 3, 4)], "each of two values must have come before the other"),
        ([write("a", 1, 4), read(None, 2, 3)], None),
        ([write("a", 1, 4), read("a", 2, 3), read(None, 5, 6)], "each of two values must have come before the other"),
        ([read("a", 1, 2), write("a", 3, 4)], "it was read before it was written"),
        ([read("a", 1, 2)], "nobody had written that"),
        ([write("a", 1, None), read("a", 5, 6)], None),
        (
            [write("a", 1, None), read("a", 2, 3), read(None, 4, 5)],
            "each of two values must have come before the other",
        ),
        ([write("a", 1, None), read(None, 4, 5)], None),
        # A backward block inside a forward one.
        (
            [write("a", 1, 2), write("b", 3, 4), read("a", 5, 6)],
            "each of two values must have come before the other",
        ),
        # Two forward blocks that overlap.
        (
            [write("a", 0, 2), write("b", 1, 3), read("a", 4, 5), read("b", 6, 7)],
            "each of two values must have come before the other",
        ),
        ([write("a", 0, 2), write("b", 1, 8), read("a", 4, 5), read("b", 6, 7)], None),
        ([write("a", 1, 9), write("b", 2, 8), read("b", 3, 4), read("a", 5, 6)], None),
    ],
)
def test_blocks(calls: list[Call], why: str | None) -> None:
    assert writes_are_unique(calls)
    found = blocks(calls)
    assert why == (found.why if found is not None else None)
    assert has_an_order(calls, REGISTER) == (why is None)


def test_a_repeated_or_initial_value_is_not_unique() -> None:
    assert writes_are_unique([write("a", 1, 2), write("a", 3, 4)]) is False
    assert writes_are_unique([write(None, 1, 2)]) is False


def test_a_search_that_is_too_hard_gives_up() -> None:
    calls = [write(f"v{number % 9}", number, None) for number in range(20)] + [read("no", 30, 31)]
    with pytest.raises(TooHard, match="more than 1,000 orders of 21 calls"):
        search(calls, REGISTER, configurations_max=1_000)


def test_a_long_history_is_decided_soon() -> None:
    calls = [write(f"v{number}", 4 * number, 4 * number + 1) for number in range(20_000)]
    calls += [read(f"v{number}", 4 * number + 2, 4 * number + 3) for number in range(20_000)]
    assert blocks(calls) is None
    assert blocks([*calls, read("v7", 10**9, 10**9 + 1)]) is not None


def test_a_search_of_a_long_history_with_little_at_once_is_decided_soon() -> None:
    rng = Random(1)
    calls = []
    for number in range(500):
        value = rng.choice(FEW)
        calls.append(write(value, 4 * number, 4 * number + 1))
        calls.append(read(value, 4 * number + 2, 4 * number + rng.choice([3, 5])))
    assert search(calls, REGISTER) is None


# --- as a checker ---------------------------------------------------------------------------------------------------


def history_of(*events: tuple[str, EventType, str, object]) -> History:
    """Events as (process, type, f, value), a second apart, on one key."""
    return History(
        Event(index, index * 1_000_000_000, process, type_, f, "x", value, None, f"n{process}")
        for index, (process, type_, f, value) in enumerate(events)
    )


def run_of(*events: tuple[str, EventType, str, object], **about: Any) -> Run:
    return Run(("n1", "n2", "n3"), Paxos, history_of(*events), **about)


def test_a_good_history_is_valid() -> None:
    run = run_of(
        ("1", "invoke", "propose", "blue"),
        ("2", "invoke", "query", None),
        ("2", "ok", "query", None),
        ("1", "ok", "propose", "blue"),
        ("2", "invoke", "query", None),
        ("2", "ok", "query", "blue"),
    )
    verdict = linearizable(run)
    assert (verdict.status, verdict.evidence) == (Status.VALID, "3 answers have an order that Consensus allows")


def test_a_bad_history_says_which_answers_contradict_each_other() -> None:
    run = run_of(
        ("1", "invoke", "propose", "blue"),
        ("1", "ok", "propose", "blue"),
        ("2", "invoke", "query", None),
        ("2", "ok", "query", None),
    )
    verdict = linearizable(run)
    expected = "n1 answered 'blue' at 1.00 s, n2 answered undecided at 3.00 s: a decision was seen, and then none for x"
    assert (verdict.status, verdict.evidence) == (Status.INVALID, expected)


def test_a_stale_read_of_a_register() -> None:
    run = run_of(
        ("1", "invoke", "write", "blue"),
        ("1", "ok", "write", "blue"),
        ("1", "invoke", "write", "red"),
        ("1", "ok", "write", "red"),
        ("2", "invoke", "read", None),
        ("2", "ok", "read", "blue"),
    )
    verdict = linearizable(run, REGISTER)
    assert verdict.status == Status.INVALID
    for words in ("c1 asked to write", "n2 answered 'blue' at 5.00 s", "each of two values must have come before"):
        assert words.replace("c1", "1") in verdict.evidence


def test_values_that_repeat_are_searched() -> None:
    events: list[tuple[str, EventType, str, object]] = []
    for value in ("blue", "red", "blue"):
        events += [("1", "invoke", "write", value), ("1", "ok", "write", None)]
    good = linearizable(run_of(*events, ("2", "invoke", "read", None), ("2", "ok", "read", "blue")), REGISTER)
    assert good.status == Status.VALID
    bad = linearizable(run_of(*events, ("2", "invoke", "read", None), ("2", "ok", "read", "red")), REGISTER)
    expected = "n2 answered 'red' at 7.00 s: of 4 calls no order explains more than 3 for x"
    assert (bad.status, bad.evidence) == (Status.INVALID, expected)


def test_an_empty_history_is_unknown() -> None:
    assert linearizable(run_of()).evidence == "none of 0 operations succeeded"
    pending = run_of(("1", "invoke", "propose", "blue"), ("1", "info", "propose", None))
    assert linearizable(pending).evidence == "none of 1 operation succeeded"


def test_a_fault_that_did_not_bite_is_unknown() -> None:
    events: list[tuple[str, EventType, str, object]] = [
        ("1", "invoke", "propose", "blue"),
        ("1", "ok", "propose", "blue"),
    ]
    run = run_of(*events, receipts=[Receipt("kill", 0)], faults_expected=True)
    assert linearizable(run).status == Status.UNKNOWN


def test_what_is_too_hard_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(*_: object) -> None:
        raise TooHard("more than 3 orders")

    monkeypatch.setattr("harness.checkers.linearizable.search", give_up)
    events: list[tuple[str, EventType, str, object]] = []
    for value in ("blue", "blue"):
        events += [("1", "invoke", "write", value), ("1", "ok", "write", None)]
    verdict = linearizable(run_of(*events), REGISTER)
    assert (verdict.status, verdict.evidence) == (Status.UNKNOWN, "x: more than 3 orders")


def test_a_checker_that_fails_is_unknown() -> None:
    class Broken(Model):
        functions = ("propose", "query")
        reads = ("query",)

        def step(self, state: State, call: Call) -> tuple[State, str | None]:
            raise RuntimeError("no such call")

    run = run_of(("1", "invoke", "propose", "blue"), ("1", "ok", "propose", "blue"))
    verdict = linearizable(run, Broken())
    assert verdict.status == Status.UNKNOWN
    assert verdict.evidence == "the checker linearizable failed: RuntimeError no such call"


def test_what_is_left_out_of_the_calls() -> None:
    history = history_of(
        ("1", "invoke", "write", "blue"),
        ("1", "fail", "write", None),
        ("1", "invoke", "read", None),
        ("1", "info", "read", None),
        ("2", "invoke", "write", "red"),
        ("2", "info", "write", None),
        ("3", "invoke", "propose", "green"),
    )
    (call,) = calls_of(history.operations, REGISTER)["x"]
    assert (call.f, call.argument, call.began, call.ended) == ("write", '"red"', 4, None)
