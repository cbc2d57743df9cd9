"""The durable log of one replica, whatever decides its slots: records, the commit index and the latest snapshot.

Rules
-----
1. `commit` is the slot up to which this replica knows every record as chosen. It is saved with every 16th slot (the setting
   `commit_saved_slots`), which saves the write of one page in most turns, and when the members have changed, in one
   transaction with the records, so it never exceeds them. After a restart it may be too low. Then the replica knows some
   records only as accepted, until it learns again that they are chosen.
2. A snapshot is valid when its last part and the key `snapshot` are on disk, in one transaction. Only then is the log below it
   deleted.
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


class ReplicaLog:
    """One node's records, and how far it knows them as chosen."""

    def __init__(self, node: LogNode) -> None:
        self.node = node
        self.commit = 0
        self.snapshot = NO_SNAPSHOT
        self.records: dict[int, Record] = {}  # by slot; those that are not applied yet

    def start(self) -> None:
        """Read the disk. The caller restores the snapshot and applies the slots up to `commit`.

        Raises:
            LogBroken: the record of a chosen slot is missing.
        """
        disk, log = self.node.disk, self.node.log
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


def stored_ballot(stored: Stored) -> Ballot:
    """Return the ballot that a disk holds under a key, or `NO_BALLOT` if it holds none."""
    match stored:
        case (int(round_), str(owner)):
            return Ballot(round_, NodeId(owner))
    return NO_BALLOT


def _snapshot(stored: Stored) -> StoredSnapshot:
    match stored:
        case (int(slot), int(parts)):
            return StoredSnapshot(slot, parts)
    return NO_SNAPSHOT
