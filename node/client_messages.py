"""The messages between clients and nodes, except the frames of a replicated log (`node/frames.py`)."""

from dataclasses import dataclass
from typing import Final

from node.contract import Message, Value
from node.frames import CommandFrame, ReadFrame, Replies

#: How many variables a status names at most.
STATUS_VARIABLES_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class ProposeRequest(Message):
    """A client's `propose`.

    `number` names the request among those of its client. After `timeout_ms` milliseconds the client has given up, and
    the node forgets the request.
    """

    number: int
    timeout_ms: int
    value: Value


@dataclass(frozen=True, slots=True)
class QueryRequest(Message):
    """A client's `query`. `number` and `timeout_ms` are as in `ProposeRequest`."""

    number: int
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class StatusRequest(Message):
    """Asks a node for its status. The node answers with a `StatusReply` of the same number.

    `variables` is how many variables the status may name; fewer do not fit, or exist.
    """

    number: int
    variables: int = STATUS_VARIABLES_MAX


@dataclass(frozen=True, slots=True)
class Reply(Message):
    """The answer to a `propose` or `query`.

    `value` is the decided value, or None for "undecided". `refused` is the reason why nothing was done, or None.
    """

    number: int
    value: Value | None
    refused: str | None


@dataclass(frozen=True, slots=True)
class StatusReply(Message):
    """The answer to a `StatusRequest`. `status` is a packed map: see `node/status.py`."""

    number: int
    status: bytes


#: Every message class that a client sends or receives.
CLIENT_MESSAGES: Final[tuple[type[Message], ...]] = (
    ProposeRequest, QueryRequest, StatusRequest, Reply, StatusReply, CommandFrame, ReadFrame, Replies,
)  # fmt: skip
