"""A handful of mutants and a tiny campaign, as somebody would run them; `consensus mutants` runs all of them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.checkers.verdict import VerdictStatus
from harness.mutants.catalogue import choose
from harness.mutants.trial import try_mutant, try_shipped
from tests.end_to_end.hand import run_in_this_process
from tests.waiting import wait_until

COMMAND = [sys.executable, "-m", "harness.cli.main", "--dir"]


def consensus(root: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run a command. Returns its exit code, the JSON that it printed, and what it wrote to stderr."""
    if (
        arguments[0] == "campaign"
    ):  # its workers leave multiprocessing's resource tracker to the process that it runs in
        command = [*COMMAND, str(root), *arguments, "-o", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    else:
        done = run_in_this_process("--dir", str(root), *arguments, "-o", "json")
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("promises-report-nothing", "coherence"),
        ("undecided-without-proof", "no decoherence"),
        ("nothing-is-committed", "durability"),
        ("answers-are-crossed", "coherence"),
        ("gone-clients-kill", "contract"),
        ("failed-commits-are-repeated", "contract"),
    ],
)
def test_a_mutant_is_caught_and_the_shipped_code_is_not(tmp_path: Path, name: str, by: str) -> None:
    (mutant,) = choose((name,))
    trial = try_mutant(mutant, tmp_path)
    assert trial.caught, trial.last.verdicts
    assert by in trial.last.violated
    shipped = try_shipped(mutant.script, mutant.original, tmp_path)
    assert shipped.valid, shipped.shown.verdicts


def test_the_command_says_by_what_and_after_how_long(tmp_path: Path) -> None:
    code, data, errors = consensus(tmp_path, "mutants", "takes-a-second-value")
    assert code == 0, errors
    assert (data["caught"], data["of"]) == (1, 1)
    (mutant,) = data["mutants"]
    assert "coherence" in mutant["by"]
    assert mutant["evidence"]
    assert mutant["took_s"] == data["median_s"]
    assert [one["valid"] for one in data["unbroken"]] == [True]
    assert "takes-a-second-value: caught by" in errors


def test_a_mutant_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    code, _, errors = consensus(tmp_path, "mutants", "perfect")
    assert code == 254
    assert "no mutant is called 'perfect'" in errors


def test_a_campaign_keeps_what_matters(tmp_path: Path) -> None:
    code, data, errors = consensus(
        tmp_path, "campaign", "--runs", "2", "--time", "1", "--seed", "5", "--steps", "3", "-n", "3"
    )
    assert data["done"] == data["valid"] + data["unknown"] == 2, errors
    assert code == (2 if data["unknown"] else 0)
    assert data["grid"]
    folder = Path(data["folder"])
    assert {"campaign.json", "campaign.html"} <= {path.name for path in folder.iterdir()}
    assert [run["folder"] for run in data["runs"] if run["verdict"] == "valid"] == [None] * data["valid"]


def test_a_campaign_stops_at_the_first_violation(tmp_path: Path) -> None:
    arguments = (
        "--runs",
        "50",
        "--time",
        "2",
        "--algorithm",
        "failover",
        "--faults",
        "halves",
        "--stop-at-first",
        "--workers",
        "1",
        "-n",
        "3",
    )
    code, data, errors = consensus(tmp_path, "campaign", *arguments)
    assert code == 1, errors
    assert 1 <= data["done"] < 50
    (kept,) = [run for run in data["runs"] if run["verdict"] == VerdictStatus.INVALID]
    assert (Path(kept["folder"]) / "plan.json").exists()


def test_ctrl_c_ends_a_campaign_with_what_was_done(tmp_path: Path) -> None:
    command = [*COMMAND, str(tmp_path), "campaign", "--runs", "500", "--time", "0.5", "--algorithm", "failover"]
    command += ["--faults", "halves", "-n", "3", "--workers", "2", "--keep", "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0) as child:
        # One of the two workers is done with its second run, so the campaign knows of its first.
        wait_until(lambda: len(list((tmp_path / "runs").glob("*/*/results.json"))) >= 3)
        os.kill(child.pid, signal.SIGINT)
        out, errors = child.communicate()
    data = json.loads(out)
    assert data["interrupted"], errors
    assert 1 <= data["done"] < 500
    assert child.returncode in (1, 130)
    folders = {path.name for path in Path(data["folder"]).iterdir() if path.is_dir()}
    assert folders == {Path(run["folder"]).name for run in data["runs"] if run["folder"]}
