"""Plans for systems that are not ours: what is drawn, read, refused and shrunk."""

from typing import Any

import pytest

from cluster.spec import node_names
from harness.faults.catalogue import BadFault
from harness.runs.plan import BadPlan, PlanStep, from_json
from harness.runs.plan_generator import generate
from harness.runs.shrink import compact
from harness.systems.commands.described import CommandSystem
from harness.systems.maelstrom.described import MaelstromSystem
from harness.systems.system import System

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
        (
            {"system": {"kind": "maelstrom", "command": ["sh"], "answers_within_s": 0}},
            "a maelstrom system has a command",
        ),
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


def test_kills_are_tied_to_what_happens_on_the_links_of_a_system() -> None:
    def drawn(system: System) -> list[PlanStep]:
        plans = [
            generate("", node_names(3), seed, faults=["kill"], system=system, workload="lin-kv") for seed in range(40)
        ]
        assert all(from_json(plan.to_json()) == plan for plan in plans)
        return [step for plan in plans for step in plan.steps if step.when is not None]

    at_messages, at_bytes = drawn(MaelstromSystem(COMMAND)), drawn(CommandSystem("etcd"))
    assert {step.when.message for step in at_messages if step.when} == {"message", "write_ok", "cas_ok"}
    assert {step.when.message for step in at_bytes if step.when} == {"byte", "connection"}
    for step in at_messages:
        assert step.when is not None
        assert (step.when.receiver == "client") == step.when.message.endswith("_ok")
        (struck,) = step.arguments["nodes"]
        assert struck in ("sender", "receiver", step.when.sender, step.when.receiver)


def test_a_step_waits_for_nothing_that_the_links_of_a_command_do_not_carry() -> None:
    system = CommandSystem("etcd").to_json()
    with pytest.raises(BadPlan, match=r"etcd sends no 'Promise': "):
        from_json({"system": system, "nodes": 3, "steps": [{"when": "1st Promise", "fault": "kill"}]})


@pytest.mark.parametrize("system", [CommandSystem("etcd"), MaelstromSystem(COMMAND, answers_within_s=5)])
def test_some_faults_outlast_the_time_within_which_a_system_says_that_it_answers(system: System) -> None:
    assert system.answers_within_s == 5
    plans = [
        generate("", node_names(3), seed, faults=["kill", "isolate"], time_s=20, system=system) for seed in range(10)
    ]
    assert all(from_json(plan.to_json()) == plan for plan in plans)
    lasting = [step for plan in plans for step in plan.steps if step.for_s >= 5]
    assert 5 < len(lasting) < sum(len(plan.steps) for plan in plans) / 2
