"""What clients of a replicated log send and get: many commands to a frame, many answers to a frame.

A frame of commands is the unit of retrying: it is sent again unchanged, under the same session and sequence number, and
takes effect once. `packed` is a list of commands, which nobody opens until they are applied.
"""

from dataclasses import dataclass
from typing import NamedTuple

from node.contract import Message, NodeId


@dataclass(frozen=True, slots=True)
class CommandFrame(Message):
    """Commands for one machine, done in this order in one place of the log.

    `number` finds the answer's way back. `session` and `sequence` name the frame in the log, `done` says that every
    frame of the session below it has been answered. Session 0 is nobody's: such a frame may take effect twice.
    """

    number: int
    session: int
    sequence: int
    done: int
    machine: str
    packed: bytes


@dataclass(frozen=True, slots=True)
class ReadFrame(Message):
    """Questions to one machine, answered from a state not older than the question.

    A frame of one question may wait up to `wait_ms` for something to tell.
    """

    number: int
    wait_ms: int
    machine: str
    packed: bytes


class FrameReply(NamedTuple):
    """One of: `payload` (see `node/replication/state.py`); `refused`, nothing was done; or neither: ask `leader`, if known."""

    number: int
    payload: bytes | None
    refused: str | None
    leader: NodeId | None


@dataclass(frozen=True, slots=True)
class Replies(Message):
    """All that a turn has to tell one connection."""

    replies: tuple[FrameReply, ...]
