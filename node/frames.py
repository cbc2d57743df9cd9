"""The messages between the clients of a replicated log and a node. A frame holds many commands or many answers.

A frame of commands is the unit of retrying. The client sends it again unchanged, under the same session and sequence
number, and it takes effect once. `packed` is a packed list of commands; no node unpacks it before the slot is applied.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from node.contract import Message, NodeId

#: The machine of a `ReadFrame` by which a client asks whether its watches still wait at the leader. Its one question is the
#: list of the numbers of their frames. The answer is `[[number, …], [number, …], {machine: version}, ms]`: those to ask
#: again, since they are unknown here; those that are not looked at yet; the versions up to which all others have seen every
#: change; and how long the client waits at least before it asks so again, in milliseconds. The leader drops the earlier
#: watches of the client that are not in the list, and ends a watch for which its client has not asked so for 30 s.
WATCHES: Final = "watches"


@dataclass(frozen=True, slots=True)
class CommandFrame(Message):
    """Commands for one machine, which are applied in this order in one slot of the log.

    `number` identifies the request on the client's connection: the answer carries the same number. `session` and
    `sequence` name the frame in the log. `done` says that the client has the answers to all frames of the session with
    a lower sequence number. Session 0 stands for no session: such a frame may take effect twice.
    """

    number: int
    session: int
    sequence: int
    done: int
    machine: str
    packed: bytes


@dataclass(frozen=True, slots=True)
class ReadFrame(Message):
    """Questions to one machine. The node answers from a state that is not older than the arrival of the frame.

    `packed` is a packed list of questions. A frame of one question, a watch, may wait up to `wait_ms` milliseconds
    until there is something new to answer. `seen` is the version of the machine up to which a watch that is asked again has
    seen every change; 0 if that is not known.
    """

    number: int
    wait_ms: int
    machine: str
    packed: bytes
    seen: int = 0


class FrameReply(NamedTuple):
    """The answer to the frame `number`. It is one of three kinds.

    - `payload` is set: the results of the commands or questions (see `node/replication/state.py`).
    - `refused` is set: the reason why nothing was done.
    - Neither is set: a redirect. The client asks `leader`, or any other node if `leader` is None.
    """

    number: int
    payload: bytes | None
    refused: str | None
    leader: NodeId | None


@dataclass(frozen=True, slots=True)
class Replies(Message):
    """All answers of one turn for one connection."""

    replies: tuple[FrameReply, ...]
