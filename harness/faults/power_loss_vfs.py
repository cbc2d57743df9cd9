"""An SQLite VFS: a disk that loses its unsynced writes when its process is killed, and that fails on demand.

Theory of operation
-------------------
A SIGKILL loses no write, because the kernel's page cache outlives the process. A power cut loses the writes that were
not synced. This VFS keeps each write to `FILE` in memory, and appends it to the log `FILE.unsynced`. It writes to
`FILE` only at a sync. So after a SIGKILL, `FILE` holds what a power cut would have left, and `FILE.unsynced` holds the
unsynced writes. A power cut might have saved any part of them: `harness.faults.power_cut.lose_unsynced` decides which
part. If it was not called when the file is opened again, all of them are lost.

A node uses this disk when its spec says `vfs = "harness.faults.power_loss_vfs:powerloss"`. Control files in the node's
directory steer it:

| file | content | effect |
|---|---|---|
| `slow-sync` | seconds | every sync takes longer by so much, which leaves time for a kill between a write and its sync |
| `hang-sync` | anything | every sync waits until the file is gone |
| `die-at` | N | the process gets SIGKILL before the nth write or sync from now |
| `fail-write` | N | the nth write from now fails with EIO |
| `fail-sync` | N | the nth sync from now fails with EIO and loses its writes; as on Linux, a second sync would succeed |
| `disk-full` | bytes | after so many bytes, writes fail with ENOSPC |

For everything that the disk does, it appends a line of JSON to `disk-receipts.jsonl` in the same directory: the fault,
the file and the process. It renames a control file with a count when the count is reached, so that the file acts once.

A difference from a real disk: the creation and the deletion of a file are durable at once, as if the directory were
always synced.
"""

import fcntl
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Final

import apsw

from harness.faults.power_cut import (
    RECEIPTS,
    UNSYNCED,
    UnsyncedWrite,
    encode_write,
    encode_writer,
    read_unsynced_log,
    write_disk_receipt,
)

NAME: Final = "powerloss"
SPEC: Final = f"harness.faults.power_loss_vfs:{NAME}"
SLOW_SYNC: Final = "slow-sync"
HANG_SYNC: Final = "hang-sync"
DIE_AT: Final = "die-at"
FAIL_WRITE: Final = "fail-write"
FAIL_SYNC: Final = "fail-sync"
DISK_FULL: Final = "disk-full"
_CONTROLS: Final = (SLOW_SYNC, HANG_SYNC, DIE_AT, FAIL_WRITE, FAIL_SYNC, DISK_FULL)
#: How often a sync that hangs looks whether it may go on, in seconds.
_LOOK_EVERY_S: Final = 0.01
#: The names of the files beside those of SQLite that are in the directory of a node on this disk.
DISK_FILES: Final = frozenset({RECEIPTS, *_CONTROLS, *(f"{name}.struck" for name in _CONTROLS)})


def _path(name: str) -> Path:
    """Return the path of a file from SQLite's name of it, whose UTF-8 bytes it is."""
    return Path(os.fsdecode(name.encode()))


class _Controls:
    """The control files of one directory, and what this process has counted for them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._paths = {name: str(directory / name) for name in _CONTROLS}
        self._counts: Counter[str] = Counter()
        #: By control file: its content when it was first read, and the count at that time.
        self._since: dict[str, tuple[str, int]] = {}

    def write(self, path: Path, amount: int) -> None:
        """Act before a write of `amount` bytes to `path`. Raises an apsw error if the write is to fail."""
        self._die_if_due(path, "write")
        if self._is_due(FAIL_WRITE, path):
            raise apsw.IOError(f"{FAIL_WRITE}: an injected EIO")
        if self._is_full(path, amount):
            raise apsw.FullError(f"{DISK_FULL}: an injected ENOSPC")

    def sync(self, path: Path) -> bool:
        """Act before a sync of `path`. Returns whether the sync is to fail."""
        seconds = self._read_control(SLOW_SYNC)
        if seconds:
            write_disk_receipt(path, SLOW_SYNC, seconds=float(seconds))
            time.sleep(float(seconds))
        if self._read_control(HANG_SYNC) is not None:
            write_disk_receipt(path, HANG_SYNC)
            while self._read_control(HANG_SYNC) is not None:
                time.sleep(_LOOK_EVERY_S)
        self._die_if_due(path, "sync")
        return self._is_due(FAIL_SYNC, path)

    def _die_if_due(self, path: Path, boundary: str) -> None:
        if self._is_due(DIE_AT, path, before=boundary):
            os.kill(os.getpid(), signal.SIGKILL)

    def _is_due(self, name: str, path: Path, **details: str) -> bool:
        """Count, if the control file `name` exists. Returns whether its count is reached; then the file is renamed."""
        text = self._read_control(name)
        if text is None:
            return False
        if self._since.get(name, ("", 0))[0] != text:
            self._since[name] = (text, self._counts[name])
        self._counts[name] += 1
        if self._counts[name] - self._since[name][1] < int(text):
            return False
        write_disk_receipt(path, name, number=int(text), **details)
        (self._directory / name).rename(self._directory / f"{name}.struck")
        del self._since[name]
        return True

    def _is_full(self, path: Path, amount: int) -> bool:
        text = self._read_control(DISK_FULL)
        if text is None:
            return False
        if self._counts[DISK_FULL] + amount <= int(text):
            self._counts[DISK_FULL] += amount
            return False
        write_disk_receipt(path, DISK_FULL, free_bytes=int(text), wanted_bytes=amount)
        return True

    def _read_control(self, name: str) -> str | None:
        path = self._paths[name]
        if not os.access(path, os.F_OK):  # mostly, and this runs several times for each write
            return None
        try:
            return Path(path).read_text().strip()
        except OSError:  # the file does not exist, or the process has no free descriptor
            return None


#: One for each directory, because the counts are over all files of a directory.
_controls: Final[dict[Path, _Controls]] = {}


class PowerLossFile(apsw.VFSFile):
    """A file whose newest content is in memory, and whose synced content is on the disk."""

    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self.path = _path(name.filename() if isinstance(name, apsw.URIFilename) else name) if name else None
        self._unsynced_log = -1  # its descriptor
        self.changes: list[UnsyncedWrite] = []
        if self.path is not None:
            self._control = _controls.setdefault(self.path.parent, _Controls(self.path.parent))
            self._open_unsynced_log(Path(f"{self.path}{UNSYNCED}"))
        self._content = bytearray(super().xRead(super().xFileSize(), 0))

    def _open_unsynced_log(self, path: Path) -> None:
        assert self.path is not None
        self._unsynced_log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._unsynced_log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another process uses the file; SQLite's own lock will refuse this one
            os.close(self._unsynced_log)
            self._unsynced_log = -1
            return
        if (lost := read_unsynced_log(path)).changes:
            counts = {"unsynced_writes": len(lost.changes), "unsynced_bytes": lost.bytes}
            write_disk_receipt(self.path, "power-cut", writer=lost.writer, tail="none", lost_bytes=lost.bytes, **counts)
        self._begin_unsynced_log()

    def _begin_unsynced_log(self) -> None:
        os.ftruncate(self._unsynced_log, 0)
        os.write(self._unsynced_log, encode_writer())

    def add_unsynced(self, change: UnsyncedWrite) -> None:
        """Keep a write, which is not synced, in memory and in the file beside this one."""
        self.changes.append(change)
        if self._unsynced_log >= 0:
            os.write(self._unsynced_log, encode_write(change))

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - SQLite's name, as are those below
        return bytes(self._content[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self.path is not None:
            self._control.write(self.path, len(data))
        if len(self._content) < offset:
            self._content.extend(bytes(offset - len(self._content)))
        self._content[offset : offset + len(data)] = data
        self.add_unsynced(UnsyncedWrite(offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        if self.path is not None:
            self._control.write(self.path, 0)
        del self._content[newsize:]
        self.add_unsynced(UnsyncedWrite(newsize, None))

    def xFileSize(self) -> int:  # noqa: N802
        return len(self._content)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self.path is not None and self._control.sync(self.path):
            self._forget_changes()  # like the kernel, which marks the pages clean although the sync failed
            raise apsw.IOError(f"{FAIL_SYNC}: an injected EIO")
        self._flush()
        super().xSync(flags)
        self._forget_changes()

    def xClose(self) -> None:  # noqa: N802
        self._flush()  # after an orderly end, the page cache still holds all writes
        if self._unsynced_log >= 0:
            os.close(self._unsynced_log)
            self._unsynced_log = -1
            Path(f"{self.path}{UNSYNCED}").unlink(missing_ok=True)
        super().xClose()

    def _flush(self) -> None:
        for offset, data in self.changes:
            if data is None:
                super().xTruncate(offset)
            else:
                super().xWrite(data, offset)

    def _forget_changes(self) -> None:
        self.changes.clear()
        if self._unsynced_log >= 0:
            self._begin_unsynced_log()


class PowerLossVfs(apsw.VFS):
    """The VFS whose files are `PowerLossFile`s. A subclass may have another `file_class`."""

    file_class = PowerLossFile

    def __init__(self, name: str) -> None:
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> PowerLossFile:  # noqa: N802
        return self.file_class(name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        _path(f"{filename}{UNSYNCED}").unlink(missing_ok=True)


#: This reference keeps the VFS alive as long as the process, because SQLite keeps calling it.
_registered = PowerLossVfs(NAME)
