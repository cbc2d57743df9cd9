"""Plans for systems that are not ours: what is drawn, read, refused and shrunk."""

from typing import Any

import pytest

from cluster.spec import node_names
from harness.faults.catalogue import BadFault
from harness.runs.plan import BadPlan, from_json
from harness.runs.plan_generator import generate
from harness.runs.shrink import compact
from harness.systems.maelstrom.described import MaelstromSystem

COMMAND = ("python3", "/there/node.py")


def test_plans_for_nodes_that_are_not_ours_draw_only_what_can_strike_them() -> None:
    system = MaelstromSystem(COMMAND)
    drawn = {step.fault for seed in range(60) for step in generate("", node_names(5), seed, system=system).steps}
    assert drawn == set(system.faults)
    alone = generate("", node_names(1), 1, faults=["kill"], system=system)
    assert {step.fault for step in alone.steps} == {"kill"}
    with pytest.raises(BadFault, match=r"power-cut cannot strike node[.]py, whose nodes are not ours"):
        generate("", node_names(3), 1, faults=["power-cut"], system=system)
    assert from_json(alone.to_json()) == alone


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"algorithm": "paxos"}, "algorithm is of clusters of our own nodes"),
        ({"system": {"kind": "mail"}}, "no kind of system is called 'mail'"),
        ({"system": {"kind": "maelstrom"}}, "a maelstrom system has a command"),
        ({"system": {"kind": "maelstrom", "command": ["sh"], "disc": "durable"}}, "a maelstrom system has a command"),
        ({"system": 7}, "a system is a map with a kind"),
        ({"steps": [{"fault": "isolate-leader"}]}, "step 1: isolate-leader cannot strike sh"),
    ],
)
def test_a_plan_for_a_system_that_cannot_be_says_why(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(BadPlan, match=said):
        from_json({"system": {"kind": "maelstrom", "command": ["sh"]}, "steps": [], **changed})


def test_shrinking_moves_no_step_of_nodes_that_may_take_long_to_elect_a_leader() -> None:
    steps = [{"at_s": at_s, "fault": "kill", "nodes": ["n1"], "for_s": 0.5} for at_s in (4, 9)]
    wanted = from_json({"system": MaelstromSystem(COMMAND).to_json(), "time_s": 20, "steps": steps})
    shorter = compact(wanted)
    assert [step.at_s for step in shorter.steps] == [4, 9]
    assert shorter.time_s == 10.5
