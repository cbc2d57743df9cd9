"""A leader with the naive failover that the article warns of. **Unsafe on purpose.**

Everybody says "alive" to everybody, with the value that it holds. A node that has not been heard for a while is taken for
dead, and the lowest node that is not is the leader. A node that holds no value takes over the first that it hears of.

It survives crashes. But silence is not death: where the network is cut, each side takes the other for dead and has a
leader of its own, and the two accept different values. That is split-brain, and no choice of timeouts prevents it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.algorithms.leader import Leader
from node.contract import Message, Node, NodeId, Status, Value

_ALIVE_S: Final = (0.1, 0.1)
_SILENT_S: Final = (0.6, 0.6)


@dataclass(frozen=True, slots=True)
class Alive(Message):
    """Said by everybody, all the time, to everybody."""

    value: Value | None


class Failover(Leader):
    """One replica of one variable. Sends a message to each peer ten times a second for every variable."""

    messages = (*Leader.messages, Alive)

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.silent: dict[NodeId, None] = {}

    @property
    def leader(self) -> NodeId:
        """The lowest node that this one does not take for dead."""
        return next(member for member in self.node.members if member not in self.silent)

    def start(self) -> None:
        for peer in self.node.peers:
            self.node.set_timer(f"silent {peer}", *_SILENT_S)
        self.say_alive()

    def say_alive(self) -> None:
        """Tell everybody, and again soon."""
        for peer in self.node.peers:
            self.node.send(peer, Alive(self.value()))
        self.node.set_timer("alive", *_ALIVE_S)

    def receive(self, sender: NodeId, message: Message) -> None:
        if sender != self.node.id:
            self.silent.pop(sender, None)
            self.node.set_timer(f"silent {sender}", *_SILENT_S)
        match message:
            case Alive(value):
                if value is not None and "value" not in self.node.disk:
                    self.node.disk["value"] = value
            case _:
                super().receive(sender, message)

    def timeout(self, name: str) -> None:
        match name.split():
            case ["alive"]:
                self.say_alive()
            case ["silent", peer]:
                self.silent[peer] = None  # the mistake: it may be alive, and lead somebody else
            case _:
                super().timeout(name)

    def status(self) -> Status:
        status = super().status()
        return status._replace(details={**status.details, "taken for dead": sorted(self.silent)})

    @classmethod
    def interchangeable(cls, members: Sequence[NodeId], called: Sequence[NodeId]) -> tuple[NodeId, ...]:
        """Return no node: the lowest node that seems alive leads."""
        return ()
