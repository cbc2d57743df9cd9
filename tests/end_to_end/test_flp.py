"""The adversary on five real processes: rounds go by, nothing is decided, nothing is lost; it stops, and a decision follows."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from harness.records import receipts
from harness.records.jsonable import read_lines
from harness.systematic.flp_real import RealStandOff, stand_off
from tests.waiting import WAIT_S

#: Thousands of times what it takes: a machine may be busy.
DECISION_MS_MAX = 10_000


def test_five_processes_do_not_decide_until_the_adversary_stops(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def progress(report: RealStandOff) -> None:
        seen.append((report.rounds, report.decisions))

    report = stand_off(tmp_path / "run", 2.5, progress=progress)
    assert report.rounds > 1
    assert seen
    assert all(decisions == 0 for _, decisions in seen)
    assert (report.decisions, report.violations) == (0, [])
    assert report.looks >= report.rounds - 1

    assert report.decided in ("blue", "red")
    assert {"n1": report.decided, "n2": report.decided} == report.answers
    assert report.decision_ms is not None
    assert report.decision_ms < DECISION_MS_MAX

    assert report.lost == 0
    assert report.messages["arrived"] == report.delivered > 0
    assert report.held > 0
    assert all((process["state"], process["boots"]) == ("up", 1) for process in report.processes.values())
    assert {"valid"} == set(report.verdicts.values())
    assert report.shown

    (paper,) = receipts.load(tmp_path / "run" / "receipts.jsonl")
    assert (paper.fault, paper.bit, paper.nodes_down) == ("adversary", True, ())
    fates = {record["fate"] for _, record in read_lines(tmp_path / "run" / "messages.jsonl")}
    assert {"passed", "held", "released"} == fates


def test_ctrl_c_stops_the_adversary_and_not_the_decision(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "harness.cli.main", "--dir", str(tmp_path), "flp", "--real", "600", "-o", "json"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as process:
        assert process.stderr is not None
        while "decisions 0" not in (line := process.stderr.readline()):
            assert line, "it ended before it told of a round"
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=WAIT_S)
    data = json.loads(out)
    assert (process.returncode, data["shown"], data["decisions"]) == (0, True, 0)
    assert data["seconds"] < 60
    assert data["decided"] in ("blue", "red")
