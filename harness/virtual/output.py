"""What a virtual node releases in a turn: packets, messages to itself, and replies to clients."""

from dataclasses import dataclass, field
from typing import NamedTuple, cast

from harness.virtual.steps import CrashMoment, Packet
from node.contract import Message, NodeId, Request, Value
from node.turn import Output


class VirtualReply(NamedTuple):
    """The answer to a client: a value, None for undecided, or the reason why its request was refused."""

    request: Request
    value: Value | None
    refused: str | None
    to_frame: bool = False
    """Whether it answers a frame. A reply to a frame with neither a value nor a refusal redirects the client."""
    leader: NodeId | None = None
    """The node to which a client is redirected, if it is known."""


@dataclass(slots=True)
class TurnOutput:
    """What one turn releases. The node takes in `to_self` in its next turn."""

    packets: list[Packet] = field(default_factory=list)
    to_self: list[Message] = field(default_factory=list)
    replies: list[VirtualReply] = field(default_factory=list)
    stale: bool = False
    """The turn dropped a message of an incarnation that is over."""
    crashed: CrashMoment | None = None
    """The moment at which a crash ended the turn: some of its output was not released."""


def turn_output(
    node: NodeId, incarnation: int, *outputs: Output | None, crashed: CrashMoment | None = None
) -> TurnOutput:
    """Return the outputs of a core as packets and replies, in order. None stands for no output."""
    released = TurnOutput(crashed=crashed)
    for output in outputs:
        if output is None:
            continue
        sends, answers, frame_replies = output
        if sends:
            released.packets += [Packet(node, incarnation, to, message) for to, _, message in sends]
        for _, request, value, refused in answers:
            released.replies.append(VirtualReply(request, value, refused))
        for route, replies in frame_replies.items():
            for _, payload, refused, leader in replies:
                value = None if payload is None else Value(payload)
                released.replies.append(VirtualReply(cast(Request, route), value, refused, True, leader))
    return released
