"""Paxos, broken in a way that no suite need find: it breaks its contract. The others are in `harness.mutants`."""

from node.algorithms.paxos import Accept, Paxos
from node.contract import Message, NodeId


class Raises(Paxos):
    """An acceptor that raises on a message that it should have expected."""

    def receive(self, sender: NodeId, message: Message) -> None:
        assert not (isinstance(message, Accept) and message.ballot < self.promised()), "an Accept came late"
        super().receive(sender, message)
