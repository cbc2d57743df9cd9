"""The steps of a virtual cluster, as data and as JSON. A schedule is a list of steps.

Rules
-----
1. A step names what it acts on by its content, never by a number. So a schedule from which a step is removed still applies.
2. Schedule files keep the names in `_FILE_NAMES` for good, so that old files can be read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from typing import NamedTuple, TypeAlias, cast

from harness.records.jsonable import shown
from node.contract import Message, NodeId, Request, Value
from node.frames import CommandFrame, ReadFrame
from node.quorum import Ballot
from node.wire import Malformed, decode_value, encode_value

#: The variable that `Propose` and `Query` are about: a virtual node of one variable has no other.
VARIABLE = "colour"


class Packet(NamedTuple):
    """A message on its way. `incarnation` counts the sender's boots, as in `node.wire.Envelope`."""

    sender: NodeId
    incarnation: int
    to: NodeId
    message: Message


@dataclass(frozen=True, slots=True)
class Deliver:
    """A packet arrives. One copy fewer is on its way."""

    packet: Packet


@dataclass(frozen=True, slots=True)
class DropPacket:
    """The network loses one copy of a packet."""

    packet: Packet


@dataclass(frozen=True, slots=True)
class DuplicatePacket:
    """The network makes one more copy of a packet that was sent before, whether or not it has arrived."""

    packet: Packet


@dataclass(frozen=True, slots=True)
class Fire:
    """A timer expires."""

    node: NodeId
    timer: str


@dataclass(frozen=True, slots=True)
class TakeOwnMessages:
    """A node takes in what it has sent to itself."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Crash:
    """A node stops, and loses everything that is not on its disk."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Recover:
    """A node that is down boots from its disk."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class LoseDisk:
    """A node that is down loses its directory."""

    node: NodeId


class LastCommit(StrEnum):
    """What happens to the last commit of a node that is down, and what the node can tell of it at its next boot."""

    TORN = "torn"
    """Nothing is lost. A later commit was torn, upon which nothing rests, and the node cannot tell."""
    DAMAGED = "damaged"
    """The commit is lost, and the node cannot tell whether anything rests on it."""
    PROVEN_DAMAGED = "proven damaged"
    """The commit is lost, and the node knows."""


@dataclass(frozen=True, slots=True)
class DoubtDisk:
    """The disk of a node that is down ends in a commit that does not check. Only the disk of a log can be in doubt."""

    node: NodeId
    last_commit: LastCommit


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
    """A client stops waiting for the answer to its request."""

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
    """A node sees its connection to a peer close, which hints that the peer is down. The hint may be wrong."""

    node: NodeId
    peer: NodeId


@dataclass(frozen=True, slots=True)
class Retire:
    """A node is asked to hand over its leadership."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class ElectionTimeout:
    """A replica of a log has waited in vain for too long: a voter runs for the lead, as if a quorum had agreed before; a leader
    stops leading."""

    node: NodeId


class CrashMoment(StrEnum):
    """At which moment of a turn a node crashes. A commit is one transaction, so no moment lies between two of its writes."""

    EARLY = "early"
    """After something has left early, and before the commit. It waits for a turn that sends something early."""
    COMMITTED = "committed"
    """After the commit, and before anything leaves that waits for it. The end of a doubt, which is noted after the commit, is
    lost. It waits for a turn that commits something."""
    SNAPSHOT = "snapshot"
    """The same, of a turn that writes or deletes a part of a snapshot, or shortens the log."""
    RELEASING = "releasing"
    """After the commit, when some of the messages that wait for it have left. It waits for a turn that sends two or more."""


@dataclass(frozen=True, slots=True)
class CrashInTurn:
    """The next turn of the node that has such a moment ends in a crash at that moment.

    With `lifted`, it does not: the step cancels an earlier one.
    """

    node: NodeId
    lifted: bool = False
    moment: CrashMoment = CrashMoment.EARLY


Input: TypeAlias = (
    Deliver | Fire | TakeOwnMessages | Propose | Query | GiveUp | SendFrame | PeerLost | Retire | ElectionTimeout
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Turn:
    """A node takes in several inputs in one turn, in this order. It takes in its own messages before them."""

    node: NodeId
    inputs: tuple[Input, ...]


_STEPS = (
    Deliver, DropPacket, DuplicatePacket, Fire, TakeOwnMessages, Crash, Recover, LoseDisk, DoubtDisk, Propose, Query, GiveUp,
    SendFrame, PeerLost, Retire, ElectionTimeout, CrashInTurn, Turn,
)  # fmt: skip

Step: TypeAlias = (
    Deliver
    | DropPacket
    | DuplicatePacket
    | Fire
    | TakeOwnMessages
    | Crash
    | Recover
    | LoseDisk
    | DoubtDisk
    | Propose
    | Query
    | GiveUp
    | SendFrame
    | PeerLost
    | Retire
    | ElectionTimeout
    | CrashInTurn
    | Turn
)

#: The names in schedule files of those steps whose classes are named differently.
_FILE_NAMES: Mapping[type[Step], str] = {
    DropPacket: "Drop", DuplicatePacket: "Duplicate", TakeOwnMessages: "HearSelf", SendFrame: "Command", CrashInTurn: "Doom",
}  # fmt: skip


def inputs_of(step: Step) -> tuple[Step, ...]:
    """Return the inputs of a turn, and any other step by itself."""
    return step.inputs if isinstance(step, Turn) else (step,)


def kind_name(kind: type[Step]) -> str:
    """Return the name that schedule files and reports use for a class of steps."""
    return _FILE_NAMES.get(kind, kind.__name__)


_BY_NAME: Mapping[str, type[Step]] = {kind_name(cls): cls for cls in _STEPS}


def to_json(step: Step) -> dict[str, object]:
    """Return a step as plain data that is readable and that `from_json` reads back."""
    data: dict[str, object] = {"step": kind_name(type(step))}
    if isinstance(step, Turn):
        return {**data, "node": step.node, "inputs": [to_json(each) for each in step.inputs]}
    for field in fields(step):
        item = getattr(step, field.name)
        if isinstance(item, CommandFrame | ReadFrame):
            data[field.name] = {"kind": type(item).__name__, **_of_frame(item)}
        elif isinstance(item, Packet):
            data |= {
                "from": item.sender,
                "incarnation": item.incarnation,
                "to": item.to,
                **_plain_message(item.message),
            }
        else:
            data[field.name] = plain(item)
    return data


def from_json(data: Mapping[str, object], possible: Iterable[Step]) -> Step:
    """Return the step that `to_json` wrote as `data`.

    Args:
        data: what `to_json` returned. Further keys are ignored.
        possible: the steps that can happen now. A client's call need not be among them.

    Raises:
        KeyError: no such step is possible: the schedule is of another algorithm, cluster or version.
    """
    if data.get("step") not in _BY_NAME:
        raise KeyError(f"no step is called {data.get('step')!r}: there are {', '.join(_BY_NAME)}")
    match data:
        case {"step": "Propose", "node": str(node), "request": str(request), "value": value}:
            return Propose(node, _request(request), encode_value(value))
        case {"step": "Query", "node": str(node), "request": str(request)}:
            return Query(node, _request(request))
        case {"step": "Command", "node": str(node), "request": str(request), "frame": dict(frame)}:
            return SendFrame(node, _request(request), _frame(frame))
        case {"step": "Turn", "node": str(node), "inputs": [*inputs]}:
            steps = list(possible)
            return Turn(
                node, tuple(cast(Input, from_json(each, steps)) for each in cast(list[Mapping[str, object]], inputs))
            )
    for step in possible:
        if kind_name(type(step)) == data["step"] and to_json(step).items() <= data.items():
            return step
    raise KeyError(f"{dict(data)} cannot happen here: is the schedule of this algorithm and this number of nodes?")


def plain(item: object) -> object:
    """Return an item as plain data for JSON and for readers: values decoded, ballots as `2.n1`, requests as `c1/1`."""
    match item:
        case Ballot(round_, node):
            data: object = f"{round_}.{node}"
        case Request(client, number):
            data = f"{client}/{number}"
        case bytes():
            try:
                data = plain(decode_value(Value(item)))
            except Malformed:
                data = item.hex()
        case tuple() | list():
            data = [plain(entry) for entry in item]
        case dict():
            data = {str(plain(key)): plain(entry) for key, entry in item.items()}
        case None | bool() | int() | float() | str():
            data = item
        case _ if is_dataclass(item):
            data = {field.name: plain(getattr(item, field.name)) for field in fields(item)}
        case _:
            data = str(item)
    return data


def in_words(item: object) -> str:
    """Return an item as people read it on every page: a value in quotes, a ballot as `2·n1`, a request as `c1/1`."""
    match item:
        case None:
            return "nothing"
        case Ballot(round_, node):
            return f"{round_}·{node}" if node else str(round_)
        case bytes():
            try:
                return shown(plain(decode_value(Value(item))))
            except Malformed:
                return item.hex()
        case Request() | str():
            return str(plain(item))
        case tuple() | list():
            return f"[{', '.join(map(in_words, item))}]"
    return str(plain(item))


#: The frames of clients, by the names that schedule files have for them.
_FRAMES: Mapping[str, type[CommandFrame] | type[ReadFrame]] = {"CommandFrame": CommandFrame, "ReadFrame": ReadFrame}


def _of_frame(frame: CommandFrame | ReadFrame) -> dict[str, object]:
    """Return the fields of a frame. Bytes stand in hexadecimal, so that they can be read back."""
    items = {field.name: getattr(frame, field.name) for field in fields(frame)}
    return {name: item.hex() if isinstance(item, bytes) else item for name, item in items.items()}


def _frame(data: Mapping[str, object]) -> CommandFrame | ReadFrame:
    """Return the frame that `_of_frame` described. Raises KeyError, ValueError or TypeError if there is none of these fields."""
    kind = _FRAMES[str(data["kind"])]
    items = {field.name: data[field.name] for field in fields(kind)}
    items["packed"] = bytes.fromhex(str(items["packed"]))
    return kind(**items)  # type: ignore[arg-type]


def _request(text: str) -> Request:
    client, _, number = text.rpartition("/")
    return Request(client, int(number))


def _plain_message(message: Message) -> dict[str, object]:
    return {"message": message.type_name(), "fields": plain(message)}
