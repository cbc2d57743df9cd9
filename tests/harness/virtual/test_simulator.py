"""Virtual time, seeded faults: the shipped classes come out clean, the broken ones do not, and each seed repeats exactly."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from harness.mutants import majority_and_leader, paxos
from harness.virtual.fault_model import FaultModel
from harness.virtual.fault_schedule import FaultSchedule, KindLoss, LinkConditions, draw_fault_schedule
from harness.virtual.judge import SAFETY
from harness.virtual.node_state import facts_of
from harness.virtual.scheduled_events import ScheduledCall, ScheduledCut, ScheduledOutage, ScheduledPause
from harness.virtual.shrink_seed import shrink_seed
from harness.virtual.simulation_settings import SimulationSettings, simulate
from harness.virtual.simulator import SeedTally, SimulationReport, run_simulate
from harness.virtual.steps import Crash, LoseDisk, Recover
from node.algorithms import load_algorithm
from node.algorithms.multipaxos import MultiPaxos
from node.algorithms.paxos import Decided, Paxos
from node.contract import Algorithm
from node.quorum import majority

ROOT = Path(__file__).resolve().parents[3]


def kinds(report: SimulationReport) -> set[str]:
    assert report.shrunk is not None
    return {violation.kind for violation in report.shrunk.violations}


# --- the shipped classes --------------------------------------------------------------------------------------------


# Each break below shows within 200 seeds, and every kind of fault within 60. `consensus simulate` runs any number.
@pytest.mark.parametrize(("nodes", "seeds"), [(3, range(300)), (5, range(40)), (1, range(10)), (4, range(40))])
def test_paxos_keeps_every_property_and_answers_in_the_recovery_phase(nodes: int, seeds: range) -> None:
    report = run_simulate("paxos", seeds, SimulationSettings(nodes=nodes))
    assert report.tally.failures == {}
    assert report.tally.runs == len(seeds)
    assert report.tally.seen["a decision"] == len(seeds)


def test_a_clean_campaign_is_valid_only_if_every_kind_of_fault_has_happened() -> None:
    report = run_simulate("paxos", range(60))
    assert report.not_judged == []
    assert (report.verdict.status, report.exit_code) == ("valid", 0)
    assert {"a crash", "a cut", "a loss", "a repetition", "a pause", "a lost disk"} <= report.tally.seen.keys()
    few = run_simulate("paxos", range(1))
    assert few.verdict.status == "unknown"
    assert "there never was" in few.verdict.evidence


@pytest.mark.parametrize("algorithm", ["leader", "majority"])
def test_leader_and_majority_are_safe(algorithm: str) -> None:
    report = run_simulate(algorithm, range(100), SimulationSettings(look_for=SAFETY))
    assert report.tally.failures == {}


# --- what the article says goes wrong -------------------------------------------------------------------------------


def test_without_the_leader_no_client_is_answered() -> None:
    report = run_simulate("leader", range(100))
    assert kinds(report) == {"fault tolerance"}
    assert report.shrunk is not None
    assert report.shrunk.fault_schedule.faults == ()  # a recovery phase without n1 is enough
    assert report.shrunk.final_status["n1"] is None


def test_failover_splits_the_brain() -> None:
    report = run_simulate("failover", range(200), SimulationSettings(look_for=SAFETY))
    assert kinds(report) == {"agreement"}


def test_majority_hangs_on_the_seventh_at_three_and_three() -> None:
    fault_schedule = draw_fault_schedule(48, 7, values=2)
    done = simulate(load_algorithm("majority"), fault_schedule)
    assert [violation.kind for violation in done.violations] == ["fault tolerance"]
    up = [node for node in done.cluster.nodes.values() if node.up]
    assert len(up) == 6
    assert sorted(Counter(node.instance.status().details["vote"] for node in up if node.instance).values()) == [3, 3]


# --- mistakes of real systems ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "fault_model", "seeds", "kind"),
    [
        (paxos.IgnoresAccepted, FaultModel(), range(200), "agreement"),
        (paxos.AdoptsLowest, FaultModel(), range(740, 743), "agreement"),
        (paxos.AcceptIgnoresPromise, FaultModel(), range(200), "promise"),
        (paxos.AcceptDoesNotRaise, FaultModel(), range(200), "promise"),
        (paxos.PromiseInMemory, FaultModel(), range(200), "promise"),
        (paxos.AcceptedInMemory, FaultModel(), range(200), "promise"),
        (Paxos, FaultModel(disks_sync_late=True), range(200), "promise"),
        (Paxos, FaultModel(empty_disks_vote=True), range(1350, 1400), "ballot"),
        (paxos.ReusesBallots, FaultModel(), range(200), "promise"),
        (paxos.SmallQuorum1, FaultModel(), range(200), "agreement"),
        (paxos.SmallQuorum2, FaultModel(), range(200), "agreement"),
        (majority_and_leader.QueriesAreAnsweredAtOnce, FaultModel(), range(200), "stability"),
        (paxos.ProposesADefault, FaultModel(), range(200), "validity"),
        (paxos.LateAcceptsKill, FaultModel(), range(200), "contract"),
    ],
)
def test_a_broken_algorithm_is_caught_and_its_run_is_shrunk(
    algorithm: type[Algorithm], fault_model: FaultModel, seeds: range, kind: str
) -> None:
    report = run_simulate(algorithm, seeds, SimulationSettings(fault_model=fault_model, look_for=SAFETY))
    assert kinds(report) == {kind}
    assert report.shrunk is not None
    assert len(report.shrunk.story) <= 40
    assert (report.verdict.status, report.exit_code) == ("invalid", 1)


# --- a seed ---------------------------------------------------------------------------------------------------------


def test_a_seed_repeats_exactly() -> None:
    for seed in range(20):
        one, other = simulate(Paxos, draw_fault_schedule(seed)), simulate(Paxos, draw_fault_schedule(seed))
        assert one.steps == other.steps
        assert one.cluster.story == other.cluster.story
        assert one.virtual_s == other.virtual_s


def test_seeds_differ() -> None:
    assert len({tuple(simulate(Paxos, draw_fault_schedule(seed)).steps) for seed in range(20)}) == 20


def test_rivals_are_calls_more_in_the_fault_phase_the_same_for_each_seed() -> None:
    plain, settings = SimulationSettings(values=2), SimulationSettings(values=2, rivals=16)
    for seed in range(20):
        drawn, schedule = plain.draw(Paxos, seed), settings.draw(Paxos, seed)
        more = schedule.calls[len(drawn.calls) :]
        assert schedule == replace(drawn, calls=(*drawn.calls, *more)) == settings.draw(Paxos, seed)
        assert len(more) == 16
        assert all(0 <= call.at_s < drawn.fault_phase_s for call in more)
        assert {call.colour for call in more if isinstance(call, ScheduledCall)} <= {"blue", "red", None}
    assert MultiPaxos.keeps_log
    assert settings.draw(MultiPaxos, 1) == plain.draw(MultiPaxos, 1)


def test_rivals_find_a_proposer_that_sends_once_three_times_as_often_and_no_fault_in_paxos() -> None:
    settings = SimulationSettings(rivals=16)
    plain, found = (
        run_simulate(paxos.SendsOnce, range(60), each, failures_max=1000) for each in (SimulationSettings(), settings)
    )
    assert len(found.tally.failures) > 3 * len(plain.tally.failures) > 0
    assert run_simulate("paxos", range(60), settings).tally.failures == {}


def test_workers_find_the_same() -> None:
    alone = run_simulate("failover", range(60), failures_max=1000)
    # In a process of its own, since multiprocessing leaves its resource tracker to the process that it began in.
    source = (
        "from harness.virtual.simulator import run_simulate;"
        "print(run_simulate('failover', range(60), workers=2, failures_max=1000).dumps())"
    )
    output = subprocess.run([sys.executable, "-c", source], check=True, capture_output=True, cwd=ROOT).stdout
    together = json.loads(output)
    assert {str(seed): text for seed, text in alone.tally.failures.items()} == together["failures"]
    assert alone.tally.steps == together["steps"]
    assert len(alone.tally.failures) > 1


def test_a_campaign_that_was_cut_short_says_so() -> None:
    report = run_simulate("paxos", range(1000), seconds=0)
    assert report.verdict.status == "unknown"
    assert report.verdict.evidence == "cut short after 20 of 1,000 seeds"


def test_a_report_is_plain_data_and_plain_text() -> None:
    report = run_simulate(paxos.IgnoresAccepted, range(150, 180))
    data = json.loads(report.dumps())
    assert data["verdict"]["status"] == "invalid"
    assert data["shrunk"]["story"] == report.shrunk.story if report.shrunk else None
    assert report.shrunk
    shrunk_to = len(report.shrunk.schedule)
    assert 0 < shrunk_to < report.shrunk.from_steps
    said = f"VIOLATED by seed 161. Shrunk from {report.shrunk.from_steps:,} steps to {shrunk_to}, it does this:"
    assert said in report.lines()


def test_a_run_that_did_not_get_shorter_is_not_called_shrunk() -> None:
    report = run_simulate(paxos.IgnoresAccepted, range(161, 162))
    assert report.shrunk
    as_long = replace(report.shrunk, from_steps=len(report.shrunk.schedule))
    assert as_long.how_much == f"It could not be shrunk, and does this, in {len(as_long.schedule)} steps"


def test_a_report_names_its_fields_as_older_reports_do() -> None:
    report = run_simulate("failover", range(20), SimulationSettings(look_for=SAFETY))
    data = report.to_json()
    assert "oddities" in data["settings"]
    assert {"storm_s", "late_colours"} <= data["shrunk"]["weather"].keys()
    assert "picky" in data["shrunk"]["weather"]["links"]


# --- fault schedules ------------------------------------------------------------------------------------------------


def test_survivors_are_a_majority_unless_too_many_disks_are_lost() -> None:
    for seed in range(200):
        fault_schedule = draw_fault_schedule(seed, 5)
        lost = {
            fault.node for fault in fault_schedule.faults if isinstance(fault, ScheduledOutage) and fault.loses_disk
        }
        assert len(fault_schedule.survivors) >= majority(5)
        assert not lost & set(fault_schedule.survivors)


WITHOUT_FAULTS = FaultSchedule(
    0,
    ("n1", "n2", "n3"),
    1.0,
    LinkConditions(usual_s=(0.001,) * 9),
    (1.0, 1.0, 1.0),
    (),
    (ScheduledCall(0.1, 1.0, "n1", "blue"),),
    ("n1", "n2", "n3"),
    ("red",),
)


def test_without_faults_a_proposal_is_decided_within_milliseconds() -> None:
    done = simulate(Paxos, replace(WITHOUT_FAULTS, fault_phase_s=0.12))
    assert done.cluster.replies[done.cluster.happened[0].step.request].value is not None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (ScheduledCut(0.0, 5.0, ("n1",), ("n2", "n3"), one_way=False, holds=False), "a cut"),
        (ScheduledCut(0.0, 5.0, ("n1",), ("n2", "n3"), one_way=True, holds=True), "a cut"),
        (ScheduledPause(0.0, 5.0, "n1"), "a pause"),
        (ScheduledOutage(0.1001, 5.0, "n1", loses_disk=False), "a crash"),
    ],
    ids=["cut", "one way, held", "pause", "outage"],
)
def test_a_fault_has_an_effect_until_the_recovery_phase(
    fault: ScheduledCut | ScheduledPause | ScheduledOutage, seen: str
) -> None:
    done = simulate(Paxos, replace(WITHOUT_FAULTS, faults=(fault,)))
    assert done.seen[seen] == 1
    request = next(happened.step.request for happened in done.cluster.happened if hasattr(happened.step, "request"))
    answered = request in done.cluster.replies
    assert answered == (not isinstance(fault, ScheduledOutage))
    assert done.virtual_s > 1.0
    assert done.violations == []


def test_a_node_that_loses_its_disk_never_boots_again() -> None:
    done = simulate(
        Paxos,
        replace(WITHOUT_FAULTS, faults=(ScheduledOutage(0.5, 0.1, "n3", loses_disk=True),), survivors=("n1", "n2")),
    )
    assert [step for step in done.steps if isinstance(step, Crash | LoseDisk | Recover)] == [
        Crash("n3"),
        LoseDisk("n3"),
    ]


def test_a_message_class_may_be_lost_more_often() -> None:
    last = replace(WITHOUT_FAULTS.links, loss_by_kind=(KindLoss(0.999, 1.0),))
    done = simulate(Paxos, replace(WITHOUT_FAULTS, links=last))
    decided = [facts_of(node).decided for node in done.cluster.nodes.values()]
    assert Paxos.messages[-1] is Decided
    assert done.seen["a loss"] == 2
    assert None not in decided  # the nodes have inquired in the recovery phase


def test_a_simulation_that_ran_no_seed_shows_no_rate_and_no_events() -> None:
    report = SimulationReport("paxos", SimulationSettings(), 2.0, 1000, SeedTally(), None)
    assert report.lines() == [
        "simulate paxos on 3 nodes",
        "0 seeds, 0 steps in 2.0 s",
        "unknown: cut short after 0 of 1,000 seeds",
    ]


def test_a_simulation_says_that_it_saw_no_promise_to_judge() -> None:
    report = run_simulate("leader", range(2))
    (missing,) = report.not_judged
    assert "no node reported a ballot" in missing
    assert f"  not judged: {missing}" in report.lines()
    assert report.to_json()["not_judged"] == [missing]


def test_a_failure_that_is_not_met_again_says_what_it_was_and_what_may_be_the_cause() -> None:
    shrunk = shrink_seed(Paxos, SimulationSettings(), 0, before="agreement: two values")
    (violation,) = shrunk.violations
    assert violation.text.startswith(
        "seed 0 has failed (agreement: two values), and does not fail again: the same inputs"
    )
    assert "a global" in violation.text
    assert not shrunk.schedule
