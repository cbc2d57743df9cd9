"""Multi-Paxos with a break in its changes of members, one class a break.

`harness.mutants.log` imports every class here. A cluster finds a class by its name there.
"""

from typing import Any

from node.algorithms.multipaxos.acceptor import Acceptor
from node.algorithms.multipaxos.leader import Leadership
from node.algorithms.multipaxos.replica import MultiPaxos
from node.contract import NodeId
from node.machine import Moment
from node.replication.state import ReplicatedState
from node.replication.watches import Waiter


class PhaseOneIsKeptOverAChange(MultiPaxos):
    """A leader that recovered a change of members proposes above it, with promises from the members before the change."""

    def changes_members(self, batch: bytes) -> bool:
        return False


class _OverlappingLeadership(Leadership):
    def propose(self, slot: int, batch: bytes, waiters: list[Waiter], is_change: bool = False) -> None:
        del is_change
        super().propose(slot, batch, waiters)

    def changing(self) -> bool:
        return False


class ChangesOverlap(MultiPaxos):
    """A leader proposes a change of members while another change or other slots are under way."""

    leadership_class = _OverlappingLeadership


class _ForgetfulLeadership(Leadership):
    def awaits(self, waiter: Waiter) -> bool:
        return False


class CopiesAreRefused(MultiPaxos):
    """A copy of a frame that waits is refused if a frame of its kind would be, so the client takes it for not done."""

    leadership_class = _ForgetfulLeadership


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
    """An acceptance counts also if it comes from a removed node or a learner."""

    leadership_class = _CredulousLeadership


class _UnsavingAcceptor(Acceptor):
    def save_commit(self) -> None:
        pass


class ChangesAreNotSaved(MultiPaxos):
    """A replica does not save the commit index when a change of members takes effect."""

    acceptor_class = _UnsavingAcceptor


class StrangersAreNotHeard(MultiPaxos):
    """A replica ignores the canvass of a node that it does not know as a voter."""

    def canvassed(self, sender: NodeId, attempt: int, commit: int) -> None:
        if sender in self.state.configuration.voters:
            super().canvassed(sender, attempt, commit)


class _ForgivingState(ReplicatedState):
    def _apply_to_log(self, at: Moment, name: str, command: Any) -> Any:
        if command[:1] == ["add"]:
            self.configuration = self.configuration._replace(removed=())
        return super()._apply_to_log(at, name, command)


class IdsAreUsedAgain(MultiPaxos):
    """A node may join under the id of a node that was removed."""

    state_class = _ForgivingState
