"""Multi-Paxos with a break in its promises, ballots, quorums or chosen slots, one class a break.

`harness.mutants.log` imports every class here. A cluster finds a class by its name there.
"""

from typing import Any

from node.algorithms.multipaxos.acceptor import Acceptor
from node.algorithms.multipaxos.election import Election
from node.algorithms.multipaxos.leader import Leadership
from node.algorithms.multipaxos.replica import MultiPaxos
from node.contract import Message, NodeId
from node.log_contract import Record
from node.quorum import Ballot
from node.replication.configuration import Configuration
from node.replication.slow_disk import SlowDisk

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
    def become_running(self, configuration: Configuration) -> None:
        self.ballot = Ballot(max(self.acceptor.promised.round, self.seen.round) + 1, self.node.id)
        self.role, self.leader, self.ticks, self.promises = "preparing", None, 0, {}
        self.ask_again(configuration)


class PromisesInMemory(MultiPaxos):
    """Promises and rounds are not on disk, so the first ballots are used again after a restart of all nodes."""

    acceptor_class = _ForgetfulAcceptor
    election_class = _ForgetfulElection


class _CountingElection(Election):
    def become_running(self, configuration: Configuration) -> None:
        self.ballot = Ballot(max(self.acceptor.promised.round, 1), self.node.id)
        self.role, self.leader, self.ticks, self.promises = "preparing", None, 0, {}
        self.ask_again(configuration)


class BallotsAreReused(MultiPaxos):
    """A replica that boots continues from the round that it promised, and forgets the rounds that it began itself."""

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
    """A promise reports only the records that the replica does not know as chosen."""

    acceptor_class = _ReticentAcceptor


class _GappyLeadership(Leadership):
    def begin(self, recovered: dict[int, bytes], last: int | None) -> None:
        for slot, batch in recovered.items():
            self.next_slot = slot
            super().begin({slot: batch}, slot)
        super().begin({}, last)


class GapsAreLeft(MultiPaxos):
    """A new leader fills no gap: it proposes no no-op in a slot for which no promise reports a record."""

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
    """An acceptance that arrives twice counts as two votes."""

    leadership_class = _MessageCountingLeadership


class _SendOnceLeadership(Leadership):
    def _send_again(self, *_: Any) -> None:
        pass


class AcceptsAreSentOnce(MultiPaxos):
    """A leader does not send an Accept again."""

    leadership_class = _SendOnceLeadership


# --- slow networks ----------------------------------------------------------------------------------------------------


class _ImpatientElection(Election):
    def send_canvass(self, configuration: Configuration) -> None:
        self.canvass_began, self.supporters = self.tick_count, {self.node.id: None}
        super().send_canvass(configuration)


class CanvassesForgetTheirSupporters(MultiPaxos):
    """A canvass is begun anew at every tick, and counts no answer to an earlier tick."""

    election_class = _ImpatientElection


class _HastyLeadership(Leadership):
    def quorum_wait_beats(self) -> int:
        return 0

    def wait_beats(self, _peer: NodeId) -> int:
        return 0


class LeadersDoNotWaitForSlowLinks(MultiPaxos):
    """A leader gives up after 0.4 s without an answer of a quorum, whatever a round trip takes."""

    leadership_class = _HastyLeadership


# --- slow disks -------------------------------------------------------------------------------------------------------


class _ContentDisk(SlowDisk):
    def hands_over(self, _tick: int, _beat: int) -> bool:
        return False


class LeadersKeepSlowDisks(MultiPaxos):
    """A leader never hands over because its disk is slow."""

    slow_disk_class = _ContentDisk


class _RestlessDisk(SlowDisk):
    def handed_over(self, _tick: int) -> None:
        self.slow_commits = 0


class SlowLeadersHandOverAgainAtOnce(MultiPaxos):
    """A leader with a slow disk hands over however lately it has done so."""

    slow_disk_class = _RestlessDisk


class LeadersGiveUpOnSlowDisks(MultiPaxos):
    """A leader gives up at its first slow commit, although no other node has a quicker disk."""

    def commit_took(self, milliseconds: int) -> None:
        super().commit_took(milliseconds)
        if self.leader is not None and milliseconds >= self.node.tuning.slow_report_ms:
            self.become_following(None)


# --- what is chosen ---------------------------------------------------------------------------------------------------


class _LateAcceptor(Acceptor):
    late: list[Record]

    def start(self) -> None:
        self.late = []
        stored, self.node.disk["commit"] = self.node.disk.get("commit", 0), 0  # so that the boot does not refuse
        super().start()
        self.node.disk["commit"] = stored

    def _put(self, record: Record) -> None:
        self.node.disk["commit"] = self.commit
        self.late.append(record)
        self.records[record.slot] = record
        if len(self.late) > 1:
            self.node.log.put(self.late.pop(0))


class CommitRunsAheadOfTheLog(MultiPaxos):
    """The commit index becomes durable at once, and a record only with the next record."""

    acceptor_class = _LateAcceptor


class AppliesTooLate(MultiPaxos):
    """Slots that an Accept reports as chosen are applied only at the end of the turn, after its other messages."""

    receiving = False

    def receive(self, sender: NodeId, message: Message) -> None:
        self.receiving = True
        super().receive(sender, message)
        self.receiving = False

    def apply_deferred(self) -> None:
        if not self.receiving:
            super().apply_deferred()
