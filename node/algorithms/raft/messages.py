"""The messages between the replicas of Raft that `node/replication/messages.py` does not have: figure 3.1 of Ongaro 2014.

A `ballot` is a term, and the candidate or leader whose it is: no term has two leaders. The sender's `TakeOver` is Raft's
TimeoutNow, and its `Heartbeat` an AppendEntries without entries, which asks for no match.
"""

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
    SnapshotPart,
    TakeOver,
)

# --- election ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PreVote(Message):
    """Asks whether the receiver would vote for the sender. It changes nothing at the receiver (section 9.6).

    `asked` is the sender's tick, which the answer returns. `last_slot` and `last_term` are of the sender's last entry.
    """

    asked: int
    last_slot: int
    last_term: int


@dataclass(frozen=True, slots=True)
class PreVoteGranted(Message):
    """Agrees to a `PreVote`. `term` is the sender's."""

    asked: int
    term: int


@dataclass(frozen=True, slots=True)
class RequestVote(Message):
    """Asks for a vote in the term of `ballot` (section 3.4).

    `transfer` says that the leader has asked the sender to run, so that the receiver need not stand by that leader (section
    4.2.3). `doubts` are the doubts that the sender knows of: see `node/replication/doubt.py`.
    """

    ballot: Ballot
    last_slot: int
    last_term: int
    transfer: bool = False
    doubts: KnownDoubts = ()


@dataclass(frozen=True, slots=True)
class VoteReply(Message):
    """The answer to the `RequestVote` of `ballot`. `term` is the sender's, `doubt` that about its disk."""

    ballot: Ballot
    term: int
    granted: bool
    doubt: int = 0
    doubts: KnownDoubts = ()


# --- replication ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AppendEntries(Message):
    """Asks the receiver to take `entries` into its log, after the entry of `prev_slot` (section 3.5).

    `prev` is the ballot of that entry in the sender's log, whose round is the paper's prevLogTerm.

    Every slot up to `commit` is chosen.
    """

    ballot: Ballot
    prev_slot: int
    prev: Ballot
    entries: tuple[Record, ...]
    commit: int


@dataclass(frozen=True, slots=True)
class Appended(Message):
    """The sender's log is the same as that of the leader of `ballot`, up to slot `match`."""

    ballot: Ballot
    match: int


@dataclass(frozen=True, slots=True)
class Conflict(Message):
    """Rejects the AppendEntries that followed `prev_slot`: the sender has no such entry, or one of another term.

    `term` is that of the sender's entry, and `first` the sender's first slot of that term. If the sender has no entry there,
    `term` is 0 and `first` the slot after the sender's last (section 3.5, the end).
    """

    ballot: Ballot
    prev_slot: int
    term: int
    first: int


@dataclass(frozen=True, slots=True)
class StaleTerm(Message):
    """Rejects a message of `ballot`: the sender's term is `term`, which is higher."""

    ballot: Ballot
    term: int


@dataclass(frozen=True, slots=True)
class InstallSnapshot(Message):
    """Offers the leader's snapshot of every slot up to `slot`, in `parts` parts: the receiver asks for them (chapter 5).

    `last` is the ballot of the entry of `slot`, for the consistency check of the slot after it.
    """

    ballot: Ballot
    slot: int
    parts: int
    last: Ballot


MESSAGES = (
    PreVote, PreVoteGranted, RequestVote, VoteReply, TakeOver, AppendEntries, Appended, Conflict, StaleTerm, Heartbeat,
    HeartbeatAck, InDoubt, EndOfDoubt, InstallSnapshot, FetchPart, SnapshotPart, Forward, Forwarded,
)  # fmt: skip
