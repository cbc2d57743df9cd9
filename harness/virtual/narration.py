"""Steps in words, a line a step, as the article would tell them.

Each message class has two phrases: what its sender does by sending it, and what its receiver has got when it arrives.
A class that is not listed is told by its name and fields.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from harness.virtual.log_narration import LOG_HEARS, LOG_SAYS, log_words
from harness.virtual.log_narration import asked as commands_in
from harness.virtual.output import TurnOutput, VirtualReply
from harness.virtual.steps import (
    Crash,
    CrashInTurn,
    Deliver,
    DropPacket,
    DuplicatePacket,
    Fire,
    GiveUp,
    HearSelf,
    LoseDisk,
    Packet,
    PeerLost,
    Propose,
    Query,
    Recover,
    Retire,
    SendFrame,
    Step,
    plain,
)
from node.algorithms import failover, leader, majority, paxos
from node.contract import Message, NodeId
from node.frames import CommandFrame, ReadFrame

#: What is told to `to`; the sender is the grammatical subject.
SAYS: Final[Mapping[type[Message], str]] = {
    paxos.Prepare: "asks {to} to prepare ballot {ballot}",
    paxos.Promise: "promises ballot {ballot} to {to}, having accepted {had}",
    paxos.Accept: "asks {to} to accept {value} under ballot {ballot}",
    paxos.Accepted: "tells {to} that it has accepted under ballot {ballot}",
    paxos.Rejected: "rejects ballot {ballot} of {to}, having promised {promised}",
    paxos.Inquire: "asks {to} whether it has accepted anything",
    paxos.Report: "tells {to} that it has accepted {had}",
    paxos.Decided: "tells {to} that {value} is decided",
    majority.Vote: "tells {to} that it votes {value}",
    majority.Heard: "confirms to {to} that it has heard the vote",
    majority.VoteQuery: "asks {to} for its vote",
    majority.NotVoted: "tells {to} that it has not voted",
    leader.ForwardedCall: "passes {call} on to leader {to}",
    leader.LeaderAnswer: "answers {to} that {value} is decided",
    failover.Alive: "says to {to} that it is alive and holds {value}",
    **LOG_SAYS,
}

#: What has reached the receiver, from `to`.
HEARS: Final[Mapping[type[Message], str]] = {
    paxos.Prepare: "is asked by {to} to prepare ballot {ballot}",
    paxos.Promise: "has the promise of {to} for ballot {ballot}",
    paxos.Accept: "is asked by {to} to accept {value} under ballot {ballot}",
    paxos.Accepted: "has the acceptance of {to} for ballot {ballot}",
    paxos.Rejected: "is rejected by {to} for ballot {ballot}",
    paxos.Inquire: "is asked by {to} whether it has accepted anything",
    paxos.Report: "hears that {to} has accepted {had}",
    paxos.Decided: "learns from {to} that {value} is decided",
    majority.Vote: "hears that {to} votes {value}",
    majority.Heard: "knows that {to} has heard its vote",
    majority.VoteQuery: "is asked by {to} for its vote",
    majority.NotVoted: "hears that {to} has not voted",
    leader.ForwardedCall: "has {call} from {to}",
    leader.LeaderAnswer: "has the answer of {to}",
    failover.Alive: "hears that {to} is alive and holds {value}",
    **LOG_HEARS,
}

#: Questions: where they have an effect, the answer says it all.
_QUESTIONS: Final = (paxos.Prepare, paxos.Accept, paxos.Inquire, majority.VoteQuery)


def tell(happened: Iterable[tuple[Step, TurnOutput]]) -> list[str]:
    """A line a step; what a node hears from itself is told in the line of what it comes from."""
    lines: list[str] = []
    for step, outcome in happened:
        if isinstance(step, HearSelf):
            if (effect := _effect(outcome)) and lines:
                lines[-1] += f"; {effect}"
        else:
            lines.append(_line(step, outcome))
    return lines


def _line(step: Step, outcome: TurnOutput) -> str:
    effect = _effect(outcome)
    match step:
        case Deliver(packet):
            return _delivery(packet, outcome, effect)
        case DropPacket(packet):
            return f"what {packet.sender} sent to {packet.to} is lost: {name(packet.message)}"
        case DuplicatePacket(packet):
            return f"what {packet.sender} sent to {packet.to} is repeated: {name(packet.message)}"
        case Fire(node, timer):
            opening = f"{node}'s timer {timer!r} runs out"
        case Crash(node):
            opening = f"{node} crashes"
        case Recover(node):
            opening = f"{node} is back"
        case LoseDisk(node):
            opening = f"{node}'s disk is lost"
        case Propose(node, request, value):
            opening = f"{request.client} proposes {plain(value)} at {node}"
        case Query(node, request):
            opening = f"{request.client} queries {node}"
        case GiveUp(node, request):
            opening = f"{request.client} stops waiting for {node}"
        case SendFrame(node, request, frame):
            opening = f"{request.client} sends {node} {asked(frame)}"
        case PeerLost(node, peer):
            opening = f"{node}'s connection to {peer} closes"
        case Retire(node):
            opening = f"{node} is asked to hand over"
        case CrashInTurn(node, lifted):
            opening = f"{node} is safe again" if lifted else f"{node} is to crash when it next sends something early"
        case HearSelf(node):
            opening = f"{node} hears itself"
    return f"{opening}: {node} {effect}" if effect else opening


def _delivery(packet: Packet, outcome: TurnOutput, effect: str) -> str:
    to, sender, message = packet.to, packet.sender, packet.message
    if outcome.stale:
        return f"{to} drops what an earlier life of {sender} has sent: {name(message)}"
    if effect and isinstance(message, _QUESTIONS):
        return f"{to} {effect}"
    heard = HEARS[type(message)].format_map(_words(message, sender)) if type(message) in HEARS else None
    heard = heard or f"hears {name(message)} from {sender}"
    return f"{to} {heard}, and {effect}" if effect else f"{to} {heard}"


def _effect(outcome: TurnOutput) -> str:
    """What a node does, in the order in which it does it; what goes to several nodes is told once."""
    to: dict[Message, list[NodeId]] = {}
    for packet in outcome.packets:
        to.setdefault(packet.message, []).append(packet.to)
    for message in outcome.to_self:
        to.setdefault(message, []).append("itself")
    effects = []
    for message, names in to.items():
        said = SAYS[type(message)].format_map(_words(message, listed(names))) if type(message) in SAYS else None
        effects.append(said or f"sends {name(message)} to {listed(names)}")
    effects.extend(map(_told, outcome.replies))
    if outcome.crashed:
        effects.append("crashes before its commit")
    return listed(effects)


def _told(reply: VirtualReply) -> str:
    """What a node says to a client."""
    request, value, refused, to_frame, leader = reply
    if refused is not None:
        return f"refuses {request.client}: {refused}"
    if to_frame and value is None:
        return f"sends {request.client} to {leader or 'somebody else'}"
    if to_frame:
        return f"answers {request.client} {plain(value)}"
    return f"tells {request.client} that {'nothing' if value is None else plain(value)} is decided"


def asked(frame: CommandFrame | ReadFrame) -> str:
    """What a client asks of a log."""
    session = f", {frame.session}/{frame.sequence}" if isinstance(frame, CommandFrame) and frame.session else ""
    return f"{frame.machine} {commands_in(frame.packed)}{session}"


def _words(message: Message, to: str) -> dict[str, object]:
    """What a phrase may name."""
    fields = plain(message)
    assert isinstance(fields, dict)
    words = {key: "nothing" if item is None else item for key, item in fields.items()}
    match message:
        case paxos.Promise(accepted=accepted) if accepted is not None:
            words["had"] = f"{words['value']} under {words['accepted']}"
        case paxos.Promise():
            words["had"] = "nothing"
        case paxos.Report(accepted=accepted):
            words["had"] = "something" if accepted else "nothing"
        case leader.ForwardedCall(value=value):
            words["call"] = "a query" if value is None else f"the proposal {words['value']}"
    return {**words, **log_words(message), "to": to}


def name(message: Message) -> str:
    """A message by its name and fields."""
    fields = plain(message)
    assert isinstance(fields, dict)
    inside = ", ".join(f"{key} {value if value is not None else 'nothing'}" for key, value in fields.items())
    return f"{message.type_name()}({inside})"


def listed(items: list[str]) -> str:
    """`a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""
