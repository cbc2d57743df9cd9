"""The replicated log in virtual time: the shipped classes come out clean, broken ones do not, and each seed repeats exactly."""

import json
from dataclasses import replace

import pytest

from harness.mutants.catalogue import choose
from harness.virtual.fault_model import FaultModel
from harness.virtual.fault_schedule import RECOVERY_S
from harness.virtual.log_events import ClientRestart, MembershipChange
from harness.virtual.log_fault_schedule import LogFaultSchedule, draw_log_fault_schedule
from harness.virtual.scheduled_events import ScheduledPause
from harness.virtual.shrink_seed import ShrunkSeed
from harness.virtual.simulation_settings import SimulationSettings, simulate
from harness.virtual.simulator import SeedTally, SimulationReport, run_simulate, simulate_seeds
from harness.virtual.steps import Crash, Recover, SendFrame
from node.algorithms import load_algorithm
from node.algorithms.multipaxos import MultiPaxos


def kinds(report: SimulationReport) -> set[str]:
    assert report.shrunk is not None
    return {violation.kind for violation in report.shrunk.violations}


# Each break below shows within 100 seeds, and every kind of fault within 60. `consensus simulate` runs any number.
@pytest.mark.parametrize(("nodes", "seeds"), [(3, range(100)), (5, range(20)), (1, range(10)), (2, range(10))])
def test_multipaxos_keeps_every_property_and_answers_in_the_recovery_phase(nodes: int, seeds: range) -> None:
    report = run_simulate("multipaxos", seeds, SimulationSettings(nodes=nodes))
    assert report.tally.failures == {}
    assert report.tally.runs == len(seeds)
    if nodes == 3:
        assert (report.verdict.status, report.exit_code) == ("valid", 0), report.verdict.evidence


def test_raft_keeps_every_property_and_answers_in_the_recovery_phase() -> None:
    assert run_simulate("raft", range(15)).tally.failures == {}


@pytest.mark.parametrize(
    ("algorithm", "seed"),
    [
        pytest.param("raft", 1_004_626, id="a late call begins a lease shortly before the end"),
        pytest.param("raft", 1_024_442, id="a crash comes between the early output and the commit of a snapshot"),
        pytest.param("raft", 1_028_901, id="a short session ends while its client turns to a suspended leader"),
        pytest.param(
            "raft", 1_065_635, id="the first of two changes of members that wait is made in the recovery phase"
        ),
        pytest.param("raft", 1_059_635, id="a leader with room for two frames refuses one"),
        pytest.param(
            "multipaxos", 1_015_946, id="a leader waits for a slot, over links that were slow, and ends no lease"
        ),
        pytest.param("multipaxos", 1_048_537, id="the nodes that knew of a change of members have lost their disks"),
        pytest.param("multipaxos", 1_128_318, id="a session ends early for its client by the leader's fast clock"),
        pytest.param("raft", 1_226_606, id="links that were slow are quick when a leader is to be found"),
        pytest.param("multipaxos", 1_044_727, id="links that were slow are quick when a node lacks slots"),
        pytest.param(
            "multipaxos", 3_000_692, id="a replica makes a snapshot at once of a change that another applies later"
        ),
        pytest.param("multipaxos", 1_074_069, id="the source of a snapshot goes down and another node leads"),
    ],
)
def test_what_is_right_is_no_violation(algorithm: str, seed: int) -> None:
    assert simulate_seeds(load_algorithm(algorithm), [seed], SimulationSettings(), 1).failures == {}


def test_the_recovery_phase_does_not_wait_for_a_pause_of_the_fault_phase() -> None:
    forever = ScheduledPause(0.3, 2 * RECOVERY_S, "n1")
    fault_schedule = replace(draw_log_fault_schedule(7_414), faults=(forever,))
    assert simulate(MultiPaxos, fault_schedule).violations == []


def test_a_clean_campaign_of_a_log_is_valid_only_if_every_kind_of_fault_has_happened() -> None:
    few = run_simulate("multipaxos", range(1))
    assert few.verdict.status == "unknown"
    assert "there never was" in few.verdict.evidence


def test_a_seed_repeats_exactly() -> None:
    for seed in range(6):
        one, other = (
            simulate(MultiPaxos, draw_log_fault_schedule(seed)),
            simulate(MultiPaxos, draw_log_fault_schedule(seed)),
        )
        assert one.steps == other.steps
        assert one.virtual_s == other.virtual_s
        assert one.seen == other.seen


def test_a_report_of_a_log_is_json_with_the_calls_that_were_kept() -> None:
    schedule = next(drawn for drawn in map(draw_log_fault_schedule, range(100)) if drawn.calls)
    shrunk = ShrunkSeed(schedule, [], [], [], {}, 0)
    report = SimulationReport("multipaxos", SimulationSettings(), 1.0, 1, SeedTally(), shrunk)
    calls = json.loads(report.dumps())["shrunk"]["weather"]["calls"]
    assert len(calls) == len(schedule.calls)
    assert {call["client"] for call in calls if "client" in call}


def test_seeds_draw_every_kind_of_event() -> None:
    drawn = [draw_log_fault_schedule(seed) for seed in range(100)]
    kinds_of_events = {
        type(event).__name__ for fault_schedule in drawn for event in (*fault_schedule.faults, *fault_schedule.calls)
    }
    assert kinds_of_events == {
        "ScheduledCut",
        "ScheduledOutage",
        "ScheduledPause",
        "ScheduledPlot",
        "ScheduledHandOver",
        "ScheduledHint",
        "ScheduledSlowDisk",
        "ClientRestart",
        "ScheduledOperation",
        "MembershipChange",
        "ScheduledCall",
    }
    assert {
        change.kind
        for fault_schedule in drawn
        for change in fault_schedule.calls
        if isinstance(change, MembershipChange)
    } == {
        "add",
        "remove",
    }
    assert any(
        isinstance(fault, ClientRestart) and fault.resumes
        for fault_schedule in drawn
        for fault in fault_schedule.faults
    )
    assert any(fault_schedule.tuning.snapshot_slots == 1 for fault_schedule in drawn)


@pytest.mark.parametrize(
    ("fault_model", "seeds", "kind"),
    [
        (FaultModel(disks_sync_late=True), range(100), "promise"),
        (FaultModel(logs_sync_late=True), range(29, 129), "contract"),
        (FaultModel(empty_disks_vote=True), range(60, 160), "incarnation"),
    ],
    ids=["a disk that syncs late", "a log behind its commit index", "a lost disk that votes"],
)
def test_a_bad_disk_is_found_and_the_run_is_shrunk(fault_model: FaultModel, seeds: range, kind: str) -> None:
    report = run_simulate("multipaxos", seeds, SimulationSettings(fault_model=fault_model, look_for=(kind,)))
    assert kinds(report) == {kind}
    assert report.shrunk is not None
    assert isinstance(report.shrunk.fault_schedule, LogFaultSchedule)
    assert len(report.shrunk.story) <= 60, report.shrunk.story  # a commit index is saved with every 16th slot
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
    tally = simulate_seeds(load_algorithm(mutant.algorithm), range(150), settings, 1)
    (text,) = tally.failures.values()
    assert text.startswith(kind)
    assert simulate_seeds(MultiPaxos, tally.failures, settings, 1).failures == {}
