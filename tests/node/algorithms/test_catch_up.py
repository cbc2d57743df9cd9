"""Catching up asks once for what is missing, however often the answers come."""

from harness.virtual.log_script import LogWorld
from node.algorithms.multipaxos.messages import Chosen, Fetch, Heartbeat


def test_a_copy_of_an_answer_begins_no_request_of_its_own() -> None:
    world = LogWorld(3)
    leader = world.wait_leader()
    behind = next(name for name in world.cluster.nodes if name != leader)
    world.isolate(behind)
    for number in range(3):
        world.do("c", "put", "k", b"%d" % number)
    ballot = world.replica(leader).promised
    world.turn(behind, (leader, Heartbeat(ballot, 0, world.replica(leader).acceptor.commit, 0, 0)))
    lacks = world.replica(behind).acceptor.commit + 1
    records = [record for record in world.replica(leader).node.log.since(lacks, 1_000) if record.slot == lacks]
    answer = Chosen(tuple(records), world.replica(leader).acceptor.commit)
    sent = [packet.message for _ in range(3) for packet in world.turn(behind, (leader, answer))]
    assert [message for message in sent if isinstance(message, Fetch)] == [Fetch(lacks)]
