"""A client's protocol against real replicas, in virtual time."""

import pytest

from cluster.clients.outcomes import NotDone, NotKnown, Ok
from cluster.clients.pipeline import Pipeline, session_s
from harness.virtual.log_script import LogWorld
from node.tuning import SHIPPED
from node.wire import BadValue


def world_with_client() -> tuple[LogWorld, Pipeline]:
    world = LogWorld()
    world.wait_leader()
    world.do("c", "put", "k", b"first")
    return world, world.clients["c"].pipeline


def values(world: LogWorld) -> list[bytes | None]:
    """Every value that the key has had, in order."""
    return [world.judge.changes[version][1] for version in sorted(world.judge.changes)]


def test_a_session_that_was_idle_for_nearly_too_long_is_replaced() -> None:
    world, client = world_with_client()
    first = client.session
    client._used -= session_s(SHIPPED) / 2
    world.do("c", "put", "k", b"soon")
    assert client.session == first
    client._used -= session_s(SHIPPED) + 1
    world.do("c", "put", "k", b"late")
    assert client.session is not None
    assert first is not None
    assert client.session > first
    world.check()


def test_a_change_of_members_that_is_refused_for_ever_does_not_block_the_session() -> None:
    world, client = world_with_client()
    leader = world.wait_leader()
    world.cut(
        world.members, ("c",), one_way=True
    )  # its refusal does not arrive, so the client does not know whether it was done
    change = client.call("cluster", ["remove", leader], world.now, 3.0)
    world._poll_client(world.clients["c"])
    world.pass_s(1.5)
    world.heal()
    world.wait(lambda: change.outcome is not None and client.idle, "the client has no frame under way", 10.0)
    assert isinstance(change.outcome, NotKnown)
    for number in range(SHIPPED.session_window + 1):
        world.do("c", "put", "k", b"%d" % number)
    assert leader in world.replica(leader).state.configuration.voters
    world.check()


def test_a_session_that_owes_a_reply_is_kept() -> None:
    world, client = world_with_client()
    first = client.session
    world.cut(world.members, ("c",), one_way=True)  # the command is done, and the reply does not arrive
    owed = world.begin("c", "put", "k", b"owed", for_s=0.1)
    world.pass_s(1.0)
    assert isinstance(owed.outcome, NotKnown)
    client._used -= session_s(SHIPPED) + 1
    world.heal()
    world.do("c", "put", "k", b"after")
    assert client.session == first
    assert values(world) == [b"first", b"owed", b"after"]


def test_a_call_that_is_given_up_before_it_has_left_never_leaves() -> None:
    world, client = world_with_client()
    call = client.call("kv", ["put", "k", b"never"], world.now, 5.0)
    outcomes: list[object] = []
    call.on_outcome = outcomes.append
    client.cancel(call)
    world.do("c", "put", "k", b"after")
    assert outcomes == []
    assert client.idle
    assert values(world) == [b"first", b"after"]


@pytest.mark.parametrize(
    "command", [["put", "\udcff", b""], ["put", object(), b""], ["cas", "k", 2**70, b""], ["put", "k", b"x" * 600_000]]
)
@pytest.mark.parametrize("read", [False, True])
def test_a_bad_command_is_refused_alone(command: list[object], read: bool) -> None:
    world, client = world_with_client()
    before = client.call("kv", ["put", "k", b"before"], world.now, 5.0)
    with pytest.raises(BadValue):
        client.call("kv", command, world.now, 5.0, read=read)
    world.do("c", "put", "k", b"after")
    assert isinstance(before.outcome, Ok)
    assert values(world) == [b"first", b"before", b"after"]


def test_a_timeout_that_is_no_number_is_refused() -> None:
    world, client = world_with_client()
    for wrong in (float("nan"), None, "5", 1j, 10**400):
        with pytest.raises(BadValue):
            client.call("kv", ["get", "k"], world.now, wrong, read=True)  # type: ignore[arg-type]
    for wrong in (None, "x", 1.5):
        with pytest.raises(BadValue):
            client.call("kv", ["get", "k"], world.now, 5.0, read=True, wait_ms=wrong)  # type: ignore[arg-type]
    assert client.idle


def test_on_outcome_is_called_once() -> None:
    world, client = world_with_client()
    outcomes: list[object] = []
    world.begin("c", "get", "k").on_outcome = outcomes.append
    world.pass_s(1.0)
    client.close()
    assert outcomes == [Ok([b"first", 1])]


def test_closing_distinguishes_calls_that_were_sent_from_others() -> None:
    world = LogWorld()
    client = world.clients["c"].pipeline
    waits = client.call("kv", ["put", "k", b"waits for a session"], world.now, 5.0)
    asked = client.call("kv", ["get", "k"], world.now, 5.0, read=True)
    assert len(list(client.outgoing(world.now))) == 2
    client.close()
    assert isinstance(waits.outcome, NotDone)
    assert isinstance(asked.outcome, NotKnown)
    assert client.idle


def test_a_call_with_less_time_expires_before_an_earlier_one() -> None:
    world = LogWorld()
    world.wait_leader()
    world.cut(("c",), world.members, one_way=True)
    client = world.clients["c"].pipeline
    patient = client.call("kv", ["put", "k", b"patient"], world.now, 10.0)
    hasty = world.begin("c", "put", "k", b"hasty", for_s=0.2)
    world.pass_s(0.5)
    assert isinstance(hasty.outcome, NotDone)
    assert patient.outcome is None
    world.heal()
    world.pass_s(5.0)
    assert patient.outcome == Ok(1)
    assert values(world) == [b"patient"]


def test_calls_are_looked_at_when_one_can_be_out_of_time_and_not_before() -> None:
    client = Pipeline("ab" * 16, dict)
    patient = client.call("kv", ["put", "k", b""], 100.0, 30.0)
    client._expire_calls(100.0)
    assert client._deadline == 130.0
    hasty = client.call("kv", ["get", "k"], 100.0, 7.0, read=True)
    assert client._deadline == 107.0
    client._expire_calls(107.0)
    assert isinstance(hasty.outcome, NotDone)
    assert patient.outcome is None
    assert client._deadline == 130.0


def test_the_frame_of_a_read_that_is_given_up_is_dropped() -> None:
    world, client = world_with_client()
    world.cut(world.members, ("c",), one_way=True)  # the answer does not arrive
    call = world.question("c", "kv", ["get", "k"])
    assert not client.idle
    client.cancel(call)
    assert list(client.outgoing(world.now)) == []
    assert client.idle


def test_the_addresses_are_asked_for_once_and_only_to_send() -> None:
    asked = []

    def addresses() -> dict[str, str]:
        asked.append(1)
        return {"n1": "tcp://127.0.0.1:1"}

    client = Pipeline("ab" * 16, addresses)
    client.session, client.leaders.leader = 1, "n1"
    for machine in ("kv", "locks", "kv"):
        client.call(machine, ["get", "k"], 0.0, 30.0)
    assert len(list(client.outgoing(0.0))) == 3
    assert list(client.outgoing(0.1)) == []
    assert len(asked) == 1


def test_a_frame_at_a_node_that_has_left_goes_to_another_node() -> None:
    addresses = {"n1": "tcp://127.0.0.1:1", "n2": "tcp://127.0.0.1:2"}
    client = Pipeline("0" * 32, lambda: addresses, "c")
    client.call("kv", ["put", "k", b"v"], 0.0, 9.0)
    first = [node for node, _, _ in client.outgoing(0.0)]
    del addresses[first[0]]
    rest = [node for tenths in range(1, 20) for node, _, _ in client.outgoing(tenths / 10)]
    assert set(rest) == {"n1", "n2"} - set(first)


def test_a_frame_waits_while_no_node_has_an_address() -> None:
    addresses: dict[str, str] = {}
    client = Pipeline("0" * 32, lambda: addresses, "c")
    call = client.call("kv", ["put", "k", b"v"], 0.0, 9.0)
    assert list(client.outgoing(0.0)) == []
    assert 0.0 < client.due() < 9.0
    addresses["n1"] = "tcp://127.0.0.1:1"
    assert [node for node, _, _ in client.outgoing(client.due())] == ["n1"]
    assert call.outcome is None
