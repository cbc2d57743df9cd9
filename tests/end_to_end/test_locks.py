"""Locks on real processes: waiting, renewing, losing and being refused, with leaders killed."""

import threading
from collections.abc import Iterator

import pytest

from cluster import Cluster
from cluster.clients.log_client import LogClient
from cluster.errors import CommandRefused, LeaseLost, Mistake
from cluster.membership import leader_of
from tests.waiting import wait_until


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=3, algorithm="multipaxos") as cluster:
        yield cluster


def kill_leader(cluster: Cluster) -> None:
    cluster.kill(leader_of(cluster))


def test_a_lock_is_held_over_leaders_and_goes_to_whoever_waits(cluster: Cluster) -> None:
    granted: list[int] = []

    def wait_in_line() -> None:
        with cluster.lock("handed on", ttl_s=1.0) as token:
            granted.append(token)

    lock = cluster.lock("handed on", ttl_s=1.0)
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
        nobody_waits_longer_than_it_wants(cluster, client)
        a_lock_is_for_one_holder(cluster)
        a_lock_in_doubt_is_held_after_all_when_a_renewal_comes_through(cluster)


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
    lock = cluster.lock("lost", ttl_s=0.3)
    token = lock.acquire()
    assert lock._client is not None
    assert not lock.lost
    client.call("session", ["close", lock._client.session])  # as if it had been idle for long
    wait_until(lambda: lock.lost)
    assert client.locks.try_acquire("lost") > token
    with pytest.raises(LeaseLost, match="lost"):
        lock.release()


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


def a_lock_in_doubt_is_held_after_all_when_a_renewal_comes_through(cluster: Cluster) -> None:
    lock = cluster.lock("doubt", ttl_s=1.0)
    with lock:
        cluster.suspend(*cluster.nodes)
        try:
            wait_until(lambda: lock.lost)
        finally:
            cluster.resume(*cluster.nodes)
        wait_until(lambda: not lock.lost)  # the log's time stood still


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
