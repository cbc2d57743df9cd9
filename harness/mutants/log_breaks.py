"""Breaks of the replicated log: of its replicas, of what they apply, and of what a client's session rests on.

Each replaces something in this process alone. A node is started with one by `harness.mutants.broken_node`, and a story in
virtual time is told with one by `harness.mutants.virtual_story`.
"""

import time
from typing import Any

from harness.mutants.breaks import listed, replace
from node.algorithms.multipaxos import acceptor, election, leader, replica
from node.contract import Message, NodeId, Record
from node.machines import kv, locks
from node.quorum import Ballot
from node.replication import configuration, sessions, state
from node.storage import log_store
from node.wire import pack_unchecked, unpack_unchecked

# --- promises and ballots ---------------------------------------------------------------------------------------------


@listed
def log_accepts_in_memory() -> None:
    """What a replica accepts is not on its disk."""

    def put(self: acceptor.Acceptor, record: Record) -> None:
        self.records[record.slot] = record

    replace(acceptor.Acceptor, "_put", put)


@listed
def log_promises_in_memory() -> None:
    """Promises and rounds are not on disk, so a restart of all begins with the first ballot again."""

    def promise(self: acceptor.Acceptor, ballot: Ballot) -> None:
        self.promised = ballot

    def become_preparing(self: election.Election, members: configuration.Configuration) -> None:
        self.ballot = Ballot(max(self.acceptor.promised.round, self.seen.round) + 1, self.node.id)
        self.role, self.leader, self.ticks, self.promises = "preparing", None, 0, {}
        self.send_prepare(members)

    replace(acceptor.Acceptor, "promise", promise)
    replace(election.Election, "become_preparing", become_preparing)


@listed
def log_ballots_are_reused() -> None:
    """A replica that boots counts its rounds anew from what it has promised."""

    def become_preparing(self: election.Election, members: configuration.Configuration) -> None:
        self.ballot = Ballot(max(self.acceptor.promised.round, 1), self.node.id)
        self.role, self.leader, self.ticks, self.promises = "preparing", None, 0, {}
        self.send_prepare(members)

    replace(election.Election, "become_preparing", become_preparing)


@listed
def log_small_quorum() -> None:
    """One acceptance fewer is enough."""
    replace(leader, "majority", lambda members: max(members // 2, 1))


@listed
def leaders_count_their_votes_at_once() -> None:
    """A leader counts its own vote in the turn in which it proposes, before its disk has it."""
    drained = replica.MultiPaxos.drained

    def voting(self: replica.MultiPaxos) -> None:
        drained(self)
        if self.leader is not None and self.leader.accepted(self.node.id, tuple(self.leader.flights)):
            self.advance()

    replace(replica.MultiPaxos, "drained", voting)


@listed
def promises_leave_out_what_is_committed() -> None:
    """Phase 1b tells only what is not known as chosen."""
    above = acceptor.Acceptor.above

    def uncommitted(self: acceptor.Acceptor, commit: int) -> list[tuple[Record, ...]]:
        return above(self, max(commit, self.commit))

    replace(acceptor.Acceptor, "above", uncommitted)


@listed
def gaps_are_left() -> None:
    """A new leader leaves out the slots of which it was told nothing."""
    told = election.to_propose

    def without(each: list[election.PromisedRecords], commit: int) -> dict[int, bytes]:
        known = {record.slot for one in each for record in one.records}
        return {slot: batch for slot, batch in told(each, commit).items() if slot in known}

    def begin(self: leader.Leadership, recovered: dict[int, bytes], last: int | None) -> None:
        for slot, batch in recovered.items():
            self.next_slot = slot
            whole(self, {slot: batch}, slot)
        whole(self, {}, last)

    whole = leader.Leadership.begin
    replace(replica, "to_propose", without)
    replace(leader.Leadership, "begin", begin)


@listed
def voters_count_twice() -> None:
    """An acceptance that comes again is another vote."""
    accepted = leader.Leadership.accepted

    def by_message(self: leader.Leadership, sender: NodeId, slots: tuple[int, ...]) -> bool:
        for slot in slots:
            flight = self.flights.get(slot)
            if flight is not None and sender in flight.votes:
                flight.votes[f"{sender} again"] = None
        return accepted(self, sender, slots)

    replace(leader.Leadership, "accepted", by_message)


@listed
def accepts_are_sent_once() -> None:
    """A leader does not send an Accept again."""
    replace(leader.Leadership, "_send_again", lambda *_: None)


# --- what is chosen ---------------------------------------------------------------------------------------------------


@listed
def commit_runs_ahead_of_the_log() -> None:
    """What a commit writes to the log is durable only with the next one; the index of what is chosen is so at once."""

    def boots_anyhow(self: acceptor.Acceptor) -> None:
        stored, self.node.disk["commit"] = self.node.disk.get("commit", 0), 0
        start(self)
        self.node.disk["commit"] = stored

    def put(self: acceptor.Acceptor, record: Record) -> None:
        self.node.disk["commit"] = self.commit
        late = self.__dict__.setdefault("late", [])
        late.append(record)
        self.records[record.slot] = record
        if len(late) > 1:
            self.node.log.put(late.pop(0))

    start = acceptor.Acceptor.start
    replace(acceptor.Acceptor, "start", boots_anyhow)
    replace(acceptor.Acceptor, "_put", put)


@listed
def what_is_told_is_applied_late() -> None:
    """What an Accept tells as chosen is applied when its turn is over, whatever else the turn asks."""
    receive = replica.MultiPaxos.receive

    def late(self: replica.MultiPaxos, sender: NodeId, message: Message) -> None:
        setattr(self, "settle", lambda: None)  # noqa: B010 - for as long as this message is taken in
        receive(self, sender, message)
        delattr(self, "settle")

    replace(replica.MultiPaxos, "receive", late)


@listed
def frames_are_applied_in_any_order() -> None:
    """The frames of a slot are applied in an order that differs from replica to replica."""
    apply = state.ReplicatedState.apply

    def shuffled(self: state.ReplicatedState, slot: int, batch: bytes) -> list[bytes]:
        if batch and time.perf_counter_ns() % 2:
            at_ms, frames = unpack_unchecked(batch)
            return apply(self, slot, pack_unchecked((at_ms, frames[::-1])))[::-1]
        return apply(self, slot, batch)

    replace(state.ReplicatedState, "apply", shuffled)


@listed
def answers_depend_on_the_node() -> None:
    """What a put answers differs from replica to replica."""
    put = kv.KvMachine._put

    def by_clock(self: kv.KvMachine, key: str, value: bytes) -> int:
        return put(self, key, value) + 1000 * (time.perf_counter_ns() % 7)

    replace(kv.KvMachine, "_put", by_clock)


@listed
def torn_tails_everywhere() -> None:
    """A record of the log that does not match its checksum is taken for the end of the log."""

    def since(self: log_store.DiskLog, slot: int, _bytes_max: int) -> list[Record]:
        found = []
        for row in self._read("SELECT * FROM log WHERE slot >= ? ORDER BY slot", (slot,)):
            if row[-1] != log_store._record_checksum(Record(*row[:-1])):
                break
            found.append(Record(*row[:-1]))
        return found

    replace(log_store.DiskLog, "since", since)


# --- questions and time -----------------------------------------------------------------------------------------------


@listed
def reads_are_local() -> None:
    """A leader answers questions without asking whether it still leads."""

    def at_once(self: leader.Leadership) -> list[leader.Question]:
        questions = [question for each in self.rounds.values() for question in each]
        self.rounds.clear()
        return questions

    replace(leader.Leadership, "take_confirmed", at_once)


@listed
def leases_end_by_the_wall_clock() -> None:
    """The log's time is that of the leader's wall clock, which goes on while nobody leads, or while all are suspended."""
    tick = leader.Leadership.tick

    def by_wall_clock(self: leader.Leadership) -> bool:
        self.time_ms = max(self.time_ms, int(time.time() * 1000))
        return tick(self)

    replace(leader.Leadership, "tick", by_wall_clock)


@listed
def locks_have_no_fencing_token() -> None:
    """Whoever holds a lock has the token of whoever held it before."""

    def grant(_self: locks.LocksMachine, claim: locks.Claim) -> None:
        claim.token = 1

    replace(locks.LocksMachine, "_grant", grant)


# --- sessions ---------------------------------------------------------------------------------------------------------


@listed
def retries_are_done_again() -> None:
    """No answer is kept, so a retry takes effect again."""
    replace(sessions.Sessions, "store_answer", staticmethod(lambda *_: None))


@listed
def snapshots_forget_answers() -> None:
    """What sessions have been answered is in no snapshot."""
    snapshot = sessions.Sessions.snapshot

    def without_answers(self: sessions.Sessions) -> Any:
        last, each = snapshot(self)
        return [last, [(number, used, done, highest, {}, by) for number, used, done, highest, _, by in each]]

    replace(sessions.Sessions, "snapshot", without_answers)


@listed
def resumed_sessions_count_anew() -> None:
    """A client that restarts uses the numbers of its former life again."""
    replace(sessions.Sessions, "resume", lambda self, number, *_: 1 if number in self._sessions else None)


# --- members ----------------------------------------------------------------------------------------------------------


@listed
def phase_one_is_kept_over_a_change() -> None:
    """A leader that has recovered a change of members goes on above it, with the promises of those who were members before."""
    replace(replica, "is_change", lambda _batch: False)


@listed
def changes_overlap() -> None:
    """A change of members takes effect while others are under way, and so do slots above it."""

    def propose(
        self: leader.Leadership, slot: int, batch: bytes, waiters: list[leader.Waiter], is_change: bool = False
    ) -> None:
        del is_change
        whole(self, slot, batch, waiters)

    def changing(self: leader.Leadership) -> bool:
        return self is None

    whole = leader.Leadership.propose
    replace(leader.Leadership, "propose", propose)
    replace(leader.Leadership, "changing", changing)


@listed
def the_removed_still_vote() -> None:
    """An acceptance counts, whoever it is from."""

    def accepted(self: leader.Leadership, sender: NodeId, slots: tuple[int, ...]) -> bool:
        members = self.configuration
        voters = (*members.voters, *(each for each in (*members.learners, *members.removed) if each == sender))
        self.state.configuration = members._replace(voters=voters)
        try:
            return whole(self, sender, slots)
        finally:
            self.state.configuration = members

    whole = leader.Leadership.accepted
    replace(leader.Leadership, "accepted", accepted)


@listed
def changes_are_not_saved() -> None:
    """Who the members are is not on disk as soon as it has changed."""
    replace(acceptor.Acceptor, "save_commit", lambda _self: None)


@listed
def strangers_are_not_heard() -> None:
    """A canvass of somebody whom a replica does not know as a member tells it nothing."""

    def canvassed(self: replica.MultiPaxos, sender: NodeId, attempt: int, commit: int) -> None:
        if sender in self.state.configuration.voters:
            whole(self, sender, attempt, commit)

    whole = replica.MultiPaxos.canvassed
    replace(replica.MultiPaxos, "canvassed", canvassed)


@listed
def ids_are_used_again() -> None:
    """A node of the name of one that was removed may join."""
    added = configuration.Configuration._added

    def forgetful(self: configuration.Configuration, node: NodeId) -> configuration.Configuration:
        return added(self._replace(removed=()), node)

    replace(configuration.Configuration, "_added", forgetful)
