"""What a virtual node lets out in a turn."""

from dataclasses import dataclass, field
from typing import NamedTuple

from harness.virtual.steps import Packet
from node.contract import Message, NodeId, Request, Value


class VirtualReply(NamedTuple):
    """The answer to a client: a value, None for undecided, or why its request was refused."""

    request: Request
    value: Value | None
    refused: str | None
    to_frame: bool = False
    """Whether it answers a frame: with a payload, with a refusal, or with neither if another node is to be asked."""
    leader: NodeId | None = None
    """That other node, if it is known."""


@dataclass(slots=True)
class TurnOutput:
    """What a turn lets out. The node hears `to_self` by itself, in its next turn."""

    packets: list[Packet] = field(default_factory=list)
    to_self: list[Message] = field(default_factory=list)
    replies: list[VirtualReply] = field(default_factory=list)
    stale: bool = False
    crashed: bool = False
    """The turn was cut short by a crash: only what leaves early has left."""
