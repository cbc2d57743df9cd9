"""What the searches of the judges do, step by step: one that prunes less, or turns elsewhere, finds the same later.

Other tests compare what the searches find with brute force. This one compares how many steps each takes, and where it ends, with
the files in `work/`, so that no pruning, no limit and no order of trials changes unnoticed. `pytest --regenerate` writes the
files again: read them as a diff.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from harness.bench.hard_histories import broken_circuit, circuit, some_run, with_stale_end
from harness.checkers import few_calls, jit_linearizability
from harness.checkers.dependency_graph import LINK, RW, TIME, WR, WW, Cycle, _CycleSearch, components
from harness.checkers.depth_first import attempts
from harness.checkers.jit_linearizability import TooHard, _Search, judge_window, search
from harness.checkers.minimise import minimised
from harness.checkers.models import CasRegisterModel, LogModel
from harness.checkers.object_linearizability import find_contradiction
from harness.checkers.sequential_model import Model, ObjectCall
from harness.checkers.suspect_windows import windows
from harness.checkers.transaction_orders import (
    _greedily,
    _predecessors,
    _Registers,
    _search,
    _SerialRun,
    _SnapshotRun,
)
from harness.checkers.transactions import Isolation
from tests.harness.checkers.test_dependency_graph import a_graph, graph_of, some_times
from tests.harness.checkers.test_linearizable import MODELS, name_of, some_calls
from tests.harness.checkers.test_transaction_orders import some_before, some_footprints

FILES = Path(__file__).with_name("work")
KINDS = {WW: "ww", WR: "wr", RW: "rw", TIME: "time", LINK: "link"}


class Counted:
    """Calls a function, and counts its calls and the sum of what is counted of each."""

    def __init__(self, function: Callable[..., Any], of: Callable[[Sequence[Any], Any], int]) -> None:
        self.function, self.of = function, of
        self.calls = self.sum = 0

    def __call__(self, *arguments: Any, **more: Any) -> Any:
        result = self.function(*arguments, **more)
        self.calls += 1
        self.sum += self.of(arguments, result)
        return result

    def __str__(self) -> str:
        return f"{self.calls} of {self.sum}"


def small_histories(count: int) -> Iterator[tuple[str, Model, list[ObjectCall]]]:
    for model, values in MODELS:
        rng = Random(f"work of {name_of(model)} {len(values)}")
        for _ in range(count):
            yield f"{name_of(model)} with {name_of(values)}", model, some_calls(rng, model, values, 9)


def wide_histories() -> Iterator[tuple[str, Model, list[ObjectCall]]]:
    rng = Random(12)
    for clients in (4, 9, 16):
        run = some_run(rng, CasRegisterModel(), clients, 70, 3)
        yield f"{clients} clients", CasRegisterModel(), run
        yield f"{clients} clients with a stale end", CasRegisterModel(), with_stale_end(rng, run)
    yield "circuit", CasRegisterModel(), circuit(rng, 16, 5)
    yield "broken circuit", CasRegisterModel(), broken_circuit(rng, 9, 4)
    yield "log", LogModel(), some_run(rng, LogModel(), 4, 30, 2)


def searched(calls: Sequence[ObjectCall], model: Model) -> str:
    one = _Search(calls, model, 20_000)
    try:
        found = next(one.steps())
    except TooHard:
        return f"more than {one.visited - 1}"
    assert found != "searching"
    stuck = "" if found is None else f", stuck at {calls.index(found.calls[0])}"
    return f"{one.visited}{stuck}"


def of_searches(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield how many configurations, steps and windows the searches for an order visit."""
    for name, model, calls in (*small_histories(16), *wide_histories()):
        parts = [f"breadth first {searched(calls, model)}"]
        with monkeypatch.context() as patched:
            patched.setattr(jit_linearizability, "RACE_WIDTH", 1)
            patched.setattr(jit_linearizability, "_CONFIGURATIONS_PER_TURN", 3)
            parts.append(f"race {searched(calls, model)}")
        steps = list(zip(range(2_000), attempts(calls, model), strict=False))
        parts.append(f"depth first {len(steps)} {steps[-1][1]}")
        some = [(window, *judge_window(window, model, None)) for window in windows(calls, model)]
        sizes = [len(window.calls) for window, _, _ in some]
        skippable, visited = sum(len(window.skippable) for window, _, _ in some), sum(number for _, _, number in some)
        wrong = sum(found is not None for _, found, _ in some)
        if some:
            parts.append(f"{wrong} wrong of windows {sizes}, {skippable} skippable, visited {visited}")
        yield f"{name}, {len(calls)} calls: {'; '.join(parts)}"


def of_turns(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield how the searches take turns on histories that are hard, with turns that are short."""
    for name, model, calls in wide_histories():
        for first, width in ((2, 32), (16, 2)):
            with monkeypatch.context() as patched:
                patched.setattr(jit_linearizability, "_FIRST_TURN", first)
                patched.setattr(jit_linearizability, "_TURN_MAX", 4 * first)
                patched.setattr(jit_linearizability, "RACE_WIDTH", width)
                made: list[_Search] = []
                steps: list[str] = []
                patched.setattr(jit_linearizability, "_Search", partial(_recorded, made))
                patched.setattr(jit_linearizability, "attempts", partial(_attempted, steps))
                found = search(calls, model, 50_000)
            visited = [one.visited for one in made]
            yield (
                f"{name}, turns from {first}: {'an order' if found is None else found.template}; depth first {len(steps)}; "
                f"visited {visited[0]}, longest turn {made[0].interrupted}, in windows {visited[1:]}"
            )


def _recorded(made: list[_Search], *arguments: Any) -> _Search:
    made.append(_Search(*arguments))
    return made[-1]


def _attempted(steps: list[str], *arguments: Any) -> Iterator[str]:
    for step in attempts(*arguments):
        steps.append(step)
        yield step


def of_explanations(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield how many parts of a wrong history are tried until it is small, and how many choices of calls until they are few."""
    for name, model, calls in (*small_histories(20), *wide_histories()):
        violation = search(calls, model, quick=False) or find_contradiction(calls, model)
        if violation is None:
            continue
        check = Counted(lambda some, model=model: find_contradiction(some, model), lambda asked, _: len(asked[0]))
        left, again = minimised(calls, model, violation, check)
        judged = Counted(judge_window, lambda _, result: int(result[1]))
        with monkeypatch.context() as patched:
            patched.setattr(few_calls, "judge_window", judged)
            few = few_calls.few_required_calls(calls, left, model)
        numbers = [calls.index(call) for call in left]
        required = None if few is None else [calls.index(call) for call in few]
        stuck = [calls.index(call) for call in again.calls]
        yield f"{name}, {len(calls)} calls: {numbers} after {check}, {stuck} contradict; {required} after {judged}"


def of_cycles(_monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield which cycles random graphs have, and how many edges the search for short ones follows."""
    rng = Random(9)
    for _ in range(60):
        some = some_times(rng, rng.randint(4, 9))
        graph = graph_of(len(some), a_graph(rng, len(some)))
        graph.link(
            rng.sample(range(len(some)), 2),
            rng.sample(range(len(some)), rng.randint(2, len(some) - 1)),
            rng.choice([WW, RW]),
        )
        parts = []
        for level in Isolation:
            if level is Isolation.STRICT_SERIALIZABLE:
                graph.add_time(some)
            search_ = _CycleSearch(graph)
            monitored = [cycle_text(cycle) for cycle in graph.cycles(level)]
            for part in components(graph.edges):
                search_.most_severe(part, level)
            parts.append(f"{level.text}: {', '.join(monitored) or 'none'} ({3_000_000 - search_.left} edges followed)")
        yield f"{len(some)} transactions, {sum(map(len, graph.edges))} edges: {'; '.join(parts)}"


def cycle_text(cycle: Cycle) -> str:
    return f"{cycle.name} {' '.join(f'{edge.source}-{KINDS[edge.kind]}-{edge.target}' for edge in cycle.edges)}"


class CountedRun:
    """A run of transactions whose states are counted."""

    def __init__(self, run: _SerialRun | _SnapshotRun) -> None:
        self.run, self.all, self.visited = run, run.all, 0

    def next_states(self, state: Any) -> Iterator[Any]:
        self.visited += 1
        yield from self.run.next_states(state)


def _attempt(tried: list[int], act: Callable[[int], None], number: int) -> None:
    tried.append(number)
    act(number)


def of_orders(_monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield which transactions are tried in which order, and how many states a search for an order visits."""
    rng = Random(10)
    for _ in range(60):
        footprints = some_footprints(rng, rng.randint(3, 7))
        after = some_before(rng, len(footprints))
        parts = []
        for kind in ("run", "commit"):
            tried: list[int] = []
            done = _greedily(footprints, after, partial(_attempt, tried, getattr(_Registers(footprints), kind)))
            parts.append(f"{kind} {tried} {'ends' if done else 'is stuck'}")
        for run in (_SerialRun(footprints, _predecessors(after, len(footprints))), _SnapshotRun(footprints)):
            counted: Any = CountedRun(run)
            parts.append(f"{type(run).__name__} {_search(counted)} after {counted.visited}")
        yield f"{len(footprints)} transactions: {'; '.join(parts)}"


@pytest.mark.parametrize("work", [of_searches, of_turns, of_explanations, of_cycles, of_orders])
def test_the_searches_do_what_they_have_done(
    work: Callable[[pytest.MonkeyPatch], Iterator[str]], monkeypatch: pytest.MonkeyPatch, regenerate: bool
) -> None:
    path = FILES / f"{work.__name__}.txt"
    found = "".join(f"{line}\n" for line in work(monkeypatch))
    if regenerate:
        path.write_text(found)
    assert found.splitlines() == path.read_text().splitlines()
