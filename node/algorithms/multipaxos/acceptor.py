"""The durable half of a replica: what it has promised, accepted, and knows as chosen.

Rules
-----
1. Nothing is accepted or promised below `promised`; what is accepted raises it. Both are on disk before they are spoken of.
2. `commit` is the slot up to which every record is known as chosen. It is saved now and then, and when the members have
   changed; with the records and in one transaction, so it is never ahead of them. If it is behind after a restart, some
   records are only known as accepted again.
3. A record is known as chosen when the leader says so **and** it was accepted under that leader's own ballot, since a
   leader proposes one value a slot; or when a peer sends it as chosen.
4. A promise tells every record above what the candidate knows, also those that are known as chosen: leaving them out is how
   real systems have lost them. If they are gone, the candidate is told that it is behind instead.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from node.contract import NodeId, Stored
from node.log_contract import LogNode, Record, StoredProgress
from node.quorum import NO_BALLOT, Ballot

_SAVE_COMMIT_SLOTS: Final = 16  # a page less to write and sync in most turns
_PART_BYTES: Final = 1024 * 1024


class StoredSnapshot(NamedTuple):
    """The snapshot on a disk."""

    slot: int
    """The slot up to which it replaces the log; 0 if there is no snapshot."""
    parts: int
    """In how many parts it is stored."""


NO_SNAPSHOT: Final = StoredSnapshot(0, 0)


class LogBroken(Exception):
    """The disk says that a slot is chosen and has no record of it: the node must not run on it."""


class Acceptor:
    """One node's promises and records."""

    def __init__(self, node: LogNode) -> None:
        self.node = node
        self.promised = NO_BALLOT
        self.commit = 0
        self.snapshot = NO_SNAPSHOT
        self.records: dict[int, Record] = {}  # those that are not applied yet

    def start(self) -> None:
        """Read the disk. The caller restores the snapshot and applies up to `commit`."""
        disk, log = self.node.disk, self.node.log
        self.promised = _ballot(disk.get("promised"))
        self.snapshot = _snapshot(disk.get("snapshot"))
        applied = self.snapshot.slot
        self.commit = stored_progress(disk).commit
        self.records = {record.slot: record for record in log.since(applied + 1, 2**62)}
        for slot in range(applied + 1, self.commit + 1):
            if slot not in self.records:
                raise LogBroken(
                    f"{self.node.id}: the disk knows {self.commit} slots as chosen and has lost slot {slot}: "
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
        """Whether a promise can tell a candidate all that it may have missed."""
        return commit + 1 >= self.node.log.first and self.commit - commit <= self.node.limits.window

    def above(self, commit: int) -> list[tuple[Record, ...]]:
        """Every record above `commit`, in parts that fit in a frame. At least one part, which may be empty."""
        parts: list[tuple[Record, ...]] = []
        while records := self.node.log.since(commit + 1, _PART_BYTES):
            parts.append(tuple(records))
            commit = records[-1].slot
        return parts or [()]

    # --- phase 2 ----------------------------------------------------------------------------------------------------

    def accept(self, ballot: Ballot, slot: int, batch: bytes) -> bool:
        """Accept `batch`. False if the slot is too far ahead: this replica has to catch up first.

        What is known as chosen already needs no record: any ballot this high proposes the same.
        """
        if ballot != self.promised:
            self.promise(ballot)
        if slot > self.commit + self.node.limits.window:
            return False
        known = self.records.get(slot)
        if slot > self.commit and (known is None or (known.round, known.owner) != ballot):
            self._put(Record(slot, *ballot, batch))
        return True

    def learn(self, ballot: Ballot, commit: int) -> bool:
        """The leader of `ballot` says that all is chosen up to `commit`. False if some of that is missing here."""
        while self.commit < commit:
            record = self.records.get(self.commit + 1)
            if record is None or (record.round, record.owner) != ballot:
                return False
            self.commit += 1
        return True

    def choose(self, record: Record) -> None:
        """A peer says what is chosen in the slot after `commit`."""
        assert record.slot == self.commit + 1
        self.commit = record.slot
        self._put(record)

    def save_commit(self) -> None:
        """Remember across a restart what is known as chosen now."""
        if self.node.disk.get("commit", 0) != self.commit:
            self.node.disk["commit"] = self.commit

    def _put(self, record: Record) -> None:
        self.records[record.slot] = record
        self.node.log.put(record)
        if record.slot % _SAVE_COMMIT_SLOTS == 0:
            self.node.disk["commit"] = self.commit

    # --- snapshots --------------------------------------------------------------------------------------------------

    def installed(self, slot: int, parts: list[bytes]) -> None:
        """A snapshot from a peer takes the place of all up to `slot`."""
        assert slot > self.commit
        for number, data in enumerate(parts):
            self.node.log.put_part(slot, number, data)
        self.commit = slot
        self.node.disk["commit"] = slot
        self.records = {above: record for above, record in self.records.items() if above > slot}
        self.snapshot_saved(slot, len(parts), slot + 1)

    def snapshot_saved(self, slot: int, parts: int, first: int) -> None:
        """The last part is written in this turn. The log below slot `first` may go."""
        assert first <= slot + 1
        self.snapshot = StoredSnapshot(slot, parts)
        self.node.disk["snapshot"] = tuple(self.snapshot)
        self.node.log.keep_only(slot)
        self.node.log.truncate(first)


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
