"""A cluster of real processes, with faults that it causes itself and faults from outside."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest

from cluster import BadValue, Cluster, Refused, Unknown, leader_of
from cluster.cluster import DirectLinks
from cluster.errors import BootFailed, ConsensusError, Mistake, NoSuchNode, WrongState
from cluster.processes import ProcessState, is_alive
from node.contract import BadInput
from tests.waiting import wait_until


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=3, algorithm="paxos") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def unbroken() -> Iterator[Cluster]:
    """For tests that break nothing. Each of them uses names of its own."""
    with Cluster(nodes=3, algorithm="paxos") as cluster:
        yield cluster


def test_a_value_that_one_node_decides_is_the_answer_of_all(cluster: Cluster) -> None:
    assert cluster.propose("owner", "alice", at="n1") == "alice"
    assert cluster.propose("owner", "bob", at="n2") == "alice"
    assert [cluster.query("owner", at=node) for node in cluster.nodes] == ["alice"] * 3


VALUES = [0, True, 1.5, "word", b"\x00\xff", [1, [2]], {"a": {"b": 1}}, (1, ("two", b"3")), {(1, 2): "x"}]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_comes_back_unchanged(unbroken: Cluster, value: object) -> None:
    name = f"value-{[repr(each) for each in VALUES].index(repr(value))}"
    assert value == unbroken.propose(name, value)
    assert value == unbroken.query(name)
    assert type(value) is type(unbroken.query(name))


def test_undecided_is_none(unbroken: Cluster) -> None:
    assert unbroken.query("nothing") is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x", None, "cannot be proposed or put"),
        ("x", "a" * 300_000, "300,005 bytes"),
        ("x", {1, 2}, "set"),
        ("a b", 1, "is not a name"),
        ("", 1, "is not a name"),
        ("a" * 65, 1, "is not a name"),
    ],
)
def test_a_bad_proposal_is_refused_before_anything_is_sent(
    unbroken: Cluster, name: str, value: object, message: str
) -> None:
    with pytest.raises(BadValue, match=message):
        unbroken.propose(name, value)
    assert unbroken.query("x") is None


def test_a_minority_may_be_killed(cluster: Cluster) -> None:
    cluster.propose("before", 1)
    (proof,) = cluster.kill("n1")
    assert proof["wait_status"] == -signal.SIGKILL
    assert cluster.query("before", at="n3") == 1
    assert cluster.propose("after", 2, at="n2") == 2
    assert cluster.restart("n1") == [{"node": "n1", "incarnation": 2}]
    assert cluster.query("after", at="n1") == 2


def test_without_a_majority_the_outcome_is_unknown_and_later_answers_agree(cluster: Cluster) -> None:
    cluster.kill("n2", "n3")
    with pytest.raises(Unknown, match=r"no answer from n1 within 0\.5 s"):
        cluster.propose("x", 1, at="n1", timeout_s=0.5)
    cluster.restart("n2", "n3")
    assert cluster.propose("x", 2, at="n2") == cluster.query("x", at="n1")


def test_a_suspended_node_does_not_reply_until_it_is_resumed(cluster: Cluster) -> None:
    (proof,) = cluster.suspend("n1")
    assert proof["process_state"] == "T"
    assert ProcessState.SUSPENDED is cluster.state("n1")
    with pytest.raises(Unknown):
        cluster.query("x", at="n1", timeout_s=0.3)
    assert cluster.propose("x", 1, at="n2") == 1
    cluster.resume("n1")
    assert cluster.query("x", at="n1") == 1


def test_decided_values_survive_the_kill_of_all_nodes(cluster: Cluster) -> None:
    cluster.propose("x", "kept")
    cluster.kill(*cluster.nodes)
    cluster.restart(*cluster.nodes)
    assert [cluster.query("x", at=node) for node in cluster.nodes] == ["kept"] * 3


def test_an_orderly_end_is_status_0(cluster: Cluster) -> None:
    (proof,) = cluster.terminate("n2")
    assert proof["wait_status"] == 0
    assert cluster.process("n2").describe() == "down: terminated by SIGTERM"


def test_an_act_in_the_wrong_state_is_an_error_and_changes_nothing(cluster: Cluster) -> None:
    with pytest.raises(NoSuchNode, match="there is no node 'n9': there are n1, n2, n3"):
        cluster.kill("n9")
    with pytest.raises(NoSuchNode):
        cluster.query("x", at="n9")
    with pytest.raises(WrongState, match="n1: it is up, not suspended"):
        cluster.resume("n1")
    cluster.suspend("n1")
    with pytest.raises(WrongState, match="n1: it is suspended; resume it first"):
        cluster.suspend("n1")
    with pytest.raises(WrongState, match="resume it first"):
        cluster.terminate("n1")
    cluster.kill("n1")
    for act in (cluster.kill, cluster.suspend, cluster.resume, cluster.terminate):
        with pytest.raises(WrongState, match="n1: it is down already"):
            act("n1")
    assert [cluster.state(node) for node in cluster.nodes] == [ProcessState.DOWN, ProcessState.UP, ProcessState.UP]


def test_a_signal_from_outside_is_noticed(cluster: Cluster) -> None:
    pid = cluster.process("n1").pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: cluster.process("n1").describe() == "suspended from outside")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: cluster.process("n1").describe() == "down: killed by SIGKILL from outside")


@pytest.mark.parametrize(("act", "how"), [("kill", "killed by SIGKILL"), ("terminate", "terminated by SIGTERM")])
def test_who_looks_during_an_act_sees_whose_it_is(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, act: str, how: str
) -> None:
    process, observed = cluster.process("n1"), list[str]()
    popen = process._popen
    assert popen is not None
    wait = popen.wait

    def look_at_its_end(timeout: float) -> int:
        status = wait(timeout)
        observed.append(process.describe())
        return status

    monkeypatch.setattr(popen, "wait", look_at_its_end)
    getattr(cluster, act)("n1")
    assert observed == [f"down: {how}"]
    assert process.describe() == observed[0]


class KillsBeforeItConnects(DirectLinks):
    """Another program kills n2 when it is ready, and before its links are connected."""

    cluster: Cluster

    def node_up(self, node: str, address: str) -> None:
        super().node_up(node, address)
        if node == "n2":
            process = self.cluster.process(node)
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            wait_until(lambda: process.look() is ProcessState.DOWN)
            raise ConsensusError("n2 accepted 0 of 3 connections")


def test_a_node_that_is_killed_before_its_links_are_connected_is_named_with_the_reason() -> None:
    links = KillsBeforeItConnects()
    links.cluster = Cluster(nodes=3, algorithm="paxos", links=links)
    with pytest.raises(BootFailed, match="n2 is down: killed by SIGKILL from outside, before its links"):
        links.cluster.start()
    assert all(process.look() is not ProcessState.UP for process in links.cluster.processes.values())


def test_a_node_whose_disk_is_gone_does_not_start(cluster: Cluster, tmp_path: Path) -> None:
    cluster.propose("x", 1)
    cluster.kill("n1")
    directory = cluster.spec.settings.directory("n1")
    directory.rename(tmp_path / "elsewhere")
    with pytest.raises(BootFailed, match="n1 has run before"):
        cluster.restart("n1")
    assert ProcessState.DOWN is cluster.state("n1")
    (tmp_path / "elsewhere").rename(directory)
    cluster.restart("n1")
    assert cluster.query("x", at="n1") == 1


def test_calls_overlap(cluster: Cluster) -> None:
    with cluster.client() as client:
        calls = [client.begin_propose("x", number, at=cluster.nodes[number % 3]) for number in range(30)]
        outcomes = [client.wait(call) for call in calls]
    assert {cluster.query("x")} == {getattr(outcome, "value", None) for outcome in outcomes}


def test_a_call_to_any_node_skips_dead_nodes(cluster: Cluster) -> None:
    cluster.propose("x", 1)
    cluster.kill("n1")
    assert cluster.query("x") == 1


def test_a_refusal_is_definite() -> None:
    with Cluster(nodes=1, algorithm="tests.own_algorithms:Refusing") as cluster:
        with pytest.raises(Refused, match="n1: not today"):
            cluster.propose("x", 1)
        with pytest.raises(Refused, match="not today either"):
            cluster.query("x", at="n1")


def test_an_algorithm_that_raises_stops_its_node_and_its_log_has_the_place() -> None:
    with Cluster(nodes=1, algorithm="tests.own_algorithms:Raising") as cluster:
        with pytest.raises(Unknown):
            cluster.propose("x", 1, timeout_s=0.5)
        wait_until(lambda: cluster.process("n1").describe() == "down: stopped with status 70, see its log")
        assert "the author's mistake" in cluster.spec.log("n1").read_text()


@pytest.mark.parametrize("suspended", [False, True])
def test_nodes_die_with_the_process_that_launched_them(tmp_path: Path, suspended: bool) -> None:
    script = """
import sys
from pathlib import Path
from cluster import Cluster
cluster = Cluster(nodes=3, directory=Path(sys.argv[1])).start()
if sys.argv[2] == "True":
    cluster.suspend("n2")
print(*(process.pid for process in cluster.processes.values()), flush=True)
sys.stdin.read()
"""
    launcher = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "here"), str(suspended)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert launcher.stdout is not None
    assert launcher.stdin is not None
    nodes = [int(word) for word in launcher.stdout.readline().split()]
    pids = [child.pid for child in psutil.Process(launcher.pid).children()]  # the nodes, and the fork servers
    assert set(nodes) <= set(pids)
    assert [is_alive(pid) for pid in pids] == [True] * len(pids)
    launcher.kill()
    launcher.wait()
    launcher.stdin.close()
    launcher.stdout.close()
    wait_until(lambda: not any(is_alive(pid) for pid in pids))


def test_nodes_survive_the_thread_that_launched_them() -> None:
    cluster = Cluster(nodes=3)
    thread = Thread(target=cluster.start)
    thread.start()
    thread.join()
    try:
        assert cluster.propose("x", 1) == 1
    finally:
        cluster.stop()


def test_a_cluster_that_cannot_start_leaves_nothing(tmp_path: Path) -> None:
    cluster = Cluster(nodes=3, directory=tmp_path / "here")
    (tmp_path / "here" / "nodes").mkdir()
    (tmp_path / "here" / "nodes" / "n2").write_text("in the way")
    with pytest.raises(BootFailed, match=r"n2 cannot start: .*cannot be used"):
        cluster.start()
    assert [cluster.state(node) in (ProcessState.DOWN, ProcessState.NEW) for node in cluster.nodes] == [True] * 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"nodes": 0}, "0 nodes are too few"),
        ({"nodes": -1}, "-1 nodes are too few"),
        ({"nodes": "3"}, "nodes is a number, or a list of names: not '3'"),
        ({"nodes": 2.5}, "nodes is a number, or a list of names: not 2.5"),
        ({"algorithm": "nope"}, "no algorithm is called 'nope'"),
        ({"algorithm": "multipaxos", "machines": "a:B"}, r"machines is a list of names: \['a:B'\]"),
    ],
)
def test_a_bad_description_of_a_cluster_leaves_nothing(
    wrong: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(BadInput, match=message):
        Cluster(**wrong)
    assert list(tmp_path.iterdir()) == []


def test_leader_of_waits_for_a_leader() -> None:
    with Cluster(nodes=3, algorithm="multipaxos") as cluster:
        cluster.kill(leader_of(cluster))
        assert cluster.kv.put("k", 1) > 0
        cluster.kill(leader_of(cluster))
        with pytest.raises(Unknown, match=r"no node has reported within 0\.3 s that it leads"):
            leader_of(cluster, timeout_s=0.3)


def test_leader_of_needs_an_algorithm_with_a_log(unbroken: Cluster) -> None:
    with pytest.raises(Mistake, match="paxos keeps no log"):
        leader_of(unbroken)


def test_threads_may_request_the_status_at_once(tmp_path: Path) -> None:
    with Cluster(nodes=1, directory=tmp_path / "c") as cluster, ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(lambda _: cluster.status(), range(40)))
    assert all(set(status) == {"n1"} for status in statuses)
