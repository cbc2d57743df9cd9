"""Mistakes that real replicated logs have made, in virtual time: each script leaves the shipped log unharmed, and catches
the mutants that it is about. The scripts, and which mutant goes with which, are in `harness.mutants`."""

from pathlib import Path

import apsw
import pytest

from cluster.clients.outcomes import NotDone, NotKnown, Ok
from cluster.errors import CommandRefused
from cluster.saving import fetch_copy
from harness.mutants.catalogue import MUTANTS, Mutant
from harness.mutants.virtual_log_scripts import VIRTUAL_SCRIPTS
from harness.mutants.virtual_script import VirtualScript
from harness.virtual.log_script import LogWorld
from harness.virtual.steps import PeerLost, Retire, SendFrame
from node.algorithms import load_algorithm
from node.algorithms.multipaxos.election import Election
from node.algorithms.multipaxos.messages import LogAccept, LogAccepted, LogPrepare, LogPromise
from node.contract import NodeId, Request, Value
from node.frames import CommandFrame
from node.instances import LOG_NAME
from node.log_contract import LogAlgorithm, Record
from node.machines import DEFAULT
from node.machines.kv import KvMachine
from node.quorum import NO_BALLOT
from node.replication import sessions
from node.replication.configuration import Configuration
from node.replication.messages import Forward, Heartbeat, HeartbeatAck
from node.replication.state import ReplicatedState
from node.storage.disk import Disk, DiskCorrupt
from node.tuning import SHIPPED, Tuning
from node.wire import pack_unchecked, unpack_unchecked

SCRIPTED = [mutant for mutant in MUTANTS if isinstance(mutant.script, VirtualScript)]


def start(tuning: Tuning = SHIPPED) -> tuple[LogWorld, NodeId, tuple[NodeId, ...]]:
    """Return a cluster whose client has written once, its leader, and the other nodes."""
    world = LogWorld(tuning=tuning)
    first = world.wait_leader()
    world.do("c", "put", "k", b"first")
    world.pass_s(0.3)
    return world, first, tuple(node for node in world.members if node != first)


def values(world: LogWorld) -> list[bytes | None]:
    """Return every value that a key has had, in the log's order."""
    return [world.judge.changes[version][1] for version in sorted(world.judge.changes)]


@pytest.mark.parametrize(
    ("script", "shipped"),
    dict.fromkeys((one.script, one.original) for one in SCRIPTED),
    ids=lambda value: getattr(value, "name", value),
)
def test_the_shipped_log_is_unharmed(script: VirtualScript, shipped: str) -> None:
    algorithm = load_algorithm(shipped)
    assert issubclass(algorithm, LogAlgorithm)
    script.play(algorithm)


def test_every_script_has_a_mutant() -> None:
    assert set(VIRTUAL_SCRIPTS.values()) == {mutant.script for mutant in SCRIPTED}


@pytest.mark.parametrize("mutant", SCRIPTED, ids=lambda mutant: mutant.name)
def test_its_script_catches_a_mutant(mutant: Mutant) -> None:
    assert isinstance(mutant.script, VirtualScript)
    algorithm = load_algorithm(mutant.algorithm)
    assert issubclass(algorithm, LogAlgorithm)
    for _ in range(5):  # a mutant that is not deterministic may pass once
        try:
            mutant.script.play(algorithm)
        except AssertionError:
            return
    pytest.fail("it was not caught")


def test_every_script_is_that_of_a_mutant() -> None:
    assert {mutant.script.name for mutant in SCRIPTED} == set(VIRTUAL_SCRIPTS)


# --- damage on disk ---------------------------------------------------------------------------------------------------


def test_row_13_a_disk_without_a_chosen_record_stops_the_node() -> None:
    world, first, _ = start()
    for number in range(20):
        world.do("c", "put", "k", f"{number}".encode())
    world.crash(first)
    node = world.cluster.nodes[first]
    commit = node.disk.stored[LOG_NAME]["commit"]
    assert isinstance(commit, int)
    del node.disk.log.records[commit]
    world.restart(first)
    (violation,) = world.judge.violations
    assert f"LogBroken: {first}: {commit} slots are chosen" in violation.text
    assert f"lost slot {commit}" in violation.text
    assert not node.up


def test_row_21_a_flipped_byte_in_the_log_stops_the_node(tmp_path: Path) -> None:
    def opened() -> Disk:
        return Disk(tmp_path, cluster="0" * 32, node="n1")

    disk = opened()
    for slot in range(1, 10):
        disk.log.put(Record(slot, 1, "n1", b"a batch"))
    disk.commit()
    assert [record.slot for record in disk.log.since(1, 10**9)] == list(range(1, 10))
    disk.close()
    database = apsw.Connection(str(tmp_path / "state.db"))
    database.execute("UPDATE log SET batch = x'61206261746369' WHERE slot = 5")
    database.close()
    disk = opened()
    with pytest.raises(DiskCorrupt, match="slot 5"):
        disk.log.since(1, 10**9)
    disk.close()


# --- votes ------------------------------------------------------------------------------------------------------------


def test_a_promise_that_was_divided_anew_is_not_mixed_with_the_old_one() -> None:
    """Parts of two divisions of one promise must not count as one promise: a record could be missing."""
    replica = LogWorld().replica("n1")
    votes, members = replica.election, replica.state.configuration
    assert isinstance(votes, Election)
    votes.become_running(members)
    whole = [Record(slot, 1, "n2", b"") for slot in range(1, 4)]
    for part, parts, commit, records in ((1, 2, 0, whole[2:]), (0, 3, 2, whole[:1])):
        votes.promised("n2", LogPromise(votes.ballot, part, parts, commit, tuple(records)), members)
    assert not votes.has_promised("n2")


def test_reads_and_acks_of_another_ballot_count_for_nothing() -> None:
    world, first, (second, _) = start()
    replica = world.replica(first)
    leading = replica.leader
    assert leading is not None
    leading.propose(leading.next_slot, b"", [])
    slot = leading.next_slot - 1
    for other in world.members:
        replica.receive(other, LogAccepted(NO_BALLOT, (slot,)))
        replica.receive(other, HeartbeatAck(NO_BALLOT, 10**6, 10**6))
    assert len(leading.flights[slot].votes) == 0
    assert leading.confirmed.get(second, 0) < 10**6


def test_a_leader_applies_what_it_has_recovered_from_too_far_ahead() -> None:
    world, _, (_, third) = start(Tuning(window=3))
    world.isolate(third)
    for number in range(3):
        world.do("c", "put", "k", f"without third {number}".encode())
    world.pass_s(0.2)
    world.heal()
    world.elect(third)
    world.do("c", "put", "k", b"after")
    world.check()


def test_of_two_candidates_at_once_one_leads_without_a_pause() -> None:
    """The lower Prepare arrives before the higher candidate's promise to itself is on disk."""
    world, first, (low, high) = start()
    world.crash(first)
    world.isolate(high)
    world.take_over(low)
    world.heal()
    lower, replica = world.replica(low).election, world.replica(high)
    assert isinstance(lower, Election)
    assert isinstance(replica.election, Election)
    ballot = lower.ballot
    assert (low, high) == tuple(sorted((low, high)))
    replica.election.become_running(replica.state.configuration)
    assert ballot < replica.election.ballot
    world.redeliver(low, high, LogPrepare(ballot, world.replica(low).log.commit))
    world.wait(lambda: replica.leader is not None, "the higher candidate leads", 0.1)


def test_a_leader_that_stops_does_not_hand_over_to_a_disconnected_node() -> None:
    """Otherwise all nodes wait for a successor that is down, until an election timeout."""
    world, first, (successor, other) = start()
    leading = world.replica(first).leader
    assert leading is not None
    if leading.best_successor() != successor:
        successor, other = other, successor
    world.crash(successor)
    world.cluster.apply(PeerLost(first, successor))
    world.cluster.apply(Retire(first))
    assert leading.hand_over_to == other
    world.wait(lambda: world.leader() == other, "the other leads", 0.1)
    world.restart(successor)
    world.elect(first)
    again = world.replica(first).leader
    assert again is not None
    world.replica(first).peer_lost(successor)
    world.pass_s(0.3)  # only the connection had closed: messages arrive again
    assert again.best_successor() == successor


# --- members ----------------------------------------------------------------------------------------------------------


def test_the_first_slot_holds_the_first_voters_even_after_a_gap() -> None:
    """Otherwise a node that joins takes itself for the only voter when it is promoted, and decides alone."""
    world = LogWorld()
    nodes = world.cluster.nodes
    world.drop_rules.append(lambda _from, _to, message: isinstance(message, LogAccept) and message.slot == 1)
    world.wait(lambda: sum(node.disk.log.get(2) is not None for node in nodes.values()) > 1, "slot 2")
    (leader,) = (name for name, node in nodes.items() if node.disk.log.get(1) is not None)
    world.crash(leader)
    world.drop_rules.clear()
    world.wait_leader(leader)
    world.restart("n4")
    assert isinstance(world.change("add", "n4"), Ok)
    joined = world.replica("n4").state
    world.wait(lambda: "n4" in joined.configuration.voters, "n4 votes")
    assert joined.configuration.voters == ("n1", "n2", "n3", "n4")


def test_a_voter_that_does_not_know_that_it_votes_lets_others_lead() -> None:
    world, first, _ = start()
    world.restart("n4")
    world.drop_rules.append(lambda _from, to, message: to == "n4" and not isinstance(message, Heartbeat))
    assert isinstance(world.change("add", "n4"), Ok)
    leading = world.replica(first).state
    world.wait(lambda: "n4" in leading.configuration.voters, "n4 votes")
    assert world.replica("n4").members == ()
    world.crash(first)
    world.drop_rules.clear()
    world.wait_leader(first)  # three of the four voters are up


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_no_frame_of_the_earlier_run_takes_effect_in_a_resumed_session() -> None:
    world, *_ = start()
    client = world.clients["c"]
    session = client.pipeline.session
    assert session is not None
    world.cut(world.members, ("c",))
    world.begin("c", "put", "k", b"of the earlier run")
    world.pass_s(0.05)
    (frame,) = (each.message for each in client.pipeline._frames.values())
    assert isinstance(frame, CommandFrame)
    world.heal()
    client.restart(session)
    world.do("c", "put", "k", b"of the new run")
    assert client.pipeline.session == session
    leader = world.wait_leader()
    world._apply(leader, SendFrame(leader, Request("c.1", frame.number), frame))
    world.pass_s(1.0)
    assert values(world) == [b"first", b"of the new run"]
    world.clients["d"].restart(77)
    outcome = world.outcome(world.begin("d", "put", "k", b"in an unknown session"))
    assert isinstance(outcome, NotDone)
    assert outcome.kind == "session_expired"
    world.do("d", "put", "k", b"in a new session")
    world.check()


def test_a_session_that_one_run_resumes_twice_continues() -> None:
    """The frame that resumes it belongs to no session, so a late retry of it may be in the log again."""
    known = sessions.Sessions()
    number = known.open(0)
    assert number is not None
    lowest = known.resume(number, "c.2", 0)
    assert lowest is not None
    session = known.admit(number, lowest, lowest, 0)
    assert isinstance(session, sessions.ClientSession)
    known.store_answer(session, lowest, b"done")
    assert known.resume(number, "c.2", 0) == lowest
    assert known.admit(number, lowest, lowest, 0) == b"done"
    assert isinstance(known.admit(number, lowest + 1, lowest, 0), sessions.ClientSession)
    assert (known.resume(number, "c.3", 0) or 0) > lowest + 1
    assert known.admit(number, lowest + 1, lowest, 0) == "stale"


def test_an_unknown_outcome_is_never_reported_as_a_failure() -> None:
    world, _, others = start()
    for other in others:
        world.isolate(other)
    assert isinstance(world.outcome(world.begin("c", "put", "k", b"who knows", for_s=1.0)), NotKnown)


def test_a_copy_that_a_leader_no_longer_has_is_fetched_again_from_the_next() -> None:
    world, first, (second, _) = start()
    for number in range(4):
        world.do("c", "put", f"{number}", bytes([number]) * 200_000)
    steps = fetch_copy(5.0)
    operation = next(steps)
    asked = []
    while True:
        outcome = world.outcome(world.question("d", operation.machine, operation.command))
        asked.append(operation.command[0])
        if len(asked) == 2:  # one part has come
            world.elect(second)
            world.do("c", "put", "between", b"x")
        try:
            match outcome:
                case Ok(value):
                    operation = steps.send(value)
                case NotDone(kind, reason):
                    operation = steps.throw(CommandRefused(kind, reason))
                case _:
                    raise AssertionError(outcome)
        except StopIteration as end:
            copy = end.value
            break
    assert asked[:4] == ["save", "saved", "saved", "save"]
    assert set(asked[4:-1]) == {"saved"}
    assert asked[-1] == "drop"
    state = ReplicatedState(DEFAULT, Configuration(()))
    state.restore(copy.packed)
    assert state.applied == copy.slot
    kv = state.machines["kv"]
    assert isinstance(kv, KvMachine)
    assert kv.entries["between"][0] == b"x"
    assert not world.replica(second).state.copies
    assert first != second


def test_a_copy_of_a_frame_that_waits_takes_no_place_in_the_log() -> None:
    """A client sends again what a slow leader has not answered. Were copies proposed, they would slow it down further."""
    world, first, others = start()
    for other in others:
        world.cut((first,), (other,))
    replica = world.replica(first)
    assert replica.leader is not None
    frame = CommandFrame(7, 1, 1, 1, "kv", pack_unchecked([["put", "k", b"v"]]))
    for _ in range(3):
        replica.command(Request("c", 7), frame)
        replica.end_of_input()
        replica.receive(others[0], Forward(Request("d", 1), "x", Value(b"v")))
        replica.end_of_input()
    frames = [frame for flight in replica.leader.flights.values() for frame in unpack_unchecked(flight.batch)[1]]
    assert [frame[3] for frame in (*frames, *(frame for frame, _ in replica.leader.waiting))] == ["kv", "once"]
