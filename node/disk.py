"""Durable keys and values of one node, on SQLite. The only home of apsw, but for the harness's faulty disks.

Rules
-----
1. A commit is durable when it returns: write-ahead log, `synchronous=FULL`. The log file is grown in advance, so that a
   commit overwrites and need not extend it, which saves a third of its time.
2. One process a directory: the lock is exclusive and taken at open.
3. A commit that fails is the end: after a failed fsync the kernel marks the pages clean, and a retry would report a
   success that never was. `commit` raises `DiskFailed`; the node logs it and exits.
4. Absent is not corrupt, and neither is forgiven: a directory that should be there and is not, or anything that does not
   check, stops the node. A node that has forgotten its promises must not vote as its old self. Checked at open: every
   row by its checksum, the pages by SQLite's integrity check, and the log, of which SQLite drops without a word all that
   follows a damaged frame, and all of it if its file has gone. Damage in the very last commit cannot be told from a commit
   that a crash has torn.

Keys and values are kept in memory as well, so reads cost nothing; what is assigned is `dirty` until the turn's commit. The
log of `node/log_store.py` is not, and shares the turn's transaction.
"""

import os
import shutil
import struct
import tempfile
import time
import zlib
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Final

import apsw

from node.contract import NodeId, Stored
from node.log_store import LOG_SCHEMA, DiskLog, MemoryLog, Row
from node.wire import Malformed, pack, unpack

FILE_NAME: Final = "state.db"
_LOG_GROWN_BYTES: Final = 256 * 1024
_GOING_MS: Final = 500
#: Where the newest is: in the log's file, which must be there then, or folded into the main file by an orderly end.
_LOG_IN_USE: Final = "in use"
_LOG_FOLDED: Final = "folded"

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS node (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (
    variable TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (variable, key)
) WITHOUT ROWID;
"""


_OWNER_KEYS: Final = ("cluster", "node", "incarnation", "made_for", "log")


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


class Disk:
    """An open directory. Opening it counts one more incarnation, durably."""

    def __init__(
        self,
        directory: Path,
        *,
        cluster: str,
        node: NodeId,
        made_for: str = "",
        must_exist: bool = False,
        vfs: str | None = None,
    ) -> None:
        """Open or create the directory.

        Args:
            directory: made with mode 0700 if it is not there.
            cluster: the cluster's id; a directory of another cluster is refused.
            node: the node's id; a directory of another node is refused.
            made_for: the algorithm and its members, in words; a directory that was made for others is refused, since what
                they stored means something else, and a quorum of others need not overlap theirs.
            must_exist: the node has run before, so a missing directory is an error.
            vfs: the name of a registered apsw VFS to write through.

        Raises:
            DiskError: one of its subclasses, saying what is wrong and what to do.
        """
        self.directory = directory
        self.commits = 0
        self._dirty: dict[tuple[str, str], bytes | None] = {}
        path = directory / FILE_NAME
        try:
            log_bytes = _size(Path(f"{path}-wal"))  # before SQLite makes one
            if must_exist and not path.exists():
                raise DiskMissing(
                    f"{path} is missing, and {node} has run before. It may have promised or accepted what nobody else has, "
                    "so it must not vote again as its old self. Restore the directory, or leave the node down."
                )
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._db = apsw.Connection(str(path), vfs=vfs)
            path.chmod(0o600)
        except OSError as error:
            raise DiskFailed(
                f"{directory} cannot be used: {error.strerror}. Is the path right and writable?"
            ) from error
        except apsw.Error as error:
            raise _explained(directory, error) from error
        try:
            self._variables = self._open(cluster, node, made_for, must_exist, log_bytes)
        except BaseException as error:
            self._db.close()
            if isinstance(error, apsw.Error):
                raise _explained(directory, error) from error
            raise

    def _open(
        self, cluster: str, node: NodeId, made_for: str, must_exist: bool, log_bytes: int
    ) -> dict[str, dict[str, Stored]]:
        """Check and read everything, and count the boot."""
        self._db.set_busy_timeout(
            _GOING_MS
        )  # an owner that was killed may hold it for the moment in which its threads go
        # The log's file goes only in `close`, with a note: where a process ends without it, the file is to be there.
        self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        _check_log(self._db, self.directory)
        self._db.execute("BEGIN EXCLUSIVE")
        self._db.execute(_SCHEMA + LOG_SCHEMA)
        contents = _read(self._db, self.directory, log_bytes)
        if must_exist and not contents.cluster:
            raise DiskCorrupt(
                f"{self.directory / FILE_NAME} is empty, and {node} has run before: restore it, or leave the node down"
            )
        if (contents.cluster or cluster, contents.node or node) != (cluster, node):
            raise DiskForeign(
                f"{self.directory} belongs to node {contents.node} of cluster {contents.cluster[:8]}, and this is {node} "
                f"of {cluster[:8]}: start the node on its own directory"
            )
        if (contents.made_for or made_for) != made_for:
            raise DiskForeign(
                f"{self.directory} was made for {contents.made_for}, and the spec says {made_for}: put the spec back as it was"
            )
        self.incarnation = contents.incarnation + 1
        self._owner = [cluster, node, str(self.incarnation), made_for]
        # With the note that the log is in use goes so much ballast that its file is as large as `_read` will want it.
        self._note_owner(_LOG_IN_USE)
        self._db.execute("CREATE TABLE ballast (content BLOB)")
        self._db.execute("INSERT INTO ballast VALUES (zeroblob(?))", (_LOG_GROWN_BYTES,))
        self._db.execute("COMMIT; DROP TABLE ballast; PRAGMA wal_checkpoint(RESTART)")
        self.log = DiskLog(self._read, self._damaged)
        return contents.variables

    def _note_owner(self, log: str) -> None:
        owner = [*self._owner, log]
        self._db.executemany(
            "INSERT OR REPLACE INTO node VALUES (?, ?)",
            zip((*_OWNER_KEYS, "checksum"), [*owner, _owner_checksum(owner)], strict=True),
        )

    def variables(self) -> list[str]:
        """The names of the variables that have anything stored."""
        return list(self._variables)

    def variable(self, name: str) -> MutableMapping[str, Stored]:
        """The keys and values of one variable."""
        return _VariableDisk(name, self._variables.setdefault(name, {}), self._dirty)

    def _read(self, query: str, bindings: Row) -> Iterator[Row]:
        try:
            yield from self._db.execute(query, bindings)
        except apsw.Error as error:
            raise _explained(self.directory, error) from error

    def _damaged(self, what: str) -> DiskCorrupt:
        return DiskCorrupt(f"{self.directory}: {what}: restore the directory from a copy, or leave the node down")

    @property
    def dirty(self) -> bool:
        """Whether something was assigned since the last commit."""
        return bool(self._dirty or self.log.writes)

    def commit(self) -> None:
        """Make every assignment durable, all or none. Raises DiskFailed; do not go on after it."""
        if not self.dirty:
            return
        try:
            with self._db:
                for (variable, key), packed in self._dirty.items():
                    if packed is None:
                        self._db.execute("DELETE FROM state WHERE variable=? AND key=?", (variable, key))
                    else:
                        row = (variable, key, packed, _checksum(variable, key, packed))
                        self._db.execute("INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?)", row)
                for statement, values in self.log.writes:
                    self._db.execute(statement, values)
        except apsw.Error as error:
            raise _explained(self.directory, error) from error
        self._dirty.clear()
        self.log.committed()
        self.commits += 1

    def close(self) -> None:
        """Release the directory in order: the log is folded into the main file. What was not committed is dropped."""
        with suppress(apsw.Error):  # a disk that has failed stays as a crash leaves it
            self._note_owner(_LOG_FOLDED)
            self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
        self._db.close()


class _VariableDisk(MutableMapping[str, Stored]):
    """The mapping that an algorithm sees as `node.disk`."""

    def __init__(self, name: str, stored: dict[str, Stored], dirty: dict[tuple[str, str], bytes | None]) -> None:
        self._name, self._stored, self._dirty = name, stored, dirty

    def __getitem__(self, key: str) -> Stored:
        return self._stored[key]

    def __setitem__(self, key: str, value: Stored) -> None:
        self._dirty[self._name, key] = pack(value)
        self._stored[key] = value

    def __delitem__(self, key: str) -> None:
        del self._stored[key]
        self._dirty[self._name, key] = None

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


def _checksum(variable: str, key: str, packed: bytes) -> int:
    return zlib.crc32(packed, zlib.crc32(f"{variable}\0{key}\0".encode()))


def _owner_checksum(owner: list[str]) -> str:
    return str(zlib.crc32("\0".join(owner).encode()))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _read(db: apsw.Connection, directory: Path, log_bytes: int) -> Contents:
    """Everything that is stored, checked. `directory` is where people know it, `log_bytes` how large the log was there."""
    path = directory / FILE_NAME
    try:
        ((verdict,),) = db.execute("PRAGMA integrity_check(1)")
        if verdict != "ok":
            raise DiskCorrupt(f"{path} is damaged ({verdict}): restore it, or leave the node down")
        header = {str(key): str(value) for key, value in db.execute("SELECT key, value FROM node")}
        owner = [header.get(key, "") for key in _OWNER_KEYS]
        if header and header.get("checksum") != _owner_checksum(owner):
            raise DiskCorrupt(f"{path}: whose it is, and how often it has booted, does not match its checksum")
        if owner[-1] == _LOG_IN_USE and log_bytes < _LOG_GROWN_BYTES:
            raise DiskCorrupt(
                f"{path}-wal is missing or cut short, and it holds what was committed last. Restore it, or leave the node "
                "down; it must not vote as if it had never promised anything."
            )
        contents = Contents(owner[0], owner[1], int(owner[2] or 0), made_for=owner[3])
        for row in db.execute("SELECT variable, key, value, checksum FROM state ORDER BY 1, 2"):
            _read_row(str(path), contents, *row)
    except UnicodeDecodeError as error:
        raise DiskCorrupt(f"{path}: a name is not text ({error}): restore the directory") from error
    return contents


def _read_row(file: str, contents: Contents, variable: object, key: object, packed: object, checksum: object) -> None:
    if not (isinstance(variable, str) and isinstance(key, str) and isinstance(packed, bytes)):
        raise DiskCorrupt(f"a row of {file} is not of the declared types: restore the directory")
    if checksum != _checksum(variable, key, packed):
        raise DiskCorrupt(
            f"{file}: the stored value of {variable}/{key} does not match its checksum. "
            "Restore the directory from a copy, or leave the node down; it must not vote on what it cannot trust."
        )
    try:
        contents.variables.setdefault(variable, {})[key] = unpack(packed)
    except Malformed as error:
        raise DiskCorrupt(f"{file}: the stored value of {variable}/{key} does not decode: {error}") from error


def _check_log(db: apsw.Connection, directory: Path) -> None:
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


def _explained(directory: Path, error: apsw.Error) -> DiskError:
    """SQLite's error as one of ours, with what to do."""
    match error:
        case apsw.BusyError() | apsw.LockedError():
            return DiskInUse(
                f"{directory} is in use by another process: a node's directory serves one process at a time"
            )
        case apsw.CorruptError() | apsw.NotADBError():
            return DiskCorrupt(f"{directory / FILE_NAME} is damaged ({error}): restore it, or leave the node down")
        case apsw.FullError():
            return DiskFailed(f"{directory}: the disk is full ({error}): free some space and start the node again")
        case apsw.CantOpenError() | apsw.ReadOnlyError() | apsw.PermissionsError():
            return DiskFailed(f"{directory} cannot be used: {error}. Is the path right and writable?")
    return DiskFailed(
        f"{directory}: {type(error).__name__} {error}: the node stops, since it cannot tell what is durable"
    )


def inspect(directory: Path) -> Contents:
    """What the disk of a node says, whether the node runs or not. Reads a copy; touches nothing.

    Raises:
        DiskError: there is no such disk, it does not check, or it changed too fast to copy.
    """
    source = directory / FILE_NAME
    if not source.exists():
        raise DiskMissing(f"{source} is not there: has the node ever booted?")
    trouble: DiskError = DiskInUse(f"{source} changes too fast to be copied: try again when the node is less busy")
    for attempt in range(5):
        time.sleep(0.01 * attempt)
        # A checkpoint copies pages that are in the log into the main file, and starts the log anew only afterwards. So if
        # the log still begins as it did when the main file was copied, the two together are whole.
        began = _log_header(source)
        with tempfile.TemporaryDirectory(prefix="consensus-inspect-") as folder:
            for name in (FILE_NAME, f"{FILE_NAME}-wal"):
                with suppress(FileNotFoundError):  # a node that stops removes its log
                    shutil.copyfile(directory / name, Path(folder) / name)
            if _log_header(source) == began:
                try:
                    return _read_copy(Path(folder) / FILE_NAME, directory)
                except DiskCorrupt as error:
                    trouble = error  # if it is a commit that was copied half written, it is whole next time
    raise trouble


def _read_copy(copy: Path, directory: Path) -> Contents:
    try:
        db = apsw.Connection(str(copy))
        try:
            db.execute("PRAGMA synchronous=OFF")
            log_bytes = _size(Path(f"{copy}-wal"))
            _check_log(db, directory)
            contents = _read(db, directory, log_bytes)
            if next(iter(db.execute("SELECT 1 FROM sqlite_master WHERE name = 'log'")), None):
                _read_log(db, contents, directory)
            return contents
        finally:
            db.close()
    except apsw.Error as error:
        raise _explained(directory, error) from error


def _read_log(db: apsw.Connection, contents: Contents, directory: Path) -> None:
    log = DiskLog(db.execute, lambda what: DiskCorrupt(f"{directory}: {what}"))
    for record in log.since(0, 2**62):
        contents.log.put(record)
    for slot, number in list(db.execute("SELECT slot, number FROM snapshot")):
        data = log.part(int(str(slot)), int(str(number)))
        assert data is not None
        contents.log.put_part(int(str(slot)), int(str(number)), data)


def _log_header(database: Path) -> bytes:
    with suppress(FileNotFoundError), Path(f"{database}-wal").open("rb") as file:
        return file.read(32)
    return b""
