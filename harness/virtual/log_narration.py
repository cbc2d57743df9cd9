"""Describes the messages of a replicated log in English: the phrases that `harness.virtual.narration` uses for them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from harness.virtual.steps import in_words
from node.algorithms.multipaxos import messages as of
from node.algorithms.raft import messages as raft
from node.contract import Message
from node.log_contract import Record
from node.quorum import Ballot
from node.replication import messages as shared
from node.wire import Malformed, unpack_unchecked

#: What the sender does by sending the message to `to`. The sender is the grammatical subject.
LOG_SENT_PHRASES: Final[Mapping[type[Message], str]] = {
    of.Canvass: "asks {to} whether it would be supported as a leader",
    of.Support: "would support {to}",
    of.LogPrepare: "asks {to} to prepare ballot {ballot} for every slot above {commit}",
    of.LogPromise: "promises ballot {ballot} to {to}, {had}",
    of.LogRejected: "rejects ballot {ballot} of {to}, having promised {promised}",
    shared.TakeOver: "asks {to} to lead",
    of.LogAccept: "asks {to} to accept {commands} in slot {slot} under ballot {ballot}",
    of.LogAccepted: "reports to {to} that it has accepted slot {slots} under ballot {ballot}",
    shared.Heartbeat: "reports to {to} that it leads under ballot {ballot} and that all up to slot {commit} is chosen",
    shared.HeartbeatAck: "confirms to {to} that it leads under ballot {ballot}",
    of.Fetch: "asks {to} for what follows slot {commit}",
    of.Chosen: "sends {to} what is chosen: {held}",
    raft.PreVote: "asks {to} whether it would vote for it",
    raft.PreVoteGranted: "would vote for {to}",
    raft.RequestVote: "asks {to} for a vote in term {of_term}, with {last_entry}",
    raft.VoteReply: "gives {to} {its_vote} in term {of_term}",
    raft.AppendEntries: "asks {to} to append {entries} after slot {prev_slot}{committed}",
    raft.Appended: "reports to {to} that its log matches up to slot {match}",
    raft.Conflict: "answers {to} that it has {instead} in slot {prev_slot}",
    raft.StaleTerm: "answers {to} that term {of_term} is over, and that it is in term {term}",
    raft.InstallSnapshot: "offers {to} a snapshot of every slot up to {slot}",
}

#: What the receiver learns when the message arrives from `to`. The receiver is the grammatical subject.
LOG_RECEIVED_PHRASES: Final[Mapping[type[Message], str]] = {
    of.Canvass: "is asked by {to} for its support",
    of.Support: "has the support of {to}",
    of.LogPrepare: "is asked by {to} to prepare ballot {ballot}",
    of.LogPromise: "has the promise of {to} for ballot {ballot}",
    of.LogRejected: "is rejected by {to} for ballot {ballot}",
    shared.TakeOver: "is asked by {to} to lead",
    of.LogAccept: "is asked by {to} to accept {commands} in slot {slot}",
    of.LogAccepted: "has the acceptance of {to} for slot {slots}",
    shared.Heartbeat: "learns that {to} leads",
    shared.HeartbeatAck: "is confirmed by {to}",
    of.Fetch: "is asked by {to} for what follows slot {commit}",
    of.Chosen: "learns from {to} what is chosen: {held}",
    raft.PreVote: "is asked by {to} whether it would vote for it",
    raft.PreVoteGranted: "learns that {to} would vote for it",
    raft.RequestVote: "is asked by {to} for a vote in term {of_term}",
    raft.VoteReply: "has {vote} of {to} in term {of_term}",
    raft.AppendEntries: "is asked by {to} to append {entries} after slot {prev_slot}{committed}",
    raft.Appended: "learns that the log of {to} matches up to slot {match}",
    raft.Conflict: "learns that {to} has {instead} in slot {prev_slot}",
    raft.StaleTerm: "learns from {to} that term {of_term} is over",
    raft.InstallSnapshot: "is offered a snapshot of every slot up to {slot} by {to}",
}


def log_phrase_fields(message: Message) -> dict[str, object]:
    """Return what the phrases of a log's message may name in braces, besides the message's fields."""
    match message:
        case of.LogAccept(batch=batch):
            return {"commands": _describe_batch(batch)}
        case of.LogAccepted(slots=slots):
            return {"slots": " and ".join(map(str, slots))}
        case of.LogPromise(records=()):
            return {"had": "having accepted nothing there"}
        case of.LogPromise(records=records):
            return {"had": f"having accepted {_held(records)}"}
        case of.Chosen(records=records):
            return {"held": _held(records)}
    return _raft_fields(message)


def _raft_fields(message: Message) -> dict[str, object]:
    match message:
        case raft.RequestVote(ballot, last_slot, last_term):
            last = f"its last entry in slot {last_slot} of term {last_term}" if last_slot else "an empty log"
            return {"of_term": ballot.round, "last_entry": last}
        case raft.VoteReply(ballot=ballot, granted=granted):
            its_vote, vote = ("its vote", "the vote") if granted else ("no vote", "no vote")
            return {"of_term": ballot.round, "its_vote": its_vote, "vote": vote}
        case raft.AppendEntries(entries=entries, commit=commit):
            committed = f", all up to slot {commit} being committed" if commit else ""
            return {"entries": ", ".join(map(_entry, entries)) or "nothing", "committed": committed}
        case raft.Conflict(term=term):
            return {"instead": f"an entry of term {term}" if term else "no entry"}
        case raft.StaleTerm(ballot=ballot):
            return {"of_term": ballot.round}
    return {}


def _held(records: Sequence[Record]) -> str:
    return ", ".join(
        f"{_describe_batch(record.batch)} in slot {record.slot} under {in_words(Ballot(record.round, record.owner))}"
        for record in records
    )


def _entry(record: Record) -> str:
    commands = _describe_batch(record.batch)
    return f"{'an empty entry' if commands == 'nothing' else commands} in slot {record.slot} of term {record.round}"


def _describe_batch(batch: bytes) -> str:
    """Return the commands of a batch. `node/replication/state.py` defines its shape:
    `[time_ms, [[session, sequence, done, machine, packed], ...]]`."""
    try:
        frames: list[Any] = unpack_unchecked(batch)[1] if batch else []
        return "; ".join(describe_commands(packed) for *_, packed in frames) or "nothing"
    except (Malformed, TypeError, ValueError, IndexError):
        return f"{len(batch):,} bytes"


def describe_commands(packed: bytes) -> str:
    """Return the commands or questions of a frame, such as `put owner 'alice'`. If they cannot be unpacked, return their size."""
    try:
        return "; ".join(" ".join(map(in_words, command)) for command in unpack_unchecked(packed))
    except (Malformed, TypeError):
        return f"{len(packed):,} bytes"


def describe_results(payload: bytes) -> str:
    """Return what a reply to a frame says: the result of each of its commands. If it cannot be unpacked, return its size."""
    try:
        return "; ".join(map(in_words, unpack_unchecked(payload)[0]))
    except (Malformed, TypeError, IndexError):
        return f"{len(payload):,} bytes"
