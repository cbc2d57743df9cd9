"""Guided simulation: it is the same each time, finds breaks, and its changed schedules stay within what is tolerated."""

from itertools import islice
from random import Random

import pytest

from harness.mutants.paxos import IgnoresAccepted
from harness.virtual import simulator
from harness.virtual.changed_schedule import changed_schedule
from harness.virtual.fault_schedule import FaultSchedule
from harness.virtual.guided import guided_runs
from harness.virtual.log_events import ScheduledOperation
from harness.virtual.met_states import MetStates
from harness.virtual.scheduled_events import ScheduledOutage, ScheduledPlot
from harness.virtual.simulation_settings import DEFAULT_SETTINGS
from harness.virtual.simulator import run_simulate
from node.algorithms.multipaxos import MultiPaxos
from node.algorithms.paxos import Paxos
from node.contract import Algorithm


def test_a_guided_campaign_finds_a_break_and_shrinks_its_run() -> None:
    report = run_simulate(IgnoresAccepted, range(400), guided=True)
    assert report.exit_code == 1
    assert report.shrunk is not None
    assert {violation.kind for violation in report.shrunk.violations} <= {"agreement", "stability"}
    assert any("VIOLATED by run" in line for line in report.lines())


def test_a_worker_goes_on_with_its_search() -> None:
    whole = simulator._search_on(Paxos, DEFAULT_SETTINGS, 11, (0, 20, 1), 1)
    parts = [simulator._search_on(Paxos, DEFAULT_SETTINGS, 12, (first, 10, 1), 1) for first in (0, 10)]
    again = simulator._tally_of(guided_runs(Paxos, DEFAULT_SETTINGS, 12), 0, 20, 1, 1)
    assert [sum(each.steps for each in parts), whole.runs] == [again.steps, 20]


def test_it_is_the_same_each_time_and_changes_schedules() -> None:
    first, again = (
        [run.fault_schedule for run in islice(guided_runs(Paxos, DEFAULT_SETTINGS, 7), 15)] for _ in range(2)
    )
    assert first == again
    drawn = {DEFAULT_SETTINGS.draw(Paxos, 7 + number) for number in range(15)}
    assert any(schedule not in drawn for schedule in first)
    assert all(run.fault_schedule in drawn for run in islice(guided_runs(Paxos, DEFAULT_SETTINGS, 7, guided=False), 15))


@pytest.mark.parametrize("algorithm", [Paxos, MultiPaxos])
def test_a_changed_schedule_writes_each_value_once_and_harms_no_more_disks(algorithm: type[Algorithm]) -> None:
    rng = Random(3)
    for seed in range(15):
        schedule = drawn = DEFAULT_SETTINGS.draw(algorithm, seed)
        for step in range(10):
            other, fresh = (DEFAULT_SETTINGS.draw(algorithm, seed + step + more) for more in (1, 2))
            schedule = changed_schedule(schedule, other, fresh, rng)
        assert _harmed(schedule) <= _harmed(drawn)
        written = [event.value for event in _events(schedule) if isinstance(event, ScheduledOperation) and event.value]
        assert len(written) == len(set(written))


def _events(schedule: FaultSchedule) -> list[object]:
    events = [*schedule.faults, *schedule.calls]
    return [*events, *(then for event in events if isinstance(event, ScheduledPlot) for then in event.then)]


def _harmed(schedule: FaultSchedule) -> set[str]:
    return {
        event.node
        for event in _events(schedule)
        if isinstance(event, ScheduledOutage) and (event.loses_disk or event.last_commit)
    }


def test_features_name_no_node_and_no_value() -> None:
    met = MetStates()
    DEFAULT_SETTINGS.simulate_in(Paxos, DEFAULT_SETTINGS.draw(Paxos, 5), met)
    assert len(met.features) > 10
    assert not any(name in repr(met.features) for name in ("'n1'", "'n2'", "blue", "red"))
