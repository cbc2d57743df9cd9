"""The contract between an algorithm and the node that runs it. Read this file first.

Theory of operation
-------------------
An algorithm is one replica of **one** named variable that is set once. It has no clock, randomness, disk, network or
thread of its own: it is handed inputs, one at a time, and asks its `Node` for everything else. That is why the same
class runs unchanged in a real process, in a simulator and in an explorer of all interleavings.

The turn
--------
A node works in turns. In a turn it takes in what is waiting, hands each input to the algorithm, and gathers what the
algorithm asks for. Then, in this order:

1. every `disk` assignment of the turn is committed in one durable transaction;
2. only then do sends and replies leave.

So an algorithm cannot answer before what it answers for is on disk; it need not even think of it. A message to
oneself waits for the disk like any other, so a vote for oneself counts no earlier than anybody else's. The one exception
is asked for by name: `send_early` and `reply_early` leave before the disk is asked, and are for what rests on nothing that
this turn saves.

What an algorithm's author must expect
--------------------------------------
1. Messages may be lost, repeated, delayed and reordered. What must arrive is sent again, on a timer.
2. A crash may fall between any two turns. `start` rebuilds the replica from `disk`; all else is gone.
3. `propose` and `query` may come at any node, at any time, any number of times.
4. Hold only plain picklable data in attributes, and no sets where their order could show.

One instance for all variables
------------------------------
An algorithm that decides an order of commands rather than one value says `serves_all`: a node then has one instance of
it, which can ask which variable a request is about, and takes packed commands too. What such an algorithm needs
beyond the rest is marked "serves_all" below; the others can pass it over.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, NewType, TypeAlias

NodeId: TypeAlias = str


class BadInput(ValueError):
    """You gave what cannot be used. The message says what is wanted; nothing was changed."""


#: A proposed value, already encoded. Algorithms compare values and pass them on; they never look inside.
Value = NewType("Value", bytes)

#: What `disk` holds under a key. Tuples come back as tuples.
Stored: TypeAlias = bool | int | str | bytes | tuple["Stored", ...] | None


@dataclass(frozen=True, slots=True)
class Message:
    """What algorithms send each other. Subclass it as a frozen slotted dataclass, list it in `Algorithm.messages`.

    Fields may be int, bool, str, bytes, `Value`, a NamedTuple of those such as `Ballot`, any of these or None, or a
    `tuple[X, ...]` of these.
    """

    wire_name = ""
    """What frames, records and plans call this message. Empty: its class's name."""

    @classmethod
    def type_name(cls) -> str:
        """What frames, records and plans call this message."""
        return str(cls.__dict__.get("wire_name", cls.__name__))


class Request(NamedTuple):
    """A client's call that waits for an answer. `client` and `number` together name it, and are never used again."""

    client: str
    number: int


class Node(ABC):
    """What an algorithm may ask of the node that runs it."""

    id: NodeId
    members: tuple[NodeId, ...]
    """Every node of the cluster, this one included, in the order of the spec."""
    disk: MutableMapping[str, Stored]
    """This variable's durable keys and values. An assignment is on disk before anything of its turn leaves."""

    log: "Log"
    """serves_all: this node's durable log, under the same rule as `disk`."""
    machines: tuple[str, ...] = ()
    """serves_all: the names of the machines that the log drives."""

    @property
    def peers(self) -> tuple[NodeId, ...]:
        """Every node but this one."""
        return tuple(member for member in self.members if member != self.id)

    @abstractmethod
    def send(self, to: NodeId, message: Message) -> None:
        """Send `message` to one node, which may be this one. It may be lost."""

    def broadcast(self, message: Message) -> None:
        """Send `message` to every node, **this one included**."""
        for member in self.members:
            self.send(member, message)

    def send_early(self, to: NodeId, message: Message) -> None:
        """As `send`, but it may leave before this turn's commit: nothing that it says may rest on that commit."""
        self.send(to, message)

    @abstractmethod
    def reply(self, request: Request, value: Value | None) -> None:
        """Answer `request` with the decided value, or with None for "undecided" (an answer to queries only)."""

    def reply_early(self, request: Request, value: Value | None) -> None:
        """As `reply`, but it may leave before this turn's commit: what it says is on the disks of a quorum already."""
        self.reply(request, value)

    @abstractmethod
    def refuse(self, request: Request, reason: str) -> None:
        """Tell the client that `request` was not done and never will be."""

    def variable_of(self, request: Request) -> str:
        """serves_all: the variable that a proposal or a query is about, while it waits for an answer."""
        raise NotImplementedError

    def redirect(self, request: Request, leader: NodeId | None) -> None:
        """serves_all: have the client ask `leader` instead, or whom it likes. The request may have been done or not."""
        self.refuse(request, f"ask {leader or 'another node'}")

    @abstractmethod
    def set_timer(self, name: str, least_s: float, most_s: float) -> None:
        """Have `timeout(name)` called once, after a random time in the range. Replaces a timer of that name."""

    @abstractmethod
    def cancel_timer(self, name: str) -> None:
        """Forget the timer of that name, if there is one."""


class Algorithm(ABC):
    """One replica of one variable. See the module's opening for the rules that it may rely on."""

    messages: ClassVar[tuple[type[Message], ...]] = ()
    """Every message class that this algorithm sends."""
    serves_all: ClassVar[bool] = False
    """Whether one instance serves all variables of a node."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def start(self) -> None:  # noqa: B027 - having nothing to rebuild is a fair answer
        """Rebuild the replica from `node.disk`, which is empty at the very first boot. Called before any input."""

    @abstractmethod
    def propose(self, request: Request, value: Value) -> None:
        """Try to have `value` chosen. Reply with the value that is chosen, whichever it is, once there is one."""

    @abstractmethod
    def query(self, request: Request) -> None:
        """Reply with the chosen value, or with None if none had been chosen when the query arrived."""

    @abstractmethod
    def receive(self, sender: NodeId, message: Message) -> None:
        """Take in a message from `sender`, which may be this node."""

    def timeout(self, name: str) -> None:  # noqa: B027 - an algorithm may need no timer
        """The timer `name` has run out."""

    def forget(self, request: Request) -> None:  # noqa: B027 - an algorithm may keep nothing
        """The client of `request` has stopped waiting: whatever is kept in order to answer it can go."""

    def command(self, request: Request, frame: Message) -> None:
        """serves_all: a client's packed commands or questions, a `CommandFrame` or a `ReadFrame` of `node/frames.py`."""
        self.node.refuse(request, f"{type(self).__name__} decides values and takes no commands")

    def peer_lost(self, peer: NodeId) -> None:  # noqa: B027 - most algorithms need no hint
        """The connection to `peer` has just closed. A hint that may be wrong: it may start something, decide nothing."""

    def retire(self) -> bool:
        """This node has been told to stop: hand over what others wait for. Asked each turn until it says True."""
        return True

    def drained(self) -> None:  # noqa: B027 - only algorithms that batch need it
        """The turn's input is used up: what was gathered for a batch can go out now."""

    def released(self) -> None:  # noqa: B027 - only what takes long is worth putting off
        """serves_all: the turn's messages have left. What nobody waits for is done now; what it asks for is the next turn's."""

    def status(self) -> Mapping[str, object]:
        """What people and pictures see, such as role, ballot and vote. Values of type bytes are shown decoded."""
        return {}


class Record(NamedTuple):
    """One slot of a log: what was accepted in it last, and under which ballot."""

    slot: int
    round: int
    owner: NodeId
    batch: bytes


class Log(ABC):
    """serves_all: numbered records, and one snapshot of what they led to. Durable with the turn, like `disk`."""

    first: int = 1
    """Every slot below is gone: a snapshot stands for it."""

    @abstractmethod
    def put(self, record: Record) -> None:
        """Keep `record`, in the place of an earlier one of its slot."""

    @abstractmethod
    def get(self, slot: int) -> Record | None:
        """The record of `slot`, if there is one."""

    @abstractmethod
    def since(self, slot: int, bytes_max: int) -> list[Record]:
        """The records from `slot` on, in order: at least one if there is one, then as many as fit."""

    @abstractmethod
    def truncate(self, first: int) -> None:
        """Forget every slot below `first`."""

    @abstractmethod
    def put_part(self, slot: int, number: int, data: bytes) -> None:
        """Keep one part of the snapshot that stands for all up to `slot`."""

    @abstractmethod
    def part(self, slot: int, number: int) -> bytes | None:
        """One part of a snapshot, if it is kept."""

    @abstractmethod
    def keep_only(self, slot: int) -> None:
        """Forget every part of a snapshot other than that of `slot`."""
