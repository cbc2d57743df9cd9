"""Long work that is interrupted, or whose leader is killed: it ends at once, tells what it has, and leaves no process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cluster.processes import is_alive
from tests.end_to_end.hand import run_in_this_process
from tests.waiting import WAIT_S, wait_until


def begin(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start a command in a process group of its own, as a terminal does."""
    return subprocess.Popen(
        [sys.executable, "-m", "harness.cli.main", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def below(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def wait_until_all_have_ended(processes: list[psutil.Process]) -> None:
    wait_until(lambda: not any(is_alive(process.pid) for process in processes))


@pytest.mark.parametrize("walk", ["crashpoints", "sweep"])
def test_a_walk_ends_at_once(tmp_path: Path, walk: str) -> None:
    process = begin(tmp_path, walk, "paxos")
    runs = tmp_path / ".consensus" / "runs"
    wait_until(lambda: any(runs.glob("*/*/nodes/n1/state.db")))
    children = below(process)
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=WAIT_S / 2)  # a whole walk takes a minute and a half
    assert process.returncode == 130
    assert "interrupted" in printed
    assert children
    wait_until_all_have_ended(children)


def test_a_simulation_tells_how_far_it_came(tmp_path: Path) -> None:
    process = begin(tmp_path, "simulate", "paxos", "--seeds", "1000000", "-o", "json")
    wait_until(lambda: sum(child.cpu_times().user > 0.6 for child in below(process)) == 2)  # both workers are at it
    children = below(process)
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert "cut short after" in json.loads(printed)["verdict"]["evidence"]
    wait_until_all_have_ended(children)


def test_an_exploration_tells_how_far_it_came(tmp_path: Path) -> None:
    process = begin(tmp_path, "explore", "paxos", "--ballots", "9", "--proposals", "3")
    wait_until(lambda: psutil.Process(process.pid).cpu_times().user > 1.0)  # its imports take half a second
    os.killpg(process.pid, signal.SIGTERM)
    printed, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 143, printed
    assert "CUT SHORT: Every state up to depth" in printed


def test_a_test_that_is_terminated_names_its_run_folder(tmp_path: Path) -> None:
    process = begin(tmp_path, "test", "paxos", "-n", "3", "--time", "60", "-o", "json")
    runs = tmp_path / ".consensus" / "runs"
    wait_until(lambda: any(runs.glob("*/nodes/n1/state.db")))
    children = below(process)
    os.killpg(process.pid, signal.SIGTERM)
    printed, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 143, printed
    assert "terminated, and not judged. Run folder: .consensus/runs/" in printed
    error = json.loads(printed.splitlines()[-1])
    assert (error["error"]["kind"], error["exit_code"]) == ("terminated", 143)
    assert children
    wait_until_all_have_ended(children)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=str)
def test_a_cluster_that_is_starting_ends_with_the_command_that_starts_it(tmp_path: Path, number: int) -> None:
    process = begin(tmp_path, "up", "-n", "3", "-d")
    folder = tmp_path / ".consensus"
    wait_until(lambda: len(below(process)) > 1)  # the supervisor, and the proxy or a node below it
    children = below(process)
    os.killpg(process.pid, number)
    printed, _ = process.communicate(timeout=WAIT_S)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert printed == (
            f"interrupted: the cluster in {folder} was starting. Nothing of it runs; its disks stay, "
            "and `consensus up` starts it\n"
        )
        assert not any(is_alive(child.pid) for child in children)
    wait_until_all_have_ended(children)
    assert "Traceback" not in (folder / "supervisor.log").read_text()
    after = run_in_this_process("ps", "--dir", str(folder))
    assert f"no cluster is up in {folder}: start one with `consensus up`" in after.stderr


def test_workers_end_with_their_leader_however_it_ends(tmp_path: Path) -> None:
    process = begin(tmp_path, "campaign", "--runs", "50", "--workers", "2")
    runs = tmp_path / ".consensus" / "runs"
    wait_until(lambda: any(runs.glob("*/*/nodes/n1/state.db")))
    children = below(process)
    process.kill()
    process.communicate(timeout=WAIT_S)  # nobody is left who holds its output
    assert len(children) > 2
    wait_until_all_have_ended(children)
