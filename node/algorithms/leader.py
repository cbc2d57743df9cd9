"""A configured leader: the first proposal that reaches it wins.

Theory of operation
-------------------
The article's first design. Every node forwards the calls of its clients to the leader, which is the first node of the spec.
The leader accepts the first value that it receives, and keeps it on disk, so it still has the value after a restart. While
the leader is down, no call is answered: the leader is a single point of failure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from node.contract import Algorithm, Message, Node, NodeId, Request, Status, Value

_ASK_AGAIN_S: Final = (0.1, 0.2)


@dataclass(frozen=True, slots=True)
class ForwardedCall(Message):
    """To the leader: a client proposes `value`, or queries if `value` is None."""

    wire_name = "Ask"

    request: Request
    value: Value | None


@dataclass(frozen=True, slots=True)
class LeaderAnswer(Message):
    """From the leader: the value that it has accepted, or None."""

    wire_name = "Answer"

    request: Request
    value: Value | None


class Leader(Algorithm):
    """One replica of one variable."""

    messages: ClassVar[tuple[type[Message], ...]] = (ForwardedCall, LeaderAnswer)

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.asked: dict[Request, Value | None] = {}
        """The calls that the leader has not answered: the proposed value of each, or None for a query."""

    @property
    def leader(self) -> NodeId:
        """The node that this node takes for the leader."""
        return self.node.members[0]

    @classmethod
    def copies_owed(cls, members: int) -> int:
        """Return 1: only the leader stores the value."""
        return 1

    def propose(self, request: Request, value: Value) -> None:
        self.ask(request, value)

    def query(self, request: Request) -> None:
        self.ask(request, None)

    def ask(self, request: Request, value: Value | None) -> None:
        """Forward a client's call to the leader, which may be this node."""
        if not self.asked:
            self.node.set_timer("ask again", *_ASK_AGAIN_S)
        self.asked[request] = value
        self.node.send(self.leader, ForwardedCall(request, value))

    def receive(self, sender: NodeId, message: Message) -> None:
        match message:
            case ForwardedCall(request, value) if self.node.id == self.leader:
                if value is not None and "value" not in self.node.disk:
                    self.node.disk["value"] = value
                self.node.send(sender, LeaderAnswer(request, self.value()))
            case LeaderAnswer(request, value) if request in self.asked:
                del self.asked[request]
                self.node.reply(request, value)

    def timeout(self, name: str) -> None:
        if name == "ask again" and self.asked:
            for request, value in self.asked.items():
                self.node.send(self.leader, ForwardedCall(request, value))
            self.node.set_timer("ask again", *_ASK_AGAIN_S)

    def forget(self, request: Request) -> None:
        self.asked.pop(request, None)

    def value(self) -> Value | None:
        """Return the value that this node has accepted, or None."""
        stored = self.node.disk.get("value")
        return Value(stored) if isinstance(stored, bytes) else None

    def awaits(self) -> tuple[str, ...]:
        return ("ask again",) if self.asked else ()

    def status(self) -> Status:
        leads = self.node.id == self.leader
        return Status(
            role="leader" if leads else "follower",
            decided=self.value(),
            leads=leads,
            waiting=len(self.asked),
            details={"leader": self.leader},
        )

    @classmethod
    def interchangeable(cls, members: Sequence[NodeId], called: Sequence[NodeId]) -> tuple[NodeId, ...]:
        """Return every node but the first, which leads."""
        return tuple(members[1:])
