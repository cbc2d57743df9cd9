"""Paxos, broken on purpose. Each is named to a cluster as `tests.broken.paxos:Class`."""

from node.algorithms.paxos import Paxos, Promise
from node.contract import Message, NodeId
from node.quorum import NO_BALLOT, Ballot


class IgnoresAccepted(Paxos):
    """Row 1: phase 1 ignores what was accepted before, and proposes its own value."""

    def receive(self, sender: NodeId, message: Message) -> None:
        if isinstance(message, Promise):
            message = Promise(message.ballot, None, None)
        super().receive(sender, message)


class ForgetsPromises(Paxos):
    """Row 5: a promise is kept in memory alone, so a restart forgets it."""

    def receive(self, sender: NodeId, message: Message) -> None:
        super().receive(sender, message)
        promised = self.node.disk.pop("promised", None)
        if promised is not None:
            self.remembered = Ballot(*promised)  # type: ignore[misc]

    remembered: Ballot = NO_BALLOT

    def promised(self) -> Ballot:
        return self.remembered


class ReusesBallots(Paxos):
    """Row 8: the round starts anew after a restart, as if nothing had ever been sent."""

    def become_preparing(self) -> None:
        self.node.disk.pop("round", None)
        super().become_preparing()

    def promised(self) -> Ballot:
        # A proposer that looks only at what it has used itself, and that is forgotten.
        return NO_BALLOT if self.role in ("idle", "beaten") else super().promised()
