"""What a node keeps beside its database to learn whether the last commit was lost: `CommitMark` and `DoubtRecord`.

Theory of operation
-------------------
The write-ahead log (WAL) may end in a commit that does not check. Either the node ended while it wrote that commit, and nothing
rests on it. Or the commit was durable, the node has promised or answered something that rests on it, and it was damaged
later. The bytes look the same.

1. After each commit, and before anything that rests on it leaves the node, the node notes in `state.db-mark` which frame of the
   WAL the commit ends with. The note is not synced, so it costs a microsecond. A kill loses no write of this machine's page
   cache. So, as long as the machine has not been restarted, the note proves which case it is.
2. After a restart of the machine, the note may be old. Then the node is in doubt, if the WAL ends in frames that do not check.
3. The doubt is recorded in the file `doubts`, synced, before SQLite overwrites the frames that show it. It ends when the
   algorithm has learned from the other nodes what the commit can have held.
"""

import json
import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from node.log_contract import Doubt

MARK_SUFFIX: Final = "-mark"
DOUBTS_NAME: Final = "doubts"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_MARK: Final = struct.Struct("<36sIIxxxx")


class WalEnd(NamedTuple):
    """Where SQLite has stopped reading a WAL."""

    generation: int
    """The first salt of the WAL's header. It rises by one whenever SQLite begins the WAL anew."""
    frames: int
    """How many frames SQLite has accepted."""
    whole: bool
    """Whether no frame of this generation follows."""
    lost: bool
    """Whether the frames that follow prove that a durable commit is lost: a whole commit, and at least a part of the next."""


class CommitMark:
    """The note of the last commit, in a file beside the database."""

    def __init__(self, database: Path) -> None:
        """Open the file, or create it. Raises OSError."""
        self._path = Path(f"{database}{MARK_SUFFIX}")
        self._wal = Path(f"{database}-wal")
        self._boot_id = _read_boot_id()
        self._generation: int | None = None
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)

    def lost(self, end: WalEnd) -> bool | None:
        """Return whether the WAL that ends at `end` has lost a commit that was noted; None if the note cannot prove it."""
        data = os.pread(self._file, _MARK.size, 0)
        if len(data) < _MARK.size or not self._boot_id:
            return None
        boot_id, generation, frames = _MARK.unpack(data)
        if boot_id != self._boot_id:
            return None
        if generation == end.generation:
            return bool(end.frames < frames)
        # The node ended in the first commit of a new generation, before it was noted.
        return False if generation == (end.generation - 1) % 2**32 else None

    def is_other(self, noted: str) -> bool:
        """Return whether the note differs from `noted`: what it was, in hex digits, earlier in this run of the machine."""
        before = bytes.fromhex(noted)
        return (
            bool(self._boot_id) and before.startswith(self._boot_id) and os.pread(self._file, _MARK.size, 0) != before
        )

    def note(self, frames: int) -> None:
        """Note that the last durable commit ends with frame number `frames` of the WAL. Raises OSError."""
        if self._generation is None:
            with self._wal.open("rb") as wal:
                self._generation = int.from_bytes(wal.read(20)[16:], "big")
        os.pwrite(self._file, _MARK.pack(self._boot_id, self._generation, frames), 0)

    def expect_new_generation(self) -> None:
        """Take in that the WAL was copied into the database, so that SQLite begins it anew with the next commit."""
        self._generation = None

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class DoubtRecord:
    """How often a disk has been in doubt, and whether it is now. Each change is durable when it returns."""

    def __init__(self, directory: Path) -> None:
        """Read the file. Raises OSError, and ValueError if the file is damaged."""
        self._path = directory / DOUBTS_NAME
        self.count, self.present = 0, Doubt.NONE
        with suppress(FileNotFoundError):
            content = json.loads(self._path.read_bytes())
            self.count, self.present = int(content["count"]), Doubt(content["present"])

    def begin(self, doubt: Doubt) -> None:
        """Record a doubt. It is never taken for less than an earlier one that is still open. Raises OSError."""
        self._write(self.count + 1, max(doubt, self.present))

    def end(self) -> None:
        """Record that the doubt is over. Raises OSError."""
        self._write(self.count, Doubt.NONE)

    def _write(self, count: int, present: Doubt) -> None:
        new = self._path.with_suffix(".new")
        with open(new, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(json.dumps({"count": count, "present": int(present)}).encode())
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self.count, self.present = count, present


def _read_boot_id() -> bytes:
    """Return what identifies this run of the machine; empty if the system does not say."""
    with suppress(OSError):
        return _BOOT_ID.read_bytes().strip()
    return b""
