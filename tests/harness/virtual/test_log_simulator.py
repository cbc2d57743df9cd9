"""The replicated log in virtual time: the shipped classes come out clean, broken ones do not, and each seed repeats exactly."""

import pytest

from harness.mutants.catalogue import choose
from harness.virtual.fault_model import FaultModel
from harness.virtual.fault_schedule import CALM_S, ScheduledPause
from harness.virtual.log_fault_schedule import ClientRestart, LogFaultSchedule, MembershipChange, log_forecast
from harness.virtual.simulator import SimulationReport, SimulationSettings, run_simulate, simulate, some
from harness.virtual.steps import Crash, Recover, SendFrame
from node.algorithms import load_algorithm
from node.algorithms.multipaxos import MultiPaxos


def kinds(report: SimulationReport) -> set[str]:
    assert report.shrunk is not None
    return {violation.kind for violation in report.shrunk.violations}


@pytest.mark.parametrize(
    ("nodes", "seeds"), [(3, range(150)), (3, range(150, 300)), (5, range(40)), (1, range(20)), (2, range(20))]
)
def test_multipaxos_keeps_every_promise_and_answers_in_the_calm(nodes: int, seeds: range) -> None:
    report = run_simulate("multipaxos", seeds, SimulationSettings(nodes=nodes))
    assert report.tally.failures == {}
    assert report.tally.runs == len(seeds)
    if nodes == 3:
        assert (report.verdict.status, report.exit_code) == ("valid", 0), report.verdict.evidence


def test_the_calm_does_not_wait_for_a_pause_of_the_storm() -> None:
    weather = log_forecast(7_414)
    pauses = [fault for fault in weather.faults if isinstance(fault, ScheduledPause)]
    assert any(pause.at_s + pause.for_s > weather.storm_s + CALM_S for pause in pauses)
    assert simulate(MultiPaxos, weather).violations == []


def test_a_clean_campaign_of_a_log_is_valid_only_if_every_kind_of_fault_has_happened() -> None:
    few = run_simulate("multipaxos", range(1))
    assert few.verdict.status == "unknown"
    assert "there never was" in few.verdict.evidence


def test_a_seed_repeats_exactly() -> None:
    for seed in range(6):
        one, other = simulate(MultiPaxos, log_forecast(seed)), simulate(MultiPaxos, log_forecast(seed))
        assert one.steps == other.steps
        assert one.virtual_s == other.virtual_s
        assert one.seen == other.seen


def test_seeds_draw_all_that_can_befall_a_log() -> None:
    drawn = [log_forecast(seed) for seed in range(100)]
    kinds_of_events = {type(event).__name__ for weather in drawn for event in (*weather.faults, *weather.calls)}
    assert kinds_of_events == {
        "ScheduledCut",
        "ScheduledOutage",
        "ScheduledPause",
        "ScheduledHandOver",
        "ScheduledHint",
        "ClientRestart",
        "ScheduledOperation",
        "MembershipChange",
        "ScheduledCall",
    }
    assert {change.kind for weather in drawn for change in weather.calls if isinstance(change, MembershipChange)} == {
        "add",
        "remove",
    }
    assert any(isinstance(fault, ClientRestart) and fault.resumes for weather in drawn for fault in weather.faults)
    assert any(weather.limits.snapshot_slots == 1 for weather in drawn)


@pytest.mark.parametrize(
    ("oddities", "kind"),
    [
        (FaultModel(disks_sync_late=True), "promise"),
        (FaultModel(logs_sync_late=True), "contract"),
        (FaultModel(empty_disks_vote=True), "incarnation"),
    ],
    ids=["a disk that lies", "a log behind its commit index", "a lost disk that votes"],
)
def test_a_bad_disk_is_found_out_and_the_run_made_short(oddities: FaultModel, kind: str) -> None:
    report = run_simulate("multipaxos", range(300), SimulationSettings(oddities=oddities, look_for=(kind,)))
    assert kinds(report) == {kind}
    assert report.shrunk is not None
    assert isinstance(report.shrunk.weather, LogFaultSchedule)
    assert len(report.shrunk.story) <= 25, report.shrunk.story
    assert any(isinstance(step, Crash | Recover | SendFrame) for step in report.shrunk.schedule)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("locks-have-no-fencing-token", "lock"),
        ("retries-are-done-again", "once"),
        ("log-ballots-are-reused", "leader"),
        ("resumed-sessions-count-anew", "order"),
        ("commit-runs-ahead-of-the-log", "state"),
    ],
)
def test_a_mutant_is_found_without_its_script(name: str, kind: str) -> None:
    (mutant,) = choose((name,))
    settings = SimulationSettings(look_for=(kind,))
    tally = some(load_algorithm(mutant.algorithm), range(150), settings, 1)
    (text,) = tally.failures.values()
    assert text.startswith(kind)
    assert some(MultiPaxos, tally.failures, settings, 1).failures == {}
