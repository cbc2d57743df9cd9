from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.checkers.evidence import RunEvidence
from harness.checkers.verdict import Verdict, invalid, valid
from harness.records.receipts import Receipt
from harness.records.run_files import PLAN_NAME
from harness.runs.nemesis import StepOutcome
from harness.runs.plan import Plan, PlanStep, When, load
from harness.runs.shrink import NotAgain, Shrinker, compact, minimise
from harness.runs.struck_events import tied_steps
from harness.runs.suite import PlanResult
from harness.systems.maelstrom.described import MaelstromSystem
from harness.systems.system import NotOurs


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


def test_only_a_plan_that_violates_in_two_of_three_runs_is_kept_and_its_rate_is_said(tmp_path: Path) -> None:
    class Rarely(Runs):
        """With both culprits it always violates, with "ring" alone in every third run."""

        def __call__(self, plan: Plan, folder: Path, **about: Any) -> PlanResult:
            self.every = 1 if {"ring", "kill-all"} <= {step.fault for step in plan.steps} else 3
            return super().__call__(plan, folder, **about)

    shrunk = Shrinker(PLAN, "coherence", tmp_path / "kept", workers=1, run=Rarely(["ring"])).shrink()
    assert {"ring", "kill-all"} <= {step.fault for step in shrunk.result.plan.steps}
    assert shrunk.again == (3, 3)


def test_if_the_whole_plan_violates_too_rarely_one_violation_is_enough(tmp_path: Path) -> None:
    shown: list[str] = []
    runs = Runs(["ring"], every=4)
    shrunk = Shrinker(PLAN, "coherence", tmp_path / "kept", workers=1, show=shown.append, run=runs).shrink()
    assert any("fewer than 2 of 3 runs, so one is enough" in line for line in shown)
    assert shrunk.again in [(1, 1), (1, 3)]


# --- faults tied to the messages at which they struck -------------------------------------------------------------------

S = 1_000_000_000


def _line(at_s: float, sender: str, receiver: str, name: str) -> dict[str, Any]:
    return {"time": int(at_s * S), "from": sender, "to": receiver, "type": name}


def _result(*steps: PlanStep) -> PlanResult:
    """Return a run in which n2 leads until it is killed at 3 s, and n1 after it until 6 s."""
    terms = [("n2", 0.0), ("n1", 3.1)]
    lines = [
        _line(start + 0.5 * number, *ends)
        for leader, start in terms
        for number in range(6)
        for ends in (
            *((leader, other, "append") for other in ("n1", "n2", "n3") if other != leader),
            *((other, leader, "append_ok") for other in ("n1", "n2", "n3") if other != leader),
            ("client", "n3", "write"),
            ("n3", "client", "write_ok"),
        )
    ]
    struck = [(3, step.arguments["nodes"]) for step in steps[:1]] + [(6, step.arguments["nodes"]) for step in steps[1:]]
    receipts = tuple(Receipt("kill", at * S, at * S + S, True, tuple(nodes)) for at, nodes in struck)
    evidence = RunEvidence(("n1", "n2", "n3"), NotOurs, receipts=receipts, messages=lines)
    plan = Plan("raft", ("n1", "n2", "n3"), steps=steps, system=MaelstromSystem(("sh",)))
    outcomes = tuple(StepOutcome(step, began_s=at) for step, (at, _) in zip(steps, struck, strict=True))
    return PlanResult(Path(), plan, {}, outcomes, 1.0, evidence)


def test_a_kill_of_a_leader_is_tied_to_the_message_that_only_a_leader_sends() -> None:
    kills = [PlanStep("kill", at_s, 0.5, None, {"nodes": [node]}) for at_s, node in ((2.9, "n2"), (5.9, "n1"))]
    tied = tied_steps(_result(*kills))
    assert tied is not None
    assert [str(step) for step in tied] == [
        "kill (nodes {sender}) at 1st append, from 2.9 s on for 0.5 s",
        "kill (nodes {sender}) at 1st append, from 5.9 s on for 0.5 s",
    ]


def test_a_fault_that_waits_for_a_message_already_or_strikes_several_nodes_stays_as_it_is() -> None:
    at_message = PlanStep("kill", 2.9, 0.5, When(1, "vote"), {"nodes": ["n2"]})
    assert tied_steps(_result(at_message)) is None
    assert tied_steps(_result(PlanStep("kill", 2.9, 0.5, None, {"nodes": ["n1", "n2"]}))) is None


def test_shrinking_keeps_faults_that_are_tied_to_messages_if_they_violate_as_often(tmp_path: Path) -> None:
    kill = PlanStep("kill", 2.9, 0.5, None, {"nodes": ["n2"]})

    def run(plan: Plan, folder: Path, **_about: Any) -> PlanResult:
        folder.mkdir(parents=True)
        verdict: Verdict = invalid("a lost write") if plan.steps else valid("no write is lost")
        found = _result(kill)
        return replace(found, folder=folder, plan=plan, verdicts={"linearizability": verdict})

    plan = Plan("raft", ("n1", "n2", "n3"), steps=(kill, kill), system=MaelstromSystem(("sh",)))
    shrunk = Shrinker(plan, "linearizability", tmp_path / "kept", run=run).shrink()
    assert [str(step.when) for step in shrunk.result.plan.steps] == ["1st append"]
