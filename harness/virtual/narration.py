"""Describes the steps of a virtual cluster in English, one line for each step, in the article's terms.

Theory of operation
-------------------
Each message class has two phrases: what its sender does by sending it, and what its receiver learns when it arrives. The
phrases name fields of the message in braces; `{to}` is the other node. A class without phrases is described by its name and
its fields.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Final

from harness.virtual.log_narration import (
    LOG_RECEIVED_PHRASES,
    LOG_SENT_PHRASES,
    describe_commands,
    describe_results,
    log_phrase_fields,
)
from harness.virtual.output import TurnOutput, VirtualReply
from harness.virtual.steps import (
    Crash,
    CrashInTurn,
    CrashMoment,
    Deliver,
    DoubtDisk,
    DropPacket,
    DuplicatePacket,
    ElectionTimeout,
    Fire,
    GiveUp,
    LoseDisk,
    Packet,
    PeerLost,
    Propose,
    Query,
    Recover,
    Retire,
    SendFrame,
    Step,
    TakeOwnMessages,
    Turn,
    in_words,
)
from node.algorithms import failover, leader, majority, paxos
from node.contract import Message, NodeId
from node.frames import CommandFrame, ReadFrame

#: What the sender does by sending the message to `to`. The sender is the grammatical subject.
SENT_PHRASES: Final[Mapping[type[Message], str]] = {
    paxos.Prepare: "asks {to} to prepare ballot {ballot}",
    paxos.Promise: "promises ballot {ballot} to {to}, having accepted {had}",
    paxos.Accept: "asks {to} to accept {value} under ballot {ballot}",
    paxos.Accepted: "reports to {to} that it has accepted under ballot {ballot}",
    paxos.Rejected: "rejects {asked} {ballot} of {to}, having promised {promised}",
    paxos.Inquire: "asks {to} whether it has accepted anything",
    paxos.Report: "reports to {to} that it has accepted {had}",
    paxos.Decided: "reports to {to} that {value} is decided",
    majority.Vote: "reports to {to} that it votes {value}",
    majority.Heard: "confirms to {to} that it has received the vote",
    majority.VoteQuery: "asks {to} for its vote",
    majority.NotVoted: "reports to {to} that it has not voted",
    leader.ForwardedCall: "passes {call} on to leader {to}",
    leader.LeaderAnswer: "answers {to} that {value} is decided",
    failover.Alive: "reports to {to} that it is alive and holds {value}",
    **LOG_SENT_PHRASES,
}

#: What the receiver learns when the message arrives from `to`. The receiver is the grammatical subject.
RECEIVED_PHRASES: Final[Mapping[type[Message], str]] = {
    paxos.Prepare: "is asked by {to} to prepare ballot {ballot}",
    paxos.Promise: "has the promise of {to} for ballot {ballot}",
    paxos.Accept: "is asked by {to} to accept {value} under ballot {ballot}",
    paxos.Accepted: "has the acceptance of {to} for ballot {ballot}",
    paxos.Rejected: "is rejected by {to} for ballot {ballot}",
    paxos.Inquire: "is asked by {to} whether it has accepted anything",
    paxos.Report: "learns that {to} has accepted {had}",
    paxos.Decided: "learns from {to} that {value} is decided",
    majority.Vote: "learns that {to} votes {value}",
    majority.Heard: "learns that {to} has received its vote",
    majority.VoteQuery: "is asked by {to} for its vote",
    majority.NotVoted: "learns that {to} has not voted",
    leader.ForwardedCall: "has {call} from {to}",
    leader.LeaderAnswer: "has the answer of {to}",
    failover.Alive: "learns that {to} is alive and holds {value}",
    **LOG_RECEIVED_PHRASES,
}

#: What a node does in the turn in which it is to crash.
_MOMENTS: Final[Mapping[CrashMoment, str]] = {
    CrashMoment.EARLY: "sends something early",
    CrashMoment.COMMITTED: "commits",
    CrashMoment.SNAPSHOT: "commits a part of a snapshot or shortens its log",
    CrashMoment.RELEASING: "sends several messages",
}
#: When a node has crashed in a turn.
_CRASHED: Final[Mapping[CrashMoment, str]] = {
    CrashMoment.EARLY: "before its commit",
    CrashMoment.COMMITTED: "right after its commit",
    CrashMoment.SNAPSHOT: "right after its commit",
    CrashMoment.RELEASING: "before the rest is sent",
}

#: Questions. If the receiver answers one, its line names the answer alone.
_QUESTIONS: Final = (paxos.Prepare, paxos.Accept, paxos.Inquire, majority.VoteQuery)


def narrate(happened: Iterable[tuple[Step, TurnOutput]]) -> list[str]:
    """Return one line for each step. A turn in which a node takes in its own messages is added to the line before."""
    lines: list[str] = []
    for step, outcome in happened:
        if isinstance(step, TakeOwnMessages):
            if (effect := _effect(outcome)) and lines:
                lines[-1] += f"; {effect}"
        elif isinstance(step, Turn):
            taken = "; ".join(_line(each, TurnOutput()) for each in step.inputs)
            effect = _effect(outcome)
            lines.append(f"in one turn: {taken}" + (f". Then {step.node} {effect}" if effect else ""))
        else:
            lines.append(_line(step, outcome))
    return lines


def _line(step: Step, outcome: TurnOutput) -> str:
    effect = _effect(outcome, step.packet.message if isinstance(step, Deliver) else None)
    match step:
        case Deliver(packet):
            return _delivery(packet, outcome, effect)
        case DropPacket(packet) | DuplicatePacket(packet):
            verb = "loses" if isinstance(step, DropPacket) else "repeats"
            sends = f"a message from {packet.sender} to {packet.to}"
            return f"the network {verb} {sends}: {describe_message(packet.message)}"
        case Fire(node, timer):
            opening = f"{node}'s timer {timer!r} expires"
        case Crash(node):
            opening = f"{node} crashes"
        case Recover(node):
            opening = f"{node} boots again"
        case LoseDisk(node):
            opening = f"{node}'s disk is lost"
        case DoubtDisk(node, last_commit):
            opening = f"the last commit on {node}'s disk is {last_commit}"
        case Propose(node, request, value):
            opening = f"{request.client} proposes {in_words(value)} at {node}"
        case Query(node, request):
            opening = f"{request.client} queries {node}"
        case GiveUp(node, request):
            opening = f"{request.client} stops waiting for {node}"
        case SendFrame(node, request, frame):
            opening = f"{request.client} sends {node} {_describe_frame(frame)}"
        case PeerLost(node, peer):
            opening = f"{node}'s connection to {peer} closes"
        case Retire(node):
            opening = f"{node} is asked to hand over"
        case ElectionTimeout(node):
            opening = f"{node}'s election timeout ends"
        case CrashInTurn(node, lifted, moment):
            when = f"when it next {_MOMENTS[moment]}"
            opening = f"{node} is not to crash {when}" if lifted else f"{node} is to crash {when}"
        case TakeOwnMessages(node):
            opening = f"{node} takes in its own messages"
    return f"{opening}: {node} {effect}" if effect else opening


def _delivery(packet: Packet, outcome: TurnOutput, effect: str) -> str:
    to, sender, message = packet.to, packet.sender, packet.message
    if outcome.stale:
        return f"{to} drops a stale message of {sender}, from before it booted: {describe_message(message)}"
    if effect and isinstance(message, _QUESTIONS):
        return f"{to} {effect}"
    if type(message) in RECEIVED_PHRASES:
        received = RECEIVED_PHRASES[type(message)].format_map(_phrase_fields(message, sender))
    else:
        received = f"receives {describe_message(message)} from {sender}"
    return f"{to} {received}, and {effect}" if effect else f"{to} {received}"


def _effect(outcome: TurnOutput, asked: Message | None = None) -> str:
    """Return what a node does in a turn, in order. A message to several nodes is named once.

    Args:
        outcome: what came of the turn.
        asked: the message that the turn took in, if it was one.
    """
    to: dict[Message, list[NodeId]] = {}
    for packet in outcome.packets:
        to.setdefault(packet.message, []).append(packet.to)
    for message in outcome.to_self:
        to.setdefault(message, []).append("itself")
    effects = []
    for message, names in to.items():
        receivers = join_with_and(names)
        if type(message) in SENT_PHRASES:
            effects.append(SENT_PHRASES[type(message)].format_map(_phrase_fields(message, receivers, asked)))
        else:
            effects.append(f"sends {describe_message(message)} to {receivers}")
    effects.extend(map(_describe_reply, outcome.replies))
    if outcome.crashed is not None:
        effects.append(f"crashes {_CRASHED[outcome.crashed]}")
    return join_with_and(effects)


def _describe_reply(reply: VirtualReply) -> str:
    request, value, refused, to_frame, leader = reply
    if refused is not None:
        return f"refuses {request.client}: {refused}"
    if to_frame and value is None:
        return f"redirects {request.client} to {leader or 'another node'}"
    if to_frame:
        return f"answers {request.client} {describe_results(value or b'')}"
    return f"replies to {request.client} that {in_words(value)} is decided"


def _describe_frame(frame: CommandFrame | ReadFrame) -> str:
    session = f", {frame.session}/{frame.sequence}" if isinstance(frame, CommandFrame) and frame.session else ""
    return f"{frame.machine} {describe_commands(frame.packed)}{session}"


def _fields_in_words(message: Message) -> dict[str, str]:
    return {field.name: in_words(getattr(message, field.name)) for field in fields(message)}


def _phrase_fields(message: Message, to: str, asked: Message | None = None) -> dict[str, object]:
    """Return what the phrases of a message may name in braces. `asked` is the message that it answers, if that is known."""
    named = _fields_in_words(message)
    match message:
        case paxos.Promise(accepted=accepted) if accepted is not None:
            named["had"] = f"{named['value']} under {named['accepted']}"
        case paxos.Promise():
            named["had"] = "nothing"
        case paxos.Rejected():
            named["asked"] = {paxos.Prepare: "the Prepare of ballot", paxos.Accept: "the Accept under ballot"}.get(
                type(asked), "ballot"
            )
        case paxos.Report(accepted=accepted):
            named["had"] = "something" if accepted else "nothing"
        case leader.ForwardedCall(value=value):
            named["call"] = "a query" if value is None else f"the proposal {named['value']}"
    return {**named, **log_phrase_fields(message), "to": to}


def describe_message(message: Message) -> str:
    """Return a message's name and fields, such as `Vote(value 'blue')`."""
    inside = ", ".join(f"{key} {value}" for key, value in _fields_in_words(message).items())
    return f"{message.type_name()}({inside})"


def join_with_and(items: list[str]) -> str:
    """Return the items as `a, b and c`; the empty text for no items."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""
