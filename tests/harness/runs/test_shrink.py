from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.checkers.verdict import Verdict, invalid, valid
from harness.records.run_files import PLAN_NAME
from harness.runs.plan import Plan, PlanStep, load
from harness.runs.shrink import NotAgain, Shrinker, compact, minimise
from harness.runs.suite import PlanResult


def fails_with(culprits: set[int]) -> Any:
    def first_that_fails(candidates: list[list[int]]) -> int | None:
        return next((place for place, items in enumerate(candidates) if culprits <= set(items)), None)

    return first_that_fails


@given(st.integers(1, 40), st.data())
def test_exactly_the_culprits_are_left(count: int, data: st.DataObject) -> None:
    culprits = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=4))
    assert sorted(culprits) == minimise(range(count), fails_with(culprits))


@given(st.lists(st.booleans(), max_size=300), st.integers(1, 12))
def test_the_search_ends_and_keeps_the_order_with_any_answers(answers: list[bool], count: int) -> None:
    left = iter(answers)

    def any_answer(candidates: list[list[int]]) -> int | None:
        return next((place for place in range(len(candidates)) if next(left, False)), None)

    found = minimise(range(count), any_answer)
    assert found == sorted(found)
    assert len(found) >= 1


def test_one_culprit_of_twenty_takes_few_tries() -> None:
    tries = 0

    def counting(candidates: list[list[int]]) -> int | None:
        nonlocal tries
        for place, items in enumerate(candidates):
            tries += 1
            if 13 in items:
                return place
        return None

    assert minimise(range(20), counting) == [13]
    assert tries <= 12


steps = st.builds(
    PlanStep,
    st.just("kill-all"),
    st.floats(0, 50).map(lambda at: round(at, 2)),
    st.floats(0.1, 5).map(lambda s: round(s, 2)),
)


@given(st.lists(steps, max_size=8))
def test_a_compact_plan_has_the_same_steps_and_no_idle_time(given_steps: list[PlanStep]) -> None:
    plan = Plan(time_s=60, steps=tuple(given_steps))
    made = compact(plan)
    assert sorted(step.for_s for step in plan.steps) == sorted(step.for_s for step in made.steps)
    assert made.time_s <= plan.time_s
    until_s = 0.0
    for step in made.steps:
        assert step.at_s - until_s <= 0.502
        until_s = max(until_s, step.at_s + step.for_s)


def test_overlapping_steps_still_overlap_by_as_much() -> None:
    plan = Plan(
        time_s=60, steps=(PlanStep("halves", 20.0, 2.0), PlanStep("kill-all", 21.5, 1.0), PlanStep("ring", 40.0, 1.0))
    )
    assert [step.at_s for step in compact(plan).steps] == [0.5, 2.0, 3.5]
    assert compact(plan).time_s == 5.5


# --- with fake runs -----------------------------------------------------------------------------------------------------


class Runs:
    """Fake runs: a plan violates if it has all the culprits, and then only every nth time."""

    def __init__(self, culprits: Sequence[str], every: int = 1) -> None:
        self.culprits, self.every, self.count = set(culprits), every, 0

    def __call__(self, plan: Plan, folder: Path, **_about: Any) -> PlanResult:
        folder.mkdir(parents=True)
        plan.save(folder / PLAN_NAME)
        guilty = self.culprits <= {*(step.fault for step in plan.steps), *plan.settings}
        self.count += guilty
        broken = guilty and self.count % self.every == 0
        verdicts: dict[str, Verdict] = {
            "coherence": invalid("two values") if broken else valid("all agree"),
            "fault tolerance": invalid("no answer"),
        }
        return PlanResult(folder, plan, verdicts, (), 0.1)


NAMES = ("kill", "suspend", "halves", "ring", "bridge", "drop", "delay", "hold", "isolate", "kill-all")
PLAN = Plan(algorithm="failover", steps=tuple(PlanStep(name, float(at)) for at, name in enumerate(NAMES)))


@pytest.mark.parametrize("culprits", [("halves",), ("ring", "kill-all")])
def test_the_smallest_plan_is_kept_with_its_run(tmp_path: Path, culprits: tuple[str, ...]) -> None:
    shown: list[str] = []
    kept = tmp_path / "kept"
    shrunk = Shrinker(PLAN, "coherence", kept, show=shown.append, run=Runs(culprits)).shrink()
    assert list(culprits) == [step.fault for step in shrunk.result.plan.steps]
    assert shrunk.result.folder == kept
    assert (kept / PLAN_NAME).exists()
    assert [kept] == list(tmp_path.iterdir())
    assert shrunk.runs == len(shown)


def test_settings_that_a_violation_does_not_need_are_set_back(tmp_path: Path) -> None:
    drawn = {"window": 3, "pipeline": 1, "kept_slots": 0, "session_idle_ms": 8_000, "lease_ms_max": 5_000}
    runs = Runs(("ring", "pipeline"))
    shrunk = Shrinker(replace(PLAN, settings=drawn), "coherence", tmp_path / "kept", run=runs).shrink()
    assert shrunk.result.plan.settings == {"pipeline": 1}
    assert load(tmp_path / "kept" / PLAN_NAME).settings == {"pipeline": 1}


def test_a_violation_of_another_promise_does_not_count(tmp_path: Path) -> None:
    with pytest.raises(NotAgain, match="coherence was not violated again in 4 runs"):
        Shrinker(PLAN, "coherence", tmp_path / "kept", run=Runs(["no such fault"])).shrink()
    assert list(tmp_path.iterdir()) == []


def test_a_plan_that_violates_every_other_time_is_shrunk_too(tmp_path: Path) -> None:
    shrunk = Shrinker(PLAN, "coherence", tmp_path / "kept", workers=1, run=Runs(["ring"], every=2)).shrink()
    assert "ring" in {step.fault for step in shrunk.result.plan.steps}
    assert len(shrunk.result.plan.steps) < len(PLAN.steps)
