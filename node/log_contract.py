"""The contract of an algorithm that decides a log of commands instead of one value. Read `node/contract.py` first.

Theory of operation
-------------------
A node has one instance of such an algorithm, which serves all variables and all machines (`node/machine.py`). Clients send
frames of packed commands and questions (`node/frames.py`). The turn is that of `node/contract.py` with two additions:

1. **Early output.** `send_early` and `reply_early` leave before the turn's commit. They are for what rests on nothing that
   this turn saves: a leader's Accept, whose ballot has been on disk since phase 1, or an answer that rests on a quorum's
   disks already.
2. **Work after the turn.** The node calls `after_turn` once all output of the turn has left. Work that no client waits for,
   such as applying chosen slots, runs there. What it asks for belongs to the next turn.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, MutableMapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from node.contract import Algorithm, BadInput, Message, Node, NodeId, Request, Stored, Value
from node.frames import CommandFrame, ReadFrame
from node.quorum import Ballot

if TYPE_CHECKING:  # a node without a log starts without it
    from node.replication.state import ReplicatedState

__all__ = [
    "Doubt",
    "Effect",
    "LeaderMessage",
    "Log",
    "LogAlgorithm",
    "LogBroken",
    "LogNode",
    "LogProgress",
    "Record",
    "RecordId",
    "StoredProgress",
]


class LogBroken(Exception):
    """A slot is chosen according to the disk, and the disk has no record of it: the node must not run on this disk."""


class Doubt(IntEnum):
    """Whether a node's disk may have lost the last commit that the node relied on.

    A checksum cannot tell a commit that a power cut has torn, before anything rested on it, from one that was damaged later
    (Alagappan et al., *Protocol-Aware Recovery for Consensus-Based Storage*, FAST 2018).
    """

    NONE = 0
    """The disk has every commit that the node relied on."""
    TORN_OR_DAMAGED = 1
    """The last commit does not check, and the node cannot tell whether anything rested on it."""
    DAMAGED = 2
    """The node relied on a commit that the disk has lost."""


class Effect(IntEnum):
    """Which effect a message can have on a replica, now or later. Explorers stop following what has none."""

    ANY = 0
    NONE_UNTIL_BOOT = 1
    """None, unless the replica boots again."""
    NONE = 2
    """None, also if the replica boots again."""
    SAME_ANSWER = 3
    """It changes nothing, and brings the same answer each time, unless the replica promises a ballot of a later round."""


class Record(NamedTuple):
    """One slot of a log: the batch that was accepted in it last, and the ballot (`round`, `owner`) of that acceptance."""

    slot: int
    round: int
    owner: NodeId
    batch: bytes


class RecordId(NamedTuple):
    """What tells two records of a log apart: the slot, and the ballot under which the record was accepted or first proposed."""

    slot: int
    ballot: Ballot


class LeaderMessage(NamedTuple):
    """What a message says that only a leader sends: judges and tools read this, never an algorithm's own messages."""

    ballot: Ballot
    """The ballot under which the sender leads."""
    records: Sequence[Record] = ()
    """What the receiver is asked to keep, in the order of the slots."""
    commit: int = 0
    """The slot up to which the sender knows every slot as chosen, as far as the message says so."""
    previous: RecordId | None = None
    """The record before `records` in the sender's log, if the message names it. See `LogAlgorithm.records_keep_ballots`."""


class StoredProgress(NamedTuple):
    """How far a log has come, as a node's disk has it."""

    commit: int
    """The highest slot up to which the node knows every slot as chosen; 0 if it knows none."""
    snapshot_slot: int
    """The slot of the latest snapshot; 0 if there is none."""


class LogProgress(NamedTuple):
    """How far a replica of a log has come."""

    commit: int
    """The slot up to which the replica knows every slot as chosen."""
    applied: int
    """The slot up to which the replica has executed every slot."""
    chain: int
    """The hash of all results up to `applied`. Judges check that it is the same on all replicas."""
    marks: Mapping[int, int]
    """The same hash after some earlier slots, by slot."""
    first_slot: int
    """The first slot that the replica's log still has."""
    snapshot_slot: int
    """The slot of the latest snapshot; 0 if there is none."""


class Log(ABC):
    """Numbered records, and one snapshot of what they led to. Durable with the turn, like `Node.disk`."""

    first: int = 1
    """Every slot below is gone: a snapshot stands for it."""

    @abstractmethod
    def put(self, record: Record) -> None:
        """Keep `record`, in the place of an earlier record of its slot."""

    @abstractmethod
    def get(self, slot: int) -> Record | None:
        """Return the record of `slot`, if there is one."""

    @abstractmethod
    def since(self, slot: int, bytes_max: int) -> list[Record]:
        """Return the records from `slot` on, in order: at least one if there is one, then as many as fit in `bytes_max`."""

    @abstractmethod
    def truncate(self, first: int) -> None:
        """Delete every record below slot `first`."""

    @abstractmethod
    def keep_up_to(self, last: int) -> None:
        """Delete every record above slot `last`."""

    @abstractmethod
    def put_part(self, slot: int, number: int, data: bytes) -> None:
        """Keep part `number`, from 0, of the snapshot that stands for all slots up to `slot`."""

    @abstractmethod
    def part(self, slot: int, number: int) -> bytes | None:
        """Return one part of the snapshot of `slot`, if it is kept."""

    @abstractmethod
    def keep_only(self, slot: int) -> None:
        """Delete every part of any snapshot other than that of `slot`."""


class LogNode(Node):
    """What a log algorithm may ask of the node that runs it, beside what every algorithm may."""

    log: Log
    """This node's durable log, under the same rule as `disk`."""
    machines: tuple[str, ...] = ()
    """The names of the machines that the log drives. Empty: the standard ones."""

    @property
    def doubt(self) -> Doubt:
        """Whether the disk may have lost its last commit, and the other nodes have not yet said what it may have held."""
        return Doubt.NONE

    @property
    def doubts(self) -> int:
        """How many times this node's disk has been found in doubt. The number outlives the loss of a commit."""
        return 0

    def end_doubt(self) -> None:
        """End the doubt, once this turn is durable: the disk has all again that the lost commit can have held."""

    @abstractmethod
    def send_early(self, to: NodeId, message: Message) -> None:
        """Send `message` to a peer. It may leave before this turn's commit, so it must not rest on that commit."""

    @abstractmethod
    def reply_early(self, request: Request, value: Value | None) -> None:
        """Answer a frame. The answer may leave before this turn's commit: what it says is on a quorum's disks already."""

    @abstractmethod
    def variable_of(self, request: Request) -> str:
        """Return the variable that a proposal or a query is about, while it waits for an answer."""

    @abstractmethod
    def redirect(self, request: Request, leader: NodeId | None) -> None:
        """Have the client of a frame ask `leader` instead, or a node of its choice if None.

        The frame may have been done or not.
        """


class LogAlgorithm(Algorithm):
    """One replica of a log that drives machines.

    Judges, simulator and tools look at a replica through the methods at the end, never at an algorithm's own attributes.
    """

    keeps_log: ClassVar[bool] = True
    may_doubt: ClassVar[bool] = False
    """Whether the algorithm asks the other nodes what a lost commit can have held. See `LogNode.doubt`."""
    clocks: ClassVar[tuple[str, ...]] = ()
    """The timers that do nothing but count time. `election_timeout` has the effect of a count that has come to its end."""
    elects_leaders: ClassVar[bool] = True
    """Whether another voter leads once the leader is lost, and any voter that the leader is asked to hand over to."""
    takes_changes_of_members: ClassVar[bool] = True
    """Whether nodes can be added and removed."""
    makes_snapshots: ClassVar[bool] = True
    """Whether a snapshot replaces the log once that has grown (`Tuning.snapshot_slots`)."""
    records_keep_ballots: ClassVar[bool] = False
    """Whether a record keeps the ballot under which it was first proposed, whichever leader sends it later, and whether a replica
    takes a record only after the one before it. Raft does (*In Search of an Understandable Consensus Algorithm*, section 5.3),
    and then two logs that share a record share all before it. Multi-Paxos proposes each record again under the new ballot."""
    node: LogNode
    state: "ReplicatedState"
    """What the applied slots have led to."""

    def __init__(self, node: LogNode) -> None:
        super().__init__(node)

    @abstractmethod
    def command(self, request: Request, frame: CommandFrame | ReadFrame) -> None:
        """Take in a client's frame of commands or of questions."""

    def peer_lost(self, peer: NodeId) -> None:
        """Take in that the connection to `peer` has closed. The hint may be wrong: it may start something, and decide nothing."""

    def commit_took(self, milliseconds: int) -> None:
        """Take in how long this node's last commit took, if it or the one before took `Tuning.slow_report_ms` or more."""

    def retire(self) -> bool:
        """Hand over the lead, because the node is to stop. The node calls this in each turn until it returns True."""
        return True

    def end_of_input(self) -> None:
        """Send what was collected for a batch: the turn has no more input."""

    def after_turn(self) -> None:
        """Do work that no client waits for: the turn's output has left."""

    # --- what judges and tools ask --------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def promised(self) -> Ballot:
        """The highest ballot that this replica has promised, as its disk has it."""

    @property
    @abstractmethod
    def leading(self) -> Ballot | None:
        """The ballot under which this replica leads; None if it does not lead."""

    @property
    @abstractmethod
    def serving(self) -> bool:
        """Whether this replica leads and may answer clients."""

    @property
    def heir(self) -> NodeId | None:
        """The node to which this replica, which leads, hands over; None if it does not."""
        return None

    def hears(self) -> tuple[NodeId, ...]:
        """Return the other voters that have answered this replica lately, if it leads."""
        return ()

    @property
    def snapshot_slot(self) -> int:
        """The slot of this replica's latest snapshot; 0 if it has none."""
        return 0

    @property
    def snapshot_record(self) -> Ballot | None:
        """The ballot of the last record that the latest snapshot stands for, if this replica keeps it with the snapshot."""
        return None

    @abstractmethod
    def progress(self) -> LogProgress:
        """Return how far this replica has come."""

    @classmethod
    @abstractmethod
    def stored_progress(cls, disk: Mapping[str, Stored]) -> StoredProgress:
        """Return how far the log has come of which a node's `disk` holds the keys and values."""

    @classmethod
    def store_state(cls, disk: MutableMapping[str, Stored], log: Log, slot: int, parts: Sequence[bytes]) -> None:
        """Store a state in a disk and a log that hold nothing, as a snapshot in the place of every slot up to `slot`.

        Args:
            disk: the keys and values of a node.
            log: the node's log.
            slot: the slot after which the state is.
            parts: the packed state, in parts (`ReplicatedState.packed`).

        Raises:
            BadInput: the log makes no snapshots.
        """
        raise BadInput(f"{cls.__name__} makes no snapshots, so no state can be stored in the place of its log")

    @classmethod
    @abstractmethod
    def leader_message(cls, message: Message) -> LeaderMessage | None:
        """Return what `message` says, if only a leader sends it; None otherwise. Its class alone decides whether it is None."""

    @classmethod
    def candidacy_in(cls, message: Message) -> Ballot | None:
        """Return the ballot for which `message` asks for a promise or a vote, or None if it asks for none."""
        return None

    @classmethod
    def request_to_lead(cls, ballot: Ballot) -> Message | None:
        """Return the message by which the leader under `ballot` asks another voter to lead; None if a leader never asks."""
        return None

    # --- what explorers ask -----------------------------------------------------------------------------------------------
    # An explorer tries every order of inputs. Time would make the states endless, so it has the replicas leave time out.

    def election_timeout(self) -> None:
        """Take in that the replica has waited in vain for too long: a voter runs for the lead, and a leader stops leading.

        A voter runs as if a quorum had agreed before. Explorers call this, in the place of the timers in `clocks`.
        """

    def forget_time(self) -> None:
        """Set back what tells only how much time has passed, or how long others take to answer, and do what was put off.

        Explorers call this after each turn. Every answer that may be late counts as late from then on.
        """

    def effect_of(self, sender: NodeId, message: Message) -> Effect:
        """Return which effect `message` of `sender` can have on this replica, now or later. `Effect.ANY` is always right."""
        return Effect.ANY
