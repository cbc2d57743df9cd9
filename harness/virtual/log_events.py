"""What happens in a simulated run of a log alone: calls of clients with sessions, changes of members, hand-overs. Plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from harness.virtual.scheduled_events import ScheduledEvent
from node.contract import NodeId
from node.wire import encode_value

#: Stands in an event for a node's name: the node that leads when the event happens.
LEADER: Final = "the leader"
KEYS: Final = ("k1", "k2", "k3")
LOCK: Final = "printer"
TASKS: Final = ("t1", "t2", "t3")
#: What is written again and again at one key. Every other value is written once in a run.
SAME_KEY: Final = "s1"
SAME: Final = encode_value("the same")
#: By what they are about: the kinds of calls besides put, get and cas.
OTHER_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "keys": ("delete", "delete", "put", "cas", "cas", "range", "range", "version", "watch"),
    "pages": ("delete", "put", "put", "page", "page", "page", "watch one", "watch one"),
    "same": ("put same", "put same", "get same", "put", "watch", "close"),
    "locks": ("try", "try", "renew", "release", "holder"),
    "queues": (
        *("acquire", "acquire", "acquire", "granted", "granted", "renew", "release", "give up"),
        *("resume", "renew any", "release any", "try shared", "try shared", "close"),
    ),
    "members": ("join", "join", "heartbeat", "leave", "view", "views", "heartbeat first", "leave first"),
    "tasks": ("join tasks", "join tasks", "heartbeat tasks", "leave tasks", "add", "add", "remove", "mine", "owners"),
}
LOCK_KINDS: Final = frozenset((*OTHER_KINDS["locks"], *OTHER_KINDS["queues"])) - {"close"}


@dataclass(frozen=True, slots=True)
class ScheduledHandOver(ScheduledEvent):
    """The leader is asked to hand over."""


@dataclass(frozen=True, slots=True)
class ScheduledSlowDisk(ScheduledEvent):
    """For `for_s` seconds each commit of a node takes `seconds`. Its output waits, and it takes in nothing meanwhile."""

    for_s: float
    node: NodeId
    seconds: float


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
    """A client's call. `kind` is put, get or cas for a key, or one of `OTHER_KINDS`. What is written is unique in the run."""

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
