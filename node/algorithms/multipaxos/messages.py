"""The messages between the replicas of Multi-Paxos that `node/replication/messages.py` does not have."""

from dataclasses import dataclass

from node.contract import Message
from node.log_contract import Record
from node.quorum import Ballot
from node.replication.messages import (
    EndOfDoubt,
    FetchPart,
    Forward,
    Forwarded,
    Heartbeat,
    HeartbeatAck,
    InDoubt,
    KnownDoubts,
    SnapshotOffer,
    SnapshotPart,
    TakeOver,
)

# --- election ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Canvass(Message):
    """Before phase 1: asks whether the receiver would promise the sender a ballot. It changes nothing at the receiver.

    `asked` is the sender's tick, which the answer returns.
    """

    asked: int
    commit: int


@dataclass(frozen=True, slots=True)
class Support(Message):
    """Agrees to a `Canvass`: the sender has no working leader. `promised` is the highest ballot that it has promised."""

    asked: int
    promised: Ballot


@dataclass(frozen=True, slots=True)
class Behind(Message):
    """Declines a `Canvass` or a Prepare: the receiver lacks more than a promise carries, and should fetch it.

    `commit` is the sender's commit index.
    """

    commit: int


@dataclass(frozen=True, slots=True)
class LogPrepare(Message):
    """Phase 1a, once for every slot above `commit`, the sender's commit index.

    `doubts` are the doubts that the sender knows of: see `node/replication/doubt.py`.
    """

    wire_name = "Prepare"

    ballot: Ballot
    commit: int
    doubts: KnownDoubts = ()


@dataclass(frozen=True, slots=True)
class LogPromise(Message):
    """Part `part` of `parts` of phase 1b: records above the Prepare's commit. Those up to `commit` are known as chosen.

    `doubt` is the `Doubt` about the sender's disk, and `doubts` are the doubts that it knows of.
    """

    wire_name = "Promise"

    ballot: Ballot
    part: int
    parts: int
    commit: int
    records: tuple[Record, ...]
    doubt: int = 0
    doubts: KnownDoubts = ()


@dataclass(frozen=True, slots=True)
class LogRejected(Message):
    """The sender has promised a higher ballot than `ballot`."""

    wire_name = "Rejected"

    ballot: Ballot
    promised: Ballot


# --- replication ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LogAccept(Message):
    """Phase 2a. Every slot up to `commit` is chosen."""

    wire_name = "Accept"

    ballot: Ballot
    slot: int
    batch: bytes
    commit: int


@dataclass(frozen=True, slots=True)
class LogAccepted(Message):
    """Phase 2b, for all slots that the sender has accepted in one turn."""

    wire_name = "Accepted"

    ballot: Ballot
    slots: tuple[int, ...]


# --- catching up ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fetch(Message):
    """Asks for the chosen records after `commit`, the sender's commit index."""

    commit: int


@dataclass(frozen=True, slots=True)
class Chosen(Message):
    """The answer to a `Fetch`: chosen records of consecutive slots. `commit` is the sender's commit index."""

    records: tuple[Record, ...]
    commit: int


MESSAGES = (
    Canvass, Support, Behind, LogPrepare, LogPromise, LogRejected, TakeOver, LogAccept, LogAccepted, Heartbeat,
    HeartbeatAck, InDoubt, EndOfDoubt, Fetch, Chosen, SnapshotOffer, FetchPart, SnapshotPart, Forward, Forwarded,
)  # fmt: skip
