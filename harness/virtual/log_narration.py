"""Describes the messages of a replicated log in English: the phrases that `harness.virtual.narration` uses for them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from harness.virtual.steps import plain
from node.algorithms.multipaxos import messages as of
from node.contract import Message
from node.log_contract import Record
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
    return {}


def _held(records: Sequence[Record]) -> str:
    return ", ".join(
        f"{_describe_batch(record.batch)} in slot {record.slot} under {record.round}.{record.owner}"
        for record in records
    )


def _describe_batch(batch: bytes) -> str:
    """Return the commands of a batch. `node/replication/state.py` defines its shape:
    `[time_ms, [[session, sequence, done, machine, packed], ...]]`."""
    try:
        frames: list[Any] = unpack_unchecked(batch)[1] if batch else []
        return "; ".join(describe_commands(packed) for *_, packed in frames) or "nothing"
    except (Malformed, TypeError, ValueError, IndexError):
        return f"{len(batch):,} bytes"


def describe_commands(packed: bytes) -> str:
    """Return the commands or questions of a frame, each in quotes. If they cannot be unpacked, return their size."""
    try:
        return "; ".join(f"'{' '.join(map(_describe_item, command))}'" for command in unpack_unchecked(packed))
    except (Malformed, TypeError):
        return f"{len(packed):,} bytes"


def _describe_item(item: object) -> str:
    match item:
        case bytes():
            return item.decode(errors="backslashreplace")
        case list():
            return ",".join(map(_describe_item, item))
    return str(plain(item))
