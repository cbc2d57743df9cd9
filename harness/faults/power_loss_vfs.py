"""A disk that loses, when its process is killed, what was not synced; and that fails in other ways when it is told to.

Theory of operation
-------------------
A real SIGKILL loses no write: the kernel's page cache outlives the process. Losing power does. This SQLite VFS keeps each
write to `FILE` aside, in `FILE.unsynced`, until it is synced; only then does it go to `FILE`. So SIGKILL leaves on disk what
a power cut would, and beside it the tail, of which a power cut might have saved any part:
`harness.faults.power_cut.settle` decides
which. Where nobody has settled it when the file is opened next, all of it is lost.

A node uses it when its spec says `vfs = "harness.faults.power_loss_vfs:powerloss"`. Small files in the node's directory steer it:

| file | holds | does |
|---|---|---|
| `slow-sync` | seconds | every sync takes that much longer: time to strike between a write and its sync |
| `die-at` | N | SIGKILL before the N-th write or sync from now |
| `fail-write` | N | the N-th write from now fails with EIO |
| `fail-sync` | N | the N-th sync from now fails with EIO, and loses what it was for: as on Linux, a retry would succeed |
| `disk-full` | bytes | when so many have been written, writes fail with ENOSPC |

`disk-receipts.jsonl` in the same directory gets a line of JSON for all that was done: what, to which file, in which process.
A file that names a count is renamed when its time has come, so that it acts once.

What it leaves out: a file is created and deleted for good at once, as if the directory were always synced.
"""

import fcntl
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Final

import apsw

from harness.faults.power_cut import UNSYNCED, UnsyncedWrite, note, packed, packed_writer, read_tail

NAME: Final = "powerloss"
SPEC: Final = f"harness.faults.power_loss_vfs:{NAME}"
SLOW_SYNC: Final = "slow-sync"
DIE_AT: Final = "die-at"
FAIL_WRITE: Final = "fail-write"
FAIL_SYNC: Final = "fail-sync"
DISK_FULL: Final = "disk-full"


class _Steering:
    """The small files of one directory, as this process sees them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._counts: Counter[str] = Counter()
        self._since: dict[str, tuple[str, int]] = {}  # what a file said when it was first seen, and the count then

    def write(self, path: Path, amount: int) -> None:
        """A write is about to be made."""
        self._boundary(path, "write")
        if self._struck(FAIL_WRITE, path):
            raise apsw.IOError(f"{FAIL_WRITE}: an injected EIO")
        if self._full(path, amount):
            raise apsw.FullError(f"{DISK_FULL}: an injected ENOSPC")

    def sync(self, path: Path) -> bool:
        """A sync is about to be made. Returns whether it is to fail."""
        slow = self._text(SLOW_SYNC)
        if slow:
            note(path, SLOW_SYNC, seconds=float(slow))
            time.sleep(float(slow))
        self._boundary(path, "sync")
        return self._struck(FAIL_SYNC, path)

    def _boundary(self, path: Path, what: str) -> None:
        if self._struck(DIE_AT, path, before=what):
            os.kill(os.getpid(), signal.SIGKILL)

    def _struck(self, name: str, path: Path, **more: str) -> bool:
        """Count, if the file `name` is there. Whether the count that it names has come; then it has had its time."""
        text = self._text(name)
        if text is None:
            return False
        if self._since.get(name, ("", 0))[0] != text:
            self._since[name] = (text, self._counts[name])
        self._counts[name] += 1
        if self._counts[name] - self._since[name][1] < int(text):
            return False
        note(path, name, number=int(text), **more)
        (self._directory / name).rename(self._directory / f"{name}.struck")
        del self._since[name]
        return True

    def _full(self, path: Path, amount: int) -> bool:
        text = self._text(DISK_FULL)
        if text is None:
            return False
        if self._counts[DISK_FULL] + amount <= int(text):
            self._counts[DISK_FULL] += amount
            return False
        note(path, DISK_FULL, free_bytes=int(text), wanted_bytes=amount)
        return True

    def _text(self, name: str) -> str | None:
        try:
            return (self._directory / name).read_text().strip()
        except OSError:  # it is not there, or no descriptor is free
            return None


#: One a directory, so that what is counted is counted over all of its files.
_steerings: Final[dict[Path, _Steering]] = {}


class PowerLossFile(apsw.VFSFile):
    """A file whose newest content is in memory, and whose synced content is on disk."""

    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self.path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name) if name else None
        self._aside = -1
        self.changes: list[UnsyncedWrite] = []
        if self.path is not None:
            self._steering = _steerings.setdefault(self.path.parent, _Steering(self.path.parent))
            self._open_aside(Path(f"{self.path}{UNSYNCED}"))
        self._content = bytearray(super().xRead(super().xFileSize(), 0))

    def _open_aside(self, path: Path) -> None:
        assert self.path is not None
        self._aside = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._aside, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another process has the file, and SQLite's own lock will tell this one so
            os.close(self._aside)
            self._aside = -1
            return
        if (left := read_tail(path)).changes:
            told = {"unsynced_writes": len(left.changes), "unsynced_bytes": left.bytes}
            note(self.path, "power-cut", writer=left.writer, tail="none", lost_bytes=left.bytes, **told)
        self._begin_aside()

    def _begin_aside(self) -> None:
        os.ftruncate(self._aside, 0)
        os.write(self._aside, packed_writer())

    def put_aside(self, change: UnsyncedWrite) -> None:
        """Keep a write, which is not synced, in memory and in the file beside this one."""
        self.changes.append(change)
        if self._aside >= 0:
            os.write(self._aside, packed(change))

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - SQLite's name, as are those below
        return bytes(self._content[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self.path is not None:
            self._steering.write(self.path, len(data))
        if len(self._content) < offset:
            self._content.extend(bytes(offset - len(self._content)))
        self._content[offset : offset + len(data)] = data
        self.put_aside(UnsyncedWrite(offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        if self.path is not None:
            self._steering.write(self.path, 0)
        del self._content[newsize:]
        self.put_aside(UnsyncedWrite(newsize, None))

    def xFileSize(self) -> int:  # noqa: N802
        return len(self._content)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self.path is not None and self._steering.sync(self.path):
            self._forget()  # the kernel marks the pages clean all the same
            raise apsw.IOError(f"{FAIL_SYNC}: an injected EIO")
        self._flush()
        super().xSync(flags)
        self._forget()

    def xClose(self) -> None:  # noqa: N802
        self._flush()  # a process that ends in order leaves its page cache behind
        if self._aside >= 0:
            os.close(self._aside)
            self._aside = -1
            Path(f"{self.path}{UNSYNCED}").unlink(missing_ok=True)
        super().xClose()

    def _flush(self) -> None:
        for offset, data in self.changes:
            if data is None:
                super().xTruncate(offset)
            else:
                super().xWrite(data, offset)

    def _forget(self) -> None:
        self.changes.clear()
        if self._aside >= 0:
            self._begin_aside()


class PowerLossVfs(apsw.VFS):
    """The VFS whose files are such files."""

    file_class = PowerLossFile

    def __init__(self, name: str) -> None:
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> PowerLossFile:  # noqa: N802
        return self.file_class(name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        Path(f"{filename}{UNSYNCED}").unlink(missing_ok=True)


_registered = PowerLossVfs(NAME)  # lives as long as the process, or SQLite would call what is gone
