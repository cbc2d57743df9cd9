"""Check and read the files of a node's directory. `Disk` (`node/storage/disk.py`) uses it. This module writes no data.

Rules
-----
1. Every failed check raises `DiskCorrupt`. Nothing is guessed or repaired.
2. Each row carries a checksum. The row that names the owner of the directory and its number of boots has one, too. The
   schema is compared with the expected one: with one changed character in it, SQLite could silently find no rows, or other
   ones.
3. SQLite silently ignores every frame of its write-ahead log (WAL) after a damaged one. So `check_wal` also reads the
   frames after those that SQLite has accepted. A crash can tear the last commit and no other. `node/storage/doubts.py`
   says what a node does if the last commit does not check.
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
from node.storage.doubts import WalEnd
from node.storage.log_store import LOG_TABLES, MemoryLog
from node.tuning import Tuning, replicated_on_disk
from node.wire import Malformed, unpack

FILE_NAME: Final = "state.db"
#: Small, because a commit writes whole pages and most commits change one. A larger batch takes several pages.
PAGE_BYTES: Final = 1024
#: SQLite restarts the WAL when it has reached a thousand pages. The commit that reaches them may have several pages.
WAL_GROWN_BYTES: Final = 1100 * PAGE_BYTES
#: The two states of the WAL, as the key "log" of the table "node" records them. In use: the WAL file holds the newest
#: commits, so it must exist and have at least this size. Folded: an orderly end has copied the WAL into the main file.
WAL_IN_USE: Final = f"in use, at least {WAL_GROWN_BYTES} bytes"
WAL_FOLDED: Final = "folded"
#: The columns of each table, as SQL.
TABLES: Final = {
    "node": "(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "state": "(variable TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, checksum INTEGER NOT NULL, "
    "PRIMARY KEY (variable, key)) WITHOUT ROWID",
    **LOG_TABLES,
}
OWNER_KEYS: Final = ("cluster", "node", "incarnation", "made_for", "log")


class DiskError(Exception):
    """The node cannot run on this directory. The message gives the reason, and what to do."""


class DiskMissing(DiskError):
    """The directory of a node that has run before does not exist."""


class DiskInUse(DiskError):
    """Another process uses the directory, or its files change too fast to be copied."""


class DiskOutdated(DiskError):
    """The directory is an old copy: the node has run since."""


class DiskCorrupt(DiskError):
    """The stored data fails a check."""


class DiskForeign(DiskError):
    """The directory belongs to another node or another cluster, or was made for another algorithm or other members."""


class DiskFailed(DiskError):
    """A write or a sync failed, or the directory cannot be used."""


@dataclass
class Contents:
    """The contents of a directory.

    `cluster` and `node` are the owner, `incarnation` is the number of boots, `variables` holds the keys and values of
    each variable, `log` is the replicated log, and `made_for` names the algorithm and the members. `whole` is False if a last
    commit follows that does not check: what it held is not in here.
    """

    cluster: str = ""
    node: NodeId = ""
    incarnation: int = 0
    variables: dict[str, dict[str, Stored]] = field(default_factory=dict)
    log: MemoryLog = field(default_factory=MemoryLog, compare=False)  # only `inspect` fills it
    made_for: str = ""
    whole: bool = field(default=True, compare=False)

    @property
    def tuning(self) -> Tuning:
        """The settings that are part of what the log means."""
        return replicated_on_disk(self.made_for)


class Database(Protocol):
    """An open SQLite database, as far as this module uses it."""

    @property
    def filename(self) -> str:
        """The path of the main file."""

    def execute(self, statements: str, /) -> Iterable[tuple[Any, ...]]:
        """Run the statements, and return the rows of a query."""


def row_checksum(variable: str, key: str, packed: bytes) -> int:
    """Return the CRC-32 of one stored value, its variable and its key."""
    return zlib.crc32(packed, zlib.crc32(f"{variable}\0{key}\0".encode()))


#: Takes in one row of the table of states: the file's name, what was read so far, and the row's columns.
RowReader = Callable[[str, Contents, object, object, object, object], None]


def owner_checksum(owner: list[str]) -> str:
    """Return the CRC-32 of the values of OWNER_KEYS, in their order, as decimal digits."""
    return str(zlib.crc32("\0".join(owner).encode()))


def file_size(path: Path) -> int:
    """Return the size of a file in bytes, or 0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0


def create_statement(table: str) -> str:
    """Return the SQL statement that creates a table. SQLite stores the same text in its schema."""
    return f"CREATE TABLE {table} {TABLES[table]}"


def check_tables(db: Database, path: Path) -> bool:
    """Check the schema. Returns whether there are any tables.

    Raises:
        DiskCorrupt: there are tables, and they are not exactly those of TABLES.
    """
    try:
        found = set(db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql NOTNULL"))
    except UnicodeDecodeError:
        found = {("not text",)}
    if found and found != {("table", name, name, create_statement(name)) for name in TABLES}:
        raise DiskCorrupt(f"{path}: its schema is damaged: restore the directory from a copy, or leave the node down")
    return bool(found)


def read_contents(db: Database, directory: Path, wal_bytes: int, read_row: RowReader) -> Contents:
    """Read and check everything except the replicated log.

    Args:
        db: the open database, which may be a copy.
        directory: the node's own directory, for the messages of errors.
        wal_bytes: the size of the WAL file before `db` was opened.
        read_row: takes in one row of the table of states.

    Raises:
        DiskCorrupt: a check failed.
    """
    path = directory / FILE_NAME
    try:
        check_tables(db, path)
        ((verdict,),) = db.execute("PRAGMA integrity_check(1)")
        if verdict != "ok":
            raise DiskCorrupt(f"{path} is damaged ({verdict}): restore it, or leave the node down")
        header = {str(key): str(value) for key, value in db.execute("SELECT key, value FROM node")}
        owner = [header.get(key, "") for key in OWNER_KEYS]
        if header and header.get("checksum") != owner_checksum(owner):
            raise DiskCorrupt(f"{path}: the record of its owner and its number of boots does not match its checksum")
        if owner[-1] == WAL_IN_USE and wal_bytes < WAL_GROWN_BYTES:
            raise DiskCorrupt(
                f"{path}-wal is missing or cut short, and it holds the newest commits. Restore the file, or leave the node "
                "down: it must not vote as if it had never promised anything."
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
    """Check one row of the table "state", and put it into `contents`. `file` is for the messages of errors.

    Raises:
        DiskCorrupt: a type is wrong, the checksum does not match, or the value does not decode.
    """
    if not (isinstance(variable, str) and isinstance(key, str) and isinstance(packed, bytes)):
        raise DiskCorrupt(f"a row of {file} is not of the declared types: restore the directory")
    if checksum != row_checksum(variable, key, packed):
        raise DiskCorrupt(
            f"{file}: the stored value of {variable}/{key} does not match its checksum. "
            "Restore the directory from a copy, or leave the node down: it must not vote on data that is damaged."
        )
    try:
        contents.variables.setdefault(variable, {})[key] = unpack(packed)
    except Malformed as error:
        raise DiskCorrupt(f"{file}: the stored value of {variable}/{key} does not decode: {error}") from error


def check_wal(db: Database, directory: Path) -> WalEnd | None:
    """Find where SQLite has stopped reading the WAL. Copies the accepted frames into the main file.

    sqlite.org/fileformat2.html, section 4, defines the format. A frame belongs to the present WAL if it repeats the two
    salts of the header. One of them is enough, because damage may have struck the other.

    Returns:
        Where SQLite has stopped; None if there is no WAL.

    Raises:
        DiskCorrupt: the header is damaged, or more than two commits follow the frames that SQLite has accepted.
    """
    # RESTART: the next write begins the WAL anew with new salts. So a frame after its present end can never look like a
    # new one.
    ((_, recovered, _),) = db.execute("PRAGMA wal_checkpoint(RESTART)")
    assert isinstance(recovered, int)
    wal = Path(os.fsdecode(f"{db.filename}-wal".encode()))  # SQLite's name is UTF-8, see `Disk`
    with wal.open("rb") if wal.exists() else BytesIO() as file:
        header = file.read(32)
        if not any(header):
            return None
        byte_order = "<>"[header[3] & 1]
        sums = [0, 0]
        for first, second in struct.iter_unpack(f"{byte_order}2I", header[:24]):
            sums[0] = (sums[0] + first + sums[1]) % 2**32
            sums[1] = (sums[1] + second + sums[0]) % 2**32
        damaged = (
            f"{directory / FILE_NAME}-wal is damaged: commits may be lost. "
            "Restore the directory, or leave the node down."
        )
        if len(header) < 32 or struct.pack(">2I", *sums) != header[24:]:
            raise DiskCorrupt(damaged)
        frame_bytes = 24 + int.from_bytes(header[8:12], "big")
        file.seek(32 + recovered * frame_bytes)
        whole, lost, commits = True, False, 0
        while len(frame := file.read(24)) == 24:
            file.seek(frame_bytes - 24, os.SEEK_CUR)
            if frame[8:12] == header[16:20] or frame[12:16] == header[20:24]:
                # A crash can tear the last commit only. The last frame of a commit, and no other, has a mark (bytes 4
                # to 8). So a frame after a mark belongs to a later commit, and that began only after the marked one was
                # durable. The later one may be torn after its mark was written.
                if commits == 2:
                    raise DiskCorrupt(damaged)
                whole, lost = False, commits > 0
                commits += any(frame[4:8])
        return WalEnd(int.from_bytes(header[16:20], "big"), recovered, whole, lost)
