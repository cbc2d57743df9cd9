"""The graph of dependencies between transactions, compared with its definition over small random graphs."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import permutations, product
from random import Random

import pytest

from harness.checkers.client_calls import ClientCall
from harness.checkers.dependency_graph import (
    RW,
    TIME,
    WR,
    WW,
    DependencyGraph,
    Edge,
    _CycleSearch,
    components,
    targets_of,
)
from harness.checkers.transactions import Isolation, Transaction


def a_graph(rng: Random, transactions: int, kinds: Sequence[int] = (WW, WR, RW)) -> list[Edge]:
    """Return random edges between different transactions, each once. Time goes from lower to higher numbers."""
    possible = [
        Edge(one, other, kind)
        for one, other, kind in product(range(transactions), range(transactions), kinds)
        if one != other and (kind != TIME or one < other)
    ]
    return rng.sample(possible, rng.randint(2, 2 * transactions))


def graph_of(transactions: int, edges: Iterable[Edge]) -> DependencyGraph:
    graph = DependencyGraph(transactions)
    for edge in edges:
        graph.add(*edge)
    return graph


def closed_walks(edges: Sequence[Edge], most: int) -> Iterator[list[Edge]]:
    """Yield every closed walk of at most so many edges, the short ones first."""
    walks = [[edge] for edge in edges]
    for _ in range(most - 1):
        walks = [[*walk, edge] for walk in walks for edge in edges if edge.source == walk[-1].target]
        yield from (walk for walk in walks if walk[-1].target == walk[0].source)


def anomaly_of(walk: Sequence[Edge]) -> tuple[Isolation, str]:
    """Return the weakest level that forbids a closed walk, and what the walk is called."""
    kinds = [edge.kind for edge in walk]
    reads = kinds.count(RW)
    if not reads:
        name, level = ("G1c" if WR in kinds else "G0"), Isolation.READ_COMMITTED
    elif reads == 1:
        name, level = "G-single", Isolation.SNAPSHOT_ISOLATION
    elif not any(one == other == RW for one, other in zip(kinds, [*kinds[1:], kinds[0]], strict=True)):
        name, level = "G-nonadjacent", Isolation.SNAPSHOT_ISOLATION
    else:
        name, level = "G2-item", Isolation.SERIALIZABLE
    return (Isolation.STRICT_SERIALIZABLE, f"{name}-realtime") if TIME in kinds else (level, name)


SEVERITY = ("G0", "G1c", "G-single", "G-nonadjacent", "G2-item")


def is_closed(edges: Sequence[Edge]) -> bool:
    return all(one.target == other.source for one, other in zip(edges, [*edges[1:], edges[0]], strict=True))


@pytest.mark.parametrize("level", Isolation, ids=lambda level: level.text)
def test_a_forbidden_cycle_is_found_if_there_is_one_and_it_is_a_shortest_of_the_most_severe(level: Isolation) -> None:
    rng = Random(level)
    seen = {True: 0, False: 0}
    for _ in range(250):
        edges = a_graph(
            rng, rng.randint(2, 4), (WW, WR, RW, TIME) if level is Isolation.STRICT_SERIALIZABLE else (WW, WR, RW)
        )
        forbidden: dict[str, int] = {}  # by name: how many edges the shortest walk has
        for walk in closed_walks(edges, 5):
            weakest, name = anomaly_of(walk)
            if weakest <= level:
                forbidden.setdefault(name, len(walk))
        found = list(graph_of(4, edges).cycles(level))
        assert bool(forbidden) == bool(found), (edges, found)
        for cycle in found:
            assert is_closed(cycle.edges)
            assert set(cycle.edges) <= set(edges)
            assert anomaly_of(cycle.edges) == (cycle.forbidden_from, cycle.name)
            assert cycle.forbidden_from <= level
            assert len(cycle.edges) >= forbidden[cycle.name]
        if found:
            without_time = [name for name in SEVERITY if name in forbidden]
            worst = without_time[0] if without_time else min(forbidden, key=lambda name: SEVERITY.index(name[:-9]))
            assert min(len(cycle.edges) for cycle in found if cycle.name == worst) == forbidden[worst], (edges, found)
        seen[bool(found)] += 1
    assert min(seen.values()) > 20, seen


def reachable(targets: Sequence[Sequence[int]], start: int) -> set[int]:
    """Return the nodes to which some edges lead from a node."""
    found: set[int] = set()
    front = [start]
    while front:
        for target in targets[front.pop()]:
            if target not in found:
                found.add(target)
                front.append(target)
    return found


def test_components_are_the_nodes_that_reach_each_other() -> None:
    rng = Random(4)
    for _ in range(200):
        graph = graph_of(7, a_graph(rng, 7, (WW, WR, RW, TIME)))
        kinds = rng.choice([None, {WW, WR}, {RW, WR}])
        of_kinds = graph_of(7, [])
        of_kinds.edges = [[edge for edge in out if kinds is None or edge & 7 in kinds] for out in graph.edges]
        reach = [reachable(targets_of(of_kinds), node) for node in range(7)]
        expected = {
            frozenset(other for other in reach[node] if node in reach[other])
            for node in range(7)
            if node in reach[node]
        }
        found = components(graph.edges, kinds)
        assert {frozenset(part) for part in found} == expected
        assert sorted(node for part in found for node in part) == sorted(node for part in expected for node in part)


def between_transactions(graph: DependencyGraph, kind: int) -> set[Edge]:
    """Return which transactions an edge of this kind leads to, directly or through nodes that stand for no transaction."""
    found = set()
    for source in range(graph.transactions):
        front = [edge >> 3 for edge in graph.edges[source] if edge & 7 == kind]
        for node in front:  # the loop appends to this list
            if node < graph.transactions:
                found.add(Edge(source, node, kind))
            else:
                front += [edge >> 3 for edge in graph.edges[node] if edge >> 3 not in front]
    return found


def test_a_fan_leads_from_each_source_to_each_other_target_in_linear_space() -> None:
    rng = Random(5)
    for _ in range(100):
        targets = rng.sample(range(12), rng.randint(1, 9))
        sources = rng.sample(range(12), rng.randint(1, 9))
        graph = DependencyGraph(12)
        graph.link(sources, targets, RW)
        assert between_transactions(graph, RW) == {
            Edge(source, target, RW) for source, target in product(sources, targets) if source != target
        }
        edges, nodes = sum(map(len, graph.edges)), len(graph.edges) - 12
        assert (
            (edges <= len(sources) * len(targets), nodes) == (True, 0)
            if len(targets) <= 3
            else (
                edges <= 2 * len(sources) + 4 * len(targets) - 2,
                nodes == 2 * len(targets),
            )
            == (True, True)
        )


def some_times(rng: Random, number: int) -> list[Transaction]:
    """Return transactions that begin and end in random order, of which some never end."""
    places = rng.sample(range(4 * number), 2 * number)
    found = []
    for each in range(number):
        began, ended = sorted(places[2 * each : 2 * each + 2])
        call = ClientCall("txn", [], [], "ok", began, None if rng.random() < 0.2 else ended, each)
        found.append(Transaction(call, []))
        found[-1].number = each
    return found


def test_edges_of_time_lead_from_each_transaction_to_all_that_began_after_it_in_linear_space() -> None:
    rng = Random(6)
    for _ in range(100):
        some = some_times(rng, rng.randint(2, 8))
        graph = DependencyGraph(len(some))
        graph.add_time(some)
        assert between_transactions(graph, TIME) == {
            Edge(one.number, other.number, TIME)
            for one, other in permutations(some, 2)
            if one.call.ended is not None and one.call.ended < other.call.began
        }
        assert sum(map(len, graph.edges)) <= 3 * len(some)


@pytest.mark.parametrize("level", Isolation, ids=lambda level: level.text)
def test_a_cycle_is_known_though_the_search_for_a_short_one_was_given_up(level: Isolation) -> None:
    graph = graph_of(2, [Edge(0, 1, WW), Edge(1, 0, WR)])
    search_ = _CycleSearch(graph)
    search_.left = 0
    cycle = search_.most_severe([0, 1], level)
    assert (cycle.edges, cycle.forbidden_from) == ([], level)
    assert any(anomaly_of(walk)[0] <= level for walk in closed_walks([Edge(0, 1, WW), Edge(1, 0, WR)], 2))
