"""Ways in which replicated logs have really broken: each has its schedule here, which the replica passes, and a break of the
replica that the same schedule catches."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from cluster.pipeline import NotDone, NotKnown, Ok, Pipeline
from node import configuration, sessions, state
from node.algorithms.multipaxos import acceptor, catch_up, election, leader, replica
from node.algorithms.multipaxos.messages import (
    Accept,
    Accepted,
    Heartbeat,
    HeartbeatAck,
    Prepare,
    Promise,
    TakeOver,
)
from node.contract import Message, NodeId, Record, Request
from node.disk import Disk, DiskCorrupt
from node.frames import CommandFrame
from node.machines.kv import Kv
from node.quorum import NO_BALLOT, Ballot
from tests.log_world import CLUSTER, World, storm

Break = Callable[[pytest.MonkeyPatch], None]
Schedule = Callable[[], None]
PATCH = pytest.MonkeyPatch


def start(nodes: int = 3, seed: int = 1, **options: Any) -> tuple[World, NodeId, list[NodeId]]:
    """A cluster with a leader and a client that has written once; the leader, and the others."""
    world = World(seed, nodes=nodes, **options)
    first = world.wait_leader()
    world.client("c")
    world.do("c", "put", "k", b"first")
    world.run(0.3)
    return world, first, [node for node in world.sims if node != first]


def elect(world: World, node: NodeId) -> None:
    """Have `node` begin phase 1 now."""
    sim = world.sims[node]
    sim.turn(lambda: sim.replica.election.become_preparing(sim.replica.state.configuration))
    if not world.run(5, until=lambda: sim.replica.leader is not None and sim.replica.leader.serving):
        raise AssertionError(f"{node} did not come to serve")


# --- row 8: a ballot is used again after a restart --------------------------------------------------------------------


def ballot_after_restart() -> None:
    world, first, (second, third) = start()
    world.crash(first)
    world.isolate(third)
    for _ in range(3):  # its Prepare leaves and is lost; then it boots anew, and must not use that ballot again
        sim = world.sims[second]
        sim.turn(lambda sim=sim: sim.replica.election.become_preparing(sim.replica.state.configuration))  # type: ignore[misc]
        world.run(0.0)
        world.restart(second)
        world.sims[second].replica.acceptor.promised = world.sims[second].replica.acceptor.promised


def round_in_memory_only(patch: PATCH) -> None:
    def become_preparing(self: election.Election, members: configuration.Configuration) -> None:
        self.ballot = Ballot(2, self.node.id)
        self.role, self.promises = "preparing", {}
        self.send_prepare(members)

    patch.setattr(election.Election, "become_preparing", become_preparing)


# --- row 9: a quorum that is one too small ----------------------------------------------------------------------------


def minority_leader() -> None:
    world, first, others = start()
    for other in others:
        world.cuts |= {(first, other), (other, first)}
    world.clients["c"].leader = first
    world.begin("c", "put", "k", b"to a minority", timeout_s=1.0)
    world.run(1.5)
    world.wait_leader(first)
    world.client("d")
    world.clients["d"].leader = others[0]
    world.do("d", "put", "k", b"to a majority")
    world.heal()
    world.run(2.0)
    world.check_history()


def small_quorum(patch: PATCH) -> None:
    patch.setattr(leader, "majority", lambda members: members // 2)


# --- row 10: phase 1b leaves out what is committed ----------------------------------------------------------------------


def candidate_behind() -> None:
    world, first, (second, third) = start()
    world.isolate(third)
    for number in range(4):
        world.do("c", "put", "k", f"without third {number}".encode())
    world.run(0.2)
    world.crash(first)
    world.heal()
    elect(world, third)
    world.do("c", "put", "k", b"after")
    world.restart(first)
    world.run(1.0)
    world.check_history()
    assert any(b"without third" in (value or b"") for _, _, value in world.history())
    assert second in world.sims


def promise_without_committed(patch: PATCH) -> None:
    above = acceptor.Acceptor.above

    def cut(self: acceptor.Acceptor, commit: int) -> list[tuple[Record, ...]]:
        return above(self, max(commit, self.commit))

    patch.setattr(acceptor.Acceptor, "above", cut)


# --- row 11: a gap is not filled ----------------------------------------------------------------------------------------


def gap() -> None:
    world, first, others = start()
    hole = world.sims[first].replica.leader.next_slot  # type: ignore[union-attr]
    world.wishes.append(lambda _from, _to, message: isinstance(message, Accept) and message.slot == hole)
    for number in range(2):  # two slots under way: the second gets through
        world.begin("c", "put", "k", f"{number}".encode())
        world.run(0.012)
    assert world.run(0.1, until=lambda: any(hole + 1 in world.sims[other].log.records for other in others))  # type: ignore[attr-defined]
    world.crash(first)
    world.wishes.clear()
    world.wait_leader(first)
    world.do("c", "put", "k", b"after")
    world.run(1.0)
    world.check_history()


def gaps_left(patch: PATCH) -> None:
    told = election.to_propose

    def without(each: list[election.Told], commit: int) -> dict[int, bytes]:
        known = {record.slot for one in each for record in one.records}
        return {slot: batch for slot, batch in told(each, commit).items() if slot in known}

    patch.setattr(replica, "to_propose", without)


# --- row 14: no dedupe, or one that a snapshot forgets -------------------------------------------------------------------


def reply_cut() -> None:
    patch = pytest.MonkeyPatch()
    patch.setattr(state, "SNAPSHOT_SLOTS", 1)
    patch.setattr(catch_up, "KEPT_SLOTS", 0)
    try:
        world, first, others = start()
        for node in world.sims:
            world.cuts.add((node, "client"))
        world.begin("c", "put", "k", b"once", timeout_s=20.0)
        world.run(1.0)
        world.crash(first)
        world.wait_leader(first)
        world.run(1.0)  # the client has retried at the new leader, which has taken snapshots
        for node in others:
            world.restart(node)
        world.wait_leader()
        world.run(1.0)
        assert all(world.sims[node].replica.acceptor.snapshot[0] > 0 for node in others)
        world.heal()
        world.do("c", "put", "k", b"after")
        world.check_history()
        assert [value for _, _, value in world.history()].count(b"once") == 1
    finally:
        patch.undo()


def no_dedupe(patch: PATCH) -> None:
    patch.setattr(sessions.Sessions, "keep", staticmethod(lambda session, sequence, answer: None))


def dedupe_not_in_snapshot(patch: PATCH) -> None:
    snapshot = sessions.Sessions.snapshot

    def without_answers(self: sessions.Sessions) -> Any:
        last, each = snapshot(self)
        return [last, [(number, used, done, highest, {}, resumed) for number, used, done, highest, _, resumed in each]]

    patch.setattr(sessions.Sessions, "snapshot", without_answers)


# --- row 15: a client restarts and reuses request numbers -----------------------------------------------------------------


def client_restarts() -> None:
    world, _, _ = start()
    world.do("c", "put", "k", b"before")
    world.client("c")  # the same name, all else forgotten: its sequence starts anew
    world.do("c", "put", "k", b"after")
    world.do("c", "put", "k", b"and again")
    world.check_history()


def one_session_for_all(patch: PATCH) -> None:
    opened = sessions.Sessions.open

    def always_the_first(self: sessions.Sessions, time_ms: int) -> int | None:
        return 1 if len(self) else opened(self, time_ms)

    patch.setattr(sessions.Sessions, "open", always_the_first)


# --- row 16: a leader reads without asking a quorum ------------------------------------------------------------------------


def suspended_leader_reads() -> None:
    world, first, others = start()
    world.sims[first].paused_until = world.now + 4.0
    for other in others:  # nothing waits for the old leader, when it goes on, but the question
        world.cuts.add((other, first))
    second = world.wait_leader(first)
    world.client("d")
    world.clients["d"].leader = second
    world.do("d", "put", "k", b"second")
    world.run(world.sims[first].paused_until - world.now - 0.2)
    world.clients["c"].leader = first
    read = world.begin("c", "get", "k", timeout_s=10.0)
    world.run(1.5)
    world.heal()
    world.run(3.0)
    assert isinstance(read.call.outcome, Ok)
    world.check_history()


def local_reads(patch: PATCH) -> None:
    def at_once(self: leader.Leader) -> list[leader.Question]:
        questions = [question for each in self.rounds.values() for question in each]
        self.rounds.clear()
        return questions

    patch.setattr(leader.Leader, "take_confirmed", at_once)


# --- row 17: time that runs ahead --------------------------------------------------------------------------------------------


def log_time() -> None:
    world, first, _ = start()
    world.sims[first].paused_until = world.now + 2.0
    world.wait_leader(first)
    for number in range(5):
        world.do("c", "put", "k", f"{number}".encode())
        world.run(0.3)
        times = [sim.replica.state.time_ms for sim in world.sims.values()]
        assert max(times) <= world.now * 1000, "what expires by the log's time would expire too early"
    assert max(times) > 0


def fast_time(patch: PATCH) -> None:
    tick = leader.Leader.tick

    def fast(self: leader.Leader) -> bool:
        self.time_ms += 450
        return tick(self)

    patch.setattr(leader.Leader, "tick", fast)


# --- row 19: members change under a leader that does not know -------------------------------------------------------------


def members_change() -> None:
    world, first, (second, third, late, gone) = start(nodes=5, seed=3)
    world.isolate(late)
    world.isolate(gone)
    world.run(0.7)
    for node in (gone, late):
        outcome = world.change("c", "remove", node)
        assert isinstance(outcome, Ok), outcome
    world.run(0.3)  # the third has heard of both
    for one in (third, late, gone):
        for other in (first, second):
            world.cuts |= {(one, other), (other, one)}
    world.clients["c"].leader = first
    world.do("c", "put", "k", b"by two of three")
    world.cuts = {(a, b) for a, b in world.cuts if {a, b} & {first, second}}
    sim = world.sims[late]
    # It knows of five voters, of which three hear each other. What they tell it makes it no leader above the changes.
    sim.turn(lambda: sim.replica.election.become_preparing(sim.replica.state.configuration))
    world.run(3.0)
    world.heal()
    world.run(3.0)
    world.check_history()


def phase_one_is_kept(patch: PATCH) -> None:
    patch.setattr(replica, "is_change", lambda batch: False)


# --- what an Accept tells is applied when the vote has left, but before anything asks -----------------------------------------


def asked_in_the_turn_that_tells() -> None:
    world, first, (second, third) = start()
    change = world.sims[first].replica.leader.next_slot  # type: ignore[union-attr]
    sent: list[tuple[NodeId, Message, int]] = []  # by the second, with the slot that it had applied then

    def untold(sender: NodeId, to: NodeId, message: Message) -> bool:
        if sender == second:
            sent.append((to, message, world.sims[second].replica.state.applied))
        return to == second and not (isinstance(message, Accept) and message.slot == change)

    world.wishes.append(untold)
    assert isinstance(world.change("c", "remove", third), Ok)
    replica, ballot = world.sims[second].replica, world.sims[second].replica.acceptor.promised
    assert replica.acceptor.commit == change - 1, "the second has heard too much for this schedule"
    sent.clear()

    world.sims[second].turn(lambda: replica.receive(first, Accept(ballot, change + 1, b"", change)))
    assert [(first, Accepted(ballot, (change + 1,)), change - 1)] == sent
    assert replica.state.applied == change
    assert replica.state.configuration.voters == tuple(sorted((first, second)))

    world.restart(second)  # once more, and now the leader asks it in the same turn to lead
    replica = world.sims[second].replica
    assert replica.state.applied < change
    sent.clear()

    def told_and_asked() -> None:
        replica.receive(first, Accept(ballot, change + 1, b"", change))
        replica.receive(first, TakeOver(ballot))

    world.sims[second].turn(told_and_asked)
    assert [first] == [to for to, message, _ in sent if isinstance(message, Prepare)]


def applied_too_late(patch: PATCH) -> None:
    receive = replica.MultiPaxos.receive

    def late(self: replica.MultiPaxos, sender: NodeId, message: Message) -> None:
        setattr(self, "settle", lambda: None)  # noqa: B010 - for as long as this message is taken in
        receive(self, sender, message)
        delattr(self, "settle")

    patch.setattr(replica.MultiPaxos, "receive", late)


# --- row 20: an id is used again ---------------------------------------------------------------------------------------------


def id_again() -> None:
    world, _, (second, _) = start()
    assert isinstance(world.change("c", "remove", second), Ok)
    world.crash(second)
    world.sims[second].durable = ({}, type(world.sims[second].log)())
    outcome = world.change("c", "add", second)
    assert isinstance(outcome, NotDone), outcome
    assert "used once" in outcome.reason


def ids_are_reused(patch: PATCH) -> None:
    added = configuration.Configuration._added

    def forgetful(self: configuration.Configuration, node: NodeId) -> configuration.Configuration:
        return added(self._replace(removed=()), node)

    patch.setattr(configuration.Configuration, "_added", forgetful)


# --- row 22: an acknowledgement counts twice, or for another ballot ---------------------------------------------------------


def repeated_acks() -> None:
    world, first, (second, *rest) = start(nodes=5)
    for node in (first, second):
        for other in rest:
            world.cuts |= {(node, other), (other, node)}
    world.repeat = 1.0
    world.clients["c"].leader = first
    world.begin("c", "put", "k", b"by two of five", timeout_s=0.3)
    world.run(0.3)
    world.repeat = 0.0
    world.wait_leader(first)
    world.client("d")
    world.clients["d"].leader = rest[0]
    world.do("d", "put", "k", b"by three of five")
    world.heal()
    world.run(3.0)
    world.check_history()


def votes_counted_twice(patch: PATCH) -> None:
    accepted = leader.Leader.accepted

    def by_message(self: leader.Leader, sender: NodeId, slots: tuple[int, ...]) -> bool:
        for slot in slots:
            flight = self.flights.get(slot)
            if flight is not None and sender in flight.votes:
                flight.votes[f"{sender} again"] = None
        return accepted(self, sender, slots)

    patch.setattr(leader.Leader, "accepted", by_message)


# --- row 23: nothing is sent again -------------------------------------------------------------------------------------------


def one_accept_lost() -> None:
    world, first, _ = start()
    lost = world.sims[first].replica.leader.next_slot  # type: ignore[union-attr]
    dropped: list[str] = []

    def wish(_: str, to: str, message: Message) -> bool:
        if isinstance(message, Accept) and message.slot == lost and to not in dropped:
            dropped.append(to)
            return True
        return False

    world.wishes.append(wish)
    world.do("c", "put", "k", b"it gets there", timeout_s=5.0)
    assert len(dropped) == 2


def nothing_again(patch: PATCH) -> None:
    patch.setattr(leader.Leader, "_send_again", lambda self, slot, flight: None)


# --- row 24: a command that is not deterministic ---------------------------------------------------------------------------


def same_answers() -> None:
    world, _, _ = start()
    for number in range(5):
        world.do("c", "put", "k", f"{number}".encode())
    world.run(1.0)


def not_deterministic(patch: PATCH) -> None:
    put = Kv._put

    def by_address(self: Kv, key: str, value: bytes) -> Any:
        return [put(self, key, value), id(self)]

    patch.setattr(Kv, "_put", by_address)


# --- rows 5, 6: what was said is forgotten ------------------------------------------------------------------------------------


def forgotten_acceptance() -> None:
    """Everybody crashes right after the acknowledgement; what it rested on must be on two disks."""
    world, _, _ = start()
    op = world.begin("c", "put", "k", b"acknowledged", timeout_s=5.0)
    world.run(5.0, until=lambda: op.ended is not None)
    for node in world.sims:
        world.crash(node)
    for node in world.sims:
        world.restart(node)
    world.wait_leader()
    assert (world.do("c", "get", "k") or [None])[0] == b"acknowledged"
    world.check_history()


def accepts_in_memory_only(patch: PATCH) -> None:
    def put(self: acceptor.Acceptor, record: Record) -> None:
        self.records[record.slot] = record

    patch.setattr(acceptor.Acceptor, "_put", put)


# --- all of them ----------------------------------------------------------------------------------------------------------------

ROWS: list[tuple[str, Schedule, list[Break]]] = [
    ("5 and 6: an acceptance is durable before it is spoken of", forgotten_acceptance, [accepts_in_memory_only]),
    ("8: a ballot is used once", ballot_after_restart, [round_in_memory_only]),
    ("9: a minority decides nothing", minority_leader, [small_quorum]),
    ("10: phase 1b tells what is committed too", candidate_behind, [promise_without_committed]),
    ("11: gaps are filled", gap, [gaps_left]),
    ("14: a retry takes effect once", reply_cut, [no_dedupe, dedupe_not_in_snapshot]),
    ("15: a client that restarts has fresh numbers", client_restarts, [one_session_for_all]),
    ("16: a suspended leader answers nothing from the past", suspended_leader_reads, [local_reads]),
    ("17: the log's time never runs ahead", log_time, [fast_time]),
    ("19: phase 1 comes anew after a recovered change", members_change, [phase_one_is_kept]),
    ("what is told is applied before it is asked for", asked_in_the_turn_that_tells, [applied_too_late]),
    ("20: an id is used once", id_again, [ids_are_reused]),
    ("22: a voter counts once", repeated_acks, [votes_counted_twice]),
    ("23: what is lost is sent again", one_accept_lost, [nothing_again]),
    ("24: machines are deterministic", same_answers, [not_deterministic]),
]


@pytest.mark.parametrize(("name", "schedule"), [(name, schedule) for name, schedule, _ in ROWS])
def test_the_schedule_does_no_harm(name: str, schedule: Schedule) -> None:
    schedule()


@pytest.mark.parametrize(
    ("name", "schedule", "broken"), [(name, schedule, broken) for name, schedule, breaks in ROWS for broken in breaks]
)
def test_the_schedule_catches_its_break(
    name: str, schedule: Schedule, broken: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    with pytest.raises(AssertionError):
        schedule()


FAULTS = ("crash", "restart", "restart", "pause", "cut", "cut one", "heal", "heal", "lost", "hand over")


@pytest.mark.parametrize("seed", range(8))
def test_storms(seed: int) -> None:
    lossy = 0.05 * (seed % 2)
    world = World(seed, nodes=(3, 5)[seed % 3 == 0], loss=lossy, repeat=lossy, crash_rate=0.001 * (seed % 4))
    storm(world, 5.0, FAULTS)
    assert len(world.prepared) > 1


def test_a_storm_with_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "SNAPSHOT_SLOTS", 5)
    monkeypatch.setattr(catch_up, "KEPT_SLOTS", 2)
    monkeypatch.setattr(catch_up, "PART_BYTES", 200)
    for seed in range(20, 25):
        world = World(seed, crash_rate=0.002)
        storm(world, 5.0, FAULTS)
        assert all(sim.replica.acceptor.snapshot[0] > 0 for sim in world.sims.values())
        assert all(len(sim.log.since(1, 2**62)) < 60 for sim in world.sims.values())


# --- rows 13 and 21: damage on disk ------------------------------------------------------------------------------------------


def test_row_13_a_disk_that_knows_more_as_chosen_than_it_has_stops_the_node() -> None:
    world, first, _ = start()
    for number in range(20):
        world.do("c", "put", "k", f"{number}".encode())
    world.crash(first)
    disk, log = world.sims[first].durable
    commit = disk["commit"]
    assert isinstance(commit, int)
    del log.records[commit]  # type: ignore[attr-defined]
    with pytest.raises(acceptor.LogBroken, match=f"lost slot {commit}"):
        world.restart(first)


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


def test_a_promise_that_was_divided_anew_is_not_mixed_with_the_old_one() -> None:
    """Parts of two divisions of one promise must not make a whole one: a record could fall between them."""
    world = World(1)
    sim = world.sims["n1"]
    votes = sim.replica.election
    votes.become_preparing(sim.replica.state.configuration)
    whole = [Record(slot, 1, "n2", b"") for slot in range(1, 4)]
    for part, parts, commit, records in ((1, 2, 0, whole[2:]), (0, 3, 2, whole[:1])):
        promise = Promise(votes.ballot, part, parts, commit, tuple(records))
        votes.promised("n2", promise, sim.replica.state.configuration)
    assert not votes.has_promised("n2")


def test_reads_and_acks_of_another_ballot_count_for_nothing() -> None:
    world, first, (second, _) = start()
    leading = world.sims[first].replica.leader
    assert leading is not None
    leading.propose(leading.next_slot, b"", [])
    slot = leading.next_slot - 1
    for other in world.sims:
        world.sims[first].replica.receive(other, Accepted(NO_BALLOT, (slot,)))
        world.sims[first].replica.receive(other, HeartbeatAck(NO_BALLOT, 10**6, 10**6))
    assert len(leading.flights[slot].votes) == 0
    assert leading.confirmed.get(second, 0) < 10**6


def test_a_client_that_resumes_its_session_meets_nothing_of_its_former_self() -> None:
    world, first, _ = start()
    world.cuts |= {(first, "client")}
    late: list[Message] = []
    world.begin("c", "put", "k", b"of the former self", timeout_s=0.1)
    frame = None
    for _, data in world.clients["c"].outgoing(world.now):
        frame = world.codec.decode(data).message
        late.append(frame)
    assert isinstance(frame, CommandFrame)
    session = world.clients["c"].session
    assert session is not None
    world.cuts.clear()
    world.clients["c"] = Pipeline(CLUSTER, lambda: {node: node for node in world.sims}, "c", resume=session)
    world.clients["c"].id = "c"
    world.do("c", "put", "k", b"of the new self")
    assert world.clients["c"].session == session
    sim = world.sims[world.wait_leader()]
    sim.turn(lambda: sim.replica.command(Request("c", frame.number), frame))
    world.run(1.0)
    assert b"of the former self" not in [value for _, _, value in world.history()]
    world.clients["d"] = Pipeline(CLUSTER, lambda: {node: node for node in world.sims}, "d", resume=77)
    world.clients["d"].id = "d"
    world.pump("d")
    op = world.begin("d", "put", "k", b"of one whose session is unknown")
    world.run(1.0)
    assert isinstance(op.call.outcome, NotDone)
    assert op.call.outcome.kind == "session_expired"
    world.do("d", "put", "k", b"of the same in a new session")
    world.check_history()


def test_a_session_that_is_resumed_twice_by_one_life_goes_on_where_it_was() -> None:
    """The frame that resumes it belongs to no session, so a retry of it may come into the log again, and late."""
    known = sessions.Sessions()
    number = known.open(0)
    assert number is not None
    lowest = known.resume(number, "c.2", 0)
    assert lowest is not None
    session = known.admit(number, lowest, lowest, 0)
    assert isinstance(session, sessions.Session)
    known.keep(session, lowest, b"done")
    assert known.resume(number, "c.2", 0) == lowest
    assert known.admit(number, lowest, lowest, 0) == b"done"
    assert isinstance(known.admit(number, lowest + 1, lowest, 0), sessions.Session)
    assert (known.resume(number, "c.3", 0) or 0) > lowest + 1
    assert known.admit(number, lowest + 1, lowest, 0) == "stale"


def test_the_first_slot_says_who_forms_the_cluster_also_if_it_was_a_gap() -> None:
    """Otherwise who joins takes itself for the only member as soon as it is promoted, and decides alone."""
    world = World(1)
    world.wishes.append(lambda _from, _to, message: isinstance(message, Accept) and message.slot == 1)
    assert world.run(5, until=lambda: sum(sim.log.get(2) is not None for sim in world.sims.values()) > 1)
    (leader,) = (name for name, sim in world.sims.items() if sim.log.get(1) is not None)
    world.crash(leader)
    world.wishes.clear()
    world.wait_leader(leader)
    world.client("c")
    world.join("n4")
    assert isinstance(world.change("c", "add", "n4"), Ok)
    joined = world.sims["n4"]
    assert world.run(3, until=lambda: "n4" in joined.replica.state.configuration.voters)
    assert joined.replica.state.configuration.voters == ("n1", "n2", "n3", "n4")


def test_a_voter_that_does_not_know_that_it_is_one_lets_others_lead() -> None:
    world, first, _ = start()
    world.join("n4")
    world.wishes.append(lambda _from, to, message: to == "n4" and not isinstance(message, Heartbeat))
    assert isinstance(world.change("c", "add", "n4"), Ok)
    leading = world.sims[first].replica
    assert world.run(3, until=lambda: "n4" in leading.state.configuration.voters)
    assert world.sims["n4"].replica.members == ()
    world.crash(first)
    world.wishes.clear()
    world.wait_leader(first)  # three of the four voters are up


def test_a_leader_applies_what_it_has_recovered_from_too_far_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "WINDOW", 3)
    world, _, (_, third) = start()
    world.isolate(third)
    for number in range(3):
        world.do("c", "put", "k", f"without third {number}".encode())
    world.run(0.2)
    world.heal()
    elect(world, third)
    world.do("c", "put", "k", b"after")
    world.check_history()


@pytest.mark.parametrize("seed", [0, 1, 102])
def test_a_storm_in_which_members_come_and_go(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "SNAPSHOT_SLOTS", 20_000 if seed % 2 else 7)
    monkeypatch.setattr(catch_up, "KEPT_SLOTS", 3)
    monkeypatch.setattr(catch_up, "PART_BYTES", 300)
    lossy = 0.03 * (seed % 2)
    world = World(seed, nodes=3 if seed % 3 else 4, loss=lossy, repeat=lossy, crash_rate=0.001 * (seed % 4))
    storm(world, 6.0, (*FAULTS, "members", "members", "members"))
    members = world.sims[world.wait_leader()].replica.state.configuration
    assert len(members.voters) > 0
    assert members.removed or len(world.sims) > 4  # somebody has gone, or come


def test_an_unknown_outcome_is_never_told_as_a_failure() -> None:
    world, first, others = start()
    for other in others:
        world.isolate(other)
    op = world.begin("c", "put", "k", b"who knows", timeout_s=1.0)
    world.run(2.0)
    assert isinstance(op.call.outcome, NotKnown)
    assert first in world.sims


# --- liveness: two candidates at once ---------------------------------------------------------------------------------


def test_of_two_candidates_at_once_one_leads_without_a_pause() -> None:
    """The lower Prepare finds the higher candidate's promise to itself still on its way to the disk."""
    world, first, others = start()
    world.crash(first)
    low, high = (world.sims[node] for node in sorted(others))
    low.turn(lambda: low.replica.election.become_preparing(low.replica.state.configuration))

    def both() -> None:
        high.replica.election.become_preparing(high.replica.state.configuration)
        high.replica.receive(low.id, Prepare(low.replica.election.ballot, low.replica.acceptor.commit))

    high.turn(both)
    assert low.replica.election.ballot < high.replica.election.ballot
    assert world.run(0.1, until=lambda: high.replica.leader is not None)
