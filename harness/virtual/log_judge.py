"""What a replicated log must never do, checked after every step.

| property | meaning |
|---|---|
| agreement | in a slot, everybody applies the same batch; under one ballot, one batch is asked for in a slot |
| state | after the same slot, everybody has given the same answers, and keys have changed in the same way |
| leader | under one ballot, one life of one node leads, and it alone asks for promises |
| promise | what a node has promised never goes down |
| incarnation | no life of a node has the number of an earlier one |
| once | no write takes effect twice, nor one that was refused |
| order | what is answered is linearizable: see below |
| lock | a token of a lock is told to one owner, and tokens only rise |

Theory of operation
-------------------
Clients write each value once, and the key-value machine numbers all writes in the order of the log: their versions. That
order is a linearization if it respects real time: a call that is answered before another one begins has a version that is
not above what the other sees, and a write's is above all that was answered before it began. So a call needs only to be
compared with the highest version of its key that had been answered when it began, which makes this check exact, cheap, and
one that can be made with each answer. That an acknowledged write is there at all, with the version that was told, is a
part of it.

A call begins here when its frame first reaches a node, and ends when an answer leaves one: within the times that its client
sees, and it can take effect at no other time.
"""

from typing import Any, NamedTuple, cast

from harness.virtual.judge import Violation, VirtualJudge
from harness.virtual.node import VirtualNode
from harness.virtual.output import VirtualReply
from harness.virtual.steps import Packet, plain
from node.contract import NodeId, Request
from node.frames import CommandFrame, ReadFrame
from node.log_contract import LogAlgorithm
from node.machines.kv import KvMachine
from node.quorum import NO_BALLOT, Ballot
from node.replication.configuration import Configuration
from node.wire import unpack_unchecked

#: A node and which of its lives.
Life = tuple[NodeId, int]


class _Answered(NamedTuple):
    """The highest version of a key that anybody has been told, and by what."""

    version: int
    told: str


class _Frame(NamedTuple):
    machine: str
    commands: list[list[Any]]
    answered: dict[str, _Answered]
    """What had been answered when it began."""


class _Seen:
    """What has been looked at of one life of a node."""

    __slots__ = ("applied", "incarnation", "version")

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.applied = self.version = 0


class LogJudge(VirtualJudge):
    """Sees everything, forgets nothing. Plain data."""

    def __init__(self, algorithm: type[LogAlgorithm]) -> None:
        super().__init__()
        self._algorithm = algorithm
        self.changes: dict[int, tuple[str, bytes | None]] = {}
        """What each version has changed: a key, and to which value."""
        self.configuration = Configuration(())
        """The members after the highest slot that anybody has applied."""
        self._version_of: dict[bytes, int] = {}
        self._refused: dict[bytes, str] = {}
        self._chosen: dict[int, tuple[NodeId, bytes]] = {}
        self._chains: dict[int, tuple[NodeId, int]] = {}
        self._asked_for: dict[tuple[Ballot, int], bytes] = {}
        self._owners: dict[Ballot, Life] = {}
        self._promised: dict[NodeId, Ballot] = {}
        self._seen: dict[NodeId, _Seen] = {}
        self._answered: dict[str, _Answered] = {}
        self._frames: dict[Request, _Frame] = {}
        self._owner_of: dict[int, str] = {}  # of a token

    @property
    def leaders(self) -> int:
        """How many ballots somebody has led under, or asked promises for."""
        return len(self._owners)

    def answered_version(self, key: str) -> int:
        """The highest version of `key` that anybody has been told."""
        return self._answered[key].version if key in self._answered else 0

    def _find(self, kind: str, text: str) -> None:
        self.violations.append(Violation(kind, text))

    # --- nodes ------------------------------------------------------------------------------------------------------

    def look(self, node: VirtualNode) -> None:
        replica = node.instance
        if replica is None:
            return
        replica = cast(LogAlgorithm, replica)  # an `isinstance` of an abstract class takes too long for every step
        name = node.id
        seen = self._seen.get(name)
        if seen is None or seen.incarnation != node.incarnation:
            if seen is not None and node.incarnation < seen.incarnation:
                self._find("incarnation", f"{name} boots as life {node.incarnation}, after life {seen.incarnation}")
            seen = self._seen[name] = _Seen(node.incarnation)
        promised, before = replica.promised, self._promised.get(name, NO_BALLOT)
        if promised != before:
            if promised < before:
                self._find("promise", f"{name} had promised {plain(before)} and now says {plain(promised)}")
            self._promised[name] = promised
        if (ballot := replica.leading) is not None:
            self._owns(ballot, (name, node.incarnation), "leads")
        if replica.state.applied != seen.applied:
            self._look_at_slots(node, replica, seen)

    def look_at_applied(self, node: VirtualNode) -> None:
        replica = node.instance
        if isinstance(replica, LogAlgorithm) and replica.state.applied != self._seen[node.id].applied:
            self._look_at_slots(node, replica, self._seen[node.id])

    def forget_node(self, node: NodeId) -> None:
        self._promised.pop(node, None)

    def _owns(self, ballot: Ballot, life: Life, verb: str) -> None:
        owner = self._owners.setdefault(ballot, life)
        if owner != life:
            self._owners[ballot] = life
            self._find(
                "leader",
                f"{life[0]}, life {life[1]}, {verb} under {plain(ballot)}, and so did {owner[0]}, life {owner[1]}",
            )

    def _look_at_slots(self, node: VirtualNode, replica: LogAlgorithm, seen: _Seen) -> None:
        state = replica.state
        for slot in range(max(seen.applied + 1, node.disk.log.first), state.applied + 1):
            record = node.disk.log.get(slot)
            if record is not None:
                other, batch = self._chosen.setdefault(slot, (node.id, record.batch))
                if batch != record.batch:
                    self._find("agreement", f"in slot {slot} {other} has applied one batch and {node.id} another")
        if state.applied > max(self._chains, default=0):
            self.configuration = state.configuration
        seen.applied = state.applied
        other, chain = self._chains.setdefault(state.applied, (node.id, state.chain))
        if chain != state.chain:
            self._find("state", f"after slot {state.applied} {node.id} has given other answers than {other}")
        machine = state.machines.get("kv")
        if isinstance(machine, KvMachine) and machine.version > seen.version:
            self._look_at_changes(node.id, machine, seen)

    def _look_at_changes(self, node: NodeId, machine: KvMachine, seen: _Seen) -> None:
        for version, key, value in reversed(machine.history):
            if version <= seen.version:
                break
            before = self.changes.setdefault(version, (key, value))
            if before != (key, value):
                self._find("state", f"version {version} is {_told(*before)}, and at {node} it is {_told(key, value)}")
            if value is not None:
                if self._version_of.setdefault(value, version) != version:
                    versions = f"{self._version_of[value]} and {version}"
                    self._find("once", f"{_told(key, value)} has taken effect twice, as versions {versions}")
                if value in self._refused:
                    self._find("once", f"{_told(key, value)} was refused ({self._refused[value]}) and has taken effect")
        seen.version = machine.version

    # --- messages ---------------------------------------------------------------------------------------------------

    def see_packet(self, packet: Packet) -> None:
        proposal = self._algorithm.proposal_in(packet.message)
        if proposal is not None:
            ballot, slot, batch = proposal
            if self._asked_for.setdefault((ballot, slot), batch) != batch:
                self._asked_for[ballot, slot] = batch
                self._find("agreement", f"under {plain(ballot)} two batches are asked for in slot {slot}")
            return
        candidacy = self._algorithm.candidacy_in(packet.message)
        if candidacy is not None:
            self._owns(candidacy, (packet.sender, packet.incarnation), "asks for promises")

    # --- clients ----------------------------------------------------------------------------------------------------

    def see_frame(self, request: Request, frame: CommandFrame | ReadFrame) -> None:
        if request not in self._frames:
            self._frames[request] = _Frame(frame.machine, unpack_unchecked(frame.packed), self._answered.copy())

    def see_reply(self, node: NodeId, reply: VirtualReply) -> None:
        frame = self._frames.get(reply.request)
        if frame is None:
            super().see_reply(node, reply)
        elif reply.value is not None:
            results, errors = unpack_unchecked(reply.value)
            refused = {index: text for index, _, text in errors}
            if -1 not in refused:
                for index, (command, result) in enumerate(zip(frame.commands, results, strict=True)):
                    self._see_answer(node, frame, command, result, refused.get(index))

    def _see_answer(self, node: NodeId, frame: _Frame, command: list[Any], result: Any, refused: str | None) -> None:
        match command:
            case ["put", key, value] | ["cas", key, _, value] if refused is not None:
                self._refused[value] = refused
                if value in self._version_of:
                    self._find("once", f"{_told(key, value)} has taken effect and is refused ({refused})")
            case ["put", str(key), bytes(value)] | ["cas", str(key), _, bytes(value)]:
                self._see_version(frame, key, result, value, f"{_told(key, value)}, acknowledged by {node}", wrote=True)
            case ["get", str(key)]:
                value, version = (None, 0) if result is None else result
                self._see_version(frame, key, version, value, f"{_told(key, value)}, read at {node}", wrote=False)
            case ["try", str(lock), str(owner), _] if refused is None:
                self._see_token(frame, lock, owner, result)

    def _see_token(self, frame: _Frame, lock: str, owner: str, token: int) -> None:
        told = f"{owner} has {lock} with token {token}"
        if self._owner_of.setdefault(token, owner) != owner:
            self._find("lock", f"{told}, which {self._owner_of[token]} has had")
        before = frame.answered.get(lock)
        if before is not None and token < before.version:
            self._find("lock", f"{told}, and had asked after this had been answered: {before.told}")
        if lock not in self._answered or token > self._answered[lock].version:
            self._answered[lock] = _Answered(token, told)

    def _see_version(
        self, frame: _Frame, key: str, version: int, value: bytes | None, told: str, *, wrote: bool
    ) -> None:
        told = f"{told} as version {version}"
        if version and self.changes.get(version) != (key, value):
            there = _told(*self.changes[version]) if version in self.changes else "not there"
            self._find("order", f"{told}, which is {there}")
        before = frame.answered.get(key)
        if before is not None and (version < before.version or (wrote and version == before.version)):
            self._find("order", f"{told}, began after this had been answered: {before.told}")
        if key not in self._answered or version > self._answered[key].version:
            self._answered[key] = _Answered(version, told)


def _told(key: str, value: bytes | None) -> str:
    return f"{key}={'nothing' if value is None else plain(value)}"
