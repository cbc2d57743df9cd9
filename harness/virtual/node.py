"""A node without a process: the same `Algorithm` classes, with the same turn, stepped by hand.

Theory of operation
-------------------
`SimulatedNode` is what `node.runtime` and `node.variables` are to a real node, for one variable: it hands the algorithm
its input, gathers what it asks for, commits, and only then lets anything out. It has no clock: a timer that is set may
run out whenever whoever steps the node says so.

Rules
-----
1. The turn is that of `node.runtime`: first what the node sent to itself in the turn before, then the input, then
   `drained`, then the commit, then the release. A message to oneself waits for the commit like any other.
2. As in `node.variables`, the instance is made by the first input, or at boot if its disk holds anything.
3. As in `node.runtime`, a packet from an earlier life of its sender is dropped once a later life was heard.
4. A node whose disk is lost refuses to boot, as a real one does. `FaultModel` can have it otherwise.
5. What breaks the contract is `ContractBroken`, and what an algorithm raises goes through: both end a real node.
"""

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from harness.virtual.snapshots import freeze, thaw
from harness.virtual.steps import Deliver, Fire, GiveUp, HearSelf, Packet, Propose, Query, Step
from node.contract import Algorithm, BadInput, Message, Node, NodeId, Request, Stored, Value
from node.quorum import NO_BALLOT, Ballot
from node.variables import ContractBroken
from node.wire import Codec, Envelope, pack, unpack


@dataclass(frozen=True, slots=True)
class FaultModel:
    """How a simulated node may differ from a real one on a good disk. Each is a fault, or shows what a rule is for."""

    disks_sync_late: bool = False
    """A commit is synced only by the next one, so a crash loses the last: a disk that lies."""
    logs_sync_late: bool = False
    """The same, of the log alone: what the other keys say may then be ahead of it."""
    empty_disks_vote: bool = False
    """A node whose disk was lost boots as if it were new."""
    own_messages_wait: bool = False
    """What a node sends to itself travels like any other message."""


SOUND = FaultModel()


class SimulatedReply(NamedTuple):
    """What a client is told: a value, None for undecided, or why its request was refused."""

    request: Request
    value: Value | None
    refused: str | None
    to_frame: bool = False
    """It answers a frame of commands or questions: with a payload, a refusal, or neither if somebody else is to be asked."""
    leader: NodeId | None = None
    """That somebody else, if it is known."""


@dataclass(slots=True)
class TurnOutput:
    """What a turn lets out. `to_self` is here to be told of: the node hears it by itself, in its next turn."""

    packets: list[Packet] = field(default_factory=list)
    to_self: list[Message] = field(default_factory=list)
    replies: list[SimulatedReply] = field(default_factory=list)
    stale: bool = False
    crashed: bool = False
    """The turn was cut short: only what leaves early has left."""


class Facts(NamedTuple):
    """What is checked about a node."""

    decided: Value | None
    promised: Ballot | None
    accepted: Ballot | None


NO_FACTS = Facts(None, None, None)


class NodeState(NamedTuple):
    """A node between two turns, immutable and hashable. `attributes` is None while there is no instance."""

    up: bool
    incarnation: int
    attributes: Any
    disk: tuple[tuple[str, Stored], ...] | None
    synced: tuple[tuple[str, Stored], ...] | None
    timers: tuple[tuple[str, tuple[float, float]], ...]
    waiting: tuple[tuple[Request, bool], ...]
    to_self: tuple[Message, ...]
    known: tuple[tuple[NodeId, int], ...]


class SimulatedDisk(MutableMapping[str, Stored]):
    """One variable's keys and values. Keys come in order, as they do from SQLite at boot.

    Where `late`, what a commit wrote is synced only by the next commit: a disk that lies.
    """

    def __init__(self, *, late: bool = False) -> None:
        self._late = late
        self.stored: dict[str, Stored] = {}
        self.synced: dict[str, Stored] = {}
        self._committed: dict[str, Stored] = {}
        self.dirty = False

    def __getitem__(self, key: str) -> Stored:
        return self.stored[key]

    def __setitem__(self, key: str, value: Stored) -> None:
        _check_storable(value)
        self.stored[key] = value
        self.dirty = True

    def __delitem__(self, key: str) -> None:
        del self.stored[key]
        self.dirty = True

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.stored))

    def __len__(self) -> int:
        return len(self.stored)

    def commit(self) -> None:
        """End of a turn."""
        if self.dirty:
            self.synced = self._committed if self._late else dict(self.stored)
            self._committed = dict(self.stored) if self._late else self.synced
            self.dirty = False

    def crash(self) -> None:
        """Only what was synced is left, as it comes back from its encoding."""
        self.load({key: unpack(pack(value)) for key, value in self.synced.items()}, None)

    def load(self, stored: dict[str, Stored], synced: dict[str, Stored] | None) -> None:
        """Set the contents, between two turns."""
        self.stored, self.dirty = stored, False
        self._committed = dict(stored)
        self.synced = self._committed if synced is None else synced


class StatusFailed(BadInput):
    """An algorithm cannot say how it is, so nothing can be judged."""


class SimulatedNode(Node):
    """One node. Picklable; `freeze` and `thaw` take and restore its whole state."""

    def __init__(
        self,
        algorithm: type[Algorithm],
        node: NodeId,
        members: tuple[NodeId, ...],
        oddities: FaultModel = SOUND,
    ) -> None:
        self._algorithm = algorithm
        self.id = node
        self.members = members
        self._oddities = oddities
        self._disk = SimulatedDisk(late=oddities.disks_sync_late)
        self.disk = self._disk
        self.has_disk = True
        self.up = False
        self.incarnation = 0
        self._forget_all()

    def _forget_all(self) -> None:
        self.instance: Algorithm | None = None
        self.timers: dict[str, tuple[float, float]] = {}
        self.timers_set: list[str] = []
        self.waiting: dict[Request, bool] = {}
        self.to_self: list[Message] = []
        self.known: dict[NodeId, int] = {}
        self._outcome = TurnOutput()
        self.doomed = False
        """The next turn in which this node sends something early is its last."""

    # --- life -------------------------------------------------------------------------------------------------------

    @property
    def can_boot(self) -> bool:
        """False if the disk is lost: the node may have promised what it has forgotten, so it must not vote again."""
        return self.has_disk or self._oddities.empty_disks_vote

    @property
    def owes_turn(self) -> bool:
        """Whether it has something to take in, or to let out, with no input."""
        return bool(self.to_self)

    def boot(self) -> TurnOutput:
        """Start from the disk."""
        assert not self.up, f"{self.id} is up already"
        assert self.can_boot, f"{self.id} has run before and its disk is gone"
        self.has_disk = True
        self.up = True
        self.incarnation += 1
        if self._disk.stored or self._algorithm.serves_all:
            self._made()
        return self.end_turn()

    def crash(self) -> None:
        """Lose all but the disk."""
        assert self.up, f"{self.id} is down already"
        self.up = False
        self._forget_all()
        self._disk.crash()

    def lose_disk(self) -> None:
        """Lose the directory, in which the boot counter is, too."""
        assert not self.up, f"{self.id} is up: its disk is lost while it is down"
        self._disk.load({}, None)
        self.has_disk = False
        self.incarnation = 0

    # --- a turn -----------------------------------------------------------------------------------------------------

    def turn(self, step: Step) -> TurnOutput:
        """Take in an input, after what this node has sent to itself. Nothing is out before it is on disk."""
        assert self.up, f"{self.id} is down"
        to_self, self.to_self = self.to_self, []
        timers_before = len(self.timers_set)
        for message in to_self:
            self._made().receive(self.id, message)
        if not (isinstance(step, Fire) and step.timer in self.timers_set[timers_before:]):
            self._take_in(step)
        return self.end_turn()

    def _take_in(self, step: Step) -> None:
        match step:
            case Deliver(packet):
                self._receive(packet)
            case Fire(_, timer) if timer in self.timers:
                del self.timers[timer]
                self._made().timeout(timer)
            case Propose(_, request, value):
                if request not in self.waiting:
                    self.waiting[request] = True
                    self._made().propose(request, value)
            case Query(_, request):
                if request not in self.waiting:
                    self.waiting[request] = False
                    self._made().query(request)
            case GiveUp(_, request) if request in self.waiting:
                del self.waiting[request]
                self._made().forget(request)
            case HearSelf() | Fire() | GiveUp():
                pass  # what the node had sent to itself has cancelled the timer, or answered the request
            case _:
                raise AssertionError(f"{step} is not an input")

    def _receive(self, packet: Packet) -> None:
        if packet.incarnation < self.known.get(packet.sender, 0):
            self._outcome.stale = True
            return
        if packet.sender != self.id:
            self.known[packet.sender] = packet.incarnation
        self._made().receive(packet.sender, packet.message)

    def _made(self) -> Algorithm:
        if self.instance is None:
            self.instance = self._algorithm(self)
            self.instance.start()
        return self.instance

    def end_turn(self) -> TurnOutput:
        """Commit, and let out what the turn has asked for."""
        if self.instance is not None:
            self.instance.drained()
        self._disk.commit()
        outcome, self._outcome = self._outcome, TurnOutput()
        self.to_self.extend(outcome.to_self)
        return outcome

    # --- what the algorithm may ask ---------------------------------------------------------------------------------

    def send(self, to: NodeId, message: Message) -> None:
        if to not in self.members:
            raise ContractBroken(f"{message.type_name()} was sent to {to!r}, and the members are {self.members}")
        check_carried(self._algorithm, message)
        if to == self.id and not self._oddities.own_messages_wait:
            self._outcome.to_self.append(message)
        else:
            self._outcome.packets.append(Packet(self.id, self.incarnation, to, message))

    def reply(self, request: Request, value: Value | None) -> None:
        if value is None and self.waiting.get(request):
            raise ContractBroken(f"{self._algorithm.__name__} answered a proposal with None, which only a query can be")
        self._answer(SimulatedReply(request, value, None))

    def refuse(self, request: Request, reason: str) -> None:
        self._answer(SimulatedReply(request, None, reason))

    def _answer(self, reply: SimulatedReply) -> None:
        if self.waiting.pop(reply.request, None) is not None:
            self._outcome.replies.append(reply)

    def set_timer(self, name: str, least_s: float, most_s: float) -> None:
        if not 0 <= least_s <= most_s:
            raise ContractBroken(f"timer {name!r} from {least_s} to {most_s} seconds: give 0 <= least_s <= most_s")
        self.timers[name] = (least_s, most_s)
        self.timers_set.append(name)

    def cancel_timer(self, name: str) -> None:
        self.timers.pop(name, None)

    # --- snapshots --------------------------------------------------------------------------------------------------

    def freeze(self) -> NodeState:
        """The whole state."""
        disk = self._disk
        assert not disk.dirty, "a snapshot is taken between two turns"
        attributes = None
        if self.instance is not None:
            attributes = tuple((name, freeze(item)) for name, item in vars(self.instance).items() if item is not self)
        return NodeState(
            self.up,
            self.incarnation,
            attributes,
            tuple(sorted(disk.stored.items())) if self.has_disk else None,
            tuple(sorted(disk.synced.items())) if self._oddities.disks_sync_late else None,
            tuple(sorted(self.timers.items())),
            tuple(self.waiting.items()),
            tuple(self.to_self),
            tuple(sorted(self.known.items())),
        )

    def thaw(self, state: NodeState) -> None:
        """Be in that state again."""
        self._forget_all()
        self.up, self.incarnation = state.up, state.incarnation
        if state.attributes is not None:
            self.instance = self._algorithm.__new__(self._algorithm)
            self.instance.node = self
            for name, item in state.attributes:
                setattr(self.instance, name, thaw(item))
        self.has_disk = state.disk is not None
        self._disk.load(dict(state.disk or ()), None if state.synced is None else dict(state.synced))
        self.timers = dict(state.timers)
        self.waiting = dict(state.waiting)
        self.to_self = list(state.to_self)
        self.known = dict(state.known)

    def facts(self) -> Facts:
        """What the replica says about itself; of a node that is down, what it would say if it booted."""
        instance = self.instance
        if instance is None and self._disk.stored:
            other = SimulatedNode(self._algorithm, self.id, self.members)
            other._disk.load(dict(self._disk.stored), None)
            other.boot()
            instance = other.instance
        if instance is None:
            return NO_FACTS
        try:
            status = instance.status()
        except Exception as error:
            raise StatusFailed(f"the status() of {self.id}'s {self._algorithm.__name__} fails: {error!r}") from error
        decided = status.get("decided")
        return Facts(
            Value(decided) if isinstance(decided, bytes) else None,
            _ballot(status.get("ballot")),
            _ballot(status.get("accepted ballot")),
        )


def _ballot(told: object) -> Ballot | None:
    return told if isinstance(told, Ballot) and told != NO_BALLOT else None


_packed = lru_cache(maxsize=65536)(pack)


def _check_storable(value: Stored) -> None:
    """Raise BadValue for what a real disk could not keep."""
    try:
        _packed(value)
    except TypeError:  # it cannot be a key here, which is no fault of its own
        pack(value)


@lru_cache(maxsize=65536)
def check_carried(algorithm: type[Algorithm], message: Message) -> None:
    """Raise what a real node would raise for a message that its wire cannot carry."""
    if type(message) not in algorithm.messages:
        raise ContractBroken(f"{algorithm.__name__} sent {message.type_name()}, which its `messages` does not list")
    codec = _codec(algorithm)
    envelope = Envelope("n1", 1, "v", message)
    if codec.decode(codec.encode(envelope)) != envelope:
        raise ContractBroken(f"{message} does not come back from the wire as it was")


@lru_cache(maxsize=64)
def _codec(algorithm: type[Algorithm]) -> Codec:
    return Codec("simulated", algorithm.messages)
