"""The folder of a cluster by hand: copies, moves, other people's files, disks that are full, a folder that is gone."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from cluster.processes import is_alive
from tests.end_to_end.hand import Hand, QuickHand, run_in_this_process
from tests.waiting import WAIT_S, wait_until


def test_a_copied_folder_commands_nothing(shared: Hand) -> None:
    shared.good("propose", "colour", "blue")
    copy = QuickHand(shared.folder / "copy")
    copy.folder.mkdir()
    shutil.copytree(shared.folder / ".consensus", copy.folder / ".consensus")
    before = shared.rows()
    for command in (
        ("propose", "shape", "round"),
        ("kill", "n1"),
        ("ps",),
        ("down",),
        ("down", "--wipe"),
        ("up", "-d"),
    ):
        copy.fails(1, "is a copy of a cluster's folder", *command)
    copy.fails(1, "the same cluster is up already, in another folder", "up", "-d", "--adopt")
    shown = copy.run("inspect", "n1")  # reads only
    assert (shown.returncode, "blue" in shown.stdout, "shows the copy only" in shown.stderr) == (0, True, True)
    assert [row["pid"] for row in before.values()] == [row["pid"] for row in shared.rows().values()]
    assert shared.good("query", "shape") == "undecided"


def test_a_folder_that_moves_or_comes_back_from_a_backup_goes_on(hand: Hand) -> None:
    home = hand.folder / ".consensus"
    hand.good("up", "-d", "-n", "1")
    hand.good("propose", "colour", "blue")
    hand.good("down")
    moved = QuickHand(hand.folder / "moved")
    moved.folder.mkdir()
    home.rename(moved.folder / ".consensus")
    moved.good("up", "-d")
    try:
        assert moved.good("query", "colour") == '"blue"'
    finally:
        moved.good("down")
    shutil.copytree(moved.folder / ".consensus", home)
    shutil.rmtree(moved.folder)
    hand.fails(1, "consensus up --adopt", "up", "-d")
    hand.good("up", "-d", "--adopt")
    assert hand.good("query", "colour") == '"blue"'


def test_a_users_folder_is_neither_used_nor_wiped(hand: Hand) -> None:
    project = hand.folder / "proj"
    for name in ("logs/web.log", "nodes/model.txt"):
        (project / name).parent.mkdir(parents=True)
        (project / name).write_text("mine")
    for command in (("up", "-d"), ("down", "--wipe")):
        done = run_in_this_process("--dir", str(project), *command)
        assert done.returncode in (1, 254)
        assert "other things (logs, nodes)" in done.stderr or "no cluster is up" in done.stderr
    assert sorted(path.name for path in project.rglob("*")) == ["logs", "model.txt", "nodes", "web.log"]


def test_an_empty_name_is_no_folder() -> None:
    done = run_in_this_process("--dir", "", "up", "-d")
    assert done.returncode == 254
    assert "the name of the folder is empty" in done.stderr


def test_a_wipe_keeps_what_the_user_put_there_and_says_so(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "1", "--prepare", "disk")
    hand.good("inject", "fail-sync", "node=n1")  # the disk that can fail has files of its own
    hand.run("propose", "colour", "blue", "--timeout", "0.5")
    (hand.folder / ".consensus" / "notes.txt").write_text("mine")
    (hand.folder / ".consensus" / "nodes" / "model.txt").write_text("mine")
    done = hand.run("down", "--wipe")
    assert done.returncode == 1
    assert "nodes/model.txt. Move it elsewhere" in done.stderr
    (hand.folder / ".consensus" / "nodes" / "model.txt").unlink()
    assert "is deleted, except notes.txt" in hand.run("down", "--wipe").stderr
    hand.fails(254, "holds other things (notes.txt)", "up", "-d")


# --- what cannot be written -------------------------------------------------------------------------------------------


def test_a_supervisor_and_a_proxy_that_can_write_nothing_serve_on(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "3", "--record")
    pid = hand.supervisor()
    (proxy,) = (
        child.pid for child in psutil.Process(pid).children() if "harness.network.proxy" in " ".join(child.cmdline())
    )
    log = hand.folder / ".consensus" / "supervisor.log"
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    wait_until(lambda: "Too many open files" in log.read_text())
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    assert hand.json("ps")["trouble"] is None
    for process in (pid, proxy):
        resource.prlimit(process, resource.RLIMIT_FSIZE, (0, -1))
    os.kill(hand.rows()["n1"]["pid"], signal.SIGKILL)
    wait_until(lambda: hand.rows()["n1"]["state"] == "down")
    assert hand.good("propose", "colour", "blue") == '"blue"'
    assert hand.good("query", "colour", "--at", "n3") == '"blue"'
    wait_until(lambda: "is lost: File too large" in hand.json("ps")["trouble"])
    assert "this session is not recorded in full" in hand.json("ps")["trouble"]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (-1, -1))
    hand.good("restart", "n1")
    wait_until(lambda: "lines before this one could not be written: File too large" in log.read_text())
    hand.good("down")
    (results,) = hand.folder.glob(".consensus/runs/*/results.json")
    notes = json.loads(results.read_text())["notes"]
    assert "it is cut short" in notes["record of messages"]
    assert "lacks the last events" in notes["history"]


def test_a_supervisor_that_can_write_nothing_says_why_it_cannot_start(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "1")
    hand.good("down")
    command = [sys.executable, "-m", "harness.cli.main", "up", "-d"]
    done = subprocess.run(
        ["prlimit", "--fsize=0", *command],
        cwd=hand.folder,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "n1 cannot start: " in done.stderr
    assert "disk I/O error" in done.stderr
    hand.good("up", "-d")


def test_a_cluster_in_the_foreground_outlives_its_terminal(hand: Hand) -> None:
    with Path("/dev/full").open("w") as full:
        up = subprocess.Popen(
            [sys.executable, "-m", "harness.cli.main", "up", "-n", "1"],
            cwd=hand.folder,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
            stderr=full,
        )
    wait_until((hand.folder / ".consensus" / "supervisor.json").exists)
    os.kill(hand.rows()["n1"]["pid"], signal.SIGKILL)
    wait_until(lambda: hand.rows()["n1"]["state"] == "down")
    assert "is lost: No space left on device" in hand.json("ps")["trouble"]
    hand.good("down")
    assert up.wait(WAIT_S) == 0


# --- a folder that is gone --------------------------------------------------------------------------------------------


def processes_of(hand: Hand) -> list[int]:
    """The processes of the cluster, the supervisor first. Its fork servers end with it, and with nothing else."""
    pid = hand.supervisor()
    children = [child for child in psutil.Process(pid).children() if child.status() != psutil.STATUS_ZOMBIE]
    return [pid, *(child.pid for child in children if "node.fork_server" not in child.cmdline())]


def test_a_cluster_ends_with_its_folder(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "1")
    pids = processes_of(hand)
    subprocess.run(["rm", "-rf", hand.folder / ".consensus"], check=True)
    wait_until(lambda: not any(is_alive(pid) for pid in pids))
    assert not (hand.folder / ".consensus").exists()


def test_what_a_removed_folder_left_running_ends_or_is_found_and_ended(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "2")
    supervisor, *others = processes_of(hand)
    os.kill(supervisor, signal.SIGSTOP)
    subprocess.run(["rm", "-rf", hand.folder / ".consensus"], check=True)
    wait_until(lambda: not any(is_alive(pid) for pid in others))  # nodes and proxy notice by themselves
    hand.good("up", "-d", "-n", "1")
    rows = {row["pid"]: row for row in hand.json("ps", "--all")["processes"]}
    assert (rows[supervisor]["left_over"], rows[supervisor]["state"]) == ("its folder is gone", "suspended")
    assert [rows[pid]["left_over"] for pid in processes_of(hand)] == [""] * 3
    assert "left over: its folder is gone" in hand.good("ps", "--all")
    assert f"ended supervisor (process {supervisor})" in hand.run("down", "--orphans").stderr
    assert not is_alive(supervisor)
    assert hand.good("propose", "colour", "blue") == '"blue"'
