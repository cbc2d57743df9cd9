"""The article's table, as a new user makes it: the one place that says what should come out."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.processes import ProcessState
from harness.records import history, receipts
from harness.records.run_folders import summary
from harness.runs.experiment import Experiment
from harness.runs.scenarios import Scenario
from harness.runs.scorecard import Job, run_job
from tests.docs.pages import DOCS
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(900)  # sixty runs: two minutes on a machine of two cores that has more to do

EXPECTED = {
    "leader": {"fault tolerance"},
    "failover": {"coherence", "no decoherence"},
    "majority": {"fault tolerance"},
    "paxos": set(),
    "multipaxos": set(),
    "raft": set(),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("scorecard")
    command = [sys.executable, "-m", "harness.cli.main", "--dir", str(folder), "scorecard", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (runs,) = (folder / "runs").iterdir()
    return runs, json.loads(done.stdout)


def test_the_table_is_the_articles(made: tuple[Path, dict[str, Any]]) -> None:
    _, table = made
    assert table["schema"] == 1
    crosses = {
        (cell["algorithm"], cell["property"]): (cell["evidence"], cell["run"])
        for cell in table["cells"]
        if cell["holds"] is False
    }
    expected = {(algorithm, cell) for algorithm, cells in EXPECTED.items() for cell in cells}
    assert expected == crosses.keys(), "\n".join(str(why) for cell, why in crosses.items() if cell not in expected)
    assert {True, False} == {cell["holds"] for cell in table["cells"]}
    assert len(table["cells"]) == 24


def test_every_cross_has_its_evidence(made: tuple[Path, dict[str, Any]]) -> None:
    _, table = made
    for cell in table["cells"]:
        assert cell["scenarios"], cell
        if not cell["holds"]:
            results = json.loads((Path(cell["run"]) / "results.json").read_text())
            verdict = results["verdicts"][cell["property"]]
            assert verdict["status"] == "invalid"
            assert verdict["evidence"] in cell["evidence"]


def test_every_run_folder_holds_everything(made: tuple[Path, dict[str, Any]]) -> None:
    runs, _ = made
    folders = sorted(runs.iterdir())
    assert len(folders) > 40
    for folder in folders:
        results = json.loads((folder / "results.json").read_text())
        assert history.load(folder / "history.jsonl").operations, folder
        assert (folder / "messages.jsonl").read_text(), folder
        assert all(receipt.ended_ns is not None for receipt in receipts.load(folder / "receipts.jsonl")), folder
        for node in results["nodes"]:
            assert (folder / "nodes" / node / "state.db").exists(), folder
            assert (folder / "logs" / f"{node}.log").read_text(), folder


def test_no_run_is_listed_as_unknown(made: tuple[Path, dict[str, Any]]) -> None:
    runs, _ = made
    listed = [summary(folder, runs.parent.parent) for folder in runs.iterdir()]
    assert {one.name: one.evidence for one in listed if one.status not in ("valid", "invalid")} == {}
    (undecided,) = (one for one in listed if one.name.endswith("three-proposals-majority"))
    assert (undecided.status, undecided.broken) == ("invalid", ("fault tolerance",))


def test_the_runs_take_as_little_space_as_the_guide_says(made: tuple[Path, dict[str, Any]]) -> None:
    runs, _ = made
    taken_mb = sum(path.stat().st_blocks * 512 for path in runs.rglob("*")) / 1e6
    (said_mb,) = re.findall(r"about (\d+) MB of runs at most", (DOCS / "guides" / "runs.md").read_text())
    assert taken_mb < 1.2 * float(said_mb)


def test_every_fault_bit(made: tuple[Path, dict[str, Any]]) -> None:
    runs, _ = made
    for folder in sorted(runs.iterdir()):
        for receipt in receipts.load(folder / "receipts.jsonl"):
            assert receipt.bit, (folder.name, receipt)


def test_the_six_survivors_are_the_same_to_the_byte_in_all_three_pasts(made: tuple[Path, dict[str, Any]]) -> None:
    runs, _ = made
    endings, survivors = {}, []
    for past in ("had-voted-red", "had-voted-blue", "had-not-voted"):
        folder = runs / f"window-of-vulnerability-{past}-majority"
        survivors.append(json.loads((folder / "results.json").read_text())["notes"]["survivors"])
        answers = [op.answer for op in history.load(folder / "history.jsonl").operations if op.outcome == "ok"]
        endings[past] = set(answers)
    assert survivors[0] == survivors[1] == survivors[2]
    assert {"n1", "n2", "n3", "n4", "n5", "n6"} == set(survivors[0])
    assert {"had-voted-red": {"red"}, "had-voted-blue": {"blue"}, "had-not-voted": {None}} == endings


def test_the_proposer_was_killed_after_each_of_its_messages(made: tuple[Path, dict[str, Any]]) -> None:
    runs, _ = made
    folder = runs / "proposer-killed-paxos"
    kills = [receipt for receipt in receipts.load(folder / "receipts.jsonl") if receipt.fault == "kill"]
    assert len(kills) == 13  # after 0, 1, … 12 of four Prepares, four Accepts and four Decideds


def test_a_node_that_another_program_kills_is_named(tmp_path: Path) -> None:
    def play(run: Experiment, _variant: str) -> None:
        pid = run.cluster.process("n2").pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: run.cluster.state("n2") is ProcessState.DOWN)
        run.propose("colour", "blue", at="n1")

    done = run_job(Job(Scenario("a-kill-from-outside", "n2 is killed", play, nodes=3), "", "paxos"), tmp_path)
    assert done.outside == ("n2 is down: killed by SIGKILL from outside",)
    assert json.loads((done.folder / "results.json").read_text())["notes"]["from outside"] == list(done.outside)
