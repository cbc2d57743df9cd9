"""Damage to the last commit of a node that is down, as a disk that decays would do it: one bit of its last frame flips.

SQLite cannot tell such a commit from one that a power cut has torn. See `node/storage/doubts.py`.
"""

import struct
from pathlib import Path
from random import Random
from typing import NamedTuple

from cluster.errors import FaultFailed
from node.storage.disk import FILE_NAME

_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24


class DamagedBit(NamedTuple):
    """One flipped bit of a file."""

    file: Path
    position: int
    """The byte's place in the file, from 0."""
    was: int
    """The byte before."""
    now: int
    """The byte after."""


class NoCommit(FaultFailed):
    """The write-ahead log of a directory has no commit that could be damaged."""


def damage_last_commit(directory: Path, rng: Random) -> DamagedBit:
    """Flip one bit in the last frame of the last commit in a node's write-ahead log.

    Args:
        directory: the directory of a node that is down.
        rng: draws the bit.

    Returns:
        The bit.

    Raises:
        NoCommit: there is no commit in the log.
    """
    path = directory / f"{FILE_NAME}-wal"
    position = rng.randrange(*last_frame(directory))
    with path.open("r+b") as file:
        file.seek(position)
        (was,) = file.read(1)
        now = was ^ (1 << rng.randrange(8))
        file.seek(position)
        file.write(bytes([now]))
    return DamagedBit(path, position, was, now)


def last_frame(directory: Path) -> tuple[int, int]:
    """Return where the last frame of the last whole commit begins and ends, in bytes. Raises NoCommit.

    The frames and their checksums are those of sqlite.org/fileformat2.html, section 4.
    """
    path = directory / f"{FILE_NAME}-wal"
    data = path.read_bytes() if path.exists() else b""
    found = None
    if len(data) >= _HEADER_BYTES and any(data[:_HEADER_BYTES]):
        words = struct.Struct(f"{'<>'[data[3] & 1]}2I")
        salts, page_bytes = data[16:24], int.from_bytes(data[8:12], "big")
        sums = _checksum(words, data[:24], (0, 0))
        start = _HEADER_BYTES
        while (end := start + _FRAME_HEADER_BYTES + page_bytes) <= len(data) and data[start + 8 : start + 16] == salts:
            sums = _checksum(words, data[start : start + 8] + data[start + _FRAME_HEADER_BYTES : end], sums)
            if struct.pack(">2I", *sums) != data[start + 16 : start + 24]:
                break
            if any(data[start + 4 : start + 8]):  # the mark of a commit's last frame
                found = (start, end)
            start = end
    if found is None:
        raise NoCommit(f"{path} has no commit")
    return found


def _checksum(words: struct.Struct, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    one, other = sums
    for first, second in words.iter_unpack(data):
        one = (one + first + other) & 0xFFFFFFFF
        other = (other + second + one) & 0xFFFFFFFF
    return one, other
