"""Catching up asks once for what is missing, however often the answers come."""

from harness.virtual.log_script import LogWorld
from node.algorithms.multipaxos.messages import Chosen, Fetch
from node.replication.messages import FetchPart, Heartbeat, SnapshotOffer


def test_a_copy_of_an_answer_begins_no_request_of_its_own() -> None:
    world = LogWorld(3)
    leader = world.wait_leader()
    behind = next(name for name in world.cluster.nodes if name != leader)
    world.isolate(behind)
    for number in range(3):
        world.do("c", "put", "k", b"%d" % number)
    ballot = world.replica(leader).promised
    world.turn(behind, (leader, Heartbeat(ballot, 0, world.replica(leader).log.commit, 0, 0)))
    lacks = world.replica(behind).log.commit + 1
    records = [record for record in world.replica(leader).node.log.since(lacks, 1_000) if record.slot == lacks]
    answer = Chosen(tuple(records), world.replica(leader).log.commit)
    sent = [packet.message for _ in range(3) for packet in world.turn(behind, (leader, answer))]
    assert [message for message in sent if isinstance(message, Fetch)] == [Fetch(lacks)]


def test_copies_of_an_offer_begin_the_fetch_of_a_snapshot_once() -> None:
    """Each request for a part of a snapshot that was replaced brings an offer of the next one."""
    world = LogWorld(3)
    leader = world.wait_leader()
    behind = next(name for name in world.cluster.nodes if name != leader)
    world.isolate(behind)
    for number in range(3):
        world.do("c", "put", "k", b"%d" % number)
    commit = world.replica(leader).log.commit
    world.turn(behind, (leader, Heartbeat(world.replica(leader).promised, 0, commit, 0, 0)))
    offers = [(leader, SnapshotOffer(commit, 3))] * 3 + [(leader, SnapshotOffer(commit + 5, 3))] * 3
    sent = [packet.message for offer in offers for packet in world.turn(behind, offer)]
    asked = [message for message in sent if isinstance(message, FetchPart)]
    assert asked == [FetchPart(slot, number) for slot in (commit, commit + 5) for number in range(3)]
