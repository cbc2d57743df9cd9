"""Orders of transactions that explain every read, compared with trying all orders of few."""

from collections.abc import Sequence
from itertools import permutations
from random import Random
from typing import Any

from harness.checkers.transaction_orders import EXHAUSTIVE_MAX, Footprint, serial_order, snapshot_order
from tests.harness.checkers.test_dependency_graph import reachable


def some_footprints(rng: Random, count: int) -> list[Footprint]:
    """Return what some transactions on two registers do: most read what another one writes."""
    written = {key: [f"{key}{number}" for number in range(count)] for key in "xy"}
    found = []
    for number in range(count):
        reads = {key: rng.choice([None, *written[key]]) for key in "xy" if rng.random() < 0.45}
        writes = {key: written[key][number] for key in "xy" if rng.random() < 0.5}
        reads = {key: value for key, value in reads.items() if value != writes.get(key)}
        found.append(Footprint(rng.choice([float("inf"), *range(20)]), reads, writes))
    return found


def some_before(rng: Random, count: int) -> list[list[int]]:
    """Return, for each node of a random graph without cycles, the nodes after it. The last two stand for no transaction."""
    places = rng.sample(range(count + 2), count + 2)
    edges = [(one, other) for one, other in permutations(range(count + 2), 2) if places[one] < places[other]]
    chosen = [edge for edge in edges if rng.random() < 0.15]
    return [[other for one, other in chosen if one == node] for node in range(count + 2)]


def runs_in_order(order: Sequence[int], footprints: Sequence[Footprint]) -> bool:
    values: dict[Any, Any] = {}
    for number in order:
        if any(values.get(key) != value for key, value in footprints[number].reads.items()):
            return False
        values |= footprints[number].writes
    return True


def has_serial_order(footprints: Sequence[Footprint], after: Sequence[Sequence[int]]) -> bool:
    later = [reachable(after, node) for node in range(len(footprints))]
    return any(
        all(order.index(one) < order.index(other) for one in order for other in later[one] if other < len(order))
        and runs_in_order(order, footprints)
        for order in permutations(range(len(footprints)))
    )


def has_snapshot_order(footprints: Sequence[Footprint]) -> bool:
    """Try every order of starts and commits. The first of two that write the same register wins."""

    def explore(waiting: frozenset[int], open_: dict[int, frozenset[Any]], values: dict[Any, Any]) -> bool:
        for number in waiting:
            can_start = all(values.get(key) == value for key, value in footprints[number].reads.items())
            if can_start and explore(waiting - {number}, {**open_, number: frozenset()}, values):
                return True
        for number, written_since in open_.items():
            writes = footprints[number].writes
            if written_since.isdisjoint(writes):
                rest = {other: since | writes.keys() for other, since in open_.items() if other != number}
                if explore(waiting, rest, values | writes):
                    return True
        return not waiting and not open_

    return explore(frozenset(range(len(footprints))), {}, {})


def test_orders_of_transactions_are_found_as_by_trying_all() -> None:
    rng = Random(7)
    seen: dict[tuple[str, bool], int] = {}
    for _ in range(400):
        footprints = some_footprints(rng, rng.randint(1, 5))
        after = some_before(rng, len(footprints)) if rng.random() < 0.7 else [[] for _ in footprints]
        found, expected = serial_order(footprints, after), has_serial_order(footprints, after)
        assert found is expected, (footprints, after)
        few = footprints[:4]
        snapshot = has_snapshot_order(few)
        assert snapshot_order(few) is snapshot, few
        for what in (("serial", expected), ("snapshot", snapshot)):
            seen[what] = seen.get(what, 0) + 1
    assert len(seen) == 4
    assert min(seen.values()) > 30, seen


def test_few_transactions_are_searched_exhaustively_and_more_are_left_open() -> None:
    """The one that ended first is no part of any order, since it reads what nobody wrote."""
    for count, expected in ((EXHAUSTIVE_MAX, False), (EXHAUSTIVE_MAX + 1, None)):
        some = [Footprint(0, {"x": "nothing wrote this"}, {})]
        some += [Footprint(number, {"y": number - 1 or None}, {"y": number}) for number in range(1, count)]
        assert serial_order(some, [[] for _ in some]) is expected
        assert snapshot_order(some) is expected
