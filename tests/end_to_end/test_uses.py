"""Keys, members and assignment on real processes: what is returned, what is lost, and what is refused."""

from collections.abc import Callable, Iterator

import pytest

from cluster import BadValue, Cluster, LeaseLost, Unknown
from cluster.clients.log_client import LogClient
from cluster.errors import CommandRefused
from node.machines.kv import VALUE_BYTES_MAX
from tests.waiting import wait_until


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=1, algorithm="multipaxos") as cluster:
        yield cluster


@pytest.fixture
def other(cluster: Cluster) -> Iterator[LogClient]:
    with cluster.log_client() as other:
        yield other


def refused(kind: str, act: Callable[[], object]) -> None:
    with pytest.raises(CommandRefused) as error:
        act()
    assert error.value.kind == kind


def test_members_come_and_go_in_views(cluster: Cluster, other: LogClient) -> None:
    nobody = cluster.members.view()
    assert (nobody.number, nobody.members) == (0, {})
    with cluster.members.joined("web", {"port": 80}, ttl_s=2.0) as joined:
        other.members.join("silent", ttl_s=0.2)
        wait_until(lambda: joined.renewals >= 4)  # longer than its lease
        assert cluster.members.view().members == {"web": {"port": 80}}
    views_seen = [(view.number, list(view.members)) for view in other.members.watch(nobody)]
    assert views_seen == [(1, ["web"]), (2, ["web", "silent"]), (3, ["web"]), (4, [])]
    assert other.members.watch(cluster.members.view(), wait_s=0.1) == []


def test_a_membership_that_is_lost_says_so(cluster: Cluster, other: LogClient) -> None:
    with cluster.log_client() as client:
        joined = client.members.joined("web", ttl_s=0.3)
        joined.start()
        other.call("session", ["close", client.session])
        wait_until(lambda: joined.lost)
        with pytest.raises(LeaseLost, match="the membership of 'web' was"):
            joined.stop()


def test_tasks_go_to_members_and_are_watched(cluster: Cluster, other: LogClient) -> None:
    assignment = cluster.assignment
    assert [assignment.add(task) for task in ("a", "b", "a")] == [True, True, False]
    nothing = assignment.owners()
    assert nothing.owners == {"a": None, "b": None}
    with assignment.joined("alice"):
        both = assignment.mine("alice")
        assert list(both.tasks) == ["a", "b"]
        assert both == assignment.mine("alice", both, wait_s=0.05)
        with other.assignment.joined("bob"):
            one = assignment.mine("alice", both, wait_s=5.0)
            assert len(one.tasks) == 1
            spread = assignment.owners(nothing, wait_s=5.0)
            assert sorted(owner.member for owner in spread.owners.values() if owner) == ["alice", "bob"]
        again = assignment.mine("alice", one, wait_s=5.0)
        assert sorted(again.tasks) == ["a", "b"]
        handed_over = next(task for task in again.tasks if task not in one.tasks)
        assert again.tasks[handed_over] > max(token for share in (both, one) for token in share.tasks.values())
        assignment.remove("a")
        refused("no_task", lambda: assignment.remove("a"))


def test_bad_input_has_its_own_error_and_changes_nothing(cluster: Cluster, other: LogClient) -> None:
    cluster.kv.put("k", 1)
    with pytest.raises(BadValue, match="the limit is 262,144"):
        cluster.kv.put("k", b"x" * (VALUE_BYTES_MAX + 1))
    refused("too_large", lambda: other.call("kv", ["put", "k", b"x" * (VALUE_BYTES_MAX + 1)]))
    cluster.members.join("web", ttl_s=30.0)
    refused("already_member", lambda: other.members.join("web"))
    refused("not_yours", lambda: other.members.leave("web"))
    refused("not_member", lambda: other.members.heartbeat("nobody"))
    refused("too_large", lambda: other.members.join("big", "x" * 2_000))
    refused("not_member", lambda: other.assignment.mine("nobody"))
    with cluster.lock("held") as token:
        refused("held", lambda: other.locks.try_acquire("held"))
        refused("not_yours", lambda: other.locks.release("held", token))
        refused("stale_token", lambda: other.locks.release("held", token + 1))
        refused("bad_ttl", lambda: other.locks.acquire("held", ttl_s=0.01))
        refused("bad_name", lambda: other.locks.acquire("x" * 300))
        holder = other.locks.holder("held")
        assert holder is not None
        assert (holder.token, holder.waiting) == (token, 0)
    refused("not_held", lambda: other.locks.release("held", token))
    assert cluster.kv.get("k") == 1
    assert cluster.members.view().members == {"web": None}


def test_a_session_that_has_ended_is_reported_as_unknown_and_then_holds_nothing(
    cluster: Cluster, other: LogClient
) -> None:
    with cluster.log_client() as idle:
        token = idle.locks.acquire("mine", ttl_s=30.0)
        other.call("session", ["close", idle.session])  # as the log does with one that was idle for long
        with pytest.raises(Unknown, match="the session has ended"):
            idle.locks.renew("mine", token)
        refused("not_held", lambda: idle.locks.renew("mine", token))
        assert idle.locks.try_acquire("mine") > token
