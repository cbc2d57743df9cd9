import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cluster.spec import node_names
from harness.faults.catalogue import BadFault, catalogue
from harness.runs.plan import BadPlan, Plan, PlanStep, When, from_json, load
from harness.runs.plan_generator import generate

FIVE = node_names(5)


@given(seed=st.integers(0, 10**9), nodes=st.integers(1, 7), time_s=st.floats(1, 60), steps=st.integers(0, 25))
def test_a_drawn_plan_comes_back_from_json(seed: int, nodes: int, time_s: float, steps: int) -> None:
    assume(nodes > 1 or not steps)
    plan = generate("paxos", node_names(nodes), seed, time_s=round(time_s, 2), steps=steps)
    assert plan == from_json(json.loads(json.dumps(plan.to_json())))
    assert len(plan.steps) <= steps
    assert all(step.for_s > 0 for step in plan.steps)


def test_a_plan_comes_back_from_its_file(tmp_path: Path) -> None:
    for number, plan in enumerate((generate("paxos", FIVE, 3), Plan(nodes=("a", "b"), steps=()))):
        plan.save(tmp_path / f"{number}.json")
        assert plan == load(tmp_path / f"{number}.json")


@given(
    st.builds(
        When,
        st.integers(1, 200),
        st.sampled_from(("Promise", "Accept")),
        st.sampled_from((None, "n1", "n-2")),
        st.sampled_from((None, "n3")),
    )
)
def test_a_when_comes_back_from_its_text(when: When) -> None:
    assert when == When.parse(str(when))


@pytest.mark.parametrize(
    ("number", "expected"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd"), (113, "113th")]
)
def test_a_number_has_its_english_ending(number: int, expected: str) -> None:
    assert f"{expected} Vote" == str(When(number, "Vote"))


def test_a_when_knows_its_links() -> None:
    nodes = ("n1", "n2", "n3")
    assert {("n2", "n1"), ("n3", "n1")} == set(When.parse("2nd Promise to n1").links(nodes))
    assert {("n1", "n2")} == set(When.parse("1st Accept from n1 to n2").links(nodes))
    assert len(When.parse("1st Accept").links(nodes)) == 6


STEP: dict[str, Any] = {"fault": "kill", "nodes": ["n1"], "at_s": 1, "for_s": 1}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"colour": 1}, "'colour' is not a field of a plan; the fields are algorithm"),
        ({"schema": 2}, "its schema is 2; this version knows schema 1"),
        ({"seed": "7"}, "seed is '7', where a whole number is wanted"),
        ({"time_s": -1}, "time_s is -1, where seconds from 0"),
        ({"nodes": 0}, "nodes is 0, where a number from 1 to 99"),
        ({"nodes": ["a", "a"]}, "a list of different names"),
        ({"nodes": True}, "nodes is True"),
        ({"algorithm": 5}, "algorithm is 5, where a text"),
        ({"steps": {}}, "steps is not such a list"),
        ({"steps": [STEP, 5]}, "step 2: a step is a map, and this is a int"),
        ({"steps": [STEP, {}]}, "step 2: a step names a fault, and this one names none; `consensus faults`"),
        ({"steps": [{**STEP, "fault": "kil"}]}, "step 1: no fault is called 'kil'"),
        ({"steps": [{**STEP, "node": "n1"}]}, "step 1: kill has no argument 'node'"),
        ({"steps": [{**STEP, "at_s": "soon"}]}, "step 1: at_s is 'soon'"),
        ({"steps": [{**STEP, "when": "Promise"}]}, "step 1: when is 'Promise': write it as '2nd Promise to n1'"),
        ({"steps": [{**STEP, "when": "1st Promise to n9"}]}, "step 1: .* no message can come that way"),
        ({"steps": [{**STEP, "when": "0th Promise"}]}, "write it as"),
        (
            {"steps": [{**STEP, "when": "2nd Prommise to n1"}]},
            "step 1: paxos sends no 'Prommise': did you mean Promise",
        ),
        (
            {"steps": [{"fault": "kill-at", "message": "Vote"}]},
            "step 1: paxos sends no 'Vote': there are Accept, ",
        ),
        ({"time_s": 1, "steps": [{**STEP, "at_s": 5}]}, "step 1 begins at 5 s, and the plan ends at 1 s"),
        ({"algorithm": "nope"}, "no algorithm is called 'nope'"),
    ],
)
def test_a_bad_plan_is_refused_with_a_reason(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({**Plan().to_json(), **change}))
    with pytest.raises(BadPlan, match=expected) as caught:
        load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "7"])
def test_a_file_that_is_not_a_json_object_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(BadPlan, match=r"plan\.json"):
        load(path)
    with pytest.raises(BadPlan, match="cannot be read"):
        load(tmp_path / "none.json")


def test_the_plan_in_the_guide_is_a_plan() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "guides" / "campaigns.md").read_text()
    shown, *_ = re.findall(r"^```json[^\n]*\n(\{\"algorithm\".*?)^```", guide, re.MULTILINE | re.DOTALL)
    assert [step.fault for step in from_json(json.loads(shown)).steps] == ["drop", "partition"]


def test_a_plan_without_steps_is_refused() -> None:
    """A mistyped key would otherwise make a run without faults, and that run would be valid."""
    with pytest.raises(BadPlan, match="steps is missing"):
        from_json({"algorithm": "paxos"})


def test_every_key_but_steps_may_be_left_out() -> None:
    assert Plan(steps=(PlanStep("kill-all"),)) == from_json({"steps": [{"fault": "kill-all"}]})


def test_the_draws_of_a_step_depend_on_that_step_and_the_seed_alone() -> None:
    one, other = PlanStep("halves", 1.0), PlanStep("halves", 2.0)
    both, alone = Plan(steps=(one, other)), Plan(steps=(other,))
    assert both.rng(other).random() == alone.rng(other).random()
    assert both.rng(one).random() != both.rng(other).random()
    assert Plan(seed=1).rng(one).random() != Plan(seed=2).rng(one).random()


# --- the generator ----------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_plan() -> None:
    assert generate("paxos", FIVE, 7) == generate("paxos", FIVE, 7)
    assert generate("paxos", FIVE, 7).steps != generate("paxos", FIVE, 8).steps


def test_a_plan_has_the_number_of_steps_asked_for_and_they_overlap() -> None:
    plan = generate("failover", FIVE, 7, time_s=10, steps=20)
    assert len(plan.steps) == 20
    assert any(
        one is not other and one.at_s < other.at_s < one.at_s + one.for_s for one in plan.steps for other in plan.steps
    )


def test_only_named_faults_are_drawn() -> None:
    plans = [generate("paxos", FIVE, seed, faults=["kill", "link"], time_s=20) for seed in range(5)]
    drawn = {step.fault for plan in plans for step in plan.steps}
    assert {"kill", "drop"} <= drawn
    assert not drawn & {"suspend", "partition", "halves"}
    with pytest.raises(BadFault, match="no fault is called"):
        generate("paxos", FIVE, 1, faults=["everything"])


def test_over_many_seeds_every_fault_is_drawn() -> None:
    drawn = {step.fault for seed in range(200) for step in generate("paxos", FIVE, seed).steps}
    assert {entry.name for entry in catalogue() if entry.family in ("process", "cut", "link")} <= drawn


def test_faults_that_cannot_be_drawn_are_refused() -> None:
    with pytest.raises(BadFault, match="no step can be drawn for 1 nodes from partition"):
        generate("paxos", ("n1",), 1, faults=["partition"])
    assert generate("paxos", ("n1",), 1, faults=["partition"], steps=0).steps == ()


@pytest.mark.parametrize("seed", range(40))
def test_no_two_faults_have_one_process_and_killed_nodes_are_a_minority(seed: int) -> None:
    plan = generate("paxos", FIVE, seed, faults=["kill", "suspend", "kill-all"], time_s=20, steps=30)
    moments = sorted({step.at_s for step in plan.steps})
    for moment in moments:
        in_force = [step for step in plan.steps if step.at_s <= moment < step.at_s + step.for_s - 0.001]
        gone = [node for step in in_force for node in step.arguments.get("nodes", FIVE)]
        assert len(gone) == len(set(gone)), (moment, in_force)
        assert len(gone) <= 2 or len(in_force) == 1, (moment, in_force)


def test_a_plan_ends_before_its_time_is_over() -> None:
    for seed in range(30):
        plan = generate("paxos", FIVE, seed, time_s=5)
        assert all(step.at_s + step.for_s <= 5.001 for step in plan.steps)


# --- beyond what is tolerated -----------------------------------------------------------------------------------------


def test_beyond_tolerance_more_than_a_minority_is_struck_at_a_time_and_disks_are_damaged() -> None:
    plans = [generate("multipaxos", FIVE, seed, beyond_tolerance=True) for seed in range(40)]
    drawn = {step.fault for plan in plans for step in plan.steps}
    assert {"lose-node", "delete-directory", "restore-old-copy", "flip-bit", "damage-last-commit"} <= drawn
    lost = [{step.arguments["node"] for step in plan.steps if step.fault == "lose-node"} for plan in plans]
    assert max(map(len, lost)) >= 3, "a majority"
    for plan in plans:
        assert all(
            step.at_s + step.for_s == pytest.approx(plan.time_s) for step in plan.steps if step.fault == "lose-node"
        )


def test_a_plan_beyond_tolerance_survives_its_file(tmp_path: Path) -> None:
    plan = generate("paxos", FIVE, 3, beyond_tolerance=True)
    plan.save(tmp_path / "plan.json")
    assert plan == load(tmp_path / "plan.json")
    assert not generate("paxos", FIVE, 3).beyond_tolerance
    with pytest.raises(BadPlan, match="beyond_tolerance is 1"):
        from_json({**plan.to_json(), "beyond_tolerance": 1})
