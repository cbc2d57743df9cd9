"""What the files of a node's disk say, checked. The Disk of `node/storage/disk.py` is made of it; nothing here writes.

Rules
-----
1. Anything that does not check is `DiskCorrupt`: it is never guessed at, and never forgiven.
2. Each row carries a checksum. So does whose disk it is, and how often it has booted. The schema is compared with ours: one
   in which a letter has changed would have SQLite find no rows, or others, without a word.
3. SQLite drops without a word all that follows a damaged frame of its log. So the frames behind those in which it believes
   are looked at too: a crash tears the last commit and no other.
"""

import os
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Protocol

from node.contract import NodeId, Stored
from node.storage.log_store import LOG_TABLES, MemoryLog
from node.wire import Malformed, unpack

FILE_NAME: Final = "state.db"
#: Small, since a commit writes whole pages and most change one. A larger batch takes several.
PAGE_BYTES: Final = 1024
#: SQLite starts its log anew when it has a thousand pages, and the commit that brings it there may be of several.
LOG_GROWN_BYTES: Final = 1100 * PAGE_BYTES
#: Where the newest is: in the log's file, which must be there then, or folded into the main file by an orderly end.
LOG_IN_USE: Final = f"in use, at least {LOG_GROWN_BYTES} bytes"
LOG_FOLDED: Final = "folded"
#: What each table consists of.
TABLES: Final = {
    "node": "(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "state": "(variable TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, checksum INTEGER NOT NULL, "
    "PRIMARY KEY (variable, key)) WITHOUT ROWID",
    **LOG_TABLES,
}
OWNER_KEYS: Final = ("cluster", "node", "incarnation", "made_for", "log")


class DiskError(Exception):
    """The node cannot run on this directory. The message says why and what to do."""


class DiskMissing(DiskError):
    """The directory of a node that has run before is not there."""


class DiskInUse(DiskError):
    """Another process has the directory."""


class DiskCorrupt(DiskError):
    """What is stored does not check."""


class DiskForeign(DiskError):
    """The directory belongs to another node or another cluster."""


class DiskFailed(DiskError):
    """A write or a sync failed."""


@dataclass
class Contents:
    """What a disk holds: whose it is, how often it has booted, and every variable's keys and values."""

    cluster: str = ""
    node: NodeId = ""
    incarnation: int = 0
    variables: dict[str, dict[str, Stored]] = field(default_factory=dict)
    log: MemoryLog = field(default_factory=MemoryLog, compare=False)  # filled by `inspect` alone
    made_for: str = ""


class Database(Protocol):
    """An open SQLite database."""

    @property
    def filename(self) -> str:
        """Where it is."""

    def execute(self, statements: str, /) -> Iterable[tuple[Any, ...]]:
        """The rows that a query finds."""


def row_checksum(variable: str, key: str, packed: bytes) -> int:
    """Of one stored value, and of where it belongs."""
    return zlib.crc32(packed, zlib.crc32(f"{variable}\0{key}\0".encode()))


#: Takes in one row of the table of states: the file's name, what was read so far, and the row's columns.
RowReader = Callable[[str, Contents, object, object, object, object], None]


def owner_checksum(owner: list[str]) -> str:
    """Of what OWNER_KEYS name."""
    return str(zlib.crc32("\0".join(owner).encode()))


def size(path: Path) -> int:
    """How many bytes a file has; 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def statement(table: str) -> str:
    """What makes a table, and what SQLite says afterwards that has made it."""
    return f"CREATE TABLE {table} {TABLES[table]}"


def check_tables(db: Database, path: Path) -> bool:
    """Whether there are any tables. Raises DiskCorrupt if they are not ours."""
    try:
        found = set(db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql NOTNULL"))
    except UnicodeDecodeError:
        found = {("not text",)}
    if found and found != {("table", name, name, statement(name)) for name in TABLES}:
        raise DiskCorrupt(f"{path}: its schema is damaged: restore the directory from a copy, or leave the node down")
    return bool(found)


def read(db: Database, directory: Path, log_bytes: int, read_row: RowReader) -> Contents:
    """Everything that is stored, checked. `directory` is where people know it, `log_bytes` how large the log was there."""
    path = directory / FILE_NAME
    try:
        check_tables(db, path)
        ((verdict,),) = db.execute("PRAGMA integrity_check(1)")
        if verdict != "ok":
            raise DiskCorrupt(f"{path} is damaged ({verdict}): restore it, or leave the node down")
        header = {str(key): str(value) for key, value in db.execute("SELECT key, value FROM node")}
        owner = [header.get(key, "") for key in OWNER_KEYS]
        if header and header.get("checksum") != owner_checksum(owner):
            raise DiskCorrupt(f"{path}: whose it is, and how often it has booted, does not match its checksum")
        if owner[-1] == LOG_IN_USE and log_bytes < LOG_GROWN_BYTES:
            raise DiskCorrupt(
                f"{path}-wal is missing or cut short, and it holds what was committed last. Restore it, or leave the node "
                "down; it must not vote as if it had never promised anything."
            )
        contents = Contents(owner[0], owner[1], int(owner[2] or 0), made_for=owner[3])
        for row in db.execute("SELECT variable, key, value, checksum FROM state ORDER BY 1, 2"):
            read_row(str(path), contents, *row)
    except UnicodeDecodeError as error:
        raise DiskCorrupt(f"{path}: a name is not text ({error}): restore the directory") from error
    return contents


def read_checked_row(
    file: str, contents: Contents, variable: object, key: object, packed: object, checksum: object
) -> None:
    """Take in one row of the table of states."""
    if not (isinstance(variable, str) and isinstance(key, str) and isinstance(packed, bytes)):
        raise DiskCorrupt(f"a row of {file} is not of the declared types: restore the directory")
    if checksum != row_checksum(variable, key, packed):
        raise DiskCorrupt(
            f"{file}: the stored value of {variable}/{key} does not match its checksum. "
            "Restore the directory from a copy, or leave the node down; it must not vote on what it cannot trust."
        )
    try:
        contents.variables.setdefault(variable, {})[key] = unpack(packed)
    except Malformed as error:
        raise DiskCorrupt(f"{file}: the stored value of {variable}/{key} does not decode: {error}") from error


def check_log(db: Database, directory: Path) -> None:
    """Raise DiskCorrupt if the log goes on after the frames in which SQLite believes. Leaves all of them in the main file.

    Its format: sqlite.org/fileformat2.html, section 4. A frame is of this log if it repeats the two salts of the header.
    """
    # The next write starts the log anew, so that nothing that lies behind its end now is ever taken for new.
    ((_, recovered, _),) = db.execute("PRAGMA wal_checkpoint(RESTART)")
    assert isinstance(recovered, int)
    log = Path(f"{db.filename}-wal")
    with log.open("rb") if log.exists() else BytesIO() as file:
        header = file.read(32)
        if not any(header):
            return
        order = "<>"[header[3] & 1]
        sums = [0, 0]
        for first, second in struct.iter_unpack(f"{order}2I", header[:24]):
            sums[0] = (sums[0] + first + sums[1]) % 2**32
            sums[1] = (sums[1] + second + sums[0]) % 2**32
        damaged = (
            f"{directory / FILE_NAME}-wal is damaged: what was committed may be lost. "
            "Restore the directory, or leave the node down."
        )
        if len(header) < 32 or struct.pack(">2I", *sums) != header[24:]:
            raise DiskCorrupt(damaged)
        frame_bytes = 24 + int.from_bytes(header[8:12], "big")
        file.seek(32 + recovered * frame_bytes)
        commit_seen = False
        while len(frame := file.read(24)) == 24:
            file.seek(frame_bytes - 24, os.SEEK_CUR)
            if frame[8:16] == header[16:24]:
                # A crash tears the last commit at most, and a commit's last frame alone is marked (bytes 4 to 8). So a frame
                # after a mark is of a later commit, which began only when the one before was durable.
                if commit_seen:
                    raise DiskCorrupt(damaged)
                commit_seen = any(frame[4:8])
