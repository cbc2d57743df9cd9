"""The chosen log of a run: put together from the disks of all nodes and the messages, and applied again from its first slot.

Rules
-----
1. A node knows a slot as chosen up to its commit index: the highest of the one on its disk, the slot of its snapshot, and the
   one in its final status. The batch in such a slot on this node's disk is chosen. Two nodes that know different batches as
   chosen in one slot contradict each other.
2. If no node knows a slot as chosen, a batch that stands on a quorum's disks counts as chosen. That happens when a run ends
   at once after a reply.
3. A slot that no disk holds any more, since a snapshot has replaced it, has the batch that the messages show
   (`leader_rules.py`).
4. The log is applied from slot 1 to an empty state. If the messages lack a slot too, it is applied from the slot after a snapshot
   to that snapshot's state. The changes are recorded slot by slot, since the state keeps only the latest ones.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count, takewhile
from typing import Any, NamedTuple

from harness.checkers.leader_rules import BrokenRule, LeaderLogs
from harness.checkers.recorded_messages import said_by_leaders
from harness.checkers.reference.log import NO_OP, Batch, ReferenceLog
from harness.checkers.reference.states import differences
from node.contract import Algorithm, NodeId
from node.log_contract import LogAlgorithm
from node.machines.kv import KvMachine
from node.offline import OfflineNode
from node.quorum import majority
from node.replication.configuration import Configuration
from node.replication.state import ReplicatedState
from node.storage.disk import Contents
from node.storage.log_store import MemoryLog
from node.tuning import SHIPPED, Tuning
from node.wire import Malformed, encode_value, unpack_unchecked


class CommandKey(NamedTuple):
    """What identifies a command in the log: the values that workloads write differ, so no two commands share one."""

    machine: str
    """The state machine, such as "kv"."""
    key: str
    """The key, the lock, the member, the task or the variable."""
    packed: bytes
    """The encoded value that the command would set; for a lock, its owner; for a member or a task, nothing."""


@dataclass(frozen=True, slots=True)
class VersionedWrite:
    """A change of a key.

    Attributes:
        slot: the slot whose batch made the change.
        version: the number of the change, counted over all keys.
        key: the key.
        value: the encoded value; None if the key was deleted.
    """

    slot: int
    version: int
    key: str
    value: bytes | None


@dataclass
class AppliedLog:
    """What came of applying the chosen log.

    Attributes:
        first: the first slot that was applied.
        last: the last slot that was applied.
        version: the version of the last change before `first`.
        hashes: the hash of the state after each slot.
        changes: every change of a key, in order.
        frames: how often each frame (session and sequence number) stands in the log.
        configuration: the members at the end.
        state: the packed state at the end.
    """

    first: int
    last: int = 0
    version: int = 0
    hashes: dict[int, int] = field(default_factory=dict)
    changes: list[VersionedWrite] = field(default_factory=list)
    frames: Counter[tuple[int, int]] = field(default_factory=Counter)
    configuration: Configuration = field(default_factory=lambda: Configuration(()))
    state: bytes = b""


class ChosenLog:
    """The disks of one run, read as a log."""

    def __init__(
        self,
        algorithm: type[Algorithm],
        members: Sequence[NodeId],
        disks: Mapping[NodeId, Contents],
        replicas: Mapping[NodeId, Mapping[str, Any]],
        quorum: int | None = None,
        messages: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Take the disks of one run.

        Args:
            algorithm: the class that the nodes ran, a `LogAlgorithm`.
            members: the nodes of the cluster.
            disks: what each node's disk holds after the run.
            replicas: the final status of each node that returned one.
            quorum: so many disks are a majority, however many nodes have voted; None: a majority of the members.
            messages: the lines of the record of messages.
        """
        self.members, self.disks = tuple(members), disks
        self._messages = messages
        self._quorum = majority(len(self.members)) if quorum is None else quorum
        assert issubclass(algorithm, LogAlgorithm)
        self._algorithm = algorithm
        self._stored = {
            node: algorithm.stored_progress(contents.variables.get("", {})) for node, contents in disks.items()
        }
        self._commit = {
            node: max(stored.commit, replicas.get(node, {}).get("commit", 0)) for node, stored in self._stored.items()
        }

    def snapshot_slot(self, node: NodeId) -> int:
        """Return the slot up to which a snapshot on the disk of `node` replaces the log; 0 if there is none."""
        return self._stored[node].snapshot_slot

    @cached_property
    def chosen(self) -> dict[int, bytes]:
        """The chosen batch of each slot (rules 1 to 3), in the order of the slots."""
        found: dict[int, bytes] = {}
        copies: dict[int, Counter[bytes]] = {}
        for node, contents in self.disks.items():
            for record in contents.log.records.values():
                if record.slot <= self._commit[node]:
                    found.setdefault(record.slot, record.batch)
                copies.setdefault(record.slot, Counter())[record.batch] += 1
        for slot, batches in copies.items():
            batch, number = batches.most_common(1)[0]
            if slot not in found and number >= self._quorum:
                found[slot] = batch
        last = max([*found, *map(self.snapshot_slot, self.disks)], default=0)
        if len(found) < last:
            found = {slot: batch for slot, batch in self.proposed.items() if slot <= last} | found
        return dict(sorted(found.items()))

    @cached_property
    def leaders(self) -> LeaderLogs:
        """The logs of all leaders, by their messages and by the disks."""
        return self._leaders_and_breaks[0]

    @cached_property
    def broken_rules(self) -> list[BrokenRule]:
        """What breaks the rules of `leader_rules.py`, in the order in which it was found."""
        return self._leaders_and_breaks[1]

    @cached_property
    def _leaders_and_breaks(self) -> tuple[LeaderLogs, list[BrokenRule]]:
        leaders, broken = LeaderLogs(self._algorithm), list[BrokenRule]()
        for node, _, said in said_by_leaders(self._algorithm, self._messages):
            broken += leaders.say(node, said)
        for node, contents in self.disks.items():
            broken += leaders.disk(node, (contents.log.records[slot] for slot in sorted(contents.log.records)))
        return leaders, broken

    @cached_property
    def proposed(self) -> dict[int, bytes]:
        """The batch of each slot by the messages. It is the chosen batch, if any is."""
        known = [
            record
            for node, contents in self.disks.items()
            for record in contents.log.records.values()
            if record.slot <= self._commit[node]
        ]
        return self.leaders.batches(known)

    def contradictions(self) -> Iterator[str]:
        """Yield one sentence for each slot in which two nodes know different batches as chosen."""
        first: dict[int, tuple[NodeId, bytes]] = {}
        for node, contents in self.disks.items():
            for record in contents.log.records.values():
                if record.slot > self._commit[node]:
                    continue
                other, batch = first.setdefault(record.slot, (node, record.batch))
                if batch != record.batch:
                    yield f"{other} and {node} know different batches as chosen in slot {record.slot}"

    @cached_property
    def applied(self) -> AppliedLog:
        """What comes of applying the chosen log (rule 4)."""
        starts = {self.snapshot_slot(node): node for node in self.disks} | {0: None}
        # The earliest start from which the most can be applied: a slot may be missing on the way.
        start = max(starts, key=lambda slot: (next(each for each in count(slot + 1) if each not in self.chosen), -slot))
        node = starts[start]
        state = self.empty_state() if node is None else self.snapshot_state(node)
        version = _version(state)
        log = AppliedLog(state.applied + 1, state.applied, version, {state.applied: state.chain})
        while (batch := self.chosen.get(state.applied + 1)) is not None:
            slot = state.applied + 1
            state.apply(slot, batch)
            log.last, log.hashes[slot] = slot, state.chain
            for session, sequence, _, _, _ in _frames(batch):
                if session:
                    log.frames[session, sequence] += 1
            new = [change for change in _changes(state) if change[0] > version]
            log.changes += [VersionedWrite(slot, *change) for change in new]
            version = _version(state)
        log.configuration, log.state = state.configuration, state.packed()
        return log

    def empty_state(self) -> ReplicatedState:
        """Return the state of a replica that has applied nothing."""
        tuning = keeping_changes(tuning_on(self.disks))
        return self._algorithm(OfflineNode(self.members[0], self.members, {}, MemoryLog(), tuning=tuning)).state

    def snapshot_state(self, node: NodeId) -> ReplicatedState:
        """Return the state that the snapshot on the disk of `node` holds.

        Raises:
            Malformed: the snapshot is damaged.
        """
        state = self.empty_state()
        state.restore(self.packed_snapshot(node))
        return state

    def packed_snapshot(self, node: NodeId) -> bytes:
        """Return the snapshot on the disk of `node`, packed."""
        log, slot = self.disks[node].log, self.snapshot_slot(node)
        parts = takewhile(lambda part: part is not None, (log.part(slot, number) for number in count()))
        return b"".join(part for part in parts if part is not None)

    def differences(self) -> Iterator[str]:
        """Yield a sentence for each part of a state, at the end or in a snapshot, that is not what the reference has.

        A log whose first slots are missing has no reference.
        """
        applied = self.applied
        if applied.first != 1:
            return
        snapshots: dict[int, list[NodeId]] = {}
        for node in self.disks:
            snapshots.setdefault(self.snapshot_slot(node), []).append(node)
        tuning = tuning_on(self.disks)
        as_nodes, as_applied = ReferenceLog(tuning), ReferenceLog(keeping_changes(tuning))
        for slot in range(1, applied.last + 1):
            batch = self.chosen[slot]
            for log in (as_nodes, as_applied):
                log.advance(Batch(*unpack_unchecked(batch)) if batch else NO_OP)
            for node in snapshots.get(slot, ()):
                texts = self._differences_of(self.packed_snapshot(node), as_nodes)
                yield from (f"the snapshot of {node}: {text}" for text in texts)
        yield from self._differences_of(applied.state, as_applied)

    def _differences_of(self, packed: bytes, log: ReferenceLog) -> Iterator[str]:
        """Yield what a packed state has that the reference has not. The state is restored first, as a snapshot is."""
        state = self.empty_state()
        try:
            state.restore(packed)
        except Exception as error:  # noqa: BLE001 - a broken machine may raise anything
            yield f"the state after slot {log.slot} cannot be restored: {error!r}"
            return
        yield from differences(packed, state.machines, log)

    # --- copies -----------------------------------------------------------------------------------------------------

    @cached_property
    def slots_of(self) -> dict[CommandKey, list[int]]:
        """The chosen slots in which each command stands."""
        found: dict[CommandKey, list[int]] = {}
        for slot, batch in self.chosen.items():
            for command in command_keys(batch):
                found.setdefault(command, []).append(slot)
        return found

    def holders(self, command: CommandKey) -> list[NodeId]:
        """Return the nodes whose disks hold a command, chosen.

        A disk holds it in the log, or in a snapshot that covers the command's slot. If the log begins with a snapshot, so that
        the command's slot is not known, a snapshot that holds the value which the command set counts too.
        """
        slots = self.slots_of.get(command, [])
        return [
            node
            for node, contents in self.disks.items()
            if any(
                slot <= self.snapshot_slot(node)
                or ((record := contents.log.records.get(slot)) is not None and record.batch == self.chosen[slot])
                for slot in slots
            )
            or command in self._in_snapshots[node]
        ]

    @cached_property
    def _in_snapshots(self) -> dict[NodeId, set[CommandKey]]:
        return {
            node: _command_keys_of(self.snapshot_state(node)) if self.snapshot_slot(node) else set()
            for node in self.disks
        }


def tuning_on(disks: Mapping[NodeId, Contents]) -> Tuning:
    """Return the settings that are part of what the log means, as the disks name them; without a disk the shipped ones."""
    return next((contents.tuning for contents in disks.values()), SHIPPED)


def keeping_changes(tuning: Tuning) -> Tuning:
    """Return settings with which every change shows: no answer to a command depends on how many are kept."""
    kept = SHIPPED.kv_history_entries, SHIPPED.kv_history_bytes
    return replace(tuning, kv_history_entries=kept[0], kv_history_bytes=kept[1])


def command_keys(batch: bytes) -> Iterator[CommandKey]:
    """Yield the key of every command in a batch that sets a value."""
    for _, _, _, machine, packed in _frames(batch):
        try:
            commands = unpack_unchecked(packed)
        except Malformed:
            continue
        for command in commands if isinstance(commands, list) else ():
            match command:
                case ["put" | "propose", str(key), bytes(value)] | ["cas", str(key), int(), bytes(value)]:
                    yield CommandKey(machine, key, value)
                case ["acquire" | "try", str(name), str(owner), int()]:
                    yield CommandKey(machine, name, encode_value(owner))
                case ["join", str(name), bytes(), int()] | ["add", str(name)]:
                    yield CommandKey(machine, name, b"")


def _command_keys_of(state: ReplicatedState) -> set[CommandKey]:
    once = state.machines.get("once")
    values = getattr(once, "values", {})
    found = {CommandKey("once", key, value) for key, value in values.items()}
    return found | {CommandKey("kv", key, value) for _, key, value in _changes(state) if value is not None}


def _frames(batch: bytes) -> list[Any]:
    return list(unpack_unchecked(batch)[1]) if batch else []


def _changes(state: ReplicatedState) -> list[tuple[int, str, bytes | None]]:
    """Return the latest changes of the key-value machine: version, key and value."""
    kv = state.machines.get("kv")
    return list(kv.history) if isinstance(kv, KvMachine) else []


def _version(state: ReplicatedState) -> int:
    kv = state.machines.get("kv")
    return kv.version if isinstance(kv, KvMachine) else 0
