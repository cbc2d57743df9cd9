"""Multi-Paxos, broken on purpose, one class a break. `harness/mutants/catalogue.py` says what each imitates.

Each class is the shipped replica with one of its parts replaced, so it runs as a process and in virtual time alike:
`harness.mutants.log:AcceptsInMemory` is its name as an algorithm.
"""

import time
from typing import Any

from node.algorithms.multipaxos.acceptor import Acceptor
from node.algorithms.multipaxos.election import Election
from node.algorithms.multipaxos.leader import Leadership, Question, Waiter
from node.algorithms.multipaxos.replica import MultiPaxos
from node.contract import Message, NodeId
from node.log_contract import Record
from node.machine import Moment
from node.machines.kv import KvMachine
from node.machines.locks import Claim, LocksMachine
from node.quorum import Ballot
from node.replication.configuration import Configuration
from node.replication.sessions import ClientSession, Sessions
from node.replication.state import ReplicatedState
from node.wire import pack_unchecked, unpack_unchecked

# --- promises and ballots ---------------------------------------------------------------------------------------------


class _MemoryAcceptor(Acceptor):
    def _put(self, record: Record) -> None:
        self.records[record.slot] = record


class AcceptsInMemory(MultiPaxos):
    """A replica's acceptances are not on its disk."""

    acceptor_class = _MemoryAcceptor


class _ForgetfulAcceptor(Acceptor):
    def promise(self, ballot: Ballot) -> None:
        self.promised = ballot


class _ForgetfulElection(Election):
    def become_preparing(self, configuration: Configuration) -> None:
        self.ballot = Ballot(max(self.acceptor.promised.round, self.seen.round) + 1, self.node.id)
        self.role, self.leader, self.ticks, self.promises = "preparing", None, 0, {}
        self.send_prepare(configuration)


class PromisesInMemory(MultiPaxos):
    """Promises and rounds are not on disk, so a restart of all nodes begins with the first ballot again."""

    acceptor_class = _ForgetfulAcceptor
    election_class = _ForgetfulElection


class _CountingElection(Election):
    def become_preparing(self, configuration: Configuration) -> None:
        self.ballot = Ballot(max(self.acceptor.promised.round, 1), self.node.id)
        self.role, self.leader, self.ticks, self.promises = "preparing", None, 0, {}
        self.send_prepare(configuration)


class BallotsAreReused(MultiPaxos):
    """A replica that boots counts its rounds anew from what it has promised."""

    election_class = _CountingElection


class _SmallQuorumLeadership(Leadership):
    def quorum(self) -> int:
        return max(len(self.configuration.voters) // 2, 1)


class SmallQuorum(MultiPaxos):
    """One acceptance fewer is enough."""

    leadership_class = _SmallQuorumLeadership


class LeadersCountTheirVotesAtOnce(MultiPaxos):
    """A leader counts its own vote in the turn in which it proposes, before its disk has it."""

    def end_of_input(self) -> None:
        super().end_of_input()
        if self.leader is not None and self.leader.accepted(self.node.id, tuple(self.leader.flights)):
            self.advance()


class _ReticentAcceptor(Acceptor):
    def above(self, commit: int) -> list[tuple[Record, ...]]:
        return super().above(max(commit, self.commit))


class PromisesLeaveOutWhatIsCommitted(MultiPaxos):
    """Phase 1b reports only what the replica does not know as chosen."""

    acceptor_class = _ReticentAcceptor


class _GappyLeadership(Leadership):
    def begin(self, recovered: dict[int, bytes], last: int | None) -> None:
        for slot, batch in recovered.items():
            self.next_slot = slot
            super().begin({slot: batch}, slot)
        super().begin({}, last)


class GapsAreLeft(MultiPaxos):
    """A new leader leaves out the slots of which no promise reports anything."""

    leadership_class = _GappyLeadership

    def recovered(self) -> dict[int, bytes]:
        known = {record.slot for one in self.election.reported() for record in one.records}
        return {slot: batch for slot, batch in super().recovered().items() if slot in known}


class _MessageCountingLeadership(Leadership):
    def accepted(self, sender: NodeId, slots: tuple[int, ...]) -> bool:
        for slot in slots:
            flight = self.flights.get(slot)
            if flight is not None and sender in flight.votes:
                flight.votes[f"{sender} again"] = None
        return super().accepted(sender, slots)


class VotersCountTwice(MultiPaxos):
    """An acceptance that comes again is another vote."""

    leadership_class = _MessageCountingLeadership


class _SendOnceLeadership(Leadership):
    def _send_again(self, *_: Any) -> None:
        pass


class AcceptsAreSentOnce(MultiPaxos):
    """A leader does not send an Accept again."""

    leadership_class = _SendOnceLeadership


# --- what is chosen ---------------------------------------------------------------------------------------------------


class _LateAcceptor(Acceptor):
    late: list[Record]

    def start(self) -> None:
        self.late = []
        stored, self.node.disk["commit"] = self.node.disk.get("commit", 0), 0  # boots in any case
        super().start()
        self.node.disk["commit"] = stored

    def _put(self, record: Record) -> None:
        self.node.disk["commit"] = self.commit
        self.late.append(record)
        self.records[record.slot] = record
        if len(self.late) > 1:
            self.node.log.put(self.late.pop(0))


class CommitRunsAheadOfTheLog(MultiPaxos):
    """A record becomes durable only with the next one, and the commit index at once."""

    acceptor_class = _LateAcceptor


class AppliesTooLate(MultiPaxos):
    """What an Accept reports as chosen is applied when its turn is over, whatever else the turn asks."""

    receiving = False

    def receive(self, sender: NodeId, message: Message) -> None:
        self.receiving = True
        super().receive(sender, message)
        self.receiving = False

    def apply_deferred(self) -> None:
        if not self.receiving:
            super().apply_deferred()


class _ShufflingState(ReplicatedState):
    def apply(self, slot: int, batch: bytes) -> list[bytes]:
        if batch and time.perf_counter_ns() % 2:
            at_ms, frames = unpack_unchecked(batch)
            return super().apply(slot, pack_unchecked((at_ms, frames[::-1])))[::-1]
        return super().apply(slot, batch)


class FramesAreAppliedInAnyOrder(MultiPaxos):
    """The frames of a slot are applied in an order that differs from replica to replica."""

    state_class = _ShufflingState


class _ClockKvMachine(KvMachine):
    def _put(self, key: str, value: bytes) -> int:
        return super()._put(key, value) + 1000 * (time.perf_counter_ns() % 7)


class _ClockKvState(ReplicatedState):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.machines["kv"] = _ClockKvMachine()


class AnswersDependOnTheNode(MultiPaxos):
    """The result of a put differs from replica to replica."""

    state_class = _ClockKvState


# --- questions and time -----------------------------------------------------------------------------------------------


class _LocalReadLeadership(Leadership):
    def take_confirmed(self) -> list[Question]:
        questions = [question for each in self.rounds.values() for question in each]
        self.rounds.clear()
        return questions


class ReadsAreLocal(MultiPaxos):
    """A leader answers questions without asking whether it still leads."""

    leadership_class = _LocalReadLeadership


class _WallClockLeadership(Leadership):
    def tick(self) -> bool:
        self.time_ms = max(self.time_ms, int(time.time() * 1000))
        return super().tick()


class LeasesEndByTheWallClock(MultiPaxos):
    """The log's time is that of the leader's wall clock, which goes on while no node leads, or while all are suspended."""

    leadership_class = _WallClockLeadership


class _TokenlessLocksMachine(LocksMachine):
    def _grant(self, claim: Claim) -> None:
        claim.token = 1


class _TokenlessState(ReplicatedState):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.machines["locks"] = _TokenlessLocksMachine()


class LocksHaveNoFencingToken(MultiPaxos):
    """Every holder of a lock has the same token."""

    state_class = _TokenlessState


# --- sessions ---------------------------------------------------------------------------------------------------------


class _ForgetfulSessions(Sessions):
    @staticmethod
    def store_answer(session: ClientSession, sequence: int, answer: bytes) -> None:
        pass


class _ForgetfulSessionsState(ReplicatedState):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.sessions = _ForgetfulSessions()


class RetriesAreDoneAgain(MultiPaxos):
    """The sessions keep no answer, so a retry takes effect again."""

    state_class = _ForgetfulSessionsState


class _SessionsWithoutAnswers(Sessions):
    def snapshot(self) -> Any:
        last, each = super().snapshot()
        return [last, [(number, used, done, highest, {}, by) for number, used, done, highest, _, by in each]]


class _StateWithoutAnswers(ReplicatedState):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.sessions = _SessionsWithoutAnswers()


class SnapshotsForgetAnswers(MultiPaxos):
    """A snapshot does not hold the answers of the sessions."""

    state_class = _StateWithoutAnswers


class _RecountingSessions(Sessions):
    def resume(self, number: int, client: str, time_ms: int) -> int | None:
        return 1 if number in self._sessions else None


class _RecountingState(ReplicatedState):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.sessions = _RecountingSessions()


class ResumedSessionsCountAnew(MultiPaxos):
    """A client that restarts uses the sequence numbers of its former life again."""

    state_class = _RecountingState


# --- members ----------------------------------------------------------------------------------------------------------


class PhaseOneIsKeptOverAChange(MultiPaxos):
    """A leader that has recovered a change of members goes on above it, with the promises of the members before it."""

    def changes_members(self, batch: bytes) -> bool:
        return False


class _OverlappingLeadership(Leadership):
    def propose(self, slot: int, batch: bytes, waiters: list[Waiter], is_change: bool = False) -> None:
        del is_change
        super().propose(slot, batch, waiters)

    def changing(self) -> bool:
        return False


class ChangesOverlap(MultiPaxos):
    """A change of members takes effect while others are under way, and so do slots above it."""

    leadership_class = _OverlappingLeadership


class _CredulousLeadership(Leadership):
    def accepted(self, sender: NodeId, slots: tuple[int, ...]) -> bool:
        members = self.configuration
        voters = (*members.voters, *(each for each in (*members.learners, *members.removed) if each == sender))
        self.state.configuration = members._replace(voters=voters)
        try:
            return super().accepted(sender, slots)
        finally:
            self.state.configuration = members


class TheRemovedStillVote(MultiPaxos):
    """An acceptance counts, from whichever node it comes."""

    leadership_class = _CredulousLeadership


class _UnsavingAcceptor(Acceptor):
    def save_commit(self) -> None:
        pass


class ChangesAreNotSaved(MultiPaxos):
    """A change of members is not on disk as soon as it has taken effect."""

    acceptor_class = _UnsavingAcceptor


class StrangersAreNotHeard(MultiPaxos):
    """A replica passes over the canvass of a node that it does not know as a member."""

    def canvassed(self, sender: NodeId, attempt: int, commit: int) -> None:
        if sender in self.state.configuration.voters:
            super().canvassed(sender, attempt, commit)


class _ForgivingState(ReplicatedState):
    def _apply_to_log(self, at: Moment, name: str, command: Any) -> Any:
        if command[:1] == ["add"]:
            self.configuration = self.configuration._replace(removed=())
        return super()._apply_to_log(at, name, command)


class IdsAreUsedAgain(MultiPaxos):
    """A node of the name of one that was removed may join."""

    state_class = _ForgivingState
