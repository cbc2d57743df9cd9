"""A replicated log on real processes, with some of them broken."""

import shutil
import threading
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from cluster import Cluster, Unknown
from cluster.clients.log_client import LogClient
from cluster.clients.outcomes import Ok
from cluster.errors import BootFailed, CommandRefused
from cluster.membership import add_node, leader_of, remove_node, replace_node
from harness.faults.last_commit import damage_last_commit
from node.contract import NodeId
from tests.waiting import WAIT_S, wait_until


def replicas(cluster: Cluster) -> dict[NodeId, dict[str, Any]]:
    return {node: status["variables"][""] for node, status in cluster.status().items()}


def wait_equal(cluster: Cluster) -> None:
    """All nodes have applied the same slots and given the same answers."""

    def equal() -> bool:
        states = replicas(cluster)
        same = {(each["applied"], each["chain"]) for each in states.values()}
        return len(states) == len(cluster.nodes) and len(same) == 1

    wait_until(equal)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=3, algorithm="multipaxos") as cluster:
        yield cluster


@pytest.fixture
def client(cluster: Cluster) -> Iterator[LogClient]:
    with cluster.log_client() as client:
        yield client


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    """For the tests that leave it whole."""
    with Cluster(nodes=3, algorithm="multipaxos") as cluster:
        yield cluster


@pytest.fixture
def shared_client(shared: Cluster) -> Iterator[LogClient]:
    with shared.log_client() as client:
        yield client


def test_keys_and_values(shared_client: LogClient) -> None:
    kv = shared_client.kv
    first = kv.put("owner", "alice")
    assert kv.get_with_version("owner") == ("alice", first)
    second = kv.compare_and_set("owner", first, {"name": "bob"})
    with pytest.raises(CommandRefused, match="is 2, not 1") as refused:
        kv.compare_and_set("owner", first, "carol")
    assert refused.value.kind == "mismatch"
    assert kv.get("owner") == {"name": "bob"}
    kv.put("other", 1)
    kv.put("owners", 2)
    assert [key for key, _, _ in kv.range("owner")] == ["owner", "owners"]
    assert kv.delete("owner")
    assert not kv.delete("owner")
    assert kv.get("owner") is None
    changes = [(key, value) for _, key, value in kv.watch("owner", second)]
    assert changes == [("owners", 2), ("owner", None)]
    assert kv.watch("nothing", 0, wait_s=0.1) == []


def test_bad_input_has_its_own_error_and_changes_nothing(shared: Cluster, shared_client: LogClient) -> None:
    client = shared_client
    client.kv.put("k", 1)
    for command, kind in (
        (["put", "", b"x"], "bad_key"),
        (["put", "k", b"x" * (256 * 1024 + 1)], "too_large"),
        (["fly", "k"], "bad_command"),
        (["put", 7, b"x"], "bad_command"),
    ):
        with pytest.raises(CommandRefused) as refused:
            client.call("kv", command)
        assert refused.value.kind == kind
    with pytest.raises(CommandRefused, match="no machine is called 'teapot'"):
        client.call("teapot", ["brew"])
    leader = leader_of(shared)
    with pytest.raises(CommandRefused, match="leads: hand over first"):
        client.configuration.remove(leader)
    with pytest.raises(CommandRefused, match="is a member already"):
        client.configuration.add("n1")
    assert client.kv.get("k") == 1
    assert client.configuration.list() == (("n1", "n2", "n3"), (), ())


def test_a_watch_waits_for_a_change(shared: Cluster, shared_client: LogClient) -> None:
    version = shared_client.kv.put("k", 1)
    seen: list[Any] = []
    with shared.log_client() as other:
        watcher = threading.Thread(target=lambda: seen.extend(other.kv.watch("k", version, wait_s=WAIT_S)))
        watcher.start()
        wait_until(lambda: other.pipeline._frames)  # the question has left; it may have arrived, or not yet
        shared_client.kv.put("k", 2)
        watcher.join()
    assert [value for _, _, value in seen] == [2]


def test_variables_that_are_set_once(shared: Cluster) -> None:
    assert shared.propose("colour", "red", at="n1") == "red"
    assert shared.propose("colour", "blue", at="n2") == "red"
    assert {shared.query("colour", at=node) for node in shared.nodes} == {"red"}
    assert shared.query("other", at="n3") is None


def test_a_killed_leader_costs_little_and_nothing_acknowledged(cluster: Cluster, client: LogClient) -> None:
    for number in range(4):
        calls = [client.begin("kv", ["put", f"k{index}", str(number).encode()]) for index in range(100)]
        client.send(time.monotonic())
        leader = leader_of(cluster)
        cluster.kill(leader)
        client.wait(calls)
        assert all(isinstance(call.outcome, Ok) for call in calls)
        cluster.restart(leader)
        got = client.call("kv", ["get", "k99"], read=True)
        assert got[0] == str(number).encode()
    wait_equal(cluster)
    versions = client.call("kv", ["get", "k99"], read=True)[1]
    assert versions == 400  # every put took effect once


def test_a_node_that_was_away_catches_up_from_a_snapshot_and_then_the_log(cluster: Cluster, client: LogClient) -> None:
    client.kv.put("k", 0)
    leader = leader_of(cluster)
    away = next(node for node in cluster.nodes if node != leader)
    cluster.kill(away)
    value = bytes(200_000)
    for turn in range(10):
        calls = [client.begin("kv", ["put", f"k{index}", value], timeout_s=WAIT_S) for index in range(10)]
        client.wait(calls)
        assert all(isinstance(call.outcome, Ok) for call in calls), turn
    wait_until(lambda: replicas(cluster)[leader]["log first"] > 1)
    cluster.restart(away)
    wait_equal(cluster)
    assert replicas(cluster)[away]["snapshot"] > 0
    client.kv.put("k", 1)
    cluster.restart(*cluster.nodes)  # everybody comes back from snapshot and log
    assert client.kv.get("k") == 1
    assert len(list(client.call("kv", ["range", "k", "", 100], read=True)[0])) >= 5


def test_members_come_and_go(cluster: Cluster, client: LogClient) -> None:
    client.kv.put("k", 1)
    add_node(cluster, "n4")
    assert client.configuration.list() == (("n1", "n2", "n3", "n4"), (), ())
    gone = leader_of(cluster)
    remove_node(cluster, gone)  # it hands over first
    assert gone not in client.configuration.list()[0]
    with pytest.raises(CommandRefused, match="an id is used once"):
        add_node(cluster, gone)
    assert client.kv.get("k") == 1
    lost = next(node for node in cluster.nodes if node != leader_of(cluster))
    cluster.kill(lost)
    shutil.rmtree(cluster.spec.settings.directory(lost))
    with pytest.raises(BootFailed, match="must not vote without its state"):
        cluster.restart(lost)
    replace_node(cluster, lost, "n5")
    assert lost not in cluster.nodes
    assert "n5" in client.configuration.list()[0]
    wait_equal(cluster)


def test_a_rolling_restart_loses_nothing(cluster: Cluster) -> None:
    acknowledged: list[int] = []
    stop = threading.Event()
    failures: list[str] = []

    def load() -> None:
        with cluster.log_client() as client:
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    client.kv.put("counter", number)
                except Unknown as error:
                    failures.append(str(error))
                acknowledged.append(number)

    writer = threading.Thread(target=load)
    writer.start()
    try:
        for node in cluster.nodes:
            leader_of(cluster)
            cluster.terminate(node)
            cluster.restart(node)
    finally:
        stop.set()
        writer.join()
    assert failures == []
    with cluster.log_client() as client:
        assert client.kv.get("counter") == acknowledged[-1]
    assert len(acknowledged) > 10


def test_a_suspended_leader_is_replaced_and_answers_nothing_old(shared: Cluster, shared_client: LogClient) -> None:
    cluster, client = shared, shared_client
    client.kv.put("k", "old")
    leader = leader_of(cluster)
    cluster.suspend(leader)
    client.kv.put("k", "new")
    with cluster.log_client() as reader:
        reader.pipeline.leaders.leader = leader
        call = reader.begin("kv", ["get", "k"], read=True, timeout_s=WAIT_S)
        reader.send(time.monotonic())
        cluster.resume(leader)
        reader.wait([call])
        assert isinstance(call.outcome, Ok)
        assert b"new" in call.outcome.value[0]
    wait_equal(cluster)


def test_a_put_survives_although_two_of_the_three_that_have_it_lose_their_last_commit() -> None:
    """While the third is down, no leader is elected; when it is back, the value is there."""
    with Cluster(nodes=5, algorithm="multipaxos") as cluster, cluster.log_client() as client:
        client.kv.put("a", "before")
        cluster.kill("n3", "n5")
        client.kv.put("a", "acknowledged")
        cluster.kill("n1", "n2", "n4")
        for node in ("n1", "n2"):
            damage_last_commit(cluster.spec.settings.directory(node), Random(node))
        for node in ("n1", "n2", "n3", "n5"):
            cluster.restart(node)
        with pytest.raises(Unknown):
            client.call("kv", ["get", "a"], read=True, timeout_s=2.0)
        disks = {node: replica["disk"] for node, replica in replicas(cluster).items()}
        assert disks == {"n1": "damaged", "n2": "damaged", "n3": "none", "n5": "none"}
        cluster.restart("n4")
        assert client.kv.get("a") == "acknowledged"
        wait_until(lambda: {replica["disk"] for replica in replicas(cluster).values()} == {"none"})
