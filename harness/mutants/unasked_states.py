"""Mutants that no script knows, which simulations are to find by states, by time, or by what clients ask: `UNASKED_STATES`."""

from typing import Final

from harness.mutants.unasked import BrokenState
from node.algorithms.multipaxos.leader import Leadership
from node.algorithms.multipaxos.replica import MultiPaxos
from node.contract import Message, NodeId
from node.machine import BEAT_MS, Command, Moment, NotYet, Plain, Refusal
from node.machines.kv import KvMachine
from node.machines.locks import Claim, LocksMachine
from node.machines.members import Member, MembersMachine
from node.replication.messages import Heartbeat, HeartbeatAck
from node.replication.sessions import ClientSession, Sessions

# --- states that no client asks about ---------------------------------------------------------------------------------


class UsesRenewNoSession(MultiPaxos):
    """A session is as old as its first command, however often it is used."""

    class _State(BrokenState):
        class _Sessions(Sessions):
            def _use(self, number: int, time_ms: int) -> ClientSession | None:
                session = self._sessions.get(number)
                return super()._use(number, time_ms if session is None else session.used_ms)

        sessions_class = _Sessions

    state_class = _State


class NextLeasesHaveBegun(MultiPaxos):
    """The lease of the next holder of a lock runs from when it took its place in the queue."""

    class _State(BrokenState):
        class _Locks(LocksMachine):
            def _remove(self, at: Moment, claim: Claim) -> None:
                before = {ticket: waiting.due_ms for ticket, waiting in self.claims.items()}
                super()._remove(at, claim)
                first = self._holder(claim.name)
                if first is not None:
                    first.due_ms = before[first.ticket]
                    self.leases.renew(first.ticket, first.session, first.due_ms)

        machine_classes = (_Locks,)

    state_class = _State


# --- what clients ask -------------------------------------------------------------------------------------------------


class SameValuesAreNoChange(MultiPaxos):
    """A put of the value that a key has already is no change: consul does so, and documents it."""

    class _State(BrokenState):
        class _Kv(KvMachine):
            def _put(self, key: str, value: bytes) -> int:
                present = self.entries.get(key)
                return present[1] if present is not None and present[0] == value else super()._put(key, value)

        machine_classes = (_Kv,)

    state_class = _State


class NamesAreHolders(MultiPaxos):
    """A client that tries a lock under the name of its holder is not refused: it takes a place in the queue."""

    class _State(BrokenState):
        class _Locks(LocksMachine):
            def apply(self, at: Moment, command: Command) -> Plain:
                match command:
                    case ["try", str(name), str(owner), int(lease_ms)]:
                        holder = self._holder(name)
                        if holder is not None and holder.owner == owner:
                            return self._claim(at, name, owner, lease_ms).token
                return super().apply(at, command)

        machine_classes = (_Locks,)

    state_class = _State


class AnyoneLeaves(MultiPaxos):
    """A client may renew the lease of another client's member, and have it leave."""

    class _State(BrokenState):
        class _Members(MembersMachine):
            def _member_of_session(self, at: Moment, name: str) -> Member:
                if name not in self.members:
                    raise Refusal("not_member", f"{name!r} is no member")
                return self.members[name]

        machine_classes = (_Members,)

    state_class = _State


class PagesBeginWithTheLastKey(MultiPaxos):
    """A page of a range begins with the key after which it was to begin."""

    class _State(BrokenState):
        class _Kv(KvMachine):
            def _range(self, prefix: str, after: str, most: int) -> Plain:
                found, more = super()._range(prefix, after, most)
                if after in self.entries:
                    found = [[after, *self.entries[after]], *found]
                return [found[:most], more or len(found) > most]

        machine_classes = (_Kv,)

    state_class = _State


class FullWatchesHaveSeenAll(MultiPaxos):
    """The answer to a watch that has room for no more changes says that its client has seen all of them."""

    class _State(BrokenState):
        class _Kv(KvMachine):
            def _watch(self, prefix: str, after: int, most: int) -> Plain | NotYet:
                answer = super()._watch(prefix, after, most)
                return answer if isinstance(answer, NotYet) else [self.version, answer[1]]

        machine_classes = (_Kv,)

    state_class = _State


# --- time -------------------------------------------------------------------------------------------------------------


class _HastyLeadership(Leadership):
    def tick(self) -> bool:
        self.time_ms += BEAT_MS
        return super().tick()


class TimeRunsTwiceAsFast(MultiPaxos):
    """A leader counts each beat twice, so leases end early."""

    leadership_class = _HastyLeadership


class LeasesWaitForCommands(MultiPaxos):
    """A leader proposes no slot because a lease is due: it ends with the next command of any client."""

    class _State(BrokenState):
        def due_ms(self) -> int | None:
            return None

    state_class = _State


# --- leaders from the past --------------------------------------------------------------------------------------------


class OldLeadersAreConfirmed(MultiPaxos):
    """A replica answers the heartbeat of any leader, also if it has promised a later ballot."""

    def receive(self, sender: NodeId, message: Message) -> None:
        if isinstance(message, Heartbeat) and message.ballot < self.acceptor.promised:
            ack = HeartbeatAck(message.ballot, message.round, self.acceptor.commit, message.beat, 0)
            self.node.send(sender, ack)
            return
        super().receive(sender, message)


class _SharingLeadership(Leadership):
    def confirm_waiting(self) -> None:
        if self.round == 0:
            super().confirm_waiting()
        elif self.serving:
            self.rounds.setdefault(self.round, []).extend(self.questions)
            self.questions = []


class RoundsAreShared(MultiPaxos):
    """All questions of a leader share the first round, which a quorum confirmed long ago."""

    leadership_class = _SharingLeadership


#: By what shows them.
UNASKED_STATES: Final[dict[str, tuple[type[MultiPaxos], ...]]] = {
    "states": (UsesRenewNoSession, NextLeasesHaveBegun),
    "same values, foreign names": (SameValuesAreNoChange, NamesAreHolders, AnyoneLeaves),
    "pages": (PagesBeginWithTheLastKey, FullWatchesHaveSeenAll),
    "time": (TimeRunsTwiceAsFast, LeasesWaitForCommands),
    "leaders from the past": (OldLeadersAreConfirmed, RoundsAreShared),
}
