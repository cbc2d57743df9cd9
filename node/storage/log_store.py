"""The replicated log of a node: `DiskLog` on SQLite, and `MemoryLog` for simulators and tests.

Rules
-----
1. A `DiskLog` only gathers writes. `Disk.commit` makes them durable together with the turn's assignments.
2. Records are not kept in memory. A read comes from the disk, except for records that the turn has not committed yet.
3. Each row carries a checksum of all its columns. A mismatch is damage, wherever in the log the row stands. It is never
   taken for the torn end of a write, because SQLite's write-ahead log never shows a torn write.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from typing import Any, Final

from node.log_contract import Log, Record

#: The columns of each table, as SQL.
LOG_TABLES: Final = {
    "log": "(slot INTEGER PRIMARY KEY, round INTEGER NOT NULL, owner TEXT NOT NULL, batch BLOB NOT NULL, "
    "checksum INTEGER NOT NULL)",
    "snapshot": "(slot INTEGER NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL, checksum INTEGER NOT NULL, "
    "PRIMARY KEY (slot, number))",
}

Row = tuple[Any, ...]

#: Above any slot.
_ALL: Final = 2**62


class DiskLog(Log):
    """The log of an open disk. `writes` holds the SQL statements of the turn, with their values."""

    def __init__(self, read: Callable[[str, Row], Iterable[Row]], damaged: Callable[[str], Exception]) -> None:
        """Read where the log begins.

        Args:
            read: runs a query on the disk, with its bindings, and returns the rows.
            damaged: makes the error to raise for a row that fails a check, from a description of the problem.
        """
        self.damaged = damaged
        self.writes: list[tuple[str, Row]] = []
        self._read = read
        self._new: dict[int, Record] = {}
        self._kept = _ALL  # the last slot that the disk has and the turn does not delete
        lowest = next(iter(read("SELECT min(slot) FROM log", ())))[0]
        self.first = 1 if lowest is None else int(lowest)

    def committed(self) -> None:
        """Forget the gathered writes: they are durable now."""
        self.writes.clear()
        self._new.clear()
        self._kept = _ALL

    def put(self, record: Record) -> None:
        self._new[record.slot] = record
        self.writes.append(("INSERT OR REPLACE INTO log VALUES (?, ?, ?, ?, ?)", (*record, record_checksum(record))))

    def get(self, slot: int) -> Record | None:
        found = self._new.get(slot)
        if found is None and self.first <= slot <= self._kept:
            for row in self._rows("SELECT * FROM log WHERE slot = ?", (slot,)):
                found = self._checked(row)
        return found

    def since(self, slot: int, bytes_max: int) -> list[Record]:
        rows = self._rows("SELECT * FROM log WHERE slot BETWEEN ? AND ? ORDER BY slot", (slot, self._kept))
        stored = (record for record in map(self._checked, rows) if record.slot not in self._new)
        found: list[Record] = []
        for record in merge(stored, sorted(new for new in self._new.values() if new.slot >= slot)):
            bytes_max -= len(record.batch)
            if found and bytes_max < 0:
                break
            found.append(record)
        return found

    def truncate(self, first: int) -> None:
        self.first = max(self.first, first)
        self.writes.append(("DELETE FROM log WHERE slot < ?", (first,)))
        for slot in [slot for slot in self._new if slot < first]:
            del self._new[slot]

    def keep_up_to(self, last: int) -> None:
        self.writes.append(("DELETE FROM log WHERE slot > ?", (last,)))
        for slot in [slot for slot in self._new if slot > last]:
            del self._new[slot]
        self._kept = min(self._kept, last)

    def put_part(self, slot: int, number: int, data: bytes) -> None:
        row = (slot, number, data, _part_checksum(slot, number, data))
        self.writes.append(("INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?, ?)", row))

    def part(self, slot: int, number: int) -> bytes | None:
        for data, checksum in self._rows(
            "SELECT data, checksum FROM snapshot WHERE slot=? AND number=?", (slot, number)
        ):
            if not isinstance(data, bytes) or checksum != _part_checksum(slot, number, data):
                raise self.damaged(f"part {number} of the snapshot of slot {slot} does not match its checksum")
            return data
        return None

    def keep_only(self, slot: int) -> None:
        self.writes.append(("DELETE FROM snapshot WHERE slot <> ?", (slot,)))

    def all_parts(self) -> dict[tuple[int, int], bytes]:
        """Return every part of every snapshot, by slot and number, unchecked."""
        rows = self._read("SELECT slot, number, data FROM snapshot", ())
        return {(int(slot), int(number)): bytes(data) for slot, number, data in rows}

    def _rows(self, query: str, bindings: Row) -> Iterator[Row]:
        try:
            yield from self._read(query, bindings)
        except UnicodeDecodeError as error:
            raise self.damaged(f"a name in the log is not text ({error})") from error

    def _checked(self, row: Row) -> Record:
        *values, checksum = row
        record = Record(*values)
        if not isinstance(record.batch, bytes) or checksum != record_checksum(record):
            raise self.damaged(f"slot {record.slot} of the log does not match its checksum")
        return record


class MemoryLog(Log):
    """A log in memory, for simulators and tests. It is plain data: a copy of it stands for what a crash leaves."""

    def __init__(self) -> None:
        self.records: dict[int, Record] = {}
        self.parts: dict[tuple[int, int], bytes] = {}
        self.first = 1

    def put(self, record: Record) -> None:
        self.records[record.slot] = record

    def get(self, slot: int) -> Record | None:
        return self.records.get(slot)

    def since(self, slot: int, bytes_max: int) -> list[Record]:
        found: list[Record] = []
        for each in sorted(each for each in self.records if each >= slot):
            bytes_max -= len(self.records[each].batch)
            if found and bytes_max < 0:
                break
            found.append(self.records[each])
        return found

    def truncate(self, first: int) -> None:
        self.first = max(self.first, first)
        self.records = {slot: record for slot, record in self.records.items() if slot >= first}

    def keep_up_to(self, last: int) -> None:
        self.records = {slot: record for slot, record in self.records.items() if slot <= last}

    def put_part(self, slot: int, number: int, data: bytes) -> None:
        self.parts[slot, number] = data

    def part(self, slot: int, number: int) -> bytes | None:
        return self.parts.get((slot, number))

    def keep_only(self, slot: int) -> None:
        self.parts = {key: data for key, data in self.parts.items() if key[0] == slot}


def record_checksum(record: Record) -> int:
    """Return the checksum of a record, over all of it."""
    return zlib.crc32(record.batch, zlib.crc32(f"{record.slot}/{record.round}/{record.owner}".encode()))


def _part_checksum(slot: int, number: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(f"{slot}/{number}".encode()))
