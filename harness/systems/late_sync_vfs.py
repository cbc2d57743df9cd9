"""A disk that lies about its syncs: what a commit wrote is synced by the next commit, so a power cut loses the last one.

It is `harness/faults/power_loss_vfs.py` with one difference. Only the log's file is late: if the others were, too, SQLite would
notice that the disk had lied.
"""

from typing import Final

from harness.faults.power_loss_vfs import PowerLossFile, PowerLossVfs

NAME: Final = "latesync"
SPEC: Final = f"harness.systems.late_sync_vfs:{NAME}"


class _LateSyncFile(PowerLossFile):
    """A file whose sync makes durable what was written before the sync before."""

    _written_before = 0

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        if self.path is None or not self.path.name.endswith("-wal"):
            super().xSync(flags)
            return
        late = self.changes[self._written_before :]
        del self.changes[self._written_before :]
        super().xSync(flags)
        for change in late:
            self.add_unsynced(change)
        self._written_before = len(self.changes)


class _LateSyncVfs(PowerLossVfs):
    file_class = _LateSyncFile


_registered = _LateSyncVfs(NAME)  # lives as long as the process, or SQLite would call what is gone
