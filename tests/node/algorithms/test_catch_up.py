"""Catching up asks once for what is missing, however often the answers come, and not for ever a peer that is down."""

from harness.virtual.log_script import LogWorld
from node.algorithms.multipaxos.messages import Chosen, Fetch
from node.replication.messages import FetchPart, Heartbeat, SnapshotOffer
from node.tuning import Tuning


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


def test_a_new_leader_takes_the_place_of_a_source_that_does_not_answer() -> None:
    world = LogWorld(3, tuning=Tuning(fetch_timeouts=16))
    old = world.wait_leader()
    behind, successor = (name for name in world.members if name != old)
    world.drop_rules.append(lambda _sender, to, _message: to == behind)
    for number in range(3):
        world.do("c", "put", "k", b"%d" % number)
    source = world.replica(old)
    world.turn(behind, (old, Heartbeat(source.promised, 0, source.log.commit, 0, 0)))
    world.turn(behind, (old, SnapshotOffer(source.log.commit, 3)))
    world.crash(old)
    catch_up = world.replica(behind).catch_up
    world.wait(lambda: catch_up.timeouts >= 6, "six questions without an answer", 20.0)
    assert catch_up.source == old
    world.drop_rules.clear()
    world.wait(lambda: world.leader() == successor, "a leader", 20.0)
    world.wait(lambda: world.replica(behind).log.commit > source.log.commit, "what was missing", 1.0)
