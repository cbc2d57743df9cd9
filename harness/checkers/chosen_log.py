"""What the disks of a replicated log amount to: the log that was chosen, put together from all of them, and applied anew.

Rules
-----
1. A batch is known as chosen in a slot if a disk has it there and its node knows that slot as chosen: by what the disk
   says, or by what the node said of itself at the end. Two such batches in one slot are a contradiction.
2. Where no disk's owner knows, a batch counts that stands on a quorum's disks: so it is after a run whose end came at once.
3. The log is applied from its first slot, on a state of its own, or if no disk has that any more, from the oldest snapshot.
   What changed is taken down slot by slot, so that nothing is forgotten meanwhile.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from harness.records.disks import OfflineNode
from node.algorithms.multipaxos import MultiPaxos
from node.contract import Algorithm, NodeId
from node.machines.kv import KvMachine
from node.quorum import majority
from node.replication.state import ReplicatedState
from node.storage.disk import Contents
from node.storage.log_store import MemoryLog
from node.wire import Malformed, encode_value, unpack_unchecked

_NEVER: Final = 0

#: A machine's name and a command to it, as far as it says what is to be: see `tokens`.
Token = tuple[str, str, bytes]


def keeps_log(algorithm: type[Algorithm]) -> bool:
    """Whether the disks of this algorithm can be read as a log here."""
    return issubclass(algorithm, MultiPaxos)


@dataclass(frozen=True, slots=True)
class VersionedWrite:
    """A key got a value, or lost it (None), at a slot; `version` is that change's number."""

    slot: int
    version: int
    key: str
    value: bytes | None


@dataclass
class Applied:
    """The chosen log, applied anew from slot `first` to slot `last`."""

    first: int
    last: int = 0
    version: int = 0
    """Of the last change before `first`."""
    hashes: dict[int, int] = field(default_factory=dict)
    changes: list[VersionedWrite] = field(default_factory=list)
    frames: Counter[tuple[int, int]] = field(default_factory=Counter)
    """How often each frame of a session stands in the log."""


class ChosenLog:
    """One run's disks, read as a log."""

    def __init__(
        self,
        algorithm: type[Algorithm],
        members: Sequence[NodeId],
        disks: Mapping[NodeId, Contents],
        replicas: Mapping[NodeId, Mapping[str, Any]],
    ) -> None:
        """`replicas` is what each node said of itself at the end, as far as anybody asked."""
        self.members, self.disks = tuple(members), disks
        self._algorithm = algorithm
        self._known = {
            node: max(_number(contents, "commit"), self.snapshot_slot(node), replicas.get(node, {}).get("commit", 0))
            for node, contents in disks.items()
        }

    def snapshot_slot(self, node: NodeId) -> int:
        """The slot up to which a snapshot stands for the log of `node`; 0 if there is none."""
        return self._snapshot(node)[0]

    def _snapshot(self, node: NodeId) -> tuple[int, int]:
        match self.disks[node].variables.get("", {}).get("snapshot"):
            case (int(slot), int(parts)):
                return slot, parts
        return _NEVER, 0

    @cached_property
    def chosen(self) -> dict[int, bytes]:
        """The batch of each slot that is known as chosen, in order."""
        found: dict[int, bytes] = {}
        copies: dict[int, Counter[bytes]] = {}
        for node, contents in self.disks.items():
            for record in contents.log.records.values():
                if record.slot <= self._known[node]:
                    found.setdefault(record.slot, record.batch)
                copies.setdefault(record.slot, Counter())[record.batch] += 1
        for slot, batches in copies.items():
            batch, number = batches.most_common(1)[0]
            if slot not in found and number >= majority(len(self.members)):
                found[slot] = batch
        return dict(sorted(found.items()))

    def contradictions(self) -> Iterator[str]:
        """Slots in which two nodes know different batches as chosen."""
        first: dict[int, tuple[NodeId, bytes]] = {}
        for node, contents in self.disks.items():
            for record in contents.log.records.values():
                if record.slot > self._known[node]:
                    continue
                other, batch = first.setdefault(record.slot, (node, record.batch))
                if batch != record.batch:
                    yield f"{other} and {node} know different batches as chosen in slot {record.slot}"

    @cached_property
    def applied(self) -> Applied:
        """The log, applied anew."""
        state = self._fresh()
        if 1 not in self.chosen:
            oldest = min(
                (node for node in self.disks if self.snapshot_slot(node)), key=self.snapshot_slot, default=None
            )
            if oldest is not None:
                state = self.snapshot_state(oldest)
        log = Applied(state.applied + 1, state.applied, seen := _version(state), {state.applied: state.chain})
        while (batch := self.chosen.get(state.applied + 1)) is not None:
            slot = state.applied + 1
            state.apply(slot, batch)
            log.last, log.hashes[slot] = slot, state.chain
            for session, sequence, _, _, _ in _frames(batch):
                if session:
                    log.frames[session, sequence] += 1
            new = [change for change in _history(state) if change[0] > seen]
            log.changes += [VersionedWrite(slot, *change) for change in new]
            seen = _version(state)
        return log

    def _fresh(self) -> ReplicatedState:
        node = OfflineNode(self.members[0], self.members, {}, MemoryLog())
        replica = self._algorithm(node)
        assert isinstance(replica, MultiPaxos)
        return replica.state

    def snapshot_state(self, node: NodeId) -> ReplicatedState:
        """What the snapshot of `node` holds.

        Raises:
            Malformed: it is damaged.
        """
        slot, parts = self._snapshot(node)
        pieces = [self.disks[node].log.part(slot, number) for number in range(parts)]
        state = self._fresh()
        state.restore(b"".join(piece for piece in pieces if piece is not None))
        return state

    # --- copies -----------------------------------------------------------------------------------------------------

    @cached_property
    def slots_of(self) -> dict[Token, list[int]]:
        """In which chosen slots each command stands."""
        found: dict[Token, list[int]] = {}
        for slot, batch in self.chosen.items():
            for token in tokens(batch):
                found.setdefault(token, []).append(slot)
        return found

    def holders(self, token: Token) -> list[NodeId]:
        """The disks that have a command, chosen: in their log, or in a snapshot that stands for that part of it.

        If the log begins with a snapshot, one that holds what the command has set counts, too.
        """
        slots = self.slots_of.get(token, [])
        return [
            node
            for node, contents in self.disks.items()
            if any(
                slot <= self.snapshot_slot(node)
                or ((record := contents.log.records.get(slot)) is not None and record.batch == self.chosen[slot])
                for slot in slots
            )
            or token in self._in_snapshot[node]
        ]

    @cached_property
    def _in_snapshot(self) -> dict[NodeId, set[Token]]:
        return {
            node: _tokens_of(self.snapshot_state(node)) if self.snapshot_slot(node) else set() for node in self.disks
        }


def tokens(batch: bytes) -> Iterator[Token]:
    """What the commands of a batch would have set: machine, key and packed value."""
    for _, _, _, machine, packed in _frames(batch):
        try:
            commands = unpack_unchecked(packed)
        except Malformed:
            continue
        for command in commands if isinstance(commands, list) else ():
            match command:
                case ["put" | "propose", str(key), bytes(value)] | ["cas", str(key), int(), bytes(value)]:
                    yield machine, key, value
                case ["acquire" | "try", str(name), str(owner), int()]:
                    yield machine, name, encode_value(owner)


def _tokens_of(state: ReplicatedState) -> set[Token]:
    once = state.machines.get("once")
    values = getattr(once, "values", {})
    found: set[Token] = {("once", key, value) for key, value in values.items()}
    return found | {("kv", key, value) for _, key, value in _history(state) if value is not None}


def _frames(batch: bytes) -> list[Any]:
    return list(unpack_unchecked(batch)[1]) if batch else []


def _history(state: ReplicatedState) -> list[tuple[int, str, bytes | None]]:
    kv = state.machines.get("kv")
    return list(kv.history) if isinstance(kv, KvMachine) else []


def _version(state: ReplicatedState) -> int:
    kv = state.machines.get("kv")
    return kv.version if isinstance(kv, KvMachine) else 0


def _number(contents: Contents, key: str) -> int:
    stored = contents.variables.get("", {}).get(key, 0)
    return stored if isinstance(stored, int) else 0
