"""What a leader does with frames that wait: how many go into a batch, how many bytes wait, and when it refuses more."""

from typing import Any

import pytest

from harness.virtual.log_script import LogWorld
from node.algorithms.multipaxos import MultiPaxos
from node.algorithms.raft import Raft
from node.contract import Request
from node.log_contract import LogAlgorithm
from node.replication.leader import LogLeadership
from node.replication.watches import Waiter
from node.tuning import Tuning
from node.wire import unpack_unchecked

MIB = 1 << 20


def leader_of(algorithm: type[LogAlgorithm], **tuning: int) -> LogLeadership:
    """Return the leader of a log that is elected and serves."""
    world = LogWorld(3, 1, algorithm, Tuning(**tuning))
    leader = world.replica(world.wait_leader()).leader
    assert leader is not None
    world.wait(lambda: leader.serving, "a leader that serves")
    return leader


def submit(leader: LogLeadership, *sizes: int, machine: str = "kv") -> None:
    for size in sizes:
        number = len(leader.awaited)
        leader.submit((0, number, 0, machine, b"x" * size), Waiter(Request("c", number)))


def in_flight(leader: LogLeadership) -> list[list[int]]:
    """Return the sizes of the frames in each slot that is in flight."""
    batches: list[Any] = [unpack_unchecked(flight.batch) for flight in leader.flights.values()]
    return [[len(packed) for *_, packed in frames] for _, frames in batches]


@pytest.mark.parametrize("algorithm", [MultiPaxos, Raft])
def test_waiting_frames_fill_batches_up_to_their_limit(algorithm: type[LogAlgorithm]) -> None:
    leader = leader_of(algorithm, batch_bytes=10, pipeline=3)
    submit(leader, 4, 6, 9, 1, 1, 20, 3, 5)
    assert leader.waiting_bytes == 49
    leader.propose_waiting()
    assert in_flight(leader) == [[4, 6], [9, 1], [1, 20]]
    assert leader.waiting_bytes == 8
    assert [len(frame[4]) for frame, _ in leader.waiting] == [3, 5]
    leader.propose_waiting()
    assert len(leader.flights) == 3  # as many as may be in flight


@pytest.mark.parametrize("algorithm", [MultiPaxos, Raft])
def test_a_change_of_members_is_alone_in_its_slot_and_alone_in_flight(algorithm: type[LogAlgorithm]) -> None:
    leader = leader_of(algorithm, pipeline=3)
    submit(leader, 1)
    submit(leader, 2, machine="cluster")
    submit(leader, 3)
    leader.propose_waiting()
    assert in_flight(leader) == [[1]]
    leader.take_waiters(*leader.flights)
    leader.propose_waiting()
    assert in_flight(leader) == [[2]]
    assert leader.changing()
    leader.propose_waiting()
    assert in_flight(leader) == [[2]]
    leader.take_waiters(*leader.flights)
    assert not leader.changing()
    leader.propose_waiting()
    assert in_flight(leader) == [[3]]
    assert leader.waiting_bytes == 0


def test_a_leader_has_room_for_so_many_frames_and_so_many_bytes() -> None:
    leader = leader_of(MultiPaxos, leader_frames=3, leader_bytes=MIB)
    assert not leader.full(MIB)
    assert leader.full(MIB + 1)
    submit(leader, 100, 100)
    assert not leader.full(MIB - 200)
    assert leader.full(MIB - 199)
    submit(leader, 100)
    assert leader.full(0)
    leader.propose_waiting()
    assert not leader.full(MIB)


def test_a_frame_that_waits_or_is_in_flight_is_not_taken_twice() -> None:
    leader = leader_of(MultiPaxos)
    waiter = Waiter(Request("c", 1))
    frame = (1, 1, 0, "kv", b"xx")
    for _ in range(2):
        leader.submit(frame, waiter)
        assert (len(leader.waiting), leader.waiting_bytes) == (1, 2)
    leader.propose_waiting()
    leader.submit(frame, waiter)
    assert (len(leader.waiting), leader.awaits(waiter)) == (0, True)
    (slot,) = leader.flights
    assert leader.take_waiters(slot) == [waiter]
    assert (leader.take_waiters(slot), leader.awaits(waiter)) == ([], False)
    leader.submit(frame, waiter)
    assert len(leader.waiting) == 1
