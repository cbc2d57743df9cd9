"""Guided draws: what is kept, what is changed, and what a run is said to have met."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from cluster.spec import node_names
from harness.records.history import Event, History
from harness.runs.campaigns.changed_plan import changed_plan
from harness.runs.campaigns.features import features_of
from harness.runs.campaigns.grid import GridCell
from harness.runs.guidance import Guide
from harness.runs.marks import marks_of
from harness.runs.plan import Plan, from_json
from harness.runs.plan_generator import generate
from node.algorithms import load_algorithm
from node.contract import Algorithm, Message, NodeId, Request, Value


def runs_until(goal: int, seed: int, *, guided: bool) -> int:
    """How many runs it takes until one has met `goal` digits in a row of a lock, one feature for each right digit."""
    lock = [3, 1, 4, 1, 5, 9][:goal]

    def fresh(number: int) -> tuple[int, ...]:
        rng = Random(f"{seed}/{number}")
        return tuple(rng.randrange(10) for _ in lock)

    def change(given: tuple[int, ...], _other: tuple[int, ...], rng: Random) -> tuple[int, ...]:
        place = rng.randrange(len(given))
        return (*given[:place], rng.randrange(10), *given[place + 1 :])

    guide = Guide(seed, fresh, change, guided=guided)
    for number in range(1, 3001):
        chosen = guide.next()
        right = next((place for place, digit in enumerate(lock) if chosen.given[place] != digit), goal)
        guide.learn(chosen, [f"{count + 1} right" for count in range(right)])
        if right == goal:
            return number
    return 3001


def test_guided_draws_come_step_by_step_to_what_blind_ones_never_meet() -> None:
    guided = sorted(runs_until(4, seed, guided=True) for seed in range(5))
    blind = sorted(runs_until(4, seed, guided=False) for seed in range(5))
    assert guided[2] * 2 < blind[2]


def test_the_curve_counts_what_both_kinds_of_draws_have_met() -> None:
    guide = Guide(1, lambda number: number, lambda given, _other, _rng: given)
    first = guide.next()
    assert first.fresh
    assert guide.learn(first, ["a", "b"]) == 2
    assert guide.learn(first, ["a"]) == 0
    assert guide.curve.to_json() == {
        "points": [[1, 2]],
        "fresh": {"runs": 2, "new": 2},
        "changed": {"runs": 0, "new": 0},
    }


@pytest.mark.parametrize("algorithm", ["paxos", "multipaxos"])
def test_a_changed_plan_is_a_plan(algorithm: str) -> None:
    nodes = node_names(5)
    rng, plan = Random(1), generate(algorithm, nodes, 1, time_s=4)
    seen: set[int] = set()
    for number in range(2, 200):
        plan = changed_plan(plan, generate(algorithm, nodes, number), generate(algorithm, nodes, -number), rng)
        assert from_json(plan.to_json()) == plan
        seen.add(len(plan.steps))
    assert len(seen) > 3


def test_a_plan_without_steps_gets_some() -> None:
    other = generate("paxos", node_names(3), 1)
    changed = [changed_plan(replace(other, steps=()), other, other, Random(seed)) for seed in range(10)]
    assert any(isinstance(plan, Plan) and plan.steps for plan in changed)


def test_the_features_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "n1.log").write_text("2026-01-01 00:00:00,000 INFO sometimes: it was odd\nnoise: sometimes: x\n")
    lines = [
        {"type": "Prepare", "from": "n1", "to": "n2", "fate": "passed"},
        {"type": "Promise", "from": "n2", "to": "n1", "fate": "dropped"},
        {"type": "Propose", "from": "c1", "to": "n1", "fate": "passed"},
    ]
    history = History([Event(0, 1, "c1", "invoke", "query", "x", None), Event(1, 2, "c1", "info", "query", "x", None)])
    hits = {("kill", GridCell("acceptor", "Accept")): 1, ("kill", GridCell("idle", "")): 1}
    assert features_of(("n1", "n2"), lines, hits, history, tmp_path) == {  # type: ignore[arg-type]
        "sends Prepare after it boots",
        "gets Prepare after it boots",
        "sends Promise after it gets Prepare",
        "Prepare is passed",
        "Promise is dropped",
        "Prepare: 1",
        "Promise: 1",
        "kill hits the acceptor of Accept",
        "kill hits an idle node",
        "query is unknown",
        "mark: it was odd",
    }


class Marked(Algorithm):
    """Its author wants to know whether two lines are ever reached."""

    def propose(self, request: Request, value: Value) -> None:
        self.node.sometimes("a proposal")
        self.node.reply(request, value)

    def query(self, request: Request) -> None:
        self.node.sometimes("a query")

    def receive(self, sender: NodeId, message: Message) -> None:
        pass


def test_the_marks_of_an_algorithm_are_found_in_its_source() -> None:
    assert marks_of(Marked) == ("a proposal", "a query")
    assert marks_of(load_algorithm("paxos")) == marks_of(load_algorithm("paxos"))
