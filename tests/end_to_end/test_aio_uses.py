"""Locks, members and assignment for the tasks of an event loop, with the leader killed meanwhile."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from cluster import Cluster, LeaseLost, leader_of
from cluster.clients.async_client import AsyncLogClient
from cluster.errors import CommandRefused, Mistake
from tests.waiting import WAIT_S


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=3, algorithm="multipaxos") as cluster:
        yield cluster


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, WAIT_S))


async def until_they_wait(client: AsyncLogClient, name: str, count: int) -> None:
    while (holder := await client.locks.holder(name)) is None or holder.waiting != count:
        await asyncio.sleep(0.01)


def test_tasks_take_turns_and_none_is_overtaken(cluster: Cluster) -> None:
    observed: list[tuple[int, int]] = []

    async def work(client: AsyncLogClient, number: int) -> None:
        async with client.lock("turns") as token:
            observed.append((number, token))
            await asyncio.sleep(0)

    async def main() -> None:
        async with cluster.async_log_client() as client:
            tasks = []
            async with client.lock("turns") as first:
                for number in range(5):
                    tasks.append(asyncio.create_task(work(client, number)))
                    await until_they_wait(client, "turns", number + 1)
                await asyncio.to_thread(cluster.kill, leader_of(cluster))
                await client.kv.put("a new leader", True)
                assert observed == []
                tasks[3].cancel()
                await until_they_wait(client, "turns", 4)
            await asyncio.gather(*tasks, return_exceptions=True)
            assert [number for number, _ in observed] == [0, 1, 2, 4]
            tokens = [token for _, token in observed]
            assert [first, *tokens] == sorted({first, *tokens})

            with pytest.raises(CommandRefused, match="by others"):
                async with client.lock("turns"), client.lock("turns", wait_s=0.05):
                    pass
            assert await client.locks.holder("turns") is None

    run(main())


def test_a_lost_lease_is_reported(cluster: Cluster) -> None:
    async def main() -> None:
        async with cluster.async_log_client() as client, cluster.async_log_client() as other:
            lock = client.lock("mine", ttl_s=0.3)
            await lock.start()
            token = lock.token
            with pytest.raises(Mistake, match="is kept already"):
                await lock.start()
            await other.call("session", ["close", client.session])
            assert await other.locks.acquire("mine", "other", ttl_s=0.2) > token
            while not lock.lost:
                await asyncio.sleep(0.01)
            with pytest.raises(LeaseLost, match="the lock 'mine' was"):
                await lock.stop()
            with pytest.raises(Mistake, match="is not kept"):
                await lock.stop()
            async with client.lock("mine", wait_s=WAIT_S) as mine:  # as soon as the other's lease has ended
                assert mine > token
                shared = client.lock("shared")
                kept = await asyncio.gather(shared.start(), shared.start(), return_exceptions=True)
                assert [type(each) for each in kept] == [type(None), Mistake]  # two tasks do not share one
                await shared.stop()

    run(main())


def test_a_block_whose_lease_is_lost_is_cancelled(cluster: Cluster) -> None:
    async def main() -> None:
        async with cluster.async_log_client() as client, cluster.async_log_client() as other:
            for make in (client.lock, client.members.joined):
                reported = asyncio.Event()
                with pytest.raises(LeaseLost, match="'block'"):  # noqa: PT012 - the block is what is tested
                    async with make("block", ttl_s=0.3, on_lost=reported.set):
                        await other.call("session", ["close", client.session])
                        await asyncio.sleep(WAIT_S)
                assert reported.is_set()
                task = asyncio.current_task()
                assert task is not None
                assert task.cancelling() == 0

            with pytest.raises(ZeroDivisionError):  # an error of the block is the one that it raises
                async with client.lock("block"):
                    raise ZeroDivisionError
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1), client.lock("block"):
                    await asyncio.sleep(WAIT_S)
            token = await client.locks.acquire("block", owner="first")
            async with other.lock("block", resume=token) as resumed:
                assert resumed > token

    run(main())


def test_members_and_tasks(cluster: Cluster) -> None:
    async def main() -> None:
        async with cluster.async_log_client() as client:
            nobody = await client.members.view()
            views = client.members.watch(nobody)
            async with client.members.joined("web", {"port": 80}), client.members.joined("worker"):
                observed = [await anext(views) for _ in range(2)]
            observed += [await anext(views) for _ in range(2)]
            assert [list(view.members) for view in observed] == [["web"], ["web", "worker"], ["web"], []]

            assert await client.assignment.add("mornings")
            assert await client.assignment.add("evenings")
            everything = await client.assignment.owners()
            async with client.assignment.joined("alice"):
                both = await client.assignment.mine("alice")
                async with client.assignment.joined("bob"):
                    one = await client.assignment.mine("alice", both, wait_s=WAIT_S)
                    assert (len(both.tasks), len(one.tasks)) == (2, 1)
                    spread = await client.assignment.owners(everything, wait_s=WAIT_S)
                    assert sorted(owner.member for owner in spread.owners.values() if owner) == ["alice", "bob"]
                await client.assignment.remove("mornings")
                assert list((await client.assignment.mine("alice")).tasks) == ["evenings"]

    run(main())


def test_by_hand_each_owner_is_another_holder_and_a_lock_of_one_name_has_one(cluster: Cluster) -> None:
    async def main() -> None:
        async with cluster.async_log_client() as client:
            token = await client.locks.try_acquire("mine", "alice")
            with pytest.raises(CommandRefused, match="is held by 'alice'"):
                await client.locks.try_acquire("mine", "bob")
            assert await client.locks.give_up("mine", "alice")
            with pytest.raises(CommandRefused) as refused:
                await client.locks.renew("mine", token)
            assert refused.value.kind == "not_held"
            async with client.lock("mine", owner="carol"):
                with pytest.raises(CommandRefused, match="by others"):  # the same words do not make it the same holder
                    await client.lock("mine", owner="carol", wait_s=0.05).start()

            view = await client.members.join("web")
            assert await client.members.heartbeat("web") == view
            assert await client.members.leave("web") == view + 1
            with pytest.raises(CommandRefused) as refused:
                await client.members.leave("web")
            assert refused.value.kind == "not_member"
            session = client.session
            await client.end_session()
            async with cluster.async_log_client() as other:
                assert not await other.call("session", ["close", session])  # it has ended

    run(main())
