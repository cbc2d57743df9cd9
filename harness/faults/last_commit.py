"""Damage to the last commit of a node that is down, as a disk that decays would do it: one bit of its last frame flips.

SQLite cannot tell such a commit from one that a power cut has torn. See `node/storage/doubts.py`.
"""

import struct
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from cluster.cluster import Cluster
from cluster.errors import FaultFailed
from node.contract import NodeId
from node.storage.disk import FILE_NAME
from node.storage.doubts import DoubtRecord

_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
#: How long a node that is about to be killed may take to report its status, in seconds.
_STATUS_S: Final = 0.5
#: How often to look for a moment at which it writes nothing.
_LOOKS: Final = 8


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


class Reliance:
    """Finds out whether a node has relied on its last commit before it was killed.

    The node reports its status after it has committed, and noted that (`node/storage/doubts.py`). So all that was in its
    write-ahead log before it was asked is noted, and it is certain that nothing else is there if the file has not changed since.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._before: bytes | None = None
        self.doubts = 0
        """How many doubts the disk had before."""
        self.is_certain = False

    def doubts_of(self, node: NodeId) -> int:
        """Return how many times the disk of a node has been in doubt."""
        return DoubtRecord(self._cluster.spec.settings.directory(node)).count

    def look(self, node: NodeId) -> None:
        """Look at a node that runs, just before it is killed: at a moment at which it writes nothing, if there is one soon.

        On a disk that can fail by itself a node keeps no note, so nothing is certain.
        """
        if self._cluster.spec.settings.vfs is not None:
            return
        for _ in range(_LOOKS):
            before = self._wal(node)
            if node not in self._cluster.status(_STATUS_S, [node]):
                return
            self._before = before
            if before == self._wal(node):
                return

    def look_again(self, node: NodeId) -> None:
        """Look at the same node, after it was killed."""
        self.doubts = self.doubts_of(node)
        self.is_certain = self._before is not None and self._before == self._wal(node)

    def _wal(self, node: NodeId) -> bytes:
        return Path(f"{self._cluster.spec.settings.directory(node) / FILE_NAME}-wal").read_bytes()
