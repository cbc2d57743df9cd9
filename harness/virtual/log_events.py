"""What happens in a simulated run of a log alone: calls of clients with sessions, changes of members, hand-overs. Plain data."""

from dataclasses import dataclass
from typing import Final

from harness.virtual.scheduled_events import ScheduledEvent
from node.contract import NodeId

#: Stands in an event for a node's name: the node that leads when the event happens.
LEADER: Final = "the leader"
KEYS: Final = ("k1", "k2", "k3")
LOCK: Final = "printer"


@dataclass(frozen=True, slots=True)
class ScheduledHandOver(ScheduledEvent):
    """The leader is asked to hand over."""


@dataclass(frozen=True, slots=True)
class ScheduledHint(ScheduledEvent):
    """Every other node sees its connection to `node` close."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class ClientRestart(ScheduledEvent):
    """A client loses its state. If `resumes`, it keeps its session."""

    client: str
    resumes: bool


@dataclass(frozen=True, slots=True)
class ScheduledOperation(ScheduledEvent):
    """A client's call. `kind` is put, get or cas for a key, or try for a lock. `value` is unique in the run."""

    client: str
    kind: str
    key: str
    value: bytes
    node: str | None = None
    """The node that the client takes for the leader; None: the client knows by itself."""
    owed_s: float = 0.0
    """How long the answer may take. 0: it may not come, because of a fault."""


@dataclass(frozen=True, slots=True)
class MembershipChange(ScheduledEvent):
    """A client asks for a change of members. `kind` is add, which also starts the node, or remove."""

    client: str
    kind: str
    node: NodeId
