"""The messages between the replicas of a log."""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from node.contract import Message, NodeId, Request, Value
from node.log_contract import Record
from node.quorum import Ballot


class KnownDoubt(NamedTuple):
    """One doubt about the disk of `node`: see `node/algorithms/multipaxos/doubt.py`."""

    node: NodeId
    number: int
    """Counts the doubts about this disk."""


#: The latest doubt about each disk that has had one.
KnownDoubts: TypeAlias = tuple[KnownDoubt, ...]

# --- election -------------------------------------------------------------------------------------------------------


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

    `doubts` are the doubts that the sender knows of: see `node/algorithms/multipaxos/doubt.py`.
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
    """Phase 2b, for all slots that the sender has accepted in one turn."""

    wire_name = "Accepted"

    ballot: Ballot
    slots: tuple[int, ...]


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


# --- a disk in doubt ------------------------------------------------------------------------------------------------


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


# --- catching up ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fetch(Message):
    """Asks for the chosen records after `commit`, the sender's commit index."""

    commit: int


@dataclass(frozen=True, slots=True)
class Chosen(Message):
    """The answer to a `Fetch`: chosen records of consecutive slots. `commit` is the sender's commit index."""

    records: tuple[Record, ...]
    commit: int


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


# --- variables that are set once ------------------------------------------------------------------------------------


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


MESSAGES = (
    Canvass, Support, Behind, LogPrepare, LogPromise, LogRejected, TakeOver, LogAccept, LogAccepted, Heartbeat,
    HeartbeatAck, InDoubt, EndOfDoubt, Fetch, Chosen, SnapshotOffer, FetchPart, SnapshotPart, Forward, Forwarded,
)  # fmt: skip
