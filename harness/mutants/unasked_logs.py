"""Logs of real disks that are broken: `UNASKED_LOGS`. Simulations that compare logs with those of real disks are to find them.

In a test a class takes the place of `ComparedLog.twin_class` (`harness/virtual/compared_log.py`).
"""

from typing import Final

from node.log_contract import Record
from node.storage.log_store import DiskLog, record_checksum


class RecordsOfTheTurnAreNotRead(DiskLog):
    """What the turn has put and not committed yet is missing from a read of several records."""

    def since(self, slot: int, bytes_max: int) -> list[Record]:
        return [record for record in super().since(slot, bytes_max) if record.slot not in self._new]


class FirstRecordsStay(DiskLog):
    """A record does not replace an earlier one of its slot on disk."""

    def put(self, record: Record) -> None:
        super().put(record)
        self.writes[-1] = (
            "INSERT OR IGNORE INTO log VALUES (?, ?, ?, ?, ?)",
            (*record, record_checksum(record)),
        )


class PartsByNumberAlone(DiskLog):
    """A part of a snapshot is looked up by its number, in whichever snapshot it is."""

    def part(self, slot: int, number: int) -> bytes | None:
        others = [other for other, its_number in self.all_parts() if its_number == number]
        return super().part(max(others, default=slot), number)


#: By the seed of `consensus simulate multipaxos` that shows each.
UNASKED_LOGS: Final[dict[type[DiskLog], int]] = {
    RecordsOfTheTurnAreNotRead: 143,
    FirstRecordsStay: 3,
    PartsByNumberAlone: 55,
}
