"""Which node a role stands for, by the statuses of the nodes."""

from random import Random
from typing import Any, cast

import pytest

from cluster.cluster import Cluster
from cluster.spec import node_names
from harness.faults import roles
from harness.faults.active import LinkFault, ReceiptBuilder
from harness.faults.roles import Missed, Strike, node_in_role
from harness.runs.plan import Plan, PlanStep
from harness.runs.plan_generator import generate

FIVE = node_names(5)


class Statuses:
    """A cluster whose nodes have these statuses; a node without one is down."""

    nodes = FIVE

    def __init__(self, **replicas: dict[str, Any]) -> None:
        self._statuses = {node: {"variables": {"": replica}} for node, replica in replicas.items()}

    def status(self, _timeout_s: float) -> dict[str, Any]:
        return self._statuses


def found(cluster: Statuses, role: str, strike: Strike | None = None) -> str:
    return node_in_role(cast("Cluster", cluster), strike or Strike(), role, Random(1))


LOG = Statuses(
    n1={"role": "follower", "commit": 7},
    n2={"role": "leading", "leads": True, "ballot": (2, "n2"), "commit": 9},
    n3={"role": "follower", "commit": 8},
    n4={"role": "learner", "commit": 9},
)


def test_roles_are_found_by_the_statuses_and_noted() -> None:
    strike = Strike()
    assert (found(LOG, "leader", strike), found(LOG, "heir", strike), found(LOG, "learner")) == ("n2", "n3", "n4")
    assert found(LOG, "follower") in ("n1", "n3", "n4")
    assert strike.roles == {"leader": "n2", "heir": "n3"}


def test_the_ends_of_the_message_are_those_for_which_the_step_waited() -> None:
    strike = Strike()
    strike.begin(("n3", "n1"))
    assert (found(LOG, "sender", strike), found(LOG, "receiver", strike)) == ("n3", "n1")


def test_a_candidate_seeks_to_lead() -> None:
    assert found(Statuses(n1={"role": "idle"}, n5={"role": "preparing"}), "candidate") == "n5"


@pytest.mark.parametrize("role", ["learner", "candidate", "heir", "sender"])
def test_a_role_that_nobody_has_is_missed(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "_CANDIDATE_S", 0.0)
    with pytest.raises(Missed, match=f"no node is the {role} now"):
        found(Statuses(n1={"role": "leader", "leads": True}), role)


def test_without_a_leader_the_first_node_stands_for_it() -> None:
    assert found(Statuses(), "leader") == "n1"


def test_a_rule_for_messages_that_never_came_leaves_no_receipt() -> None:
    forgotten: list[ReceiptBuilder] = []
    fault = LinkFault([], ReceiptBuilder("drop"), forgotten.append)
    assert fault.has_bitten()  # it need not
    fault.heal()
    assert forgotten == [fault.receipt]


def test_generated_plans_name_roles_and_types_of_messages() -> None:
    steps = [step for seed in range(100) for step in generate("multipaxos", FIVE, seed).steps]
    named = {role for step in steps for role in step.roles}
    assert {"leader", "heir", "follower", "learner", "candidate", "sender", "receiver"} <= named
    assert any("SnapshotPart" in str(step.arguments.get("types", "")) for step in steps)
    assert {"deaf-leader", "mute-leader", "leader-alone", "leader-from-the-past", "leader-down", "hand-over"} <= {
        step.fault for step in steps
    }
    assert not any(step.fault == "hand-over" for seed in range(60) for step in generate("paxos", FIVE, seed).steps)


def test_a_fault_of_a_role_outlasts_an_election_also_in_a_short_plan() -> None:
    plans = [generate("multipaxos", FIVE, seed, faults=["role"], time_s=2.0) for seed in range(20)]
    assert all(step.for_s >= 1.49 for plan in plans for step in plan.steps)
    assert all(step.at_s + step.for_s <= 2.001 for plan in plans for step in plan.steps)


def test_a_step_knows_its_roles() -> None:
    assert PlanStep("kill", arguments={"nodes": ["leader", "n2"]}).roles == ("leader",)
    assert Plan(steps=(PlanStep("kill", arguments={"nodes": ["heir"]}),)).has_roles
    assert not Plan(steps=(PlanStep("kill", arguments={"nodes": ["n1"]}),)).has_roles
