"""A log of a virtual disk that is compared with the log of a real disk.

Virtual disks keep their logs in memory, so nothing of a simulation reaches the SQL that a real node makes of the same calls. In
some runs each log has a **twin**: the log of a real disk (`node/storage/log_store.py`), on a database in memory. The twin takes
every write, commits and crashes with its log, and answers every read. An answer that differs is noted, and the judge finds it.
"""

from typing import Any, ClassVar

from harness.virtual.disk import VirtualDisk, VirtualLog
from harness.virtual.fault_model import FaultModel
from node.log_contract import Record
from node.storage.disk import log_in_memory
from node.storage.log_store import DiskLog


class ComparedLog(VirtualLog):
    """A log with a twin. It answers as any virtual log does."""

    twin_class: ClassVar[type[DiskLog]] = DiskLog

    def __init__(self) -> None:
        super().__init__()
        self._begin_twin()

    def _begin_twin(self) -> None:
        """Make a twin that has the present contents."""
        self._twin, self._commit_twin = log_in_memory(self.twin_class)
        for record in self.records.values():
            self._twin.put(record)
        for (slot, number), data in self.parts.items():
            self._twin.put_part(slot, number, data)
        self._commit_twin()

    # --- writes -------------------------------------------------------------------------------------------------------

    def put(self, record: Record) -> None:
        super().put(record)
        self._twin.put(record)

    def truncate(self, first: int) -> None:
        super().truncate(first)
        self._twin.truncate(first)

    def keep_up_to(self, last: int) -> None:
        super().keep_up_to(last)
        self._twin.keep_up_to(last)

    def put_part(self, slot: int, number: int, data: bytes) -> None:
        super().put_part(slot, number, data)
        self._twin.put_part(slot, number, data)

    def keep_only(self, slot: int) -> None:
        super().keep_only(slot)
        self._twin.keep_only(slot)

    def commit(self) -> None:
        super().commit()
        self._commit_twin()

    def crash(self) -> None:
        undone = self.before_turn
        super().crash()
        if undone is not None:
            self._twin.committed()  # without a commit: what was gathered is lost

    def restore(self, left: Any) -> None:
        super().restore(left)
        if left is not None:
            self._begin_twin()

    # --- reads --------------------------------------------------------------------------------------------------------

    def get(self, slot: int) -> Record | None:
        found = super().get(slot)
        self._compare(f"get({slot})", found, self._twin.get, slot)
        return found

    def since(self, slot: int, bytes_max: int) -> list[Record]:
        found = super().since(slot, bytes_max)
        self._compare(f"since({slot})", found, self._twin.since, max(slot, self.first), bytes_max)
        return found

    def part(self, slot: int, number: int) -> bytes | None:
        found = super().part(slot, number)
        self._compare(f"part({slot}, {number})", found, self._twin.part, slot, number)
        return found

    def _compare(self, asked: str, own: object, ask: Any, *arguments: object) -> None:
        self._twin.first = self.first  # a replica sets it when it boots
        try:
            answer = ask(*arguments)
        except Exception as error:  # noqa: BLE001 - such as a row that does not match its checksum
            answer = f"{type(error).__name__}: {error}"
        if answer != own and self.wrong is None:
            self.wrong = f"the log of a real disk answers {asked} by {answer!r:.300}, and should by {own!r:.300}"


def new_disk(fault_model: FaultModel) -> VirtualDisk:
    """Return an empty disk of a node."""
    disk = VirtualDisk(late=fault_model.disks_sync_late, log_late=fault_model.logs_sync_late)
    if fault_model.real_logs:
        disk.log = ComparedLog()
    return disk
