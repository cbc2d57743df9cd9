"""The contract between an algorithm and the node that runs it. Read this file first.

Theory of operation
-------------------
An algorithm is one replica of **one** named variable that is set once. It has no clock, randomness, disk, network or thread
of its own. The node hands it inputs, one at a time, and the algorithm asks its `Node` for everything else. That is why the
same class runs unchanged in a real process, in a simulator and in an explorer of all interleavings.

The turn
--------
A node works in turns. In a turn it hands every waiting input to the algorithm and collects what the algorithm asks for.
Then, in this order:

1. the node commits every `disk` assignment of the turn in one durable transaction;
2. only then do the turn's sends and replies leave.

So an algorithm cannot answer before its answer is on disk, and its author need not think about it. A message that a node
sends to itself waits for the commit like any other, so a vote for oneself counts no earlier than a vote from a peer.

What an algorithm's author must expect
--------------------------------------
1. Messages may be lost, repeated, delayed and reordered. What must arrive is sent again, on a timer.
2. A crash may happen between any two turns. `start` rebuilds the replica from `disk`; everything else is lost.
3. Clients may call `propose` and `query` at any node, at any time, any number of times.
4. Attributes hold plain picklable data only, and no sets whose order could show.

An algorithm that decides a whole log of commands needs more: `node/log_contract.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, NamedTuple, NewType, TypeAlias

from node.quorum import Ballot, NodeId, majority
from node.tuning import SHIPPED, Tuning
from node.wording import BadInput

__all__ = [
    "Algorithm",
    "BadInput",
    "Ballot",
    "ContractBroken",
    "Message",
    "Node",
    "NodeId",
    "Request",
    "Status",
    "Stored",
    "Value",
    "check_stored",
]


class ContractBroken(Exception):
    """The algorithm did what this contract forbids. It is a mistake of the algorithm's author, so the node stops."""

    place: str | None = None
    """Where in the author's code the mistake is, if no traceback leads there."""


#: A proposed value, already encoded. Algorithms compare values and pass them on; they never look inside.
Value = NewType("Value", bytes)

#: What `disk` holds under a key. Tuples come back as tuples.
Stored: TypeAlias = bool | int | str | bytes | tuple["Stored", ...] | None


def check_stored(key: object, value: object) -> None:
    """Raise ContractBroken if `Node.disk` does not store `value` under `key`.

    A list or a dictionary could be changed later without being assigned, and the change would not be on disk.
    """
    if not isinstance(key, str):
        raise ContractBroken(f"a key of a disk is a str, but not the {type(key).__name__} {key!r}")
    match value:
        case None | bool() | int() | str() | bytes():
            return
        case tuple():
            for entry in value:
                check_stored(key, entry)
        case _:
            raise ContractBroken(
                f"a disk stores int, bool, str, bytes, None, and tuples of these, but not a {type(value).__name__}, "
                f"as under {key!r}"
            )


@dataclass(frozen=True, slots=True)
class Message:
    """What replicas send each other. Subclass it as a frozen slotted dataclass and list it in `Algorithm.messages`.

    Fields may be int, bool, str, bytes, `Value`, a NamedTuple of those such as `Ballot`, any of these or None, or a
    `tuple[X, ...]` of these.
    """

    wire_name = ""
    """What frames, records and plans call this message. Empty: the name of its class."""
    asks_acceptance = True
    """Whether a message with one ballot, which its sender owns, and one value asks its receiver to accept the value under the
    ballot (phase 2a of Paxos). Judges demand that all messages of a class that do so have the same value. Say False in a class
    whose value is something else, such as a hint."""

    @classmethod
    def type_name(cls) -> str:
        """Return what frames, records and plans call this message."""
        return str(cls.__dict__.get("wire_name", cls.__name__))


class Request(NamedTuple):
    """The identity of a client's call that waits for an answer. No client uses a pair again."""

    client: str
    number: int


class Status(NamedTuple):
    """How a replica stands. Judges, tools and pictures rely on these fields; `details` is for people alone."""

    role: str = ""
    """What the replica does now, in one word."""
    ballot: Ballot | None = None
    """The highest ballot that the replica has promised. Judges check that it never goes down."""
    accepted_ballot: Ballot | None = None
    """The ballot under which the replica last accepted a value, if it reports ballots. Judges check that it never goes down."""
    decided: Value | None = None
    """The decided value, if the replica knows it. Judges check that it never changes."""
    leads: bool = False
    """Whether the replica acts as the leader."""
    waiting: int = 0
    """How many requests of clients wait for an answer here."""
    details: Mapping[str, object] = MappingProxyType({})
    """Whatever else helps a person, by name. Bytes are shown decoded."""


class Node(ABC):
    """What an algorithm may ask of the node that runs it."""

    id: NodeId
    members: tuple[NodeId, ...]
    """Every node of the cluster, this one included, in the order of the spec."""
    disk: MutableMapping[str, Stored]
    """The durable keys and values of this variable. An assignment is on disk before any output of its turn leaves."""
    tuning: Tuning = SHIPPED
    """The settings of the cluster: sizes, counts and times, which a spec or a run may set otherwise. Few are for one variable."""

    @property
    def peers(self) -> tuple[NodeId, ...]:
        """Every node but this one."""
        return tuple(member for member in self.members if member != self.id)

    @abstractmethod
    def send(self, to: NodeId, message: Message) -> None:
        """Send `message` to one node, which may be this one. The network may lose it."""

    def broadcast(self, message: Message) -> None:
        """Send `message` to every node, **this one included**."""
        for member in self.members:
            self.send(member, message)

    @abstractmethod
    def reply(self, request: Request, value: Value | None) -> None:
        """Answer `request` with the decided value, or with None for "undecided", which only a query may be answered with.

        A second answer to the same request is dropped, and so is one to a client that no longer waits.
        """

    @abstractmethod
    def refuse(self, request: Request, reason: str) -> None:
        """Answer that `request` was not done and never will be, for the `reason` given."""

    @abstractmethod
    def set_timer(self, name: str, least_s: float, most_s: float) -> None:
        """Have the node call `timeout(name)` once, after a random time between the two, in seconds.

        It replaces a timer of that name.
        """

    @abstractmethod
    def cancel_timer(self, name: str) -> None:
        """Cancel the timer of that name, if it is set."""

    def sometimes(self, mark: str) -> None:  # noqa: B027 - a node may keep no marks
        """Note that this line was reached. Tests say at their end which marks of an algorithm no run has reached.

        `mark` is a text for people that stands in the call, such as "a leader steps down with writes in flight". It changes
        nothing.
        """


class Algorithm(ABC):
    """One replica of one variable. The opening of this module states the rules that a subclass may rely on."""

    messages: ClassVar[tuple[type[Message], ...]] = ()
    """Every message class that this algorithm sends."""
    keeps_log: ClassVar[bool] = False
    """Whether one instance decides a log for all variables of a node. Subclasses of `LogAlgorithm` do."""

    ballot_fields: ClassVar[tuple[str, ...]] = ()
    """The names of message fields whose integers count as ballots, such as ("term",), so that an explorer can bound them. A field
    of type `Ballot` counts without being named."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def start(self) -> None:  # noqa: B027 - an algorithm may have nothing to rebuild
        """Rebuild the replica from `node.disk`, which is empty at the very first boot. The node calls it before any input."""

    @abstractmethod
    def propose(self, request: Request, value: Value) -> None:
        """Try to have `value` chosen. Reply with the chosen value, whichever it is, once there is one."""

    @abstractmethod
    def query(self, request: Request) -> None:
        """Reply with the chosen value, or with None if none had been chosen when the query arrived."""

    @abstractmethod
    def receive(self, sender: NodeId, message: Message) -> None:
        """Take in a message from `sender`, which may be this node."""

    def timeout(self, name: str) -> None:  # noqa: B027 - an algorithm may need no timer
        """Take in that the timer `name` has expired."""

    def forget(self, request: Request) -> None:  # noqa: B027 - an algorithm may keep nothing for a request
        """Drop whatever is kept in order to answer `request`: its client has stopped waiting."""

    def status(self) -> Status:
        """Return how the replica stands, for judges, tools and pictures."""
        return Status()

    def awaits(self) -> Sequence[str]:
        """Return the names of the timers that must be set now, because the replica waits for something that may be lost.

        The simulator and the explorer check after every turn that these are set. None by default: then nothing is checked.
        """
        return ()

    @classmethod
    def copies_owed(cls, members: int) -> int:
        """Return on how many disks an acknowledged value must be, in a cluster of `members` nodes: a majority by default."""
        return majority(members)

    @classmethod
    def interchangeable(cls, members: Sequence[NodeId], called: Sequence[NodeId]) -> tuple[NodeId, ...]:
        """Return the nodes that the algorithm treats alike, so that an explorer may take their permutations for one state.

        Args:
            members: every node, in the order of the spec.
            called: the nodes at which clients propose or query.

        Returns:
            Nodes that the algorithm compares for equality only, never for order or place. None by default.
        """
        return ()
