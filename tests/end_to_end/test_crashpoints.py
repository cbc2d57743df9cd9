"""Power cuts at some of an operation's writes and syncs, on real processes: nothing is lost, unless commits are not synced."""

import json
import sys
from pathlib import Path

import pytest

from harness.cli.main import run
from harness.faults.power_cut import Tail
from harness.records import receipts
from harness.systematic.crashpoints import Walker
from harness.systematic.power_cut_cluster import TESTED
from harness.systematic.power_cuts import WalkedOperation
from harness.systematic.sweep_points import PointOutcome

NORMAL_SYNC = (sys.executable, "-P", "-m", "harness.mutants.broken_node", "synchronous-normal")


def test_paxos_loses_nothing(tmp_path: Path) -> None:
    walk = Walker(tmp_path, "paxos", every=40).walk()
    assert walk.with_outcome(PointOutcome.VIOLATES, PointOutcome.BLOCKS) == []
    assert walk.violations == ()
    assert walk.boundaries >= 3
    assert {Tail.NONE, Tail.ALL, Tail.TORN} <= {trial.tail for trial in walk.trials}
    assert any(trial.lost_bytes for trial in walk.trials)  # else there was nothing to lose
    kept = [receipt for path in tmp_path.glob("walk-*") for receipt in receipts.load(path / "receipts.jsonl")]
    cuts = [receipt for receipt in kept if receipt.fault == "power-cut"]
    assert all(receipt.bit and receipt.nodes_down == (TESTED,) for receipt in cuts)
    assert len(walk.trials) <= len(cuts)


def test_a_disk_that_does_not_sync_its_commits_is_found_out(tmp_path: Path) -> None:
    walk = Walker(tmp_path, "paxos", command=NORMAL_SYNC, every=50).walk()
    lost = walk.with_outcome(PointOutcome.VIOLATES)
    assert any("its disk" in trial.evidence or "answered" in trial.evidence for trial in lost)
    assert any(trial.tail is Tail.NONE and trial.lost_bytes > 0 for trial in lost)


def test_a_boot_can_die_and_the_next_one_recovers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["--dir", str(tmp_path), "crashpoints", "paxos", "--operation", "boot", "--every", "14", "-o", "json"])
    data = json.loads(capsys.readouterr().out)
    assert (code, data["violates"]) == (0, 0)
    assert (WalkedOperation.BOOT, data["power_cuts"]) == (data["operation"], data["survived"])
    assert data["boundaries"] >= 2
    assert (Path(data["folder"]) / "crashpoints.json").exists()


def test_a_node_that_takes_in_a_snapshot_can_die_in_the_middle(tmp_path: Path) -> None:
    walk = Walker(tmp_path, "multipaxos", WalkedOperation.CATCH_UP, every=60).walk()
    assert walk.with_outcome(PointOutcome.VIOLATES, PointOutcome.BLOCKS) == []
    assert walk.violations == ()
    assert walk.boundaries >= 1
    lines = [
        json.loads(line) for path in tmp_path.glob("walk-*/messages.jsonl") for line in path.read_text().splitlines()
    ]
    assert any(line["to"] == TESTED and line["type"] == "SnapshotPart" for line in lines)  # else it took in none


def test_snapshots_are_walked_of_logs_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["--dir", str(tmp_path), "crashpoints", "paxos", "--operation", "snapshot"])
    assert code == 254
    assert "paxos keeps no log" in capsys.readouterr().err
