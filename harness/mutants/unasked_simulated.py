"""Mutants that no script knows, which `consensus simulate` is to find by what it draws anyway: `UNASKED_SIMULATED`."""

from typing import Any, Final

from node.algorithms.multipaxos.catch_up import CatchUp
from node.algorithms.multipaxos.leader import Leadership
from node.algorithms.multipaxos.replica import MultiPaxos
from node.algorithms.paxos import Paxos
from node.contract import Algorithm, NodeId, Value
from node.replication.clients import Clients
from node.replication.messages import Forward
from node.replication.replica_log import StoredSnapshot
from node.replication.state import Frame
from node.replication.watches import Waiter

# --- timers that are lost ---------------------------------------------------------------------------------------------


class QueryTimerLost(Paxos):
    """A node of Paxos that becomes idle cancels the timer by which its waiting queries ask again."""

    def become_idle(self) -> None:
        super().become_idle()
        self.node.cancel_timer("again")


class _ForgetfulClients(Clients):
    def ask_again(self, leader: NodeId | None) -> None:
        for request, asked in self.asked.items():
            if leader is not None:
                self.node.send(leader, Forward(request, *asked))


class AskTimerLost(MultiPaxos):
    """A replica forwards its open calls to a new leader, and sets no timer for when that message is lost."""

    def __init__(self, node: Any) -> None:
        super().__init__(node)
        self.clients.__class__ = _ForgetfulClients


class _HopefulCatchUp(CatchUp):
    is_late = False

    def timed_out(self) -> None:
        self.is_late = True
        super().timed_out()
        self.is_late = False

    def await_answer(self, source: NodeId) -> None:
        if not self.is_late:
            super().await_answer(source)


class FetchTimerLost(MultiPaxos):
    """A replica that catches up asks a second time for what is missing, and no third time."""

    def __init__(self, node: Any) -> None:
        super().__init__(node)
        self.catch_up.__class__ = _HopefulCatchUp


# --- copies -----------------------------------------------------------------------------------------------------------


class _GreedyLeadership(Leadership):
    def submit(self, frame: Frame, waiter: Waiter) -> None:
        self.awaited.pop(waiter, None)
        super().submit(frame, waiter)


class CopiesTakePlaces(MultiPaxos):
    """A leader proposes each copy of a command that its client or a peer sends again, also while the command waits."""

    leadership_class = _GreedyLeadership


class _RestlessCatchUp(CatchUp):
    def offer(self, sender: NodeId, slot: int, count: int) -> None:
        self.offered = (0, 0)
        super().offer(sender, slot, count)


class EachOfferBeginsAnew(MultiPaxos):
    """Each copy of the offer of a snapshot begins its fetch anew, with several requests."""

    def __init__(self, node: Any) -> None:
        super().__init__(node)
        self.catch_up.__class__ = _RestlessCatchUp


# --- crashes in a turn, and turns of several inputs -------------------------------------------------------------------


class KeyBeforeParts(MultiPaxos):
    """The key that makes a snapshot valid is saved with its first part. A crash finds a snapshot that lacks the others."""

    def end_of_input(self) -> None:
        begins = self.catch_up.saving and self.catch_up.saved == 0
        super().end_of_input()
        if begins and self.catch_up.saving:
            self.node.disk["snapshot"] = tuple(StoredSnapshot(self.catch_up.saving_slot, len(self.catch_up.saving)))


class OwnAcceptanceAtOnce(Paxos):
    """A proposer counts its own acceptance when it asks for it, and not when it has accepted."""

    def become_accepting(self, value: Value) -> None:
        super().become_accepting(value)
        self.acceptances[self.node.id] = None


#: By what finds them.
UNASKED_SIMULATED: Final[dict[str, tuple[type[Algorithm], ...]]] = {
    "timers": (QueryTimerLost, AskTimerLost, FetchTimerLost),
    "copies": (CopiesTakePlaces, EachOfferBeginsAnew),
    "turns": (KeyBeforeParts, OwnAcceptanceAtOnce),
}
