"""The durable state of a replica: what it has promised, what it has accepted, and which slots it knows as chosen.

Rules
-----
1. The acceptor promises and accepts nothing below `promised`. Accepting under a higher ballot raises `promised`. Promises and
   records are on disk before a message mentions them.
2. `commit` is the slot up to which this replica knows every record as chosen. It is saved with every 16th slot (the setting
   `commit_saved_slots`), which saves the write of one page in most turns, and when the members have changed, in one
   transaction with the records, so it never exceeds them. After a restart it may be too low. Then the replica knows some
   records only as accepted, until it learns again that they are chosen.
3. A replica knows a record as chosen in two cases. The leader reports a commit index at or above its slot **and** the record was
   accepted under that leader's own ballot, since a leader proposes one batch per slot. Or a peer sends it as chosen.
4. A promise carries every record above the candidate's commit index, also the records that are known as chosen: systems that
   left them out have lost them. If the log no longer has them all, the replica replies `Behind` instead of a promise.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Final, NamedTuple

from node.contract import NodeId, Stored
from node.log_contract import Log, LogBroken, LogNode, Record, StoredProgress
from node.quorum import NO_BALLOT, Ballot


class StoredSnapshot(NamedTuple):
    """The snapshot on a disk."""

    slot: int
    """The slot up to which it replaces the log; 0 if there is no snapshot."""
    parts: int
    """In how many parts it is stored."""


NO_SNAPSHOT: Final = StoredSnapshot(0, 0)


class Acceptor:
    """One node's promises and records."""

    def __init__(self, node: LogNode) -> None:
        self.node = node
        self.promised = NO_BALLOT
        self.commit = 0
        self.snapshot = NO_SNAPSHOT
        self.records: dict[int, Record] = {}  # by slot; those that are not applied yet

    def start(self) -> None:
        """Read the disk. The caller restores the snapshot and applies the slots up to `commit`.

        Raises:
            LogBroken: the record of a chosen slot is missing.
        """
        disk, log = self.node.disk, self.node.log
        self.promised = _ballot(disk.get("promised"))
        self.snapshot = _snapshot(disk.get("snapshot"))
        applied = self.snapshot.slot
        self.commit = stored_progress(disk).commit
        self.records = {record.slot: record for record in log.since(applied + 1, 2**62)}
        for slot in range(applied + 1, self.commit + 1):
            if slot not in self.records:
                raise LogBroken(
                    f"{self.node.id}: {self.commit} slots are chosen according to the disk, and it has lost slot {slot}: "
                    "restore the directory, or replace the node by one with a new name"
                )
        kept = log.since(1, 1)
        log.first = min(kept[0].slot if kept else applied + 1, applied + 1)

    # --- phase 1 ----------------------------------------------------------------------------------------------------

    def promise(self, ballot: Ballot) -> None:
        """Accept nothing below `ballot` from now on."""
        assert ballot > self.promised
        self.promised = ballot
        self.node.disk["promised"] = ballot

    def can_inform(self, commit: int) -> bool:
        """Return whether a promise can carry all that a candidate with this commit index may have missed."""
        return commit + 1 >= self.node.log.first and self.commit - commit <= self.node.tuning.window

    def above(self, commit: int) -> list[tuple[Record, ...]]:
        """Return every record above `commit`, in parts that fit in a frame: at least one part, which may be empty."""
        parts: list[tuple[Record, ...]] = []
        while records := self.node.log.since(commit + 1, self.node.tuning.promise_part_bytes):
            parts.append(tuple(records))
            commit = records[-1].slot
        return parts or [()]

    # --- phase 2 ----------------------------------------------------------------------------------------------------

    def accept(self, ballot: Ballot, slot: int, batch: bytes) -> bool:
        """Accept `batch` in `slot` under `ballot`, which must not be below `promised`.

        A slot that is known as chosen needs no new record, because every ballot above the chosen one proposes the same batch.

        Returns:
            False if the slot is too far above `commit`: this replica must catch up first.
        """
        if ballot != self.promised:
            self.promise(ballot)
        if slot > self.commit + self.node.tuning.window:
            return False
        known = self.records.get(slot)
        if slot > self.commit and (known is None or (known.round, known.owner) != ballot):
            self._put(Record(slot, *ballot, batch))
        return True

    def learn(self, ballot: Ballot, commit: int) -> bool:
        """Take in the commit index of the leader of `ballot`.

        Returns:
            False if this replica lacks a record up to `commit`, or has accepted one under another ballot.
        """
        while self.commit < commit:
            record = self.records.get(self.commit + 1)
            if record is None or (record.round, record.owner) != ballot:
                return False
            self.commit += 1
        return True

    def choose(self, record: Record) -> None:
        """Take in the chosen record of the slot after `commit`, from a peer."""
        assert record.slot == self.commit + 1
        self.commit = record.slot
        self._put(record)

    def save_commit(self) -> None:
        """Save `commit`, so that it is known after a restart."""
        if self.node.disk.get("commit", 0) != self.commit:
            self.node.disk["commit"] = self.commit

    def _put(self, record: Record) -> None:
        self.records[record.slot] = record
        self.node.log.put(record)
        if record.slot % self.node.tuning.commit_saved_slots == 0:
            self.node.disk["commit"] = self.commit

    # --- snapshots --------------------------------------------------------------------------------------------------

    def installed(self, slot: int, parts: list[bytes]) -> None:
        """Save a snapshot from a peer in the place of all records up to `slot`."""
        assert slot > self.commit
        store_snapshot(self.node.disk, self.node.log, slot, parts)
        self.commit = slot
        self.records = {above: record for above, record in self.records.items() if above > slot}
        self.snapshot_saved(slot, len(parts), slot + 1)

    def snapshot_saved(self, slot: int, parts: int, first: int) -> None:
        """Record that the last part of a snapshot is written in this turn, and delete the log below slot `first`."""
        assert first <= slot + 1
        self.snapshot = StoredSnapshot(slot, parts)
        self.node.disk["snapshot"] = tuple(self.snapshot)
        self.node.log.keep_only(slot)
        self.node.log.truncate(first)


def store_snapshot(disk: MutableMapping[str, Stored], log: Log, slot: int, parts: Sequence[bytes]) -> None:
    """Store the snapshot of `slot`, which is known as chosen."""
    for number, data in enumerate(parts):
        log.put_part(slot, number, data)
    disk["commit"] = slot
    disk["snapshot"] = tuple(StoredSnapshot(slot, len(parts)))


def stored_progress(disk: Mapping[str, Stored]) -> StoredProgress:
    """Return how far the log on a disk has come. A snapshot's slot is known as chosen."""
    snapshot, commit = _snapshot(disk.get("snapshot")), disk.get("commit", 0)
    assert isinstance(commit, int)
    return StoredProgress(max(commit, snapshot.slot), snapshot.slot)


def _snapshot(stored: Stored) -> StoredSnapshot:
    match stored:
        case (int(slot), int(parts)):
            return StoredSnapshot(slot, parts)
    return NO_SNAPSHOT


def _ballot(stored: Stored) -> Ballot:
    match stored:
        case (int(round_), str(owner)):
            return Ballot(round_, NodeId(owner))
    return NO_BALLOT
