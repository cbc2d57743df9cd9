"""What can happen next to a cluster, as data: the steps that schedules are made of.

A step names what it acts on by content, never by a number, so that a schedule from which steps were removed still
means something.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import NamedTuple, TypeAlias

from node.contract import Message, NodeId, Request, Value
from node.frames import CommandFrame, ReadFrame
from node.quorum import Ballot
from node.wire import Malformed, decode_value, encode_value


class Packet(NamedTuple):
    """A message on its way. `incarnation` counts the sender's boots, as in `node.wire.Envelope`."""

    sender: NodeId
    incarnation: int
    to: NodeId
    message: Message


@dataclass(frozen=True, slots=True)
class Deliver:
    """A packet arrives, which ends it."""

    packet: Packet


@dataclass(frozen=True, slots=True)
class DropPacket:
    """A packet is lost."""

    packet: Packet


@dataclass(frozen=True, slots=True)
class DuplicatePacket:
    """There is one more copy of a packet that was sent at some time, also of one that has arrived."""

    packet: Packet


@dataclass(frozen=True, slots=True)
class Fire:
    """A timer runs out."""

    node: NodeId
    timer: str


@dataclass(frozen=True, slots=True)
class HearSelf:
    """A node takes in what it has sent to itself."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Crash:
    """A node is gone, with everything that was not on its disk."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Recover:
    """A node that was down boots from its disk."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class LoseDisk:
    """A node that is down loses its directory."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Propose:
    """A client proposes at a node."""

    node: NodeId
    request: Request
    value: Value


@dataclass(frozen=True, slots=True)
class Query:
    """A client queries a node."""

    node: NodeId
    request: Request


@dataclass(frozen=True, slots=True)
class GiveUp:
    """A client stops waiting."""

    node: NodeId
    request: Request


@dataclass(frozen=True, slots=True)
class SendFrame:
    """A client's frame of commands or questions reaches a replica of a log."""

    node: NodeId
    request: Request
    frame: CommandFrame | ReadFrame


@dataclass(frozen=True, slots=True)
class PeerLost:
    """A node sees its connection to a peer close: a hint, and it may be wrong."""

    node: NodeId
    peer: NodeId


@dataclass(frozen=True, slots=True)
class Retire:
    """A node is asked to hand over what others wait for."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class CrashInTurn:
    """The next turn in which a node sends something early ends there, in a crash, with nothing of it committed.

    `lifted` takes that back.
    """

    node: NodeId
    lifted: bool = False


_STEPS = (
    Deliver, DropPacket, DuplicatePacket, Fire, HearSelf, Crash, Recover, LoseDisk, Propose, Query, GiveUp, SendFrame,
    PeerLost, Retire, CrashInTurn,
)  # fmt: skip

Step: TypeAlias = (
    Deliver
    | DropPacket
    | DuplicatePacket
    | Fire
    | HearSelf
    | Crash
    | Recover
    | LoseDisk
    | Propose
    | Query
    | GiveUp
    | SendFrame
    | PeerLost
    | Retire
    | CrashInTurn
)

#: What schedule files call the steps whose classes have another name.
_FILE_NAMES: Mapping[type[Step], str] = {
    DropPacket: "Drop", DuplicatePacket: "Duplicate", SendFrame: "Command", CrashInTurn: "Doom",
}  # fmt: skip


def kind_name(kind: type[Step]) -> str:
    """What schedule files and reports call the steps of a kind."""
    return _FILE_NAMES.get(kind, kind.__name__)


_BY_NAME: Mapping[str, type[Step]] = {kind_name(cls): cls for cls in _STEPS}


def to_json(step: Step) -> dict[str, object]:
    """A step as plain data that a person can read and `from_json` can find again."""
    told: dict[str, object] = {"step": kind_name(type(step))}
    for field in fields(step):
        item = getattr(step, field.name)
        if isinstance(item, Packet):
            told |= {
                "from": item.sender,
                "incarnation": item.incarnation,
                "to": item.to,
                **_plain_message(item.message),
            }
        else:
            told[field.name] = plain(item)
    return told


def from_json(told: Mapping[str, object], possible: Iterable[Step]) -> Step:
    """The step that `to_json` told so: a client's call, or one among `possible`. Other keys are passed over.

    Raises:
        KeyError: there is none, so the schedule is of another algorithm, cluster or version.
    """
    if told.get("step") not in _BY_NAME:
        raise KeyError(f"no step is called {told.get('step')!r}: there are {', '.join(_BY_NAME)}")
    match told:
        case {"step": "Propose", "node": str(node), "request": str(request), "value": value}:
            return Propose(node, _request(request), encode_value(value))
        case {"step": "Query", "node": str(node), "request": str(request)}:
            return Query(node, _request(request))
    for step in possible:
        if kind_name(type(step)) == told["step"] and to_json(step).items() <= told.items():
            return step
    raise KeyError(f"{dict(told)} cannot happen here: is the schedule of this algorithm and this number of nodes?")


def plain(item: object) -> object:
    """Plain data for JSON and for people: values decoded, ballots as `2.n1`."""
    match item:
        case Ballot(round_, node):
            told: object = f"{round_}.{node}"
        case Request(client, number):
            told = f"{client}/{number}"
        case bytes():
            try:
                told = plain(decode_value(Value(item)))
            except Malformed:
                told = item.hex()
        case tuple() | list():
            told = [plain(entry) for entry in item]
        case dict():
            told = {str(plain(key)): plain(entry) for key, entry in item.items()}
        case None | bool() | int() | float() | str():
            told = item
        case _ if is_dataclass(item):
            told = {field.name: plain(getattr(item, field.name)) for field in fields(item)}
        case _:
            told = str(item)
    return told


def _request(told: str) -> Request:
    client, _, number = told.rpartition("/")
    return Request(client, int(number))


def _plain_message(message: Message) -> dict[str, object]:
    return {"message": message.type_name(), "fields": plain(message)}
