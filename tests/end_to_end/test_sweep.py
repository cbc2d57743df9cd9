"""The sweep finds the window of vulnerability of the majority vote, and none in Paxos, with three nodes."""

import json
from pathlib import Path

import pytest

from harness.cli.main import run
from harness.records import receipts
from harness.systematic.scheduler import MessageStep
from harness.systematic.sweep import Sweeper
from harness.systematic.sweep_points import LinkEnd, Point, PointFault, PointOutcome


def test_majority_has_a_window_of_vulnerability(tmp_path: Path) -> None:
    found = Sweeper(tmp_path, "majority", nodes=3, only=(PointFault.CRASH,), every=2, deadline_s=1.0).sweep()
    assert [result for result in found.results if result.outcome in (PointOutcome.VIOLATES, PointOutcome.NO_TEST)] == []
    assert found.violations == ()
    blocked = [result for result in found.with_outcome(PointOutcome.BLOCKS) if "no node can decide" in result.evidence]
    # Blue and red have one vote each, so the third vote decides.
    assert {"n3"} == {result.point.node for result in blocked}
    assert {"Vote"} == {result.point.message.type for result in blocked}
    assert all("with n3 back" in result.evidence for result in blocked)
    assert len(found.with_outcome(PointOutcome.SURVIVED)) > len(found.with_outcome(PointOutcome.BLOCKS))


def test_paxos_has_none(tmp_path: Path) -> None:
    found = Sweeper(tmp_path, "paxos", nodes=3, every=5).sweep()
    assert [result for result in found.results if result.outcome is not PointOutcome.SURVIVED] == []
    assert found.violations == ()
    assert {"Prepare", "Promise", "Accept", "Accepted", "Decided"} <= {step.type for step in found.messages}
    assert {"crash", "cut", "loss"} == {result.point.fault for result in found.results}
    kept = [receipt for folder in tmp_path.glob("points-*") for receipt in receipts.load(folder / "receipts.jsonl")]
    assert len(kept) == len(found.results)
    assert all(receipt.bit for receipt in kept)


def test_a_log_is_swept_with_a_settled_leader(tmp_path: Path) -> None:
    found = Sweeper(tmp_path, "raft", nodes=3, every=20, deadline_s=20.0, workers=1).sweep()
    assert {"AppendEntries", "Appended", "Forward", "Forwarded"} <= {step.type for step in found.messages}
    assert {step.sender for step in found.messages if step.type == "AppendEntries"} == {"n1"}
    assert [result for result in found.results if result.outcome is not PointOutcome.SURVIVED] == []
    assert found.violations == ()
    assert len(found.results) == -(-6 * len(found.messages) // 20)


def test_a_log_whose_leader_needs_no_majority_loses_a_decision(tmp_path: Path) -> None:
    """Its leader answers at once, so its first message is the one on which everything depends."""
    sweeper = Sweeper(tmp_path, "harness.mutants.raft:HalfIsEnough", nodes=3, deadline_s=20.0)
    lost = MessageStep("n1", "n2", "AppendEntries", 1)
    point = Point(1, lost, LinkEnd.SENDER, PointFault.CRASH)
    results, violations = sweeper.run_batch("points", [point])
    assert [result.outcome for result in results] == [PointOutcome.VIOLATES]
    assert any(violation.startswith("coherence") for violation in violations)


def test_the_command_names_what_blocks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(
        ["--dir", str(tmp_path), "sweep", "leader", "-n", "3", "--fault", "crash", "--deadline", "0.5", "-o", "json"]
    )
    data = json.loads(capsys.readouterr().out)
    assert code == 1
    assert {"n1"} == {result["node"] for result in data["results"] if result["fate"] == "blocks"}
    assert data["points"] == data["survived"] + data["blocks"]
    assert json.loads((Path(data["folder"]) / "sweep.json").read_text())["results"] == data["results"]
