"""A disk that loses, when its process is killed, what was not synced.

A real SIGKILL loses no write: the kernel's page cache outlives the process. Losing power does. This SQLite VFS keeps every
write in the process until it is synced, so that SIGKILL does to the disk what a power cut would.

A node uses it when its spec says `vfs = "harness.powerloss:powerloss"`. A file `slow-sync` in the node's directory, with a
number of seconds in it, makes every sync take that much longer: time enough to strike between a write and its sync.
"""

import time
from pathlib import Path
from typing import Final

import apsw

NAME: Final = "powerloss"
SLOW_SYNC: Final = "slow-sync"


class _File(apsw.VFSFile):
    """A file whose newest content is in memory, and whose synced content is on disk."""

    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._slow = Path(path).parent / SLOW_SYNC if path else None
        self._content = bytearray(super().xRead(super().xFileSize(), 0))
        self._unsynced: list[tuple[int, bytes] | int] = []  # writes, and truncations to a size, in order

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - SQLite's name, as are those below
        return bytes(self._content[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if len(self._content) < offset:
            self._content.extend(bytes(offset - len(self._content)))
        self._content[offset : offset + len(data)] = data
        self._unsynced.append((offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        del self._content[newsize:]
        self._unsynced.append(newsize)

    def xFileSize(self) -> int:  # noqa: N802
        return len(self._content)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._slow is not None and self._slow.exists():
            time.sleep(float(self._slow.read_text()))
        self._flush()
        super().xSync(flags)

    def xClose(self) -> None:  # noqa: N802
        self._flush()  # a process that ends in order leaves its page cache behind
        super().xClose()

    def _flush(self) -> None:
        for change in self._unsynced:
            if isinstance(change, int):
                super().xTruncate(change)
            else:
                super().xWrite(change[1], change[0])
        self._unsynced.clear()


class _PowerLoss(apsw.VFS):
    def __init__(self) -> None:
        super().__init__(NAME, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> _File:  # noqa: N802
        return _File(name, flags)


_registered = _PowerLoss()  # lives as long as the process, or SQLite would call what is gone
