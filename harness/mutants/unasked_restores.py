"""Mutants that no script knows: what a restored state, a disk or a leader from the past has wrong. `UNASKED_RESTORES` lists them.

`consensus simulate NAME` is to find them by what it draws and compares anyway. The README says in how many runs it
found each, and which others it did not find.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Final

from harness.mutants.unasked import BrokenState
from node.algorithms.multipaxos.leader import Leadership
from node.algorithms.multipaxos.replica import MultiPaxos
from node.algorithms.raft.election import RaftElection
from node.algorithms.raft.leader import RaftLeadership
from node.algorithms.raft.log import RaftLog
from node.algorithms.raft.replica import Raft
from node.contract import NodeId
from node.machine import BEAT_MS, Moment, NotYet, Plain
from node.machines.assignment import AssignmentMachine
from node.machines.kv import KvMachine
from node.machines.locks import Claim, LocksMachine
from node.machines.members import Member, MembersMachine
from node.replication.leader import LogLeadership
from node.replication.messages import HeartbeatAck
from node.replication.replica import LogReplica
from node.replication.sessions import ClientSession, Resumption, Sessions
from node.replication.watches import Question

# --- what a snapshot holds, and what is restored from it ------------------------------------------------------------


class SharesAreNewAfterRestore(MultiPaxos):
    """A restored assignment takes each member's tasks for changed just then: a waiting member is answered with what it knows."""

    class _State(BrokenState):
        class _Assignment(AssignmentMachine):
            def restore(self, state: Plain) -> None:
                super().restore(state)
                for share in self.shares.values():
                    share.changed = self.version

        machine_classes = (_Assignment,)

    state_class = _State


class ResumptionsAreForgotten(MultiPaxos):
    """A snapshot does not tell who has resumed a session, so a client that asks again loses its frames under way."""

    class _State(BrokenState):
        class _Sessions(Sessions):
            def restore(self, state: Any) -> None:
                super().restore(state)
                for session in self._sessions.values():
                    session.resumed = Resumption("", 0)

        sessions_class = _Sessions

    state_class = _State


class TokensAreThoseOfHolders(MultiPaxos):
    """A restored machine goes on with the highest token of a present holder, so tokens are given again."""

    class _State(BrokenState):
        class _Locks(LocksMachine):
            def restore(self, state: Plain) -> None:
                super().restore(state)
                self.tokens = max((claim.token for claim in self.claims.values()), default=0)

        machine_classes = (_Locks,)

    state_class = _State


class RestoresAddToWhatIsThere(MultiPaxos):
    """A replica that takes in a snapshot keeps the keys that it had, so deleted keys come back."""

    class _State(BrokenState):
        class _Kv(KvMachine):
            def restore(self, state: Plain) -> None:
                before = self.entries
                super().restore(state)
                self.entries = before | self.entries
                self._new_keys = list(self.entries)

        machine_classes = (_Kv,)

    state_class = _State


class ReplacedEntriesStayOnDisk(Raft):
    """A follower deletes the entries that conflict from its memory, and not from its disk."""

    class _Log(RaftLog):
        def cut_off(self, last: int) -> None:
            for slot in range(last + 1, self.last + 1):
                del self.ballots[slot]
                self.records.pop(slot, None)
                self.changes.pop(slot, None)
            self.last = last

    log_class = _Log


class TermsWithoutVotesAreInMemory(Raft):
    """A term that a server enters without a vote is not on its disk."""

    class _Election(RaftElection):
        def enter_term(self, term: int, vote: NodeId = "") -> None:
            if vote:
                super().enter_term(term, vote)
            elif term != self.term:
                self.term, self.voted_for = term, ""

    election_class = _Election


# --- leases and sessions ----------------------------------------------------------------------------------------------


class SessionsEndABeatEarly(MultiPaxos):
    """A session that was idle ends one beat too early."""

    class _State(BrokenState):
        class _Sessions(Sessions):
            def due_ms(self) -> int | None:
                due_ms = super().due_ms()
                return None if due_ms is None else due_ms - BEAT_MS

            def expire(self, time_ms: int) -> list[int]:
                return super().expire(time_ms + BEAT_MS)

        sessions_class = _Sessions

    state_class = _State


class LeasesKeepTheirLength(MultiPaxos):
    """A claim to a lock that is made again for longer keeps the length of its first lease."""

    class _State(BrokenState):
        class _Locks(LocksMachine):
            def _claim(self, at: Moment, name: str, owner: str, lease_ms: int) -> Claim:
                known = self.queues.get(name, {}).get((at.session, owner))
                return super()._claim(at, name, owner, lease_ms if known is None else known.lease_ms)

        machine_classes = (_Locks,)

    state_class = _State


class DetailsMayDiffer(MultiPaxos):
    """A member that joins again with other details is not refused, and keeps those that it had."""

    class _State(BrokenState):
        class _Members(MembersMachine):
            def _join(self, at: Moment, member: Member) -> None:
                present = self.members.get(member.name)
                if present is not None and present.session == member.session:
                    member.details = present.details
                super()._join(at, member)

        machine_classes = (_Members,)

    state_class = _State


class LateFramesAreStale(MultiPaxos):
    """A frame that a later one of its session has overtaken is refused, and its client takes it for done before."""

    class _State(BrokenState):
        class _Sessions(Sessions):
            def admit(self, number: int, sequence: int, done: int, time_ms: int) -> ClientSession | bytes | str:
                session = self._sessions.get(number)
                if session is not None and sequence not in session.answers and sequence <= session.highest:
                    self._use(number, time_ms)
                    return "stale"
                return super().admit(number, sequence, done, time_ms)

        sessions_class = _Sessions

    state_class = _State


class ClosedSessionsKeepTheirLocks(MultiPaxos):
    """The end of a session that its client asks for does not end what it holds."""

    class _State(BrokenState):
        def _apply_to_log(self, at: Moment, name: str, command: Any) -> Any:
            match name, command:
                case "session", ["close", int(number)]:
                    return self.sessions.close(number)
            return super()._apply_to_log(at, name, command)

    state_class = _State


# --- watches ----------------------------------------------------------------------------------------------------------


class CompactionIsOffByOne(MultiPaxos):
    """A watch that has missed one change that is kept no more is not told so, and goes on without it."""

    class _State(BrokenState):
        class _Kv(KvMachine):
            def _watch(self, prefix: str, after: int, most: int) -> Plain | NotYet:
                first = self.history[0][0] if self.history else self.version + 1
                return super()._watch(prefix, max(after, first - 1) if after + 2 >= first else after, most)

        machine_classes = (_Kv,)

    state_class = _State


# --- leaders from the past --------------------------------------------------------------------------------------------


def _taken(leader: LogLeadership, confirmed: int) -> Iterator[Question]:
    for round_ in [each for each in leader.rounds if each <= confirmed]:
        yield from leader.rounds.pop(round_)


class _WithLearners(Leadership):
    def take_confirmed(self) -> list[Question]:
        others = [self.confirmed.get(member, 0) for member in self.configuration.members if member != self.node.id]
        return list(_taken(self, sorted([self.round, *others], reverse=True)[self.quorum() - 1]))


class LearnersConfirm(MultiPaxos):
    """A learner counts for the quorum that confirms that a leader leads."""

    leadership_class = _WithLearners


class _AnyRound(Leadership):
    def acknowledged(self, sender: NodeId, ack: HeartbeatAck) -> None:
        super().acknowledged(sender, ack)
        self.confirmed[sender] = self.round


class AnyAnswerConfirms(MultiPaxos):
    """The answer to an earlier heartbeat confirms the present round, too."""

    leadership_class = _AnyRound


class _AnyRoundOfRaft(RaftLeadership):
    def acknowledged(self, sender: NodeId, ack: HeartbeatAck) -> None:
        super().acknowledged(sender, ack)
        self.confirmed[sender] = self.round


class AnyAnswerConfirmsInRaft(Raft):
    """The same in Raft."""

    leadership_class: ClassVar[type[RaftLeadership]] = _AnyRoundOfRaft


#: By what shows them.
UNASKED_RESTORES: Final[dict[str, tuple[type[LogReplica], ...]]] = {
    "restored states": (
        *(SharesAreNewAfterRestore, ResumptionsAreForgotten, TokensAreThoseOfHolders),
        RestoresAddToWhatIsThere,
    ),
    "disks": (ReplacedEntriesStayOnDisk, TermsWithoutVotesAreInMemory),
    "leases and sessions": (
        *(SessionsEndABeatEarly, LeasesKeepTheirLength, DetailsMayDiffer),
        *(LateFramesAreStale, ClosedSessionsKeepTheirLocks),
    ),
    "watches": (CompactionIsOffByOne,),
    "asked while another leads": (LearnersConfirm, AnyAnswerConfirms, AnyAnswerConfirmsInRaft),
}
