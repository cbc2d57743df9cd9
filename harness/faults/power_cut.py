"""A power cut: which of the unsynced writes of a killed node survive on its disk.

The disk of `harness.faults.power_loss_vfs` keeps unsynced writes out of its files. Beside each `FILE` it writes
`FILE.unsynced`, a log of these writes and of the process that made them. While the node is down, the harness reads
these logs and decides which writes a power cut would have saved (`lose_unsynced`). So the observer of the loss is
another process than the node.
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

#: A record of the log: its kind; an offset, a size or a process id; the length of the data that follows.
_RECORD: Final = struct.Struct("<Bqq")
_WRITE, _TRUNCATE, _WRITER = range(3)


class UnsyncedWrite(NamedTuple):
    """A write of `data` at `offset`, or, if `data` is None, a truncation to the size `offset`. In bytes."""

    offset: int
    data: bytes | None


class Tail(StrEnum):
    """Which of the unsynced writes survive a power cut. A disk, or its file system, may do any of these."""

    NONE = "none"
    ALL = "all"
    PREFIX = "prefix"  # the first few writes
    TORN = "torn"  # the first few writes, and a part of the next one
    REORDERED = "reordered"  # later writes without earlier ones


def surviving_writes(changes: Sequence[UnsyncedWrite], tail: Tail, rng: Random) -> list[UnsyncedWrite]:
    """Return the writes of `changes` that survive, in order."""
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
    """Return the beginning of a write. It ends with a whole sector if the write is longer than one."""
    assert change.data
    step = _SECTOR if len(change.data) > _SECTOR else 1
    return UnsyncedWrite(change.offset, change.data[: step * rng.randrange(-(-len(change.data) // step))])


@dataclass(frozen=True, slots=True)
class UnsyncedWrites:
    """The writes to the file `path` that the process with the id `writer` had not synced when it ended."""

    path: Path
    writer: int
    changes: tuple[UnsyncedWrite, ...]

    @property
    def bytes(self) -> int:
        """The number of bytes that were written."""
        return sum(len(change.data or b"") for change in self.changes)


def read_unsynced(directory: Path) -> list[UnsyncedWrites]:
    """Return the unsynced writes of each file in the directory of a node that is down. Files without any are left out."""
    found = (read_unsynced_log(path) for path in sorted(directory.glob(f"*{UNSYNCED}")))
    return [unsynced for unsynced in found if unsynced.changes]


def lose_unsynced(directory: Path, tail: Tail, rng: Random) -> list[dict[str, Any]]:
    """Carry out a power cut in the directory of a node that is down: unsynced writes are lost, except for the tail.

    Args:
        directory: the directory of the node.
        tail: which of the unsynced writes survive.
        rng: draws how many of them do.

    Returns:
        The receipts of the disk, one for each file that had unsynced writes. They count the writes and bytes that were
        lost.
    """
    receipts = []
    for unsynced in read_unsynced(directory):
        kept = surviving_writes(unsynced.changes, tail, rng)
        _apply(unsynced.path, kept)
        kept_bytes = sum(len(change.data or b"") for change in kept)
        receipts.append(
            write_disk_receipt(
                unsynced.path,
                "power-cut",
                writer=unsynced.writer,
                tail=str(tail),
                unsynced_writes=len(unsynced.changes),
                unsynced_bytes=unsynced.bytes,
                lost_writes=len(unsynced.changes) - len(kept),
                lost_bytes=unsynced.bytes - kept_bytes,
            )
        )
        Path(f"{unsynced.path}{UNSYNCED}").unlink()
    return receipts


def read_disk_receipts(directory: Path) -> list[dict[str, Any]]:
    """Return the receipts of everything that the disk did to the files of a directory, the oldest first."""
    with suppress(FileNotFoundError):
        return [json.loads(line) for line in (directory / RECEIPTS).read_text().splitlines()]
    return []


def read_unsynced_log(path: Path) -> UnsyncedWrites:
    """Read the log `path`, whose name is that of a file with `.unsynced` appended."""
    data, at, writer = path.read_bytes(), 0, 0
    changes: list[UnsyncedWrite] = []
    while at + _RECORD.size <= len(data):
        kind, number, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size + length
        if at > len(data):
            break  # the process was killed while it wrote this record
        match kind:
            case _ if kind == _WRITER:
                writer, changes = number, []
            case _ if kind == _WRITE:
                changes.append(UnsyncedWrite(number, data[at - length : at]))
            case _:
                changes.append(UnsyncedWrite(number, None))
    return UnsyncedWrites(path.with_name(path.name.removesuffix(UNSYNCED)), writer, tuple(changes))


def _apply(path: Path, changes: Sequence[UnsyncedWrite]) -> None:
    with path.open("r+b") as file:
        for offset, data in changes:
            if data is None:
                file.truncate(offset)
            else:
                file.seek(offset)
                file.write(data)


def write_disk_receipt(path: Path, fault: str, **details: Any) -> dict[str, Any]:
    """Append a receipt about the file `path` to the receipts of its directory, and return it."""
    receipt = {"time": time.monotonic_ns(), "pid": os.getpid(), "fault": fault, "file": path.name, **details}
    with (path.parent / RECEIPTS).open("a") as file:
        file.write(json.dumps(receipt) + "\n")
    return receipt


def encode_write(change: UnsyncedWrite) -> bytes:
    """Return the record of a write for the log of unsynced writes."""
    data = change.data or b""
    return _RECORD.pack(_TRUNCATE if change.data is None else _WRITE, change.offset, len(data)) + data


def encode_writer() -> bytes:
    """Return the record that begins a log. It names this process; earlier records of the log no longer count."""
    return _RECORD.pack(_WRITER, os.getpid(), 0)
