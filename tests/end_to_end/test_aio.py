"""The asyncio client of a log, on real processes, with some of them broken."""

import asyncio
import time
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster, Unknown
from cluster.clients import operations
from cluster.clients.async_client import AsyncLogClient
from cluster.clients.client import TIMEOUT_S
from cluster.clients.operations import KeyChange
from cluster.errors import ClientClosed, CommandRefused, Mistake, NotUp
from cluster.membership import leader_of
from node.contract import NodeId
from node.wire import BadValue
from tests.waiting import WAIT_S

KEYS = 20
TASKS = 200
TIMES = 3


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=3, algorithm="multipaxos") as cluster:
        yield cluster


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, WAIT_S))


async def nothing_is_left(client: AsyncLogClient) -> None:
    """Wait until no call waits, no frame is under way, and nothing is to be done."""
    async with asyncio.timeout(WAIT_S):
        while not (client._pipeline.idle and client._next is None and client._timer is None):
            await asyncio.sleep(0.001)


def cancel_at_next_send(client: AsyncLogClient, *tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks while the client's next frame leaves. A moment later the answer may have come, and nothing waits any more."""
    send = client._connections.send

    def send_and_cancel(node: NodeId, address: str, data: bytes) -> None:
        client._connections.send = send  # type: ignore[method-assign]
        send(node, address, data)
        for task in tasks:
            task.cancel()

    client._connections.send = send_and_cancel  # type: ignore[method-assign]


async def increment(client: AsyncLogClient, key: str) -> None:
    """Add one, by compare-and-set, however often somebody else is quicker."""
    while True:
        value, version = await client.kv.get_with_version(key) or (0, 0)
        try:
            await client.kv.compare_and_set(key, version, value + 1)
        except CommandRefused as refused:
            if refused.kind != "mismatch":
                raise
        else:
            return


async def first_change(client: AsyncLogClient, prefix: str, after: int) -> KeyChange:
    return await anext(client.kv.watch(prefix, after))


def test_two_hundred_tasks_lose_no_increment_when_the_leader_is_killed() -> None:
    cluster, done = Cluster(nodes=3, algorithm="multipaxos"), 0

    async def count(client: AsyncLogClient, key: str) -> None:
        nonlocal done
        for _ in range(TIMES):
            await increment(client, key)
            done += 1

    async def main() -> None:
        async with cluster.async_log_client() as client:
            for number in range(KEYS):
                await client.kv.put(f"count/{number}", 0)
            killed = leader_of(cluster)
            tasks = [asyncio.create_task(count(client, f"count/{number % KEYS}")) for number in range(TASKS)]
            while done < TASKS:
                await asyncio.sleep(0)
            assert done < TASKS * TIMES, "all was over before the leader was killed"
            await asyncio.to_thread(cluster.kill, killed)
            at_the_kill = done
            await asyncio.gather(*tasks)
            assert at_the_kill < done == TASKS * TIMES
            counts = [value async for _, value, _ in client.kv.range("count/")]
            assert counts == [TASKS * TIMES // KEYS] * KEYS
            await nothing_is_left(client)

    with cluster:
        run(main())


def test_what_tasks_begin_together_leaves_in_one_frame(cluster: Cluster) -> None:
    async def main() -> None:
        async with cluster.async_log_client() as client:
            await client.kv.put("k", 0)
            before = client._pipeline._sequence
            versions = await asyncio.gather(*(client.kv.put("k", number) for number in range(TASKS)))
            assert client._pipeline._sequence == before + 1
            assert list(range(versions[0], versions[0] + TASKS)) == versions

    run(main())


def test_every_answer_wakes_the_client_without_any_timer(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    async def puts(client: AsyncLogClient, key: str) -> None:
        for number in range(100):
            await client.kv.put(key, number)

    async def main() -> None:
        async with cluster.async_log_client() as client:
            await client.kv.put("k", 0)
            monkeypatch.setattr(client._pipeline, "due", lambda: time.monotonic() + 3600.0)  # an edge missed is a hang
            async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
                for number in range(5):
                    group.create_task(puts(client, f"k{number}"))
            await puts(client, "k")

    run(main())


def test_a_watch_tells_changes_as_they_come(cluster: Cluster) -> None:
    async def main() -> None:
        async with cluster.async_log_client() as client:
            start = await client.kv.put("start", 0)
            seen: list[tuple[str, Any]] = []

            async def watch() -> None:
                async for _, key, value in client.kv.watch("job/", start):
                    seen.append((key, value))
                    if value == "last":
                        return

            watcher = asyncio.create_task(watch())
            await client.kv.put("job/1", 1)
            await client.kv.put("other", 2)
            await client.kv.delete("job/1")
            while len(seen) < 2:
                await asyncio.sleep(0.001)
            await client.kv.put("job/2", "last")
            await watcher
            assert seen == [("job/1", 1), ("job/1", None), ("job/2", "last")]

    run(main())


def test_a_call_that_is_cancelled_has_no_outcome_and_leaves_nothing(cluster: Cluster) -> None:
    async def main() -> None:
        async with cluster.async_log_client() as client:
            never = asyncio.create_task(client.kv.put("k", "never left"))
            assert client.session is None, "the first frame should open a session, so the put does not leave"
            cancel_at_next_send(client, never)
            await asyncio.wait([never])
            version = await client.kv.put("k", 0)
            watcher = asyncio.create_task(first_change(client, "nothing/", version))
            left = asyncio.create_task(client.kv.put("k", "left"))
            cancel_at_next_send(client, watcher, left)
            outcomes = await asyncio.gather(never, watcher, left, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 3
            assert await client.kv.put("k", "after") == version + 2
            changes = [value for _, _, value in await client.do(operations.kv_watch("k", version - 1, 1.0))]
            assert changes == [0, "left", "after"]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await first_change(client, "nothing/", version)
            await nothing_is_left(client)

    run(main())


def test_without_a_majority_outcomes_are_unknown_in_time(cluster: Cluster) -> None:
    async def main() -> None:
        async with cluster.async_log_client() as client:
            await client.kv.put("k", "before")
            kept = leader_of(cluster)
            others = [node for node in cluster.nodes if node != kept]
            await asyncio.to_thread(cluster.suspend, *others)
            began = asyncio.get_running_loop().time()
            with pytest.raises(Unknown, match="may have been done"):
                await client.kv.put("k", "who knows", timeout_s=0.3)
            assert asyncio.get_running_loop().time() - began < TIMEOUT_S  # which is what it would be by default
            async with cluster.async_log_client() as newcomer:
                with pytest.raises(CommandRefused, match="it never left") as refused:
                    await newcomer.kv.put("k", "never left", timeout_s=0.3)
                assert refused.value.kind == "not_sent"
            await asyncio.to_thread(cluster.resume, *others)
            assert await client.kv.get("k", timeout_s=WAIT_S) in ("before", "who knows")

    run(main())


def test_closing_tells_whoever_waits(cluster: Cluster) -> None:
    async def main() -> None:
        async with cluster.async_log_client() as client:
            version = await client.kv.put("k", 0)
            left = asyncio.create_task(first_change(client, "nothing/", version))
            while not client._pipeline._frames:
                await asyncio.sleep(0)
            waits = asyncio.create_task(client.kv.put("k", 1))
            await asyncio.sleep(0)
        outcomes = await asyncio.gather(left, waits, return_exceptions=True)
        assert [Unknown, CommandRefused] == [type(outcome) for outcome in outcomes]
        assert all("the client was closed" in str(outcome) for outcome in outcomes)
        with pytest.raises(ClientClosed, match="Make another one"):
            await client.kv.get("k")
        async with cluster.async_log_client() as other:
            assert await other.kv.get("k") == 0

    run(main())


def test_a_client_outside_of_an_event_loop_is_refused(cluster: Cluster) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        cluster.async_log_client()


def test_a_cluster_that_keeps_no_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="paxos keeps no log"):
        Cluster(nodes=1, algorithm="paxos", directory=tmp_path).async_log_client()


def test_a_bad_argument_is_its_own_tasks_mistake(cluster: Cluster) -> None:
    async def main() -> None:
        async with cluster.async_log_client() as client:
            outcomes = await asyncio.gather(
                client.kv.put("a", 1),
                client.kv.put("\udcff", 2),
                client.call("kv", ["put", object(), b""]),
                client.kv.compare_and_set("a", 2**70, 3),
                client.kv.get(object()),  # type: ignore[arg-type]
                client.kv.put("b", 4),
                return_exceptions=True,
            )
            assert [type(outcome) for outcome in outcomes] == [int, *[BadValue] * 4, int]
            assert (await client.kv.get("a"), await client.kv.get("b")) == (1, 4)

    run(main())


def test_a_call_to_a_cluster_that_has_ended_fails_at_once(cluster: Cluster) -> None:
    ended = False

    def addresses() -> Mapping[NodeId, str]:
        if ended:
            raise NotUp("the cluster has ended")
        return cluster.client_addresses()

    async def main() -> None:
        nonlocal ended
        async with AsyncLogClient(cluster.spec.settings.cluster, addresses) as client:
            before = await client.kv.put("k", 1)
            client._pipeline.leaders.leader = None
            ended = True
            outcomes = await asyncio.gather(client.kv.put("k", 2), client.kv.get("k"), return_exceptions=True)
            for outcome in outcomes:
                assert isinstance(outcome, CommandRefused)
                assert (outcome.kind, str(outcome)) == ("not_up", "the cluster has ended")
            with pytest.raises(CommandRefused, match="the cluster has ended"):
                await client.locks.acquire("l", "me")  # not waited for: nobody is there who could grant it
            ended = False
            assert await client.kv.get_with_version("k") == (1, before)  # what was refused has not left later
            assert await client.kv.put("k", 3) == before + 1

    run(main())


def test_a_client_whose_addresses_fail_keeps_nobody_waiting(cluster: Cluster) -> None:
    reported: list[str] = []

    def addresses() -> dict[NodeId, str]:
        raise ZeroDivisionError("whoever wrote this has made a mistake")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(str(context["exception"])))
        async with AsyncLogClient(cluster.spec.settings.cluster, addresses) as client:
            with pytest.raises(CommandRefused, match="the client was closed"):
                await client.kv.put("k", 1)

    run(main())
    assert reported == ["whoever wrote this has made a mistake"]
