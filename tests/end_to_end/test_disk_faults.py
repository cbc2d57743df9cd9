"""The faults of disks, limits and clocks on real processes: each bites, records it in its receipt, and heals.

One cluster takes all of them, one after the other, in any order: after each fault the cluster must be whole again.
"""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cluster.clients.outcomes import Ok
from cluster.errors import WrongState
from cluster.processes import ProcessState
from harness.checkers.evidence import UNNOTICED
from harness.checkers.verdict import VerdictStatus
from harness.faults import clock_faults, disk_faults, grey_faults, limit_faults
from harness.faults.active import ActiveFault, WatchedFault
from harness.faults.catalogue import catalogue
from harness.faults.last_commit import NoCommit, Reliance
from harness.faults.power_loss_vfs import SPEC
from harness.records.receipts import Receipt
from harness.runs.experiment import Experiment
from tests.waiting import WAIT_S, wait_until

RNG = Random(7)
#: For names of new variables. A value that is decided already is not written again.
NUMBERS = count(1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Experiment]:
    folder = tmp_path_factory.mktemp("faults") / "run"
    with Experiment(folder, nodes=3, vfs=SPEC) as run:
        yield run


@pytest.fixture
def run(shared: Experiment) -> Iterator[Experiment]:
    before = f"before-{next(NUMBERS)}"
    shared.propose(before, "blue", at="n2")
    yield shared
    assert {ProcessState.UP} == {shared.cluster.state(node) for node in shared.nodes}
    assert isinstance(shared.propose(f"after-{next(NUMBERS)}", "red", at="n2"), Ok)
    found = {node: outcome.value for node, outcome in shared.query_all(before).items() if isinstance(outcome, Ok)}
    assert found == {"n1": "blue", "n2": "blue", "n3": "blue"}


def last_receipt(run: Experiment) -> Receipt:
    receipt = run.faults.receipts[-1]
    assert receipt.bit, receipt
    assert receipt.ended_ns is not None
    return receipt


def wait_down(run: Experiment, node: str) -> None:
    """Propose at n3 until the node has stopped. Every proposal must be answered."""
    for _ in range(50):
        assert isinstance(run.propose(f"meanwhile-{next(NUMBERS)}", "green", at="n3"), Ok)
        if run.cluster.state(node) is ProcessState.DOWN:
            return
    raise AssertionError(f"{node} is still up")


@pytest.mark.parametrize(
    ("inject", "arguments"),
    [
        (disk_faults.fail_write, {"nth": 2}),
        (disk_faults.fail_sync, {"nth": 2}),
        (disk_faults.disk_full, {"free_bytes": 10_000}),
    ],
)
def test_a_disk_that_fails_stops_its_node(run: Experiment, inject: Any, arguments: dict[str, int]) -> None:
    fault: ActiveFault = inject(run, RNG, node="n1", **arguments)
    wait_down(run, "n1")
    fault.heal()
    receipt = last_receipt(run)
    assert "status 74" in receipt.evidence["ended"]
    assert receipt.evidence["disk"][0]["file"] == "state.db-wal"
    assert receipt.nodes_down == ("n1",)


def test_slow_syncs_are_recorded_and_a_node_returns_after_power_cuts(run: Experiment) -> None:
    slow = disk_faults.slow_sync(run, RNG, node="n1", seconds=0.5)
    begun = run.begin_propose(f"slow-{next(NUMBERS)}", "blue", at="n1", timeout_s=0.3)
    run.settle(begun)
    cut_rng = Random(1)
    slow.heal()
    assert last_receipt(run).evidence["disk"][0]["seconds"] == 0.5
    for tail in ("none", "torn", "reordered"):
        disk_faults.power_cut(run, cut_rng, node="n1", tail=tail).heal()
        assert last_receipt(run).evidence["wait_status"] == -9


def test_a_disk_hangs_until_the_heal_and_its_node_goes_on(run: Experiment) -> None:
    fault = grey_faults.hung_disk(run, RNG, nodes=["n1"])
    name = f"hangs-{next(NUMBERS)}"
    waits = run.begin_propose(name, "blue", at="n1", timeout_s=WAIT_S)
    assert isinstance(fault, WatchedFault)
    wait_until(fault.has_bitten)
    assert isinstance(run.propose(f"meanwhile-{next(NUMBERS)}", "red", at="n3"), Ok)
    assert waits.outcome is None
    fault.heal()
    run.settle(waits)
    assert isinstance(waits.outcome, Ok)
    assert last_receipt(run).nodes_down == ("n1",)


def test_a_disk_that_saw_no_write_leaves_no_receipt(run: Experiment) -> None:
    before = len(run.faults.receipts)
    grey_faults.hung_disk(run, RNG, nodes=["n2"]).heal()
    assert len(run.faults.receipts) == before


def test_messages_are_late_in_one_direction_and_lost_in_bursts(run: Experiment) -> None:
    with run.inject("one-way-delay", node="n1", direction="to", seconds=0.05):
        run.propose(f"late-{next(NUMBERS)}", "blue", at="n2")
    late = last_receipt(run)
    assert {receiver for _, receiver in late.links_disturbed} == {"n1"}
    with run.inject("burst-loss", loss=0.5, length=2):
        for _ in range(5):
            run.propose(f"lossy-{next(NUMBERS)}", "blue", at="n2")
    assert last_receipt(run).loss == 0.5


def test_a_node_refuses_a_flipped_bit_or_it_does_no_harm(run: Experiment) -> None:
    fault = disk_faults.flip_bit(run, Random(3), node="n1")
    fault.heal()
    evidence = last_receipt(run).evidence
    assert evidence["was"] != evidence["now"]
    assert "damaged" in evidence["then"] or "checksum" in evidence["then"] or evidence["then"] == "it started"


def test_the_last_commit_of_a_node_is_damaged(run: Experiment) -> None:
    fault = disk_faults.damage_last_commit_of_node(run, Random(3), node="n1")
    fault.heal()
    receipt = last_receipt(run)
    assert receipt.evidence["file"] == "state.db-wal"
    assert receipt.evidence["was"] ^ receipt.evidence["now"] in {1 << bit for bit in range(8)}
    assert receipt.evidence["commit_lost"] == ["n1"]


def test_a_node_that_has_relied_on_the_commit_must_doubt_its_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Experiment(tmp_path / "run", nodes=3, algorithm="multipaxos") as run:
        assert isinstance(run.propose("x", "blue"), Ok)
        disk_faults.damage_last_commit_of_node(run, RNG, node="n1").heal()
        evidence = last_receipt(run).evidence
        assert (evidence["then"], evidence["relied on"]) == ("it started", True)
        assert UNNOTICED not in evidence
        monkeypatch.setattr(Reliance, "doubts_of", lambda *_: 0)  # as if its disk did not say so
        disk_faults.damage_last_commit_of_node(run, RNG, node="n1").heal()
        assert last_receipt(run).evidence[UNNOTICED] == ["n1"]


def test_a_node_does_not_start_without_its_directory(run: Experiment) -> None:
    fault = disk_faults.delete_directory(run, RNG, node="n1")
    assert run.cluster.state("n1") is ProcessState.DOWN
    fault.heal()
    assert "is missing" in last_receipt(run).evidence["then"]


def test_a_node_does_not_start_on_an_old_copy_of_its_directory(run: Experiment) -> None:
    fault = disk_faults.restore_old_copy(run, RNG, node="n1", most_s=0.0)
    assert run.cluster.state("n1") is ProcessState.DOWN
    fault.heal()
    evidence = last_receipt(run).evidence
    newest, oldest = evidence["boots_on_disk"]
    assert f"is an old copy of the disk of n1: it has booted {oldest} of the {newest} times" in evidence["then"]
    assert run.cluster.state("n1") is ProcessState.UP


def test_a_second_process_on_a_directory_is_refused(run: Experiment) -> None:
    disk_faults.second_process(run, RNG, node="n1").heal()
    assert "in use" in last_receipt(run).evidence["then"]
    assert last_receipt(run).evidence["wait_status"] == 74


def test_a_fault_on_a_node_that_is_down_is_refused_and_changes_nothing(run: Experiment) -> None:
    """Neither the disk nor the receipts change, and the node stays down: its kill is not over."""
    run.faults.kill("n1")
    receipts = run.faults.receipts
    refused = set()
    for entry in catalogue():
        named = next((name for name in ("node", "nodes") if name in entry.parameters), None)
        if named is None or entry.family in ("cut", "role", "member", "stream") or entry.name == "one-way-delay":
            continue
        arguments: dict[str, Any] = {named: "n1" if named == "node" else ["n1"]}
        if "message" in entry.parameters:
            arguments["message"] = "Accept"
        with pytest.raises(WrongState, match="n1 is down"):
            run.inject(entry.name, **arguments)
        refused.add(entry.name)
    assert {"kill", "terminate", "suspend", "starve", "kill-at", "power-cut", "flip-bit", "second-process"} <= refused
    assert run.cluster.state("n1") is ProcessState.DOWN
    assert receipts == run.faults.receipts
    assert run.network.rules() == []
    run.faults.restart("n1")


def test_a_disk_without_a_commit_to_damage_is_left_as_it_is(run: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_commit(*_: object) -> None:
        raise NoCommit("there is no commit")

    monkeypatch.setattr(disk_faults, "damage_last_commit", no_commit)
    with pytest.raises(NoCommit):
        disk_faults.damage_last_commit_of_node(run, RNG, node="n1")
    assert run.cluster.state("n1") is ProcessState.UP


def test_limits_are_set_and_lifted(run: Experiment) -> None:
    for inject in (limit_faults.memory_limit, limit_faults.descriptor_limit):
        fault = inject(run, RNG, node="n1")
        run.propose(f"under {inject.__name__}".replace(" ", "-"), "blue", at="n3")
        fault.heal()
        assert "Max" in last_receipt(run).evidence["kernel"]


def test_clocks_jump_and_run_fast_and_slow(run: Experiment) -> None:
    clock_faults.clock_jump(run, RNG, node="n1", seconds=30).heal()
    assert last_receipt(run).evidence["jumped_s"] == pytest.approx(30, abs=0.5)
    clock_faults.clock_jump(run, RNG, node="n2", seconds=30, back=True).heal()
    assert last_receipt(run).evidence["jumped_s"] == pytest.approx(-30, abs=0.5)
    for rate in (5.0, 0.0):
        fault = clock_faults.clock_skew(run, RNG, node="n1", rate=rate)
        for number in range(20):
            run.propose(f"skewed-{rate}-{number}", "blue", at="n3")
        fault.heal()
        assert (last_receipt(run).evidence["gained_s"] > 0) == (rate > 1)


def test_paxos_is_valid_when_a_disk_fails(tmp_path: Path) -> None:
    run = Experiment(tmp_path / "run", nodes=3, vfs=SPEC)
    with run:
        fault = disk_faults.fail_sync(run, RNG, node="n1", nth=3)
        run.propose("colour", "blue", at="n1", timeout_s=0.9)
        wait_down(run, "n1")
        fault.heal()
        run.propose("colour", "red", at="n3")
        run.query_all("colour")
    assert {VerdictStatus.VALID} == {verdict.status for verdict in run.judge().values()}
