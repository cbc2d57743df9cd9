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
log of `node/storage/log_store.py` is not, and shares the turn's transaction.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Final

import apsw

from node.contract import NodeId, Stored
from node.storage.disk_contents import (
    FILE_NAME,
    LOG_FOLDED,
    LOG_GROWN_BYTES,
    LOG_IN_USE,
    OWNER_KEYS,
    PAGE_BYTES,
    TABLES,
    Contents,
    DiskCorrupt,
    DiskError,
    DiskFailed,
    DiskForeign,
    DiskInUse,
    DiskMissing,
    check_log,
    check_tables,
    owner_checksum,
    read,
    read_checked_row,
    row_checksum,
    size,
    statement,
)
from node.storage.log_store import DiskLog, Row
from node.wire import pack

__all__ = [
    "FILE_NAME", "Contents", "Disk", "DiskCorrupt", "DiskError", "DiskFailed", "DiskForeign", "DiskInUse", "DiskMissing",
    "inspect",
]  # fmt: skip

_GOING_MS: Final = 500


class Disk:
    """An open directory. Opening it counts one more incarnation, durably."""

    log_class: ClassVar[type[DiskLog]] = DiskLog

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
            log_bytes = size(Path(f"{path}-wal"))  # before SQLite makes one
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
        self._db.execute(f"PRAGMA page_size={PAGE_BYTES}")  # of a disk that is new
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        check_log(self._db, self.directory)
        self._db.execute("BEGIN EXCLUSIVE")
        if not check_tables(self._db, self.directory / FILE_NAME):
            self._db.execute(";".join(map(statement, TABLES)))
        contents = read(self._db, self.directory, log_bytes, self.read_row)
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
        self._grow_log()  # before the note that it is in use, and so is that large
        self._note_owner(LOG_IN_USE)
        self._db.execute("COMMIT; PRAGMA wal_checkpoint(RESTART)")  # the main file has the note, if the log's should go
        self.log = self.log_class(self._read, self._damaged)
        return contents.variables

    def read_row(
        self, file: str, contents: Contents, variable: object, key: object, packed: object, checksum: object
    ) -> None:
        """Take in one row of the table of states. Raises DiskCorrupt."""
        read_checked_row(file, contents, variable, key, packed, checksum)

    def _grow_log(self) -> None:
        """Make the log's file as large as it will be. SQLite takes zeros for no frames, and overwrites them."""
        log = Path(f"{self.directory / FILE_NAME}-wal")
        try:
            with log.open("ab") as file:
                file.write(bytes(max(LOG_GROWN_BYTES - size(log), 0)))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DiskFailed(f"{log} cannot be made: {error.strerror}: is there space on the disk?") from error

    def _note_owner(self, log: str) -> None:
        owner = [*self._owner, log]
        self._db.executemany(
            "INSERT OR REPLACE INTO node VALUES (?, ?)",
            zip((*OWNER_KEYS, "checksum"), [*owner, owner_checksum(owner)], strict=True),
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
                        row = (variable, key, packed, row_checksum(variable, key, packed))
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
            self._note_owner(LOG_FOLDED)
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
            log_bytes = size(Path(f"{copy}-wal"))
            check_log(db, directory)
            contents = read(db, directory, log_bytes, read_checked_row)
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
