"""The suite as somebody would use it, on real processes: plans drawn, run, judged, replayed and shrunk."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from cluster.processes import ProcessState
from cluster.spec import node_names
from harness.checkers.verdict import VerdictStatus
from harness.faults.catalogue import catalogue
from harness.records import history, receipts
from harness.runs.experiment import Experiment
from harness.runs.plan import Plan, PlanStep, When
from harness.runs.plan_generator import generate
from harness.runs.suite import PlanResult, run_plan
from node.algorithms.multipaxos import MultiPaxos
from tests.end_to_end.hand import run_in_this_process
from tests.impatient import IMPATIENT
from tests.waiting import wait_until

THREE, FIVE = node_names(3), node_names(5)
SPLIT: dict[str, Any] = {"groups": [["n1"], ["n2", "n3"]]}


def consensus(root: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run a command in this process. Returns its exit code, the JSON that it printed, and what it wrote to stderr."""
    done = run_in_this_process("--dir", str(root), *arguments, "-o", "json")
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with one run of failover, of a plan with five steps of which one breaks it."""
    root = tmp_path_factory.mktemp("consensus")
    steps = (
        PlanStep("kill", 0.1, 0.2, None, {"nodes": ["n3"]}),
        PlanStep("duplicate", 0.2, 0.3, None, {"probability": 0.5}),
        PlanStep("suspend", 0.3, 0.1, None, {"nodes": ["n2"]}),
        # Longer than the patience of failover, which a busy machine lets grow before the cut.
        PlanStep("partition", 0.4, 5.4, None, SPLIT),
        PlanStep("terminate", 0.5, 0.2, None, {"nodes": ["n3"]}),
    )
    Plan("failover", THREE, 7, "register", 6.0, steps).save(root / "mine.json")
    for _ in range(3):  # on a machine that is busy otherwise, both sides may not get round to deciding
        code, data, errors = consensus(root, "test", "--plan", str(root / "mine.json"))
        if code == 1:
            break
    assert code == 1, errors
    return root, data


def test_a_cut_breaks_failover_and_the_evidence_says_how(broken: tuple[Path, dict[str, Any]]) -> None:
    _, data = broken
    assert data["verdict"] == "invalid"
    assert {"coherence", "linearizability"} <= {
        name for name, verdict in data["verdicts"].items() if verdict["status"] == "invalid"
    }
    assert data["verdicts"]["guards"]["status"] == "valid"
    assert all(step["trouble"] is None for step in data["steps"])


def test_its_folder_holds_everything(broken: tuple[Path, dict[str, Any]]) -> None:
    _, data = broken
    folder = Path(data["run"])
    results = json.loads((folder / "results.json").read_text())
    assert results["verdict"] == "invalid"
    assert data["plan"] == json.loads((folder / "plan.json").read_text())
    assert history.load(folder / "history.jsonl").operations
    assert (folder / "messages.jsonl").read_text()
    loaded = receipts.load(folder / "receipts.jsonl")
    assert {"kill", "duplicate", "suspend", "partition", "terminate"} == {receipt.fault for receipt in loaded}
    assert all(receipt.bit and receipt.ended_ns is not None for receipt in loaded)
    for node in THREE:
        assert (folder / "logs" / f"{node}.log").exists()
        assert (folder / "nodes" / node / "state.db").exists()


def test_it_shrinks_to_what_breaks_it_and_replays(broken: tuple[Path, dict[str, Any]]) -> None:
    root, data = broken
    for _ in range(3):  # as above
        code, shrunk, errors = consensus(root, "shrink", Path(data["run"]).name)
        if code == 1:
            break
    assert code == 1, errors
    assert shrunk["steps_before"] == 5
    assert [step["fault"] for step in shrunk["plan"]["steps"]] == ["partition"]
    assert shrunk["plan"] == json.loads((Path(shrunk["run"]) / "plan.json").read_text())
    code, again, errors = consensus(root, "replay", Path(shrunk["run"]).name, "--times", "2")
    assert code == 1, errors
    assert again["times"] == 2
    assert again["fired"] >= 1


def test_a_valid_run_cannot_be_shrunk(tmp_path: Path) -> None:
    (tmp_path / "runs" / "fine").mkdir(parents=True)
    (tmp_path / "runs" / "fine" / "results.json").write_text('{"verdicts": {"coherence": {"status": "valid"}}}')
    Plan().save(tmp_path / "runs" / "fine" / "plan.json")
    code, _, errors = consensus(tmp_path, "shrink", "fine")
    assert code == 254
    assert "fine violates nothing" in errors


def test_impossible_arguments_are_errors(tmp_path: Path) -> None:
    for arguments, expected in (
        (["test", "paxos", "--faults", "kil"], "no fault is called 'kil'"),
        (["test", "paxox"], "no algorithm is called 'paxox'"),
        (["test", "paxos", "--workload", "kvs"], "no workload is called 'kvs'"),
        (["test", "paxos", "--workload", "kv"], "test an algorithm with a log"),
        (["test"], "give either an algorithm"),
        (["test", "paxos", "--seeds", "5-1"], "names no seeds"),
        (["test", "paxos", "--seeds", "1-2", "--seed", "1"], "give neither --seed nor --plan"),
        (["test", "--plan", __file__, "--nodes", "3", "--time", "2"], "a plan has its own time, nodes"),
    ):
        code, _, errors = consensus(tmp_path, *arguments)
        assert (code, expected in errors) == (254, True), errors
    assert not list((tmp_path / "runs").iterdir()) if (tmp_path / "runs").exists() else True


def test_the_catalogue_is_listed(tmp_path: Path) -> None:
    code, data, _ = consensus(tmp_path, "faults")
    assert code == 0
    assert [entry.name for entry in catalogue()] == [fault["name"] for fault in data["faults"]]
    assert all(fault["summary"] for fault in data["faults"])


def run_that_tests(plan: Plan, folder: Path, *, all_fire: bool = False) -> PlanResult:
    """Run a plan. A run in which a fault did not bite or a kind of call never succeeded was no test, and is made again.

    With `all_fire`, so is a run in which a fault has waited for its message in vain.
    """
    for attempt in ("run", "again", "and again"):
        result = run_plan(plan, folder / attempt)
        if result.verdict.status is VerdictStatus.UNKNOWN or (all_fire and any(step.missed for step in result.steps)):
            continue
        break
    return result


# --- paxos ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("nodes", "seed"), [(FIVE, 11), (THREE, 12)], ids=["five", "three"])
def test_paxos_keeps_its_promises_under_whatever_is_drawn(tmp_path: Path, nodes: tuple[str, ...], seed: int) -> None:
    result = run_that_tests(generate("paxos", nodes, seed, time_s=2.5), tmp_path)
    assert result.verdict.status is VerdictStatus.VALID, result.verdicts
    assert sum(outcome.fired for outcome in result.steps) >= 3


class RefusesToStartAgain(MultiPaxos):
    """A node that has promised something does not start again."""

    def start(self) -> None:
        super().start()
        if "promised" in self.node.disk:
            raise RuntimeError("once was enough")


def test_a_node_that_refuses_to_start_again_is_judged(tmp_path: Path) -> None:
    name = f"{__name__}:{RefusesToStartAgain.__name__}"
    kill = PlanStep("kill", 0.0, 0.2, When.parse("1st Accept"), {"nodes": ["sender"]})
    result = run_that_tests(Plan(name, THREE, 1, IMPATIENT, 1.0, (kill,)), tmp_path)
    assert {"contract", "recovery"} <= set(result.violated), (result.verdicts, result.steps)
    assert "refused to start again" in result.verdicts["recovery"].evidence
    assert (result.folder / "results.json").exists()


# --- logs -------------------------------------------------------------------------------------------------------------


def test_a_log_keeps_its_promises_and_what_was_sent_again_did_nothing(tmp_path: Path) -> None:
    loses = PlanStep("drop", 0.2, 2.0, None, {"links": "clients", "probability": 0.3})
    kills = PlanStep("kill", 0.6, 0.6, None, {"nodes": ["leader"]})
    result = run_that_tests(Plan("multipaxos", THREE, 1, "kv", 2.6, (loses, kills)), tmp_path)
    assert result.verdict.status is VerdictStatus.VALID, result.verdicts
    assert {"agreement", "effects", "durability", "invariants"} <= set(result.verdicts)
    again = int(result.verdicts["effects"].evidence.split("; ")[1].split()[0])
    assert again > 0, result.verdicts["effects"]


def test_a_log_that_does_again_what_is_sent_again_is_found_out(tmp_path: Path) -> None:
    loses = PlanStep("drop", 0.2, 2.0, None, {"links": "clients", "probability": 0.4})
    plan = Plan("harness.mutants.log:RetriesAreDoneAgain", THREE, 1, "kv", 2.4, (loses,))
    result = run_that_tests(plan, tmp_path)
    # Not that each kind of call succeeded: of the few cas of such a run, all may be refused.
    assert result.verdicts["effects"].status is VerdictStatus.INVALID, result.verdicts


def test_a_fault_strikes_at_its_message(tmp_path: Path) -> None:
    """n3 is killed as its second Accept is about to reach it: it has got one, and never that one."""
    step = PlanStep("kill", 0.0, 0.4, When(2, "Accept", None, "n3"), {"nodes": ["n3"]})
    result = run_that_tests(Plan("paxos", THREE, 1, "register", 2.5, (step,)), tmp_path)
    assert result.verdict.status is VerdictStatus.VALID, result.verdicts
    (outcome,) = result.steps
    assert outcome.fired
    kill = next(receipt for receipt in receipts.load(result.folder / "receipts.jsonl") if receipt.fault == "kill")
    lines = [json.loads(line) for line in (result.folder / "messages.jsonl").read_text().splitlines()]
    accepts = [
        line for line in lines if line["type"] == "Accept" and line["to"] == "n3" and line["time"] < kill.began_ns
    ]
    arrived = [line for line in accepts if "of" not in line]
    released = [line for line in accepts if line["fate"] == "released"]
    assert len(arrived) >= 2
    assert len(released) == 1


def test_a_message_that_never_comes_is_reported_and_is_no_test(tmp_path: Path) -> None:
    step = PlanStep("kill", 0.0, 0.4, When(99, "Accept", None, "n3"), {"nodes": ["n3"]})
    result = run_plan(Plan("paxos", THREE, 1, "register", 0.6, (step,)), tmp_path / "run")
    assert result.verdict.status is VerdictStatus.UNKNOWN
    assert "none of 1 step fired" in result.verdicts["guards"].evidence
    assert result.steps[0].trouble == "its message was not seen"


def test_several_seeds_are_run_one_after_the_other(tmp_path: Path) -> None:
    code, data, errors = consensus(
        tmp_path, "test", "paxos", "--seeds", "4,5", "--time", "0.5", "--steps", "0", "-n", "3"
    )
    assert code == 0, errors
    assert [run["plan"]["seed"] for run in data["runs"]] == [4, 5]
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_locks_exclude_under_kills_and_pauses(tmp_path: Path) -> None:
    kills = PlanStep("kill", 0.5, 0.6, None, {"nodes": ["leader"]})
    pauses = PlanStep("suspend", 1.6, 0.6, None, {"nodes": ["leader"]})
    result = run_that_tests(Plan("multipaxos", THREE, 2, "lock", 4.0, (kills, pauses)), tmp_path)
    assert result.verdict.status is VerdictStatus.VALID, result.verdicts
    assert {"exclusion", "agreement", "durability"} <= set(result.verdicts)


# --- every fault bites, and leaves everything whole --------------------------------------------------------------------


@pytest.fixture(scope="module")
def each_once(tmp_path_factory: pytest.TempPathFactory) -> PlanResult:
    """Every fault of processes, cuts and links, one after the other, with nobody else in force."""
    steps, at_s = [], 0.1
    for entry in catalogue():
        if entry.family in ("process", "cut", "link"):
            lasts_s = {"rolling-restart": 0.6, "kill-at": 1.0}.get(entry.name, 0.25)
            steps.append(PlanStep(entry.name, round(at_s, 2), lasts_s, None, _ARGUMENTS.get(entry.name, {})))
            at_s += lasts_s + (0.3 if entry.family == "process" else 0.05)
    plan = Plan("paxos", FIVE, 3, "register", round(at_s + 0.2, 2), tuple(steps))
    return run_that_tests(plan, tmp_path_factory.mktemp("each"), all_fire=True)


_ARGUMENTS: dict[str, dict[str, Any]] = {
    "kill-at": {"message": "Accept", "end": "sender", "node": "n2"},
    "starve": {"nodes": ["n1", "n4"]},
    "corrupt": {"links": "all"},
}


def test_every_fault_fires_and_heals(each_once: PlanResult) -> None:
    for outcome in each_once.steps:
        assert outcome.fired, outcome
        assert outcome.trouble is None, outcome
        assert outcome.ended_s is not None, outcome
    assert each_once.verdict.status is VerdictStatus.VALID, each_once.verdicts


def test_every_fault_leaves_a_receipt_that_bit(each_once: PlanResult) -> None:
    loaded = receipts.load(each_once.folder / "receipts.jsonl")
    assert all(receipt.bit for receipt in loaded), [receipt for receipt in loaded if not receipt.bit]
    left = {receipt.fault for receipt in loaded}
    assert {"kill", "kill in recovery", "terminate", "suspend", "starve", "flapping", "ring", "bridge"} <= left
    assert {"halves", "minority", "majority", "one-way", "drop", "delay", "hold", "corrupt"} <= left


def test_a_receipt_excuses_what_its_fault_makes_impossible_and_no_more(each_once: PlanResult) -> None:
    loaded = {receipt.fault: receipt for receipt in receipts.load(each_once.folder / "receipts.jsonl")}
    broken = {
        fault: bool(receipt.links_broken or receipt.nodes_down)
        for fault, receipt in loaded.items()
        if fault in ("duplicate", "reorder", "delay", "drop", "flapping", "hold", "starve")
    }
    assert broken == {
        **dict.fromkeys(("duplicate", "reorder", "delay", "drop", "flapping"), False),
        **dict.fromkeys(("hold", "starve"), True),
    }
    assert not loaded["duplicate"].links_disturbed
    assert loaded["reorder"].late_s > 0
    assert 0 < loaded["drop"].loss < 1


def test_a_fault_by_its_name_from_python(tmp_path: Path) -> None:
    with Experiment(tmp_path / "run", nodes=3, algorithm="paxos") as run:
        with run.inject("isolate", node="n1"):
            run.propose("colour", "blue", at="n2")
        run.query_all("colour")
        (receipt,) = run.faults.receipts
    assert receipt.bit
    assert {("n1", "n2"), ("n1", "n3"), ("n2", "n1"), ("n3", "n1")} == set(receipt.links_cut)


def test_a_fault_of_processes_goes_on_when_another_program_acts_on_its_nodes(tmp_path: Path) -> None:
    with Experiment(tmp_path / "run", nodes=3, algorithm="paxos") as run:
        cluster = run.cluster

        def signal_from_outside(number: signal.Signals) -> bool:
            with run.faults.lock:  # not while the fault itself acts on the process
                pid = cluster.process("n1").pid
                if pid is not None:
                    os.kill(pid, number)
                return pid is not None

        def boots(node: str) -> int:
            ready = cluster.process(node).ready
            return ready.incarnation if ready else 0

        starving = run.inject("starve", nodes=["n1", "n2"], stopped=0.5, period_s=0.06)
        assert signal_from_outside(signal.SIGKILL)
        wait_until(lambda: cluster.state("n1") is ProcessState.DOWN)
        for _ in range(2):
            wait_until(lambda: cluster.state("n2") is ProcessState.UP)
            wait_until(lambda: cluster.state("n2") is ProcessState.SUSPENDED)
        starving.heal()
        assert [cluster.state(node) for node in run.nodes] == [ProcessState.UP] * 3

        rolling = run.inject("rolling-restart", pause_s=0.01)
        wait_until(lambda: signal_from_outside(signal.SIGSTOP))
        before = boots("n3")
        wait_until(lambda: boots("n3") > before + 1)
        rolling.heal()
        assert [cluster.state(node) for node in run.nodes] == [ProcessState.UP] * 3
        assert all(receipt.bit for receipt in run.faults.receipts if receipt.fault == "starve")


def test_a_bridge_is_nobody_who_leads(tmp_path: Path) -> None:
    """To whom alone the others talk: such a bridge would cut nothing."""
    with Experiment(tmp_path / "run", nodes=3, algorithm="multipaxos") as run:
        run.propose("colour", "blue")
        leader = run.faults.leader()
        first, second = (node for node in run.nodes if node != leader)
        with run.inject("bridge", groups=[[first], [second, leader]]):
            run.propose("shape", "round", at=leader)
        (receipt,) = run.faults.receipts
    assert receipt.bit
    assert {(first, leader), (leader, first)} == set(receipt.links_cut)
