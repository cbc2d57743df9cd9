"""Transactions: each anomaly is found and named, and small histories are judged as a brute force judges them."""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import permutations, product
from random import Random
from typing import Any, Literal

import pytest

from harness.checkers.client_calls import CallContext, ClientCall
from harness.checkers.list_append import judge_list_append
from harness.checkers.rw_register import judge_rw_register
from harness.checkers.transactions import Isolation
from harness.checkers.verdict import Verdict, VerdictStatus

RC, SI, SER, STRICT = Isolation
#: How many random histories of each kind are compared with the brute force. 5,000 take three minutes.
HISTORIES = int(os.environ.get("CONSENSUS_LAB_HISTORIES", "100"))
Steps = list[list[Any]]
JUDGES: dict[str, Callable[[Sequence[ClientCall], CallContext, Isolation], Verdict]] = {
    "append": judge_list_append,
    "w": judge_rw_register,
}


def txn(steps: str, began: int, ended: int | None, outcome: Literal["ok", "info", "fail"] = "ok") -> ClientCall:
    """Return a transaction of steps such as "a x 1, w x 1, r x 1 2, r x": append 1, write 1, read [1, 2], read nothing."""
    answer: Steps = []
    for step in steps.split(", "):
        f, key, *values = step.split()
        numbers = [int(value) for value in values]
        answer.append([{"a": "append"}.get(f, f), key, numbers if f == "r" else numbers[0]])
    return ClientCall("txn", asked(answer), answer if outcome == "ok" else None, outcome, began, ended, began)


def asked(steps: Steps) -> Steps:
    return [[f, key, None if f == "r" else value] for f, key, value in steps]


def registers(call: ClientCall) -> ClientCall:
    """Return the same transaction on registers, whose reads return one value or null."""
    for step in call.answer or []:
        if step[0] == "r":
            step[2] = step[2][0] if step[2] else None
    return call


def names(verdict: Verdict) -> set[str]:
    return {line.split(":")[0] for line in (verdict.evidence, *verdict.more)} if verdict.status == "invalid" else set()


def together(*steps: str) -> list[ClientCall]:
    """Return transactions that all overlap in time."""
    return [txn(text, number, 100 + number) for number, text in enumerate(steps)]


def in_turn(*steps: str) -> list[ClientCall]:
    return [txn(text, 2 * number, 2 * number + 1) for number, text in enumerate(steps)]


LISTS: list[tuple[str, Isolation, list[ClientCall]]] = [
    ("G0", RC, together("a x 1, a y 1", "a x 2, a y 2", "r x 1 2, r y 2 1")),
    ("G1a", RC, [txn("a x 1", 0, 2, "fail"), txn("r x 1", 1, 3)]),
    ("G1b", RC, together("a x 1, a x 2", "r x 1", "r x 1 2")),
    ("G1c", RC, together("a x 1, r y 1", "a y 1, r x 1")),
    ("dirty update", RC, [txn("a x 1", 0, 2, "fail"), txn("a x 2", 1, 3), txn("r x 1 2", 4, 5)]),
    ("duplicate elements", RC, together("a x 1", "r x 1 1")),
    ("incompatible order", RC, together("a x 1", "a x 2", "r x 1 2", "r x 2 1")),
    ("unexpected", RC, together("r x 1")),
    ("internal", SI, together("a x 1, r x", "r x 1")),
    ("internal", SI, together("a x 1", "r x, r x 1")),
    ("lost update", SI, together("r x, a x 1", "r x, a x 2")),
    ("G-single", SI, together("a x 1, a y 1", "r x 1, r y")),
    ("G-nonadjacent", SI, together("a x 1, a y 1", "a z 1, a w 1", "r x 1, r z", "r z 1, r x")),
    ("G2-item", SER, together("r x, a y 1", "r y, a x 1", "r x 1, r y 1")),
    ("G0-realtime", STRICT, in_turn("a x 1", "a x 2", "r x 2 1")),
    ("G1c-realtime", STRICT, in_turn("r x 1", "a x 1")),
    ("G-single-realtime", STRICT, in_turn("a x 1", "r x")),
    ("G2-item-realtime", STRICT, [txn("r x", 0, 9), txn("a x 1", 1, 2), txn("r y", 3, 4), txn("a y 1, r x 1", 5, 8)]),
]


@pytest.mark.parametrize(("name", "level", "calls"), LISTS[:-1])
def test_an_anomaly_of_lists_is_found_from_its_level_on(name: str, level: Isolation, calls: list[ClientCall]) -> None:
    for judged in Isolation:
        assert (name in names(judge_list_append(calls, CallContext(), judged))) == (judged >= level), judged
        if judged < level:
            assert judge_list_append(calls, CallContext(), judged).status == VerdictStatus.VALID


REGISTERS: list[tuple[str, Isolation, list[ClientCall]]] = [
    ("G1a", RC, [txn("w x 1", 0, 2, "fail"), txn("r x 1", 1, 3)]),
    ("G1b", RC, together("w x 1, w x 2", "r x 1")),
    ("G1c", RC, together("w x 1, r y 1", "w y 1, r x 1")),
    ("unexpected", RC, together("r x 1")),
    ("internal", SI, together("w x 1, r x", "r x 1")),
    ("lost update", SI, together("r x, w x 1", "r x, w x 2")),
    ("G-single", SI, together("w x 1, w y 1", "r x 1, r y")),
    ("G-nonadjacent", SI, together("w x 1, w y 1", "w z 1, w w 1", "r x 1, r z", "r z 1, r x")),
    ("G2-item", SER, together("r x, w y 1", "r y, w x 1", "r x 1, r y 1")),
    ("G-single-realtime", STRICT, in_turn("w x 1", "r x")),
    ("G1c-realtime", STRICT, in_turn("r x 1", "w x 1")),
    ("G-single-realtime", STRICT, in_turn("w x 1", "w x 2", "r x 1")),
]


@pytest.mark.parametrize(("name", "level", "calls"), REGISTERS)
def test_an_anomaly_of_registers_is_found_from_its_level_on(
    name: str, level: Isolation, calls: list[ClientCall]
) -> None:
    calls = list(map(registers, calls))
    for judged in Isolation:
        assert (name in names(judge_rw_register(calls, CallContext(), judged))) == (judged >= level), judged


# --- brute force ----------------------------------------------------------------------------------------------------


class Run:
    """Registers or lists, as the definitions of the levels see them."""

    def __init__(self, write: str) -> None:
        self.write = write

    def after(self, state: dict[str, Any], step: Sequence[Any]) -> dict[str, Any]:
        _, key, value = step
        return {**state, key: (*state.get(key, ()), value) if self.write == "append" else value}

    def sees(self, state: dict[str, Any], step: Sequence[Any]) -> bool:
        value = state.get(step[1], () if self.write == "append" else None)
        return bool(value == (tuple(step[2]) if self.write == "append" else step[2]))

    def run(self, state: dict[str, Any], call: ClientCall) -> dict[str, Any] | None:
        """Return the state after a transaction; None if it cannot have read what it did."""
        for step in steps_of(call):
            if step[0] == "r":
                if not self.sees(state, step):
                    return None
            else:
                state = self.after(state, step)
        return state


def steps_of(call: ClientCall) -> Steps:
    return call.answer if call.is_ok else [step for step in call.value if step[0] != "r"]


def subsets(calls: Sequence[ClientCall]) -> Iterator[list[ClientCall]]:
    """Yield the transactions that may have committed."""
    doubtful = [call for call in calls if call.outcome == "info"]
    for chosen in product([False, True], repeat=len(doubtful)):
        some = {id(call) for call, committed in zip(doubtful, chosen, strict=True) if committed}
        yield [call for call in calls if call.is_ok or id(call) in some]


def is_serializable(run: Run, calls: Sequence[ClientCall], *, strict: bool) -> bool:
    def explore(left: tuple[ClientCall, ...], state: dict[str, Any]) -> bool:
        for call in left:
            if strict and any(other.ended is not None and other.ended < call.began for other in left):
                continue
            after = run.run(state, call)
            if after is not None and explore(tuple(other for other in left if other is not call), after):
                return True
        return not left

    return any(explore(tuple(committed), {}) for committed in subsets(calls))


def is_snapshot_isolated(run: Run, calls: Sequence[ClientCall]) -> bool:
    """Try every order of starts and commits; the first of two concurrent writers of a key wins."""

    def explore(
        waiting: tuple[ClientCall, ...], open_: tuple[tuple[ClientCall, frozenset[str]], ...], state: dict[str, Any]
    ) -> bool:
        for call in waiting:
            if run.run(state, call) is not None:
                others = tuple(other for other in waiting if other is not call)
                if explore(others, (*open_, (call, frozenset())), state):
                    return True
        for call, written_since in open_:
            written = {step[1] for step in steps_of(call) if step[0] != "r"}
            if written & written_since:
                continue
            after = state
            for step in steps_of(call):
                after = after if step[0] == "r" else run.after(after, step)
            rest = tuple((other, since | written) for other, since in open_ if other is not call)
            if explore(waiting, rest, after):
                return True
        return not waiting and not open_

    return any(explore(tuple(committed), (), {}) for committed in subsets(calls))


def is_read_committed(run: Run, calls: Sequence[ClientCall]) -> bool:
    """Try every order of the versions of each key: is there one without G1?"""
    for committed in subsets(calls):
        final: dict[tuple[int, str], int] = {}
        writer: dict[tuple[str, int], int] = {}
        every: dict[tuple[int, str], list[int]] = {}
        for number, call in enumerate(committed):
            for f, key, value in steps_of(call):
                if f != "r":
                    final[number, key] = value
                    writer[key, value] = number
                    every.setdefault((number, key), []).append(value)
        reads = [(n, key, value) for n, call in enumerate(committed) for f, key, value in steps_of(call) if f == "r"]
        keys = sorted({key for _, key in final})
        for orders in product(*(permutations([n for n, name in final if name == key]) for key in keys)):
            order = dict(zip(keys, orders, strict=True))
            if all(fits_read(run, read, order, writer, final, every) for read in reads) and not in_a_circle(
                edges_of(run, reads, order, writer), len(committed)
            ):
                return True
    return False


def fits_read(run: Run, read: tuple[int, str, Any], order: Any, writer: Any, final: Any, every: Any) -> bool:
    number, key, value = read
    if run.write == "w":
        source = writer.get((key, value))
        return value is None or (source is not None and (source == number or final[source, key] == value))
    # A list is made of whole transactions in the order of versions, and may end with a part of the reader's own.
    elements = list(value)
    for one in order.get(key, ()):
        own = every[one, key]
        if one == number and elements and elements == own[: len(elements)]:
            return True
        if not elements:
            return True
        if elements[: len(own)] != own:
            return False
        elements = elements[len(own) :]
    return not elements


def edges_of(run: Run, reads: Any, order: Any, writer: Any) -> set[tuple[int, int]]:
    found = {(one, other) for some in order.values() for place, one in enumerate(some) for other in some[place + 1 :]}
    for number, key, value in reads:
        last = (value[-1] if value else None) if run.write == "append" else value
        source = writer.get((key, last))
        if source is not None and source != number:
            found.add((source, number))
    return found


def in_a_circle(edges: set[tuple[int, int]], count: int) -> bool:
    reach = [[(one, other) in edges for other in range(count)] for one in range(count)]
    for middle, one, other in product(range(count), repeat=3):
        reach[one][other] |= reach[one][middle] and reach[middle][other]
    return any(reach[one][one] for one in range(count))


def some_transactions(rng: Random, write: str, most: int = 5) -> list[ClientCall]:
    """Return a random small history of a store that keeps to one level or another, or to none."""
    count = rng.randint(2, most)
    places = sorted(rng.sample(range(8 * most), 2 * count))
    owners = [*range(count), *range(count)]
    rng.shuffle(owners)
    wrong = rng.choice([0.0, 0.3])
    run, mode = Run(write), rng.choice(["serial", "snapshot", "stale", "committed"])
    state: dict[str, Any] = {}
    began: dict[int, int] = {}
    snapshot: dict[int, dict[str, Any]] = {}
    past: list[dict[str, Any]] = [state]
    fresh = iter(range(1, 100))
    calls = []
    for place, owner in zip(places, owners, strict=True):
        if owner not in began:
            began[owner] = place
            snapshot[owner] = rng.choice(past) if mode == "stale" else state
            continue
        seen = state if mode in ("serial", "committed") else snapshot[owner]
        steps: Steps = []
        written = []
        for _ in range(rng.randint(1, 4)):
            key = rng.choice("xy")
            if rng.random() < 0.5:
                source = rng.choice(past) if mode == "committed" and rng.random() < 0.3 else seen
                value = source.get(key, () if write == "append" else None)
                if rng.random() < wrong:
                    value = wrong_value(rng, write, value)
                steps.append(["r", key, list(value or ()) if write == "append" else value])
            else:
                written.append([write, key, next(fresh)])
                steps.append(written[-1])
                seen = run.after(seen, written[-1])
        outcome: Any = rng.choices(["ok", "info", "fail"], [8, 1, 1])[0]
        if outcome == "ok" or (outcome == "info" and rng.random() < 0.5) or rng.random() < 0.1:
            for step in written:
                state = run.after(state, step)
            past.append(state)
        answer = steps if outcome == "ok" else None
        ended = None if outcome == "info" else place
        calls.append(ClientCall("txn", asked(steps), answer, outcome, began[owner], ended, owner))
    return sorted(calls, key=lambda call: call.began)


def wrong_value(rng: Random, write: str, value: Any) -> Any:
    if write == "w":
        return rng.choice([None, *range(1, 6)])
    return rng.choice([value[: rng.randint(0, len(value))], value[::-1], (*value, rng.randint(1, 6))])


def truth(write: str, calls: Sequence[ClientCall], level: Isolation) -> bool:
    run = Run(write)
    match level:
        case Isolation.READ_COMMITTED:
            return is_read_committed(run, calls)
        case Isolation.SNAPSHOT_ISOLATION:
            return is_snapshot_isolated(run, calls)
    return is_serializable(run, calls, strict=level is STRICT)


def has_two_unread(calls: Sequence[ClientCall]) -> bool:
    """Whether no read shows the order of two appends to a key."""
    shown = {(key, element) for call in calls for f, key, value in (call.answer or []) if f == "r" for element in value}
    unread: dict[str, set[int]] = {}
    for number, call in enumerate(calls):
        for f, key, value in steps_of(call) if call.outcome != "fail" else []:
            if f != "r" and (key, value) not in shown:
                unread.setdefault(key, set()).add(number)
    return any(len(some) > 1 for some in unread.values())


def compare(write: str, seed: str, count: int) -> dict[tuple[Isolation, bool], int]:
    """Compare the judge with the truth over random histories, and count the truths by level."""
    rng = Random(seed)
    seen: dict[tuple[Isolation, bool], int] = {}
    for _ in range(count):
        calls = some_transactions(rng, write)
        for level in Isolation:
            verdict = JUDGES[write](calls, CallContext(), level)
            if not any(call.is_ok for call in calls):
                continue
            expected = truth(write, calls, level)
            seen[level, expected] = seen.get((level, expected), 0) + 1
            if level is SI and write == "append" and has_two_unread(calls) and not expected:
                continue
            assert verdict.status == ("valid" if expected else "invalid"), (level, calls, verdict)
    return seen


def test_a_dependency_is_explained_by_the_key_that_it_is_about() -> None:
    """T1 reads what T2 has written to x, and not what it has written to y: only that is written over."""
    some = [registers(txn(steps, place, 100 + place)) for place, steps in enumerate(("w x 1, w y 1", "r x 1, r y"))]
    evidence = judge_rw_register(some, CallContext(), SI).evidence
    assert "read y as None, and T2 wrote 1 over it" in evidence
    assert "wrote 1 to x, which T1 read" in evidence


@pytest.mark.parametrize("write", ["append", "w"])
def test_small_histories_are_judged_as_the_definitions_say(write: str) -> None:
    seen = compare(write, f"transactions/{write}", HISTORIES)
    assert all(seen.get((level, expected), 0) > 8 for level in Isolation for expected in (True, False)), seen
