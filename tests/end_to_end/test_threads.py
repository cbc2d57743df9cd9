"""Threads that share a client, and processes that must not."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cluster import ClientClosed, Cluster, CommandRefused, Mistake, Unknown

WAIT_S = 30.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=3, algorithm="multipaxos") as cluster:
        cluster.kv.put("first", 0)
        yield cluster


def in_a_child(act: Callable[[], Any]) -> str:
    """Return what `act` raises in a forked child process, within five seconds."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, f"returned {act()!r}".encode())
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent looks at it
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.close(writer)
    os.set_blocking(reader, False)
    deadline = time.monotonic() + 5.0
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            pytest.fail("the child process hangs")
    with os.fdopen(reader, "rb") as said:
        return said.read().decode()


def test_threads_share_a_client_and_each_call_gets_its_own_reply(cluster: Cluster) -> None:
    def work(number: int) -> list[int]:
        seen = []
        for turn in range(30):
            cluster.kv.put(f"t{number}", [number, turn])
            assert cluster.kv.get(f"t{number}") == [number, turn]
            seen.append(turn)
        return seen

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8), timeout=WAIT_S)) == [list(range(30))] * 8


def test_a_thread_that_waits_for_long_does_not_hold_up_another(cluster: Cluster) -> None:
    version = cluster.kv.version()
    changes: list[Any] = []
    watcher = threading.Thread(target=lambda: changes.extend(cluster.kv.watch("rare", version, wait_s=WAIT_S)))
    watcher.start()
    began = time.monotonic()
    for number in range(50):
        cluster.kv.put("often", number)
    assert time.monotonic() - began < WAIT_S / 2
    assert watcher.is_alive()
    cluster.kv.put("rare", "now")
    watcher.join(WAIT_S)
    assert [value for _, _, value in changes] == ["now"]


def test_threads_share_a_client_of_variables() -> None:
    with Cluster(nodes=3, algorithm="paxos") as cluster, ThreadPoolExecutor(8) as pool:
        decided = list(pool.map(lambda number: cluster.propose("colour", number), range(16), timeout=WAIT_S))
        assert len(set(decided)) == 1
        own = list(pool.map(lambda number: cluster.propose(f"v{number}", number), range(16), timeout=WAIT_S))
        assert own == list(range(16))


def test_closing_a_client_ends_the_calls_of_other_threads(cluster: Cluster) -> None:
    client = cluster.log_client()
    version = client.kv.version()
    errors: list[Exception] = []

    def watch() -> None:
        try:
            client.kv.watch("never", version, wait_s=WAIT_S)
        except (Unknown, CommandRefused) as error:  # refused: it had not left yet
            errors.append(error)

    watchers = [threading.Thread(target=watch) for _ in range(3)]
    for watcher in watchers:
        watcher.start()
    while len(client.pipeline._watches) < len(watchers):
        time.sleep(0.001)
    client.close()
    for watcher in watchers:
        watcher.join(WAIT_S)
    assert len(errors) == 3
    with pytest.raises(ClientClosed):
        client.kv.get("k")


@pytest.mark.parametrize(
    "act",
    [
        lambda cluster: cluster.kv.put("k", 1),
        lambda cluster: cluster.query("k"),
        lambda cluster: cluster.log_client(),
        lambda cluster: cluster.lock("printer").acquire(),
        lambda cluster: cluster.kill("n1"),
        lambda cluster: cluster.status(),
    ],
)
def test_a_forked_process_is_told_at_once(cluster: Cluster, act: Callable[[Cluster], Any]) -> None:
    cluster.query("k")
    said = in_a_child(lambda: act(cluster))
    assert said.startswith("Mistake: this cluster object belongs to process"), said
    assert "open the cluster in this process, with RunningCluster" in said
    assert cluster.kv.put("k", 2)


def test_a_client_in_a_forked_process_is_told_at_once_and_its_closing_harms_nothing(cluster: Cluster) -> None:
    with cluster.log_client() as client, cluster.client() as variables:
        client.kv.put("k", 1)
        for act in (
            lambda: client.kv.put("k", 2),
            lambda: client.begin("kv", ["get", "k"]),
            lambda: variables.query("v"),
        ):
            assert in_a_child(act).startswith("Mistake: this client belongs to process")
        for close in (client.close, variables.close, cluster.close, cluster.stop):
            assert in_a_child(close) == "returned None"
        assert client.kv.get("k") == 1
        assert variables.query("v") is None
        assert set(cluster.status()) == set(cluster.nodes)


def test_an_asyncio_client_is_for_its_loop_and_its_process(cluster: Cluster) -> None:
    async def main() -> None:
        async with cluster.async_log_client() as client:
            await client.kv.put("k", 1)
            with pytest.raises(Mistake, match="another event loop"):
                await asyncio.to_thread(asyncio.run, client.kv.get("k"))
            said = await asyncio.to_thread(in_a_child, client._process.check)
            assert said.startswith("Mistake: this client belongs to process")
            assert await client.kv.get("k") == 1

    asyncio.run(main())
