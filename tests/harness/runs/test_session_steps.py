"""The faults of a session by hand become the steps of a plan."""

import time
from pathlib import Path

import pytest

from harness.runs.session_steps import SessionSteps
from node.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings("c" * 32, "paxos", ("n1", "n2", "n3"), 7, tmp_path, None, ())


class FakeFault:
    """Stands for a fault that is in force."""

    def __init__(self, *, can_heal: bool = True) -> None:
        self.can_heal, self.healed = can_heal, 0

    def heal(self) -> None:
        if not self.can_heal:
            raise OSError("its node has gone")
        self.healed += 1


@pytest.fixture
def steps() -> SessionSteps:
    """A session that began ten seconds ago."""
    return SessionSteps(_started_s=time.monotonic() - 10)


def test_a_later_signal_ends_what_an_earlier_one_did_to_the_process(steps: SessionSteps, settings: Settings) -> None:
    steps.add("kill", {"nodes": ["n1"]}, at_s=1.0)
    steps.add("suspend", {"nodes": ["n2"]}, at_s=2.0)
    steps.end_faults_of_process("n1")
    killed, suspended = steps.faults
    assert killed.ended_s is not None
    assert suspended.ended_s is None
    plan = steps.plan(settings, set())
    assert [(step.fault, step.at_s, step.arguments) for step in plan.steps] == [
        ("kill", 1.0, {"nodes": ["n1"]}),
        ("suspend", 2.0, {"nodes": ["n2"]}),
    ]
    assert plan.steps[1].for_s == pytest.approx(8, abs=0.5)  # it lasts still
    assert (plan.algorithm, plan.nodes, plan.seed) == ("paxos", ("n1", "n2", "n3"), 7)


def test_a_fault_of_links_lasts_until_it_is_healed(steps: SessionSteps) -> None:
    cut = FakeFault()
    steps.add("partition", {"groups": [["n1"], ["n2", "n3"]]}, cut, at_s=1.0)
    steps.end_faults_of_process("n1")
    assert steps.faults[0].ended_s is None
    steps.heal()
    steps.heal()
    assert cut.healed == 1
    assert steps.faults[0].ended_s is not None


def test_at_the_end_a_fault_that_cannot_be_healed_does_not_stop_the_others(steps: SessionSteps) -> None:
    stuck, sound = FakeFault(can_heal=False), FakeFault()
    steps.add("full-disk", {"node": "n1"}, stuck)
    steps.add("partition", {}, sound)
    steps.heal_at_the_end()
    assert sound.healed == 1


@pytest.mark.parametrize(
    ("functions", "workload"), [(set(), "register"), ({"propose"}, "register"), ({"get", "query"}, "kv")]
)
def test_the_workload_is_that_of_the_calls(
    steps: SessionSteps, settings: Settings, functions: set[str], workload: str
) -> None:
    assert steps.plan(settings, functions).workload == workload


def test_a_fault_that_cannot_be_healed_keeps_no_other_in_force(steps: SessionSteps) -> None:
    gone, whole = FakeFault(can_heal=False), FakeFault()
    steps.add("flip-bit", {"node": "n1"}, gone)
    steps.add("isolate", {"node": "n2"}, whole)
    with pytest.raises(OSError, match="its node has gone"):
        steps.heal()
    assert whole.healed == 1
    assert all(one.ended_s is not None for one in steps.faults)
