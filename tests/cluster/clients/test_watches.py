"""Watches of real clients at real replicas, in virtual time: quiet ones, lost ones, and many of them."""

from typing import Any

import pytest

from cluster.clients.log_call import LogCall
from cluster.clients.outcomes import NotDone, NotKnown, Ok
from harness.virtual.log_script import LogWorld
from node.tuning import Tuning


@pytest.fixture
def world(request: pytest.FixtureRequest) -> LogWorld:
    world = LogWorld(tuning=Tuning(kv_history_entries=request.param)) if hasattr(request, "param") else LogWorld()
    world.wait_leader()
    world.do("c", "put", "k", b"first")
    return world


def waiting(world: LogWorld) -> int:
    """Return how many watches wait at the leader."""
    leader = world.leader()
    assert leader is not None
    leadership = world.replica(leader).leader
    assert leadership is not None
    return len(leadership.watches)


def changed(world: LogWorld, call: LogCall) -> list[Any]:
    """Return the values of the changes that a watch has returned."""
    outcome = world.outcome(call)
    assert isinstance(outcome, Ok), outcome
    return [value for _, _, value in outcome.value[1]]


def test_an_empty_answer_says_up_to_where_everything_was_seen(world: LogWorld) -> None:
    watch = world.watch("c", "quiet", 0, wait_s=1.0)
    for number in range(5):
        world.do("d", "put", "k", f"{number}".encode())
    assert world.outcome(watch) == Ok([6, []])
    assert world.now >= 1.0


@pytest.mark.parametrize("world", [4], indirect=True)
def test_a_quiet_watch_outlives_all_kept_changes_of_other_keys(world: LogWorld) -> None:
    watch = world.watch("c", "quiet", 1, wait_s=60.0)
    for number in range(20):
        world.do("d", "put", "k", f"{number}".encode())
    world.do("d", "put", "quiet", b"at last")
    assert changed(world, watch) == [b"at last"]


@pytest.mark.parametrize("world", [4], indirect=True)
@pytest.mark.parametrize("suspended", [False, True])
def test_a_quiet_watch_goes_on_at_the_next_leader(world: LogWorld, suspended: bool) -> None:
    """It is asked again, and not from its beginning: that is no longer kept."""
    watch = world.watch("c", "quiet", 1, wait_s=60.0)
    for number in range(20):
        world.do("d", "put", "k", f"{number}".encode())
    world.pass_s(2.0)  # the client asks whether it waits
    first = world.wait_leader()
    if suspended:
        world.pause(first, 30.0)
    else:
        world.crash(first)
    world.wait_leader(first)
    world.pass_s(5.0)
    assert watch.outcome is None
    assert waiting(world) == 1
    world.do("d", "put", "quiet", b"at last")
    assert changed(world, watch) == [b"at last"]


def test_the_time_of_a_watch_goes_on_at_the_next_leader(world: LogWorld) -> None:
    began = world.now
    watch = world.watch("c", "quiet", 1, wait_s=10.0)
    world.pass_s(8.0)
    first = world.wait_leader()
    world.crash(first)
    world.wait_leader(first)
    assert world.outcome(watch) == Ok([1, []])
    assert 10.0 <= world.now - began < 10.5


def test_a_quiet_watch_is_no_silence(world: LogWorld) -> None:
    """The client goes on with the leader, asks it little, and its puts take as long as those of another client."""
    watch = world.watch("c", "quiet", 1, wait_s=30.0)
    client = world.clients["c"].pipeline
    leader, sent_again = client.leaders.leader, client.sent_again
    slowest = {"c": 0.0, "d": 0.0}
    for number in range(100):
        world.pass_s(0.2)
        for name, before in slowest.items():
            began = world.now
            world.do(name, "put", "k", f"{name}{number}".encode())
            slowest[name] = max(before, world.now - began)
        assert client.leaders.leader == leader
    assert watch.outcome is None
    assert client.sent_again == sent_again
    assert slowest["c"] < 2 * slowest["d"]
    assert waiting(world) == 1


def test_what_waits_at_the_leader_stays_bounded_with_a_quiet_watcher_whose_messages_are_lost(world: LogWorld) -> None:
    """Every half second the client loses the leader for a while. It repeats its watch, and one watch waits."""
    watch = world.watch("c", "quiet", 1, wait_s=60.0)
    most = 0
    for _ in range(20):
        world.pass_s(1.0)
        world.cut(world.members, ("c",), one_way=True)
        world.pass_s(1.0)
        world.heal()
        most = max(most, waiting(world))
    assert most == 1
    world.pass_s(2.0)
    world.do("d", "put", "quiet", b"at last")
    assert changed(world, watch) == [b"at last"]


def test_watches_that_are_given_up_leave_the_leader(world: LogWorld) -> None:
    client = world.clients["c"].pipeline
    kept = world.watch("c", "kept", 1, wait_s=60.0)
    for _ in range(50):
        client.cancel(world.watch("c", "quiet", 1, wait_s=60.0))
        world.pass_s(0.05)
    world.pass_s(2.0)
    assert waiting(world) == 1
    leader = world.leader()
    assert leader is not None
    assert len(world.cluster.nodes[leader].core.frames) == 1
    world.do("d", "put", "kept", b"here")
    last = world.watch("c", "quiet", 2, wait_s=60.0)
    assert changed(world, kept) == [b"here"]
    world.pass_s(0.1)
    client.cancel(last)
    world.pass_s(2.0)
    assert waiting(world) == 0
    assert client.idle


@pytest.mark.parametrize("loses", ["question", "answer"])
def test_a_watch_whose_message_was_lost_is_asked_again(world: LogWorld, loses: str) -> None:
    world.do("c", "get", "k")  # the client knows the leader
    if loses == "question":
        world.cut(("c",), world.members, one_way=True)
    watch = world.watch("c", "quiet", 1, wait_s=60.0)
    world.pass_s(0.1)
    world.cut(world.members, ("c",), one_way=True)
    world.do("d", "put", "quiet", b"missed")
    world.pass_s(0.05)
    world.heal()
    assert changed(world, watch) == [b"missed"]
    assert waiting(world) == 0


def test_one_client_holds_many_watches_and_each_gets_its_own_change(world: LogWorld) -> None:
    watches = [world.watch("c", f"{number:03}/", 1, wait_s=60.0) for number in range(300)]
    world.pass_s(3.0)
    assert waiting(world) == 300
    sent = world.clients["c"].pipeline._number
    world.pass_s(10.0)
    assert world.clients["c"].pipeline._number - sent <= 11  # one question a second for all of them
    world.do("c", "put", "007/x", b"seven")
    assert changed(world, watches[7]) == [b"seven"]
    assert [call.outcome for call in watches].count(None) == 299
    world.clients["c"].pipeline.close()
    assert all(isinstance(call.outcome, NotKnown) for call in watches if call is not watches[7])


def test_a_client_asks_for_its_watches_as_seldom_as_the_leader_lets_it() -> None:
    world = LogWorld(tuning=Tuning(watch_checks_per_s=1, watch_beats=160))
    leader = world.wait_leader()
    clients = [world.clients[name].pipeline for name in "cd"]
    watches = [world.watch(name, "quiet", 0, wait_s=60.0) for name in "cd"]
    world.pass_s(3.0)
    sent = sum(client._number for client in clients)
    world.pass_s(20.0)
    assert sum(client._number for client in clients) - sent <= 21  # two clients, and one question a second
    world.crash(leader)
    world.wait_leader(leader)
    world.pass_s(4.0)  # they ask two seconds after the last time, get no reply, and ask the others
    assert waiting(world) == 2
    assert [call.outcome for call in watches] == [None, None]


def test_a_watch_that_finds_no_leader_in_time_was_not_sent() -> None:
    world = LogWorld()
    world.cut(("c",), world.members)
    watch = world.watch("c", "quiet", 0, wait_s=1.0)
    assert isinstance(world.outcome(watch), NotDone)


def test_waiting_in_the_queue_of_a_lock_is_a_watch(world: LogWorld) -> None:
    held = world.ask("d", "locks", ["acquire", "printer", "d", 60_000])
    assert held == Ok([1, 1])
    place = world.ask("c", "locks", ["acquire", "printer", "c", 60_000])
    assert place == Ok([2, 0])
    client = world.clients["c"]
    turn = client.pipeline.call("locks", ["granted", "printer", 2], world.now, 40.0, read=True, wait_ms=30_000)
    world._poll_client(client)
    world.pass_s(5.0)
    assert waiting(world) == 1
    world.ask("d", "locks", ["release", "printer", 1])
    assert world.outcome(turn) == Ok(2)
