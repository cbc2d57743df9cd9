"""A change of members whose session does not admit it never counts, though it has a slot of the log.

Raft counts by a change as soon as its entry is in the log (Ongaro 2014, section 4.1). That is safe since each change differs by
one voter from the next. A change that is in the log and then changes nothing would be skipped in that row: of four voters, those
that count without n2 and those that count without n4 have majorities that do not meet.
"""

import random

import pytest

from harness.virtual.log_script import LogWorld
from harness.virtual.steps import SendFrame
from node.algorithms.multipaxos import MultiPaxos
from node.algorithms.raft import Raft
from node.contract import NodeId, Request
from node.frames import CommandFrame
from node.replication.replica import LogReplica
from node.replication.sessions import ClientSession, Sessions
from node.tuning import Tuning
from node.wire import pack_unchecked


def ask_to_remove(world: LogWorld, leader: NodeId, node: NodeId, session: int) -> None:
    frame = CommandFrame(1, session, int(session > 0), 0, "cluster", pack_unchecked([["remove", node]]))
    world._take_in(leader, SendFrame(leader, Request(f"c.{node}", 1), frame))


@pytest.mark.parametrize("algorithm", [Raft, MultiPaxos])
def test_two_majorities_of_changes_that_took_effect_always_meet(algorithm: type[LogReplica]) -> None:
    world = LogWorld(4, algorithm=algorithm)
    world.wait_leader()
    world.elect("n1")
    world.wait(lambda: world.leader() == "n1", "n1 leads")
    world.do("c", "put", "k", b"first")
    world.cut(("n1",), ("n2", "n4"))
    slot = world.replica("n1").log.commit + 1
    # What n3 has in that slot it does not learn to be chosen, so it has not applied it.
    world.drop_rules.append(lambda _sender, to, message: to == "n3" and getattr(message, "commit", 0) >= slot)
    ask_to_remove(world, "n1", "n2", session=999)  # there is no such session
    world.pass_s(0.1)
    world.cut(("n1", "n2"), ("n3", "n4"))
    world.heal_between("n1", "n2")
    world.drop_rules.clear()
    ask_to_remove(world, "n1", "n4", session=0)
    world.pass_s(5.0, lambda: "n4" not in world.replica("n1").state.configuration.voters)
    world.pass_s(10.0)  # n3 must not be elected by n4 alone, nor n1 go on with n2 alone
    world.heal()
    world.pass_s(5.0)
    world.do("d", "put", "k", b"second")
    assert len({world.replica(node).state.configuration for node in ("n1", "n2", "n3")}) == 1


def test_a_frame_is_foreseen_to_be_admitted_if_it_is() -> None:
    rng = random.Random(1)
    admitted = 0
    for _ in range(3_000):
        sessions = Sessions(Tuning(session_window=3, session_idle_ms=1_500, lease_ms_max=1_000))
        number, time_ms = sessions.open(0), 0
        assert number is not None
        for _ in range(rng.randrange(6)):
            sequence = rng.randrange(1, 8)
            done = sessions.admit(number, sequence, rng.randrange(sequence + 1), time_ms)
            if isinstance(done, ClientSession):
                sessions.store_answer(done, sequence, b"")
            time_ms += rng.choice((0, 0, 300))
        if rng.random() < 0.2:
            assert sessions.resume(number, "again", time_ms)
        frame = rng.choice((number, number, 7)), (sequence := rng.randrange(1, 12)), rng.randrange(sequence + 2)
        time_ms += rng.choice((0, 500, 1_500))
        foreseen = sessions.admits(*frame, time_ms)
        sessions.expire(time_ms)
        assert foreseen == isinstance(sessions.admit(*frame, time_ms), ClientSession)
        admitted += foreseen
    assert 300 < admitted < 2_700
