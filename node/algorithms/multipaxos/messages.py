"""What replicas of the log say to each other."""

from dataclasses import dataclass

from node.contract import Message, Request, Value
from node.log_contract import Record
from node.quorum import Ballot

# --- election -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Canvass(Message):
    """Before phase 1: would you promise me a ballot? Promises nothing and changes nothing."""

    attempt: int
    commit: int


@dataclass(frozen=True, slots=True)
class Support(Message):
    """Yes: no leader has been heard of for a while, and the sender could lead. What the supporter has promised so far."""

    attempt: int
    promised: Ballot


@dataclass(frozen=True, slots=True)
class Behind(Message):
    """No: the receiver has missed more than fits in a promise. It should catch up, for instance from here."""

    commit: int


@dataclass(frozen=True, slots=True)
class LogPrepare(Message):
    """Phase 1a, once for every slot above `commit`, below which the sender knows all."""

    wire_name = "Prepare"

    ballot: Ballot
    commit: int


@dataclass(frozen=True, slots=True)
class LogPromise(Message):
    """Phase 1b, in `parts` parts: every record above the Prepare's commit; those up to `commit` are known as chosen."""

    wire_name = "Promise"

    ballot: Ballot
    part: int
    parts: int
    commit: int
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class LogRejected(Message):
    """The sender has promised a higher ballot than `ballot`."""

    wire_name = "Rejected"

    ballot: Ballot
    promised: Ballot


@dataclass(frozen=True, slots=True)
class TakeOver(Message):
    """The leader of `ballot` asks the receiver to lead: it may start phase 1 at once."""

    ballot: Ballot


# --- replication ----------------------------------------------------------------------------------------------------


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
    """Phase 2b, for all slots of a turn."""

    wire_name = "Accepted"

    ballot: Ballot
    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Heartbeat(Message):
    """The sender leads. An answer says that the receiver had not promised more when `round` came."""

    ballot: Ballot
    round: int
    commit: int


@dataclass(frozen=True, slots=True)
class HeartbeatAck(Message):
    """The answer to a `Heartbeat`."""

    ballot: Ballot
    round: int
    commit: int


# --- catching up ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fetch(Message):
    """The sender knows what is chosen up to `commit`: what follows?"""

    commit: int


@dataclass(frozen=True, slots=True)
class Chosen(Message):
    """What is chosen in some slots that follow each other. The sender knows it up to `commit`."""

    records: tuple[Record, ...]
    commit: int


@dataclass(frozen=True, slots=True)
class SnapshotOffer(Message):
    """The log that was asked for is gone; a snapshot of all up to `slot` stands for it."""

    slot: int
    parts: int


@dataclass(frozen=True, slots=True)
class FetchPart(Message):
    """One part of the snapshot that was offered, please."""

    slot: int
    number: int


@dataclass(frozen=True, slots=True)
class SnapshotPart(Message):
    """The answer to a `FetchPart`."""

    slot: int
    number: int
    data: bytes


# --- variables that are set once ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Forward(Message):
    """To the leader: a client proposes `value` at the sender, or queries, if it is None."""

    request: Request
    variable: str
    value: Value | None


@dataclass(frozen=True, slots=True)
class Forwarded(Message):
    """The answer to a `Forward`."""

    request: Request
    value: Value | None
    refused: str | None


MESSAGES = (
    Canvass, Support, Behind, LogPrepare, LogPromise, LogRejected, TakeOver, LogAccept, LogAccepted, Heartbeat,
    HeartbeatAck, Fetch, Chosen, SnapshotOffer, FetchPart, SnapshotPart, Forward, Forwarded,
)  # fmt: skip
