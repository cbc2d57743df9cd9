"""Mutants that no script knows, and that only a kind of fault shows: changes of nodes, faults of roles, grey faults.

`consensus simulate NAME`, `consensus test NAME --faults FAMILY` and `consensus campaign` are to find them. `UNASKED_FAULTS` lists
them by that family.
"""

from typing import Any, Final

from node.algorithms.multipaxos.leader import Leadership
from node.algorithms.multipaxos.replica import MultiPaxos
from node.contract import Message, NodeId
from node.machine import Moment
from node.replication.messages import Heartbeat, TakeOver
from node.replication.state import ReplicatedState

#: A commit that takes so many milliseconds has met a slow disk.
_SLOW_MS: Final = 300


# --- changes of nodes -------------------------------------------------------------------------------------------------


class _ForgetfulState(ReplicatedState):
    def apply(self, *arguments: Any, **more: Any) -> Any:
        before = self.configuration.voters
        found = super().apply(*arguments, **more)
        if self.configuration.voters != before:
            for session in range(1, len(self.sessions) + 1):
                self._session_ended(Moment(self.applied, self.time_ms, session))
        return found


class ChangesEndHolds(MultiPaxos):
    """When the voters change, the locks and members of all sessions are gone."""

    state_class = _ForgetfulState


class HeirsRefuseAfterAChange(MultiPaxos):
    """A voter ignores the request to lead once the voters are others than those of the spec."""

    def receive_other(self, sender: NodeId, message: Message) -> None:
        if not (isinstance(message, TakeOver) and set(self.state.configuration.voters) != set(self.node.members)):
            super().receive_other(sender, message)


class _CarelessLeadership(Leadership):
    def why_not(self, kind: str, node: NodeId) -> str | None:
        reason = super().why_not(kind, node)
        return None if reason is not None and "no majority that answers" in reason else reason


class RemovalsLeaveNoMajority(MultiPaxos):
    """A leader removes a member although the rest has no majority that answers."""

    leadership_class = _CarelessLeadership


# --- faults of roles --------------------------------------------------------------------------------------------------


class _StubbornLeadership(Leadership):
    def quorum_wait_beats(self) -> int:
        return 1_000_000


class DeafLeadersKeepLeading(MultiPaxos):
    """A leader that hears no quorum leads on, and its heartbeats keep the others from electing another."""

    leadership_class = _StubbornLeadership


class _PatientLeadership(Leadership):
    def tick(self) -> bool:
        self.hand_over_beats = 0
        return super().tick()


class HandOversNeverEnd(MultiPaxos):
    """A leader that has asked an heir to take over waits for it for ever, and serves no client meanwhile."""

    leadership_class = _PatientLeadership


# --- grey faults ------------------------------------------------------------------------------------------------------


class _OnceSlow(MultiPaxos):
    was_slow = False

    def commit_took(self, milliseconds: int) -> None:
        self.was_slow |= milliseconds >= _SLOW_MS
        super().commit_took(milliseconds)


class TheOnceSlowNeverLead(_OnceSlow):
    """A node whose disk was slow once ignores the request to lead for ever."""

    def receive_other(self, sender: NodeId, message: Message) -> None:
        if not (self.was_slow and isinstance(message, TakeOver)):
            super().receive_other(sender, message)


class TheOnceSlowDoNotAnswer(_OnceSlow):
    """A node whose disk was slow once leaves heartbeats unanswered for ever."""

    def receive(self, sender: NodeId, message: Message) -> None:
        if not (self.was_slow and isinstance(message, Heartbeat) and sender != self.node.id):
            super().receive(sender, message)


#: By the family of faults that shows them: two of each at least.
UNASKED_FAULTS: Final[dict[str, tuple[type[MultiPaxos], ...]]] = {
    "member": (ChangesEndHolds, HeirsRefuseAfterAChange, RemovalsLeaveNoMajority),
    "role": (DeafLeadersKeepLeading, HandOversNeverEnd),
    "grey": (TheOnceSlowNeverLead, TheOnceSlowDoNotAnswer),
}
