"""What grey faults excuse, and how plans draw them."""

from pathlib import Path

import pytest

from cluster.spec import create, node_names
from harness.faults.catalogue import catalogue
from harness.faults.prerequisites import experiment_arguments
from harness.records.receipts import Receipt, Timeline
from harness.runs.node_evidence import may_fail_its_nodes, unexplained_failures
from harness.runs.plan_generator import generate
from node.__main__ import FAILED

FIVE = node_names(5)
S = 1_000_000_000


def test_plans_draw_grey_faults_disks_and_clocks_by_default() -> None:
    drawn = {step.fault for seed in range(300) for step in generate("multipaxos", FIVE, seed).steps}
    expected = {entry.name for entry in catalogue() if entry.family in ("grey", "clock")}
    assert expected | {"slow-sync", "fail-sync", "fail-write", "disk-full", "power-cut", "damage-last-commit"} <= drawn
    assert not {"flip-bit", "delete-directory", "restore-old-copy"} & drawn


def test_nodes_that_share_a_disk_are_struck_together() -> None:
    plans = [generate("paxos", FIVE, seed, faults=["hung-disk"]) for seed in range(60)]
    struck = [set(step.arguments["nodes"]) for plan in plans for step in plan.steps]
    assert any(len(nodes) == 2 for nodes in struck)
    for plan in plans:
        together = {frozenset(step.arguments["nodes"]) for step in plan.steps if len(step.arguments["nodes"]) > 1}
        assert len(together) <= 1, "one domain a plan"


def test_a_plan_with_grey_faults_runs_on_a_disk_that_can_hang() -> None:
    assert "vfs" in experiment_arguments({"grey"})
    assert not experiment_arguments({"process", "clock"})


def failures_of(tmp_path: Path, *receipts: Receipt) -> list[str]:
    spec = create(tmp_path / "cluster", nodes=3, algorithm="paxos", seed=1)
    spec.log("n1").parent.mkdir(exist_ok=True)
    spec.log("n1").write_text(
        f"2026-01-01 00:00:00,000 ERROR {FAILED}\n2026-01-01 00:00:00,000 CRITICAL KeyError: 'x'\n"
    )
    return unexplained_failures(spec, receipts, ["n2 is up and does not answer a status request"])


@pytest.mark.parametrize(
    "receipt",
    [
        Receipt("clock-skew", 1, 2, True, ("n1",)),
        Receipt("hung-disk", 1, 2, True, ("n1", "n2")),
        Receipt("fail-sync", 1, 2, True, ("n1", "n2")),
        Receipt("flip-bit", 1, 2, True, ("n3",)),
    ],
    ids=["a clock", "a disk that hangs", "a disk that fails", "a flipped bit elsewhere"],
)
def test_faults_excuse_no_error_of_a_node_that_they_do_not_explain(tmp_path: Path, receipt: Receipt) -> None:
    assert len(failures_of(tmp_path, receipt)) == 2


def test_a_flipped_bit_excuses_errors_of_its_own_node_only(tmp_path: Path) -> None:
    assert failures_of(tmp_path, Receipt("flip-bit", 1, 2, True, ("n1",))) == [
        "n2 is up and does not answer a status request"
    ]
    assert {entry.name for entry in catalogue() if may_fail_its_nodes(entry.name)} == {
        *("flip-bit", "memory-limit", "descriptor-limit", "file-limit")
    }


def test_leases_are_as_short_as_the_fastest_clock_makes_them() -> None:
    fast = Receipt("clock-skew", 2 * S, 4 * S, True, evidence={"rate": 2.0})
    slow = Receipt("clock-skew", 0, 9 * S, True, evidence={"rate": 0.5})
    timeline = Timeline(FIVE, [fast, slow])
    assert timeline.lease_ns(5 * S, S) == S
    assert timeline.lease_ns(2 * S, 2 * S) == S
    assert timeline.lease_ns(S, 2 * S) == S + S // 2
    assert timeline.lease_ns(3 * S, 4 * S) == 3 * S
    assert timeline.is_clock_fast(3 * S, 5 * S)
    assert not timeline.is_clock_fast(5 * S, 6 * S)


def test_a_jump_takes_a_beat_from_a_lease() -> None:
    timeline = Timeline(FIVE, [Receipt("clock-jump", 2 * S, 2 * S + 5, True, evidence={"jumps ahead": True})])
    assert timeline.lease_ns(S, 2 * S) == 2 * S - 50_000_000
    assert timeline.lease_ns(3 * S, 2 * S) == 2 * S
