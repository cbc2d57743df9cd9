"""The messages between the replicas of any log: confirmations, doubts, snapshots, and forwarded calls."""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from node.contract import Message, NodeId, Request, Value
from node.quorum import Ballot


class KnownDoubt(NamedTuple):
    """One doubt about the disk of `node`: see `node/replication/doubt.py`."""

    node: NodeId
    number: int
    """Counts the doubts about this disk."""


#: The latest doubt about each disk that has had one.
KnownDoubts: TypeAlias = tuple[KnownDoubt, ...]

# --- leading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TakeOver(Message):
    """The leader of `ballot` asks the receiver to lead: it may start phase 1 at once."""

    ballot: Ballot


@dataclass(frozen=True, slots=True)
class Heartbeat(Message):
    """The sender leads. The receiver answers if it has promised no ballot above `ballot`.

    `beat` is the sender's, which the answer returns. `wait_ms` is how long the sender waits for the answers of a quorum.
    """

    ballot: Ballot
    round: int
    commit: int
    beat: int = 0
    wait_ms: int = 0


@dataclass(frozen=True, slots=True)
class HeartbeatAck(Message):
    """The answer to a `Heartbeat`: the sender had promised no higher ballot when it came. `commit` is its commit index.

    `commit_ms` is how long its last commit to disk took, in milliseconds; 0 if that is not worth a report.
    """

    ballot: Ballot
    round: int
    commit: int
    beat: int = 0
    commit_ms: int = 0


# --- a disk in doubt --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InDoubt(Message):
    """To the leader: the sender's disk is in doubt. `doubts` are the doubts that the sender knows of, its own included."""

    doubts: KnownDoubts


@dataclass(frozen=True, slots=True)
class EndOfDoubt(Message):
    """The answer to an `InDoubt`: the sender was elected under `ballot` with the doubt in mind.

    A replica that knows all slots up to `slot` as chosen has all again that it can have lost.
    """

    ballot: Ballot
    slot: int


# --- snapshots --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SnapshotOffer(Message):
    """The answer to a `Fetch` of deleted records: the sender has a snapshot after `slot`, in `parts` parts."""

    slot: int
    parts: int


@dataclass(frozen=True, slots=True)
class FetchPart(Message):
    """Asks for one part of the offered snapshot."""

    slot: int
    number: int


@dataclass(frozen=True, slots=True)
class SnapshotPart(Message):
    """The answer to a `FetchPart`: the bytes of the part."""

    slot: int
    number: int
    data: bytes


# --- variables that are set once --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Forward(Message):
    """To the leader: a client of the sender proposes `value`, or queries if `value` is None."""

    request: Request
    variable: str
    value: Value | None


@dataclass(frozen=True, slots=True)
class Forwarded(Message):
    """The answer to a `Forward`: the variable's value, or the reason of the refusal."""

    request: Request
    value: Value | None
    refused: str | None
