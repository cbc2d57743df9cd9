"""Nodes that outlive their supervisor: `consensus up --detach-nodes`, and the unit of systemd."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import RunningCluster
from cluster.folder_lock import lock_holder
from cluster.processes import is_alive
from harness.cli.systemd_unit import unit
from tests.end_to_end.hand import Hand
from tests.waiting import WAIT_S, wait_until


@pytest.fixture
def outliving(hand: Hand) -> Iterator[Hand]:
    """Somebody at a terminal, whose nodes are ended also if no supervisor can end them."""
    yield hand
    hand.run("down")


def end_supervisor(hand: Hand, number: signal.Signals) -> None:
    pid = hand.supervisor()
    os.kill(pid, number)
    wait_until(lambda: not lock_holder(hand.folder / ".consensus"))  # its last thread ends a moment after it


def pids(hand: Hand) -> dict[str, int]:
    return {node: row["pid"] for node, row in hand.rows().items()}


def test_the_service_goes_on_without_its_supervisor_and_the_next_one_adopts_it(
    outliving: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = outliving
    monkeypatch.setattr("cluster.running._ASK_AGAIN_S", 0.0)
    command = [sys.executable, "-m", "harness.cli.main", "up", "--detach-nodes", "-n", "3", "--algorithm", "multipaxos"]
    up = subprocess.Popen(
        command,
        cwd=hand.folder,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert up.stderr is not None
    assert "3 multipaxos nodes up. Ctrl-C ends the supervisor" in up.stderr.readline()
    before = pids(hand)
    with RunningCluster(hand.folder / ".consensus") as client:
        client.kv.put("owner", "alice")
        os.killpg(up.pid, signal.SIGKILL)  # as the end of a terminal or of a session would do, and harder
        up.wait(WAIT_S)
        up.stderr.close()
        hand.fails(1, "these nodes run without it: n1, n2, n3. `consensus up -d` adopts them", "ps")
        client.kv.put("owner", "bob")
        with RunningCluster(hand.folder / ".consensus") as other:
            assert other.kv.get("owner") == "bob"
        os.kill(before["n1"], signal.SIGKILL)
        (hand.folder / ".consensus" / "running" / "n2.json").unlink()  # as if the supervisor had died while n2 started
        hand.good("up", "-d")
        after = pids(hand)
        assert (after["n1"] != before["n1"], after["n2"] != before["n2"], after["n3"] == before["n3"]) == (True,) * 3
        assert hand.good("get", "owner") == '"bob"'
        client.kv.put("owner", "carol")
    assert {row["left_over"] for row in hand.json("ps", "--all")["processes"] if row["pid"] in after.values()} == {""}
    assert "pidfd ended" in hand.good("kill", "n3")  # an adopted one
    hand.good("restart", "n3")
    hand.good("suspend", "n3")
    hand.good("resume", "n3")
    hand.fails(1, "nothing stands between nodes", "partition", "n1/n2,n3")
    assert hand.good("get", "owner") == '"carol"'
    last = pids(hand)
    hand.good("down")
    assert not any(is_alive(pid) for pid in last.values())


def test_nodes_that_have_outlived_their_supervisor_are_ended_by_down(outliving: Hand) -> None:
    hand = outliving
    hand.good("up", "-d", "--detach-nodes", "-n", "1")
    running = pids(hand)
    end_supervisor(hand, signal.SIGTERM)
    assert all(is_alive(pid) for pid in running.values())
    hand.fails(1, "these nodes run without it: n1.", "propose", "colour", "blue")
    hand.fails(1, "--record needs the proxy", "up", "-d", "--record")
    assert "the nodes n1 had outlived their supervisor" in hand.run("down", "--wipe").stderr
    assert not any(is_alive(pid) for pid in running.values())
    assert list((hand.folder / ".consensus").iterdir()) == []
    assert "nodes outlive it" in hand.run("up", "-d", "-n", "1").stderr  # the default, and how to have it otherwise


def test_a_unit_for_systemd_is_printed(hand: Hand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = hand.run("up", "--systemd", "-n", "3")
    assert "ExecStop=" in done.stdout
    assert "nothing runs yet" in done.stderr
    hand.fails(1, "no cluster is up", "ps")
    text = unit(tmp_path / 'a "b" $c %d' / ".consensus")
    assert r'a \"b\" $$c %%d/.consensus" up --detach-nodes' in text
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    file = tmp_path / "consensus-lab.service"
    file.write_text(text)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    checked = subprocess.run([analyze, "--user", "verify", str(file)], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
