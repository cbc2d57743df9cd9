"""Locks on real processes: waiting, renewing, losing and being refused, with leaders killed."""

import threading
import time
from collections.abc import Iterator

import pytest

from cluster import Cluster
from cluster.clients.locks import Lock
from cluster.clients.log_client import LogClient
from cluster.errors import CommandRefused, LeaseLost, Mistake
from cluster.membership import leader_of
from tests.waiting import WAIT_S, wait_until


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=3, algorithm="multipaxos") as cluster:
        yield cluster


def kill_leader(cluster: Cluster) -> None:
    cluster.kill(leader_of(cluster))


def test_a_lock_is_held_over_leaders_and_goes_to_whoever_waits(cluster: Cluster) -> None:
    granted: list[int] = []

    def wait_in_line() -> None:
        with cluster.lock("handed on", ttl_s=3.0) as token:
            granted.append(token)

    lock = cluster.lock("handed on", ttl_s=3.0)
    with lock as first, cluster.log_client() as other:
        assert other.locks.holder("handed on") == (lock.owner, first, 0)
        waiter = threading.Thread(target=wait_in_line)
        waiter.start()
        wait_until(lambda: (holder := other.locks.holder("handed on")) is not None and holder.waiting == 1)
        renewed = lock.renewals
        kill_leader(cluster)
        wait_until(lambda: lock.renewals >= renewed + 4)  # longer than the lease
        assert granted == []
        assert other.locks.holder("handed on") == (lock.owner, first, 1)
    waiter.join()
    assert granted[0] > first


def test_losing_and_being_refused(cluster: Cluster) -> None:
    with cluster.log_client() as client:
        a_holder_that_does_not_renew_is_refused(cluster, client)
        a_lock_that_is_lost_says_so(cluster, client)
        a_loss_is_reported_when_it_is_in_doubt(cluster)
        another_process_goes_on_with_a_lock(cluster, client)
        a_lock_takes_two_commands(cluster, client)
        nobody_waits_longer_than_it_wants(cluster, client)
        a_lock_is_for_one_holder(cluster)


def a_holder_that_does_not_renew_is_refused(cluster: Cluster, other: LogClient) -> None:
    with cluster.log_client() as paused:
        stale = paused.locks.acquire("paused", ttl_s=0.2)
        fresh = other.locks.acquire("paused", ttl_s=10.0)
        assert fresh > stale
        for act in (paused.locks.renew, paused.locks.release):
            with pytest.raises(CommandRefused, match="not with") as refused:
                act("paused", stale)
            assert refused.value.kind == "stale_token"
        with pytest.raises(CommandRefused) as refused:
            paused.locks.release("paused", fresh)
        assert refused.value.kind == "not_yours"
        other.locks.release("paused", fresh)
        with pytest.raises(CommandRefused) as refused:
            other.locks.release("paused", fresh)
        assert refused.value.kind == "not_held"


def a_lock_that_is_lost_says_so(cluster: Cluster, client: LogClient) -> None:
    with cluster.log_client() as holder:
        reports: list[bool] = []
        lock = holder.lock("lost", ttl_s=1.5, on_lost=lambda: reports.append(lock.lost))
        token = lock.acquire()
        assert not lock.lost
        client.call("session", ["close", holder.session])  # as if it had been idle for long
        wait_until(lambda: bool(reports))
        assert client.locks.try_acquire("lost") > token
        with pytest.raises(LeaseLost, match="lost"):
            lock.release()
        assert reports == [True]


def lost_in_doubt(cluster: Cluster, name: str) -> tuple[Lock, float]:
    """Suspend the nodes while a lock is held. Returns the lock, and the seconds until its loss is reported."""
    reported = threading.Event()
    lock = cluster.lock(name, ttl_s=1.5, on_lost=reported.set)
    lock.acquire()
    wait_until(lambda: lock.renewals > 0)
    cluster.suspend(*cluster.nodes)
    began = time.monotonic()
    try:
        assert reported.wait(WAIT_S)
        assert lock.lost
        return lock, time.monotonic() - began
    finally:
        cluster.resume(*cluster.nodes)


def a_loss_is_reported_when_it_is_in_doubt(cluster: Cluster) -> None:
    """A renewal that is under way does not delay the report, and one that succeeds later does not take it back."""
    with pytest.raises(Mistake, match="must be a function"):
        cluster.lock("silent", on_lost=3)  # type: ignore[arg-type]
    for number in range(3):  # a busy machine may let the thread run late, but hardly each time
        lock, took_s = lost_in_doubt(cluster, f"silent-{number}")
        if took_s < 1.5 + 0.5:
            break
    assert took_s < 1.5 + 0.5  # the lease, and how soon a thread runs; it was 2.0 before
    renewals = lock.renewals
    wait_until(lambda: lock.renewals > renewals)
    assert lock.lost
    with pytest.raises(LeaseLost, match="may have been lost before it was let go"):
        lock.release()


def another_process_goes_on_with_a_lock(cluster: Cluster, client: LogClient) -> None:
    with cluster.log_client() as killed:  # and it releases nothing
        token = killed.locks.acquire("work", ttl_s=30.0)
    with client.lock("work", ttl_s=30.0, resume=token) as resumed:
        assert resumed > token
        with cluster.log_client() as other, pytest.raises(CommandRefused, match="is held by"):
            other.locks.try_acquire("work")
    assert client.locks.holder("work") is None
    with pytest.raises(CommandRefused) as refused, client.lock("work", resume=resumed):
        pass
    assert refused.value.kind == "not_held"


def a_lock_takes_two_commands(cluster: Cluster, client: LogClient) -> None:
    """A `with` block does not open a session or a connection of its own."""
    client.kv.put("k", 0)
    before = client.pipeline._sequence
    with client.lock("cheap"):
        pass
    assert client.pipeline._sequence == before + 2


def nobody_waits_longer_than_it_wants(cluster: Cluster, other: LogClient) -> None:
    with cluster.lock("busy") as token:
        with pytest.raises(CommandRefused, match="held by") as refused:
            other.locks.try_acquire("busy")
        assert refused.value.kind == "held"
        with pytest.raises(CommandRefused, match=r"for 0\.1 s"), cluster.lock("busy", wait_s=0.1):
            pass
        holder = other.locks.holder("busy")
        assert holder is not None
        assert (holder.token, holder.waiting) == (token, 0)


def test_an_algorithm_without_a_log_has_no_locks() -> None:
    cluster = Cluster(nodes=1, algorithm="paxos")
    try:
        for use in (lambda: cluster.kv, lambda: cluster.lock("x"), cluster.log_client):
            with pytest.raises(Mistake, match="paxos keeps no log"):
                use()
    finally:
        cluster.stop()


def a_lock_is_for_one_holder(cluster: Cluster) -> None:
    lock = cluster.lock("once")
    with pytest.raises(Mistake, match="is not kept"):
        lock.release()
    with lock, pytest.raises(Mistake, match="'once' is kept already"):
        lock.acquire()
    with lock:  # and it can be used again
        pass
