"""Locks, watches and assignments on the command line."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

from tests.end_to_end.hand import Hand
from tests.waiting import WAIT_S, wait_until


@contextmanager
def running(hand: Hand, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A command that goes on, ended by the test or at the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.cli.main", *arguments],
        cwd=hand.folder,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that there is no terminal whose Ctrl-C might reach it
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the command that it may run, too
        process.communicate()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: "subprocess.Popen[str]", number: int = signal.SIGINT) -> tuple[int, str]:
    """Signal it; its exit code and what it said."""
    process.send_signal(number)
    _, said = process.communicate(timeout=WAIT_S)
    return process.returncode, said


@pytest.fixture
def log(hand: Hand) -> Hand:
    hand.good("up", "-d", "-n", "3", "--algorithm", "multipaxos")
    return hand


def in_a_process(log: Hand) -> Hand:
    """The same cluster, for a command that runs another one or takes signals."""
    return Hand(log.folder)


SAY_TOKEN_AND_READ = ("sh", "-c", "echo $CONSENSUS_LOCK_TOKEN; read word; echo $word; exit 7")


def test_commands_under_locks(log: Hand) -> None:
    a_command_runs_under_a_lock(log)
    who_is_paused_past_its_lease_has_lost_the_lock_and_its_command_is_ended(log)
    ctrl_c_releases_the_lock_and_leaves_the_line(log)


def a_command_runs_under_a_lock(log: Hand) -> None:
    with running(log, "lock", "printer", "--ttl", "2", "--", *SAY_TOKEN_AND_READ) as first:
        token = int(line(first))
        in_a_process(log).fails(
            1, "'printer' was held by others for 0 s", "lock", "--wait", "0", "printer", "--", "echo", "no"
        )
        with running(log, "lock", "printer", "--", "printenv", "CONSENSUS_LOCK_TOKEN") as waiting:
            assert waiting.stderr is not None
            assert f"with token {token}" in waiting.stderr.readline()
            log.good("kill", "leader")
            printed, said = first.communicate("word\n", timeout=WAIT_S)
            assert (first.returncode, printed, said) == (7, "word\n", "")
            assert int(line(waiting)) > token
            assert waiting.wait(WAIT_S) == 0
    log.fails(254, "there is no command 'nonsense'", "lock", "printer", "--", "nonsense")
    log.fails(254, "Missing argument 'COMMAND...'", "lock", "printer")
    log.fails(254, "is not in the range", "lock", "--ttl", "0", "printer", "--", "true")
    in_a_process(log).fails(1, "the name of a lock has 1 to 200 bytes", "lock", "x" * 201, "--", "true")


def who_is_paused_past_its_lease_has_lost_the_lock_and_its_command_is_ended(log: Hand) -> None:
    with running(
        log, "lock", "printer", "--ttl", "0.5", "--", "sh", "-c", "echo $CONSENSUS_LOCK_TOKEN; exec sleep 60"
    ) as paused:
        stale = int(line(paused))
        (command,) = psutil.Process(paused.pid).children()
        paused.send_signal(signal.SIGSTOP)
        fresh = int(in_a_process(log).good("lock", "printer", "--", "printenv", "CONSENSUS_LOCK_TOKEN"))
        assert fresh > stale
        assert command.is_running()  # and might do harm, but for its token
        code, said = end(paused, signal.SIGCONT)
        assert code == 1
        assert "the lock 'printer' is lost, or may be: sh gets SIGTERM" in said
        assert "was lost meanwhile" in said
        assert not command.is_running()


def ctrl_c_releases_the_lock_and_leaves_the_line(log: Hand) -> None:
    with running(log, "lock", "printer", "--ttl", "60", "--", "sh", "-c", "echo held; exec sleep 60") as holding:
        assert line(holding) == "held"
        with running(log, "lock", "printer", "--ttl", "60", "--", "true") as waiting:
            assert waiting.stderr is not None
            assert "waiting for 'printer'" in waiting.stderr.readline()
            assert end(waiting, signal.SIGTERM)[0] == 143
        assert end(holding)[0] == 130
    assert in_a_process(log).good("lock", "--wait", "0", "printer", "--", "echo", "free") == "free"


def test_changes_and_tasks_are_told_as_they_come(log: Hand) -> None:
    changes_are_watched(log)
    tasks_go_to_whoever_joins(log)


def changes_are_watched(log: Hand) -> None:
    log.good("put", "colour", "blue")
    with running(log, "watch", "col") as text, running(log, "watch", "col", "--after", "0", "-o", "json") as after:
        assert text.stderr is not None
        assert "after version 1" in text.stderr.readline()
        log.good("put", "shape", "round")
        log.good("kill", "leader")
        log.good("put", "colour", '{"now": "red"}')
        log.good("del", "colour")
        assert [line(text) for _ in range(2)] == ['3 colour {"now": "red"}', "4 colour"]
        printed = [json.loads(line(after)) for _ in range(3)]
        assert [(each["schema"], each["version"], each["deleted"]) for each in printed] == [
            (1, 1, False),
            (1, 3, False),
            (1, 4, True),
        ]
        assert [each["value"] for each in printed] == ["blue", {"now": "red"}, None]
        log.good("down")
        assert "waiting for the cluster" in text.stderr.readline()
        log.good("up", "-d")
        log.good("put", "colour", "green")
        assert line(text) == '5 colour "green"'
        assert end(text)[0] == end(after)[0] == 130


def tasks_go_to_whoever_joins(log: Hand) -> None:
    assert log.json("assign", "add", "mornings", "evenings", "mornings")["new"] == ["mornings", "evenings"]
    assert log.good("assign", "list") == "evenings  -\nmornings  -"
    with running(log, "assign", "join", "alice") as alice:
        assert [line(alice) for _ in range(2)] == ["+ mornings 1", "+ evenings 2"]
        in_a_process(log).fails(1, "'alice' is a member already", "assign", "join", "alice")
        with running(log, "assign", "join", "bob", "-o", "json") as bob:
            (task, token), *others = json.loads(line(bob))["tasks"].items()
            assert (others, line(alice)) == ([], f"- {task}")
            rows = log.json("assign", "list")
            assert rows["members"] == ["alice", "bob"]
            assert {"task": task, "member": "bob", "token": token} in rows["tasks"]
            assert end(bob, signal.SIGTERM)[0] == 143
        assert line(alice) == f"+ {task} {token + 1}"
        log.good("assign", "remove", task)
        assert line(alice) == f"- {task}"
        assert end(alice)[0] == 130
    log.fails(1, "there is no task 'nothing'", "assign", "remove", "nothing")
    log.fails(1, "already done before the error: nights", "assign", "add", "nights", "")
    log.fails(254, "already done before the error: nights", "assign", "remove", "nights", "\udcff")
    wait_until(lambda: log.json("assign", "list")["members"] == [])
