"""A leader with the naive failover that the article warns of. **Unsafe on purpose.**

Theory of operation
-------------------
Each node sends `Alive` to each peer, ten times a second, with the value that it holds. A node suspects a peer from which no
message has arrived for 0.6 s. Each suspicion that proves wrong doubles that time for its peer, up to eightfold, since the network
may be slow. The leader is the first node of the spec that is not suspected. A node that holds no value adopts the first value
that an `Alive` carries.

This design survives crashes. But a missing message does not prove a crash: where the network is cut, the nodes of each side
suspect those of the other side. Each side then has a leader of its own, and the two leaders accept different values. That is
split-brain, and no choice of timeouts prevents it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.algorithms.leader import Leader
from node.contract import Message, Node, NodeId, Status, Value

_ALIVE_S: Final = (0.1, 0.1)
_SILENT_S: Final = 0.6
_GROWTHS_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Alive(Message):
    """The sender runs and holds `value`, or no value if None."""

    value: Value | None


class Failover(Leader):
    """One replica of one variable."""

    messages = (*Leader.messages, Alive)

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.suspected: dict[NodeId, None] = {}
        """The peers that this node takes for dead."""
        self.mistakes: dict[NodeId, int] = {}
        """By peer: how often this node has suspected it and was wrong, up to `_GROWTHS_MAX`."""

    @property
    def leader(self) -> NodeId:
        """The first node of the spec that this node does not suspect."""
        return next(member for member in self.node.members if member not in self.suspected)

    def start(self) -> None:
        for peer in self.node.peers:
            self.await_message(peer)
        self.send_alive()

    def await_message(self, peer: NodeId) -> None:
        """Suspect `peer` unless a message of it comes in time."""
        silent_s = _SILENT_S * 2 ** self.mistakes.get(peer, 0)
        self.node.set_timer(f"silent {peer}", silent_s, silent_s)

    def send_alive(self) -> None:
        """Send `Alive` to every peer, and set the timer for the next time."""
        for peer in self.node.peers:
            self.node.send(peer, Alive(self.value()))
        self.node.set_timer("alive", *_ALIVE_S)

    def receive(self, sender: NodeId, message: Message) -> None:
        if sender != self.node.id:
            if sender in self.suspected:
                del self.suspected[sender]
                self.mistakes[sender] = min(self.mistakes.get(sender, 0) + 1, _GROWTHS_MAX)
            self.await_message(sender)
        match message:
            case Alive(value):
                if value is not None and "value" not in self.node.disk:
                    self.node.disk["value"] = value
            case _:
                super().receive(sender, message)

    def timeout(self, name: str) -> None:
        match name.split():
            case ["alive"]:
                self.send_alive()
            case ["silent", peer]:
                self.suspected[peer] = None  # the mistake: the peer may run, and lead the nodes on its side of a cut
            case _:
                super().timeout(name)

    def awaits(self) -> tuple[str, ...]:
        silent = (f"silent {peer}" for peer in self.node.peers if peer not in self.suspected)
        return (*super().awaits(), "alive", *silent)

    def status(self) -> Status:
        status = super().status()
        return status._replace(details={**status.details, "taken for dead": sorted(self.suspected)})

    @classmethod
    def interchangeable(cls, members: Sequence[NodeId], called: Sequence[NodeId]) -> tuple[NodeId, ...]:
        """Return no node: the order of the nodes determines which one leads."""
        return ()
