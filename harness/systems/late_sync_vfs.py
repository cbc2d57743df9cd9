"""A VFS for SQLite that syncs late: what a commit wrote is synced by the next commit, so a power cut loses the last commit.

Theory of operation
-------------------
It is `harness/faults/power_loss_vfs.py` with one difference in `xSync`. Only the write-ahead log's file syncs late. If the other
files did, too, SQLite would detect the loss at its next start.
"""

from typing import Final

from harness.faults.power_loss_vfs import PowerLossFile, PowerLossVfs

NAME: Final = "latesync"
SPEC: Final = f"harness.systems.late_sync_vfs:{NAME}"


class _LateSyncFile(PowerLossFile):
    """A file whose sync makes durable only what was written before the previous sync."""

    _written_before = 0  # how many of `changes` were written before the previous sync

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


_registered = _LateSyncVfs(NAME)  # a reference for as long as the process runs: SQLite keeps none
