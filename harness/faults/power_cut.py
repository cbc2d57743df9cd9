"""What a power cut leaves: the writes that were not synced, and which of them survive. See
`harness.faults.power_loss_vfs` for the disk.

Beside each file that its disk holds stands `FILE.unsynced`: a log of what was written and not synced, and by which process.
Here it is read and settled while the node is down, by somebody else than the process that wrote it.
"""

import json
import os
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

RECEIPTS: Final = "disk-receipts.jsonl"
UNSYNCED: Final = ".unsynced"
_SECTOR: Final = 512

_RECORD: Final = struct.Struct("<Bqq")  # kind, offset or size or process id, length of what follows
_WRITE, _TRUNCATE, _WRITER = range(3)


class UnsyncedWrite(NamedTuple):
    """A write at an offset, or a truncation to a size if `data` is None."""

    offset: int
    data: bytes | None


class Tail(StrEnum):
    """Which of the un-synced writes survive the power cut. A disk may do any of these, and the file system too."""

    NONE = "none"
    ALL = "all"
    PREFIX = "prefix"  # the first few
    TORN = "torn"  # the first few, and a part of the next one
    REORDERED = "reordered"  # later ones without earlier ones


def survivors(changes: Sequence[UnsyncedWrite], tail: Tail, rng: Random) -> list[UnsyncedWrite]:
    """What is left of the un-synced writes, in order."""
    if not changes or tail is Tail.NONE:
        return []
    match tail:
        case Tail.PREFIX:
            return list(changes[: rng.randrange(len(changes))])
        case Tail.TORN:
            whole = rng.randrange(len(changes))
            torn = changes[whole]
            return [*changes[:whole], *([_torn(torn, rng)] if torn.data else [])]
        case Tail.REORDERED:
            return [*(change for change in changes[1:-1] if rng.random() < 0.5), *changes[1:][-1:]]
    return list(changes)


def _torn(change: UnsyncedWrite, rng: Random) -> UnsyncedWrite:
    """The beginning of a write: whole sectors if it has some."""
    assert change.data
    step = _SECTOR if len(change.data) > _SECTOR else 1
    return UnsyncedWrite(change.offset, change.data[: step * rng.randrange(-(-len(change.data) // step))])


@dataclass(frozen=True, slots=True)
class Unsynced:
    """What a process had written to a file and not synced when it ended."""

    path: Path
    writer: int  # its process id
    changes: tuple[UnsyncedWrite, ...]

    @property
    def bytes(self) -> int:
        """How much that is."""
        return sum(len(change.data or b"") for change in self.changes)


def unsynced(directory: Path) -> list[Unsynced]:
    """The tails of every file in the directory of a node that is down, as its last process left them."""
    found = (read_tail(path) for path in sorted(directory.glob(f"*{UNSYNCED}")))
    return [tail for tail in found if tail.changes]


def settle(directory: Path, tail: Tail, rng: Random) -> list[dict[str, Any]]:
    """Decide what a power cut has left, in the directory of a node that is down. Returns the receipts, one a file."""
    receipts = []
    for left in unsynced(directory):
        kept = survivors(left.changes, tail, rng)
        _apply(left.path, kept)
        kept_bytes = sum(len(change.data or b"") for change in kept)
        receipts.append(
            note(
                left.path,
                "power-cut",
                writer=left.writer,
                tail=str(tail),
                unsynced_writes=len(left.changes),
                unsynced_bytes=left.bytes,
                lost_writes=len(left.changes) - len(kept),
                lost_bytes=left.bytes - kept_bytes,
            )
        )
        Path(f"{left.path}{UNSYNCED}").unlink()
    return receipts


def receipts(directory: Path) -> list[dict[str, Any]]:
    """All that this disk has done to the files of a directory, the oldest first."""
    with suppress(FileNotFoundError):
        return [json.loads(line) for line in (directory / RECEIPTS).read_text().splitlines()]
    return []


def read_tail(path: Path) -> Unsynced:
    """The log that stands at `path`."""
    data, at, writer = path.read_bytes(), 0, 0
    changes: list[UnsyncedWrite] = []
    while at + _RECORD.size <= len(data):
        kind, number, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size + length
        if at > len(data):
            break  # its process was killed while it wrote this down
        match kind:
            case _ if kind == _WRITER:
                writer, changes = number, []
            case _ if kind == _WRITE:
                changes.append(UnsyncedWrite(number, data[at - length : at]))
            case _:
                changes.append(UnsyncedWrite(number, None))
    return Unsynced(path.with_name(path.name.removesuffix(UNSYNCED)), writer, tuple(changes))


def _apply(path: Path, changes: Sequence[UnsyncedWrite]) -> None:
    with path.open("r+b") as file:
        for offset, data in changes:
            if data is None:
                file.truncate(offset)
            else:
                file.seek(offset)
                file.write(data)


def note(path: Path, fault: str, **more: Any) -> dict[str, Any]:
    """Add a receipt about a file, and return it."""
    receipt = {"time": time.monotonic_ns(), "pid": os.getpid(), "fault": fault, "file": path.name, **more}
    with (path.parent / RECEIPTS).open("a") as file:
        file.write(json.dumps(receipt) + "\n")
    return receipt


def packed(change: UnsyncedWrite) -> bytes:
    """A change as it stands in the log."""
    data = change.data or b""
    return _RECORD.pack(_TRUNCATE if change.data is None else _WRITE, change.offset, len(data)) + data


def packed_writer() -> bytes:
    """The beginning of a log: whose it is. What stands before it is over."""
    return _RECORD.pack(_WRITER, os.getpid(), 0)
