"""The cores of virtual nodes: `node.turn.NodeCore` with a check that the wire can carry each message; and their timers."""

from functools import lru_cache
from typing import Any

from node.contract import Algorithm, ContractBroken, Message, NodeId, Request
from node.instances import TimerKey
from node.turn import NodeCore
from node.wire import Codec, Envelope


class VirtualTimers:
    """Timers that only the caller expires. The caller also ends the wait of requests, with `GiveUp`."""

    def __init__(self) -> None:
        self.running: dict[TimerKey, tuple[float, float]] = {}
        self.set_lately: list[TimerKey] = []
        """The timers that were set since the caller cleared this list."""

    def set(self, key: TimerKey, least_s: float, most_s: float) -> None:
        """Set a timer to a time between `least_s` and `most_s`. The deadline of a request is ignored."""
        if not isinstance(key, Request):
            self.running[key] = (least_s, most_s)
            self.set_lately.append(key)

    def cancel(self, key: TimerKey) -> None:
        """Cancel a timer, if it is set."""
        self.running.pop(key, None)


class VirtualCore(NodeCore):
    """The core of a virtual node of one variable. It checks every message."""

    def send(self, to: NodeId, variable: str, message: Message) -> None:
        check_encodable(self.algorithm, message)
        super().send(to, variable, message)


class OwnMessagesTravelCore(NodeCore):
    """The core of a node whose messages to itself travel as packets: the fault model's `own_messages_wait`."""

    def send(self, to: NodeId, variable: str, message: Message) -> None:
        check_encodable(self.algorithm, message)
        self._sends.append((to, variable, message))

    def receive(self, sender: NodeId, incarnation: int, variable: str, message: Message) -> bool:
        if sender != self.node:
            return super().receive(sender, incarnation, variable, message)
        self.instance(variable).receive(sender, message)
        return True


class LogCore(NodeCore):
    """The core of a virtual node with a log. It checks one message of each class: a check of every batch takes too long."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._checked: dict[type[Message], None] = {}

    def send(self, to: NodeId, variable: str, message: Message) -> None:
        if type(message) not in self._checked:
            self._check(message)
        super().send(to, variable, message)

    def send_early(self, to: NodeId, variable: str, message: Message) -> None:
        if type(message) not in self._checked:
            self._check(message)
        super().send_early(to, variable, message)

    def _check(self, message: Message) -> None:
        self._checked[type(message)] = None
        check_encodable(self.algorithm, message)


@lru_cache(maxsize=65536)
def check_encodable(algorithm: type[Algorithm], message: Message) -> None:
    """Check that a real node's wire can carry a message.

    Raises:
        ContractBroken: it changes on its way through the codec.
    """
    codec = _codec(algorithm)
    envelope = Envelope("n1", 1, "v", message)
    if codec.decode(codec.encode(envelope)) != envelope:
        raise ContractBroken(f"{message} does not come back from the wire as it was")


@lru_cache(maxsize=64)
def _codec(algorithm: type[Algorithm]) -> Codec:
    return Codec("simulated", algorithm.messages)
