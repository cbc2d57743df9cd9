"""Mutants that no script knows: `consensus test NAME --workload mixed` is to find them by what its clients ask anyway.

Each class is Multi-Paxos with one machine, its sessions, its questions, or what only small settings show broken. `UNASKED` lists
them.
"""

from typing import Any, Final

from node.algorithms.multipaxos.acceptor import Acceptor
from node.algorithms.multipaxos.leader import Leadership
from node.algorithms.multipaxos.replica import MultiPaxos
from node.log_contract import Record
from node.machine import Command, Machine, Moment, NotYet, Plain
from node.machines.assignment import AssignmentMachine
from node.machines.kv import KvMachine
from node.machines.locks import Claim, LocksMachine
from node.machines.members import Member, MembersMachine
from node.replication.sessions import ClientSession, Sessions
from node.replication.state import ReplicatedState
from node.replication.watches import Question


class BrokenState(ReplicatedState):
    """A state with some machines, or its sessions, of another class."""

    machine_classes: tuple[type[Machine], ...] = ()
    sessions_class: type[Sessions] = Sessions

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        # By its class, so that each keeps what it was made with.
        self.sessions.__class__ = self.sessions_class
        for broken in self.machine_classes:
            self.machines[broken.name].__class__ = broken


# --- keys and values ------------------------------------------------------------------------------------------------


class RangesAreCutShort(MultiPaxos):
    """A range leaves out the last key of several."""

    class _State(BrokenState):
        class _Kv(KvMachine):
            def _range(self, prefix: str, after: str, most: int) -> Plain:
                found, more = super()._range(prefix, after, most)
                return [found[:-1] if len(found) > 1 else found, more]

        machine_classes = (_Kv,)

    state_class = _State


class DeletedKeysKeepTheirVersions(MultiPaxos):
    """A compare-and-set with the version that a deleted key had succeeds."""

    class _State(BrokenState):
        class _Kv(KvMachine):
            def apply(self, at: Moment, command: Command) -> Plain:
                match command:
                    case ["cas", str(key), int(version), bytes(value)] if version and key not in self.entries:
                        if any(change[:2] == (version, key) for change in self.history):
                            return self._put(key, value)
                return super().apply(at, command)

        machine_classes = (_Kv,)

    state_class = _State


# --- watches --------------------------------------------------------------------------------------------------------


class DeletesWakeNoWatch(MultiPaxos):
    """A delete does not name its key as changed, so watches of it wait on, and end as if there were nothing new."""

    class _State(BrokenState):
        class _Kv(KvMachine):
            def _changed(self, key: str, value: bytes | None) -> int:
                version = super()._changed(key, value)
                if value is None:
                    self.changed.pop(key, None)
                return version

        machine_classes = (_Kv,)

    state_class = _State


class WatchesBeginOneTooLate(MultiPaxos):
    """A watch leaves out the first change after the version that it names, if there are several."""

    class _State(BrokenState):
        class _Kv(KvMachine):
            def _watch(self, prefix: str, after: int, most: int) -> Plain | NotYet:
                answer = super()._watch(prefix, after, most)
                if not isinstance(answer, NotYet) and len(answer[1]) > 1:
                    del answer[1][0]
                return answer

        machine_classes = (_Kv,)

    state_class = _State


# --- members and tasks ----------------------------------------------------------------------------------------------


class HeartbeatsRenewAll(MultiPaxos):
    """A member's heartbeat renews the leases of all members."""

    class _State(BrokenState):
        class _Members(MembersMachine):
            def _member_of_session(self, at: Moment, name: str) -> Member:
                found = super()._member_of_session(at, name)
                for member in self.members.values():
                    self._renew(at, member)
                return found

        machine_classes = (_Members,)

    state_class = _State


class HeartbeatsRenewNothing(MultiPaxos):
    """A heartbeat is answered, and renews no lease."""

    class _State(BrokenState):
        class _Members(MembersMachine):
            def apply(self, at: Moment, command: Command) -> Plain:
                match command:
                    case ["heartbeat", str(name)]:
                        self._member_of_session(at, name)
                        return self.view
                return super().apply(at, command)

        machine_classes = (_Members,)

    state_class = _State


class TasksKeepTheirTokens(MultiPaxos):
    """A task that gets a new owner keeps its token."""

    class _State(BrokenState):
        class _Assignment(AssignmentMachine):
            def _assign(self, task: str, name: str) -> None:
                super()._assign(task, name)
                self.tokens = 1 + sum(task.encode())
                self.shares[name].tasks[task] = self.tokens

        machine_classes = (_Assignment,)

    state_class = _State


class TheLostKeepTheirTasks(MultiPaxos):
    """The tasks of a member whose lease has ended stay with it until something else changes."""

    class _State(BrokenState):
        class _Assignment(AssignmentMachine):
            def expire(self, at: Moment) -> None:
                self.members.expire(at)

        machine_classes = (_Assignment,)

    state_class = _State


# --- locks ----------------------------------------------------------------------------------------------------------


class RenewalsRenewNothing(MultiPaxos):
    """The renewal of a lock is answered, and does not renew its lease."""

    class _State(BrokenState):
        class _Locks(LocksMachine):
            def apply(self, at: Moment, command: Command) -> Plain:
                match command:
                    case ["renew", str(name), int(token)]:
                        self._holding_claim(at, name, token)
                        return None
                return super().apply(at, command)

        machine_classes = (_Locks,)

    state_class = _State


class QueuesAreLastComeFirstServed(MultiPaxos):
    """A lock that is released goes to the claim that came last."""

    class _State(BrokenState):
        class _Locks(LocksMachine):
            def _remove(self, at: Moment, claim: Claim) -> None:
                queue = self.queues[claim.name]
                if self._holder(claim.name) is claim and len(queue) > 2:
                    last = list(queue)[-1]
                    rest = {
                        key: other for key, other in queue.items() if key not in (last, (claim.session, claim.owner))
                    }
                    self.queues[claim.name] = {(claim.session, claim.owner): claim, last: queue[last], **rest}
                super()._remove(at, claim)

        machine_classes = (_Locks,)

    state_class = _State


# --- sessions -------------------------------------------------------------------------------------------------------


class AnswersAreForgottenTooSoon(MultiPaxos):
    """An answer is forgotten when the client still waits for it: the frame that is sent again takes effect again."""

    class _State(BrokenState):
        class _Sessions(Sessions):
            @staticmethod
            def store_answer(session: ClientSession, sequence: int, answer: bytes) -> None:
                Sessions.store_answer(session, sequence, answer)
                for old in [old for old in session.answers if old < sequence]:
                    del session.answers[old]

        sessions_class = _Sessions

    state_class = _State


class LateCopiesAreDone(MultiPaxos):
    """A late copy of a frame whose answer the client has confirmed takes effect again."""

    class _State(BrokenState):
        class _Sessions(Sessions):
            def admit(self, number: int, sequence: int, done: int, time_ms: int) -> ClientSession | bytes | str:
                admitted = super().admit(number, sequence, done, time_ms)
                session = self._sessions.get(number)
                return session if admitted == "stale" and session is not None else admitted

        sessions_class = _Sessions

    state_class = _State


# --- questions ------------------------------------------------------------------------------------------------------


class QuestionsSkipTheLastSlot(MultiPaxos):
    """A get of the key that changed last is answered from the state before that change."""

    class _State(BrokenState):
        class _Kv(KvMachine):
            def query(self, question: Command) -> Plain | NotYet:
                match question:
                    case ["get", str(key)] if self.history and self.history[-1][1] == key:
                        before = [change for change in list(self.history)[:-1] if change[1] == key]
                        if before and before[-1][2] is not None:
                            return [before[-1][2], before[-1][0]]
                return super().query(question)

        machine_classes = (_Kv,)

    state_class = _State


class _ImpatientLeadership(Leadership):
    def take_confirmed(self) -> list[Question]:
        confirmed = super().take_confirmed()
        if confirmed:  # those that came later ride along
            confirmed += [question for round_ in list(self.rounds) for question in self.rounds.pop(round_)]
        elif self.rounds:
            confirmed = self.rounds.pop(next(iter(self.rounds)))
        return confirmed


class QuestionsAreAnsweredUnconfirmed(MultiPaxos):
    """A leader answers questions although no quorum has confirmed that it still leads."""

    leadership_class = _ImpatientLeadership


# --- promises in parts ----------------------------------------------------------------------------------------------


class PromisesLoseTheirLastPart(MultiPaxos):
    """A promise in several parts is sent, and counts as whole, without the last one. Shipped parts have a mebibyte."""

    class _Acceptor(Acceptor):
        def above(self, commit: int) -> list[tuple[Record, ...]]:
            parts = super().above(commit)
            return parts[:-1] if len(parts) > 1 else parts

    acceptor_class = _Acceptor


class PartsOfPromisesSkipASlot(MultiPaxos):
    """Each part of a promise after the first begins one slot too late."""

    class _Acceptor(Acceptor):
        def above(self, commit: int) -> list[tuple[Record, ...]]:
            parts = super().above(commit)
            return [parts[0], *self.above(parts[0][-1].slot + 1)] if len(parts) > 1 else parts

    acceptor_class = _Acceptor


#: By what it breaks: two of each kind at least.
UNASKED: Final[dict[str, tuple[type[MultiPaxos], ...]]] = {
    "keys and ranges": (RangesAreCutShort, DeletedKeysKeepTheirVersions),
    "watches": (DeletesWakeNoWatch, WatchesBeginOneTooLate),
    "members": (HeartbeatsRenewAll, HeartbeatsRenewNothing),
    "assignment": (TasksKeepTheirTokens, TheLostKeepTheirTasks),
    "locks": (RenewalsRenewNothing, QueuesAreLastComeFirstServed),
    "sessions": (AnswersAreForgottenTooSoon, LateCopiesAreDone),
    "promises": (PromisesLoseTheirLastPart, PartsOfPromisesSkipASlot),
    "reads": (QuestionsSkipTheLastSlot, QuestionsAreAnsweredUnconfirmed),
}
