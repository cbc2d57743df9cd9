"""The durable keys, values and log of one node, on SQLite.

Besides the harness's faulty disk, only this module imports apsw.

Rules
-----
1. A commit is durable when it returns: SQLite runs with a write-ahead log (WAL) and `synchronous=FULL`. The WAL file is
   grown in advance. A commit then overwrites bytes and does not extend the file, which saves a third of its time.
2. One process uses a directory. It takes an exclusive lock when it opens the directory.
3. A commit that fails is final. After a failed fsync the kernel marks the pages clean, so a second fsync would report a
   success although the data is lost. `commit` raises `DiskFailed`; the node logs it and exits.
4. A directory that is missing, although the node has run before, and a directory that is damaged are different errors.
   Both stop the node: a node that has forgotten its promises must not vote. At open, every row is checked by its
   checksum and the pages by SQLite's integrity check. The WAL is checked, too: SQLite silently ignores every frame
   after a damaged one, and the whole WAL if its file is missing.
5. An old copy of a directory is whole, and forgets what came after it. `node/storage/last_seen.py` tells it apart; it stops
   the node, too.
6. If the very last commit does not check, it may have been lost after the node relied on it: `node/storage/doubts.py`. A
   node whose algorithm can ask the other nodes starts in doubt. Any other starts if nothing proves a loss.

Keys and values are kept in memory, too, so a read costs nothing. An assignment is `dirty` until the turn's commit. The
log (`node/storage/log_store.py`) is not kept in memory; its writes are part of the same transaction.
"""

import os
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Final

import apsw

from node.contract import NodeId, Stored, check_stored
from node.log_contract import Doubt
from node.open_folder import OpenFolder
from node.storage.disk_contents import (
    FILE_NAME,
    OWNER_KEYS,
    PAGE_BYTES,
    TABLES,
    WAL_FOLDED,
    WAL_GROWN_BYTES,
    WAL_IN_USE,
    Contents,
    DiskCorrupt,
    DiskError,
    DiskFailed,
    DiskForeign,
    DiskInUse,
    DiskMissing,
    DiskOutdated,
    check_tables,
    check_wal,
    create_statement,
    file_size,
    owner_checksum,
    read_checked_row,
    read_contents,
    row_checksum,
)
from node.storage.doubts import DOUBTS_NAME, CommitMark, DoubtRecord, WalEnd
from node.storage.free_space import is_full
from node.storage.last_seen import LastSeen
from node.storage.log_store import LOG_TABLES, DiskLog, Row
from node.tuning import SHIPPED, Tuning
from node.wire import pack

__all__ = [
    "FILE_NAME", "Contents", "Disk", "DiskCorrupt", "DiskError", "DiskFailed", "DiskForeign", "DiskInUse", "DiskMissing",
    "DiskOutdated", "LastSeen", "inspect",
]  # fmt: skip

#: How long an open waits for the lock of a process that was killed and whose threads have not ended yet.
_LOCK_WAIT_MS: Final = 500
#: How often a node looks whether its directory is still there, in seconds.
_LOOK_EVERY_S: Final = 1.0


class Disk:
    """The open directory of one node. Opening it counts one more incarnation, durably.

    `incarnation` is the number of boots, this one included; `commits` counts the transactions of this process; `log` is
    the node's replicated log.
    """

    log_class: ClassVar[type[DiskLog]] = DiskLog

    def __init__(
        self,
        directory: Path,
        *,
        cluster: str,
        node: NodeId,
        made_for: str = "",
        last_seen: LastSeen | None = None,
        vfs: str | None = None,
        may_doubt: bool = False,
        tuning: Tuning = SHIPPED,
    ) -> None:
        """Open or create the directory.

        Args:
            directory: created with mode 0700 if it does not exist.
            cluster: the cluster's id; a directory of another cluster is refused.
            node: the node's id; a directory of another node is refused.
            made_for: a text that names the algorithm and the members. A directory that was made for another text is
                refused: another algorithm gives the stored data another meaning, and quorums of other members need not
                overlap.
            last_seen: what the launcher has last seen of this disk; None if the node has never run. With it, a missing
                directory and an old copy are errors.
            vfs: the name of a registered apsw VFS through which SQLite reads and writes; None for its own.
            may_doubt: the algorithm can ask the other nodes what a lost commit held. Otherwise a disk that has proof of
                such a loss is damaged.
            tuning: the settings of the cluster.

        Raises:
            DiskError: a subclass of it. The message gives the problem and what to do.
        """
        self.directory = directory
        self.commits = 0
        self._checkpoint_pages, self._report_ms = tuning.checkpoint_pages, tuning.slow_report_ms
        self._commit_ms: int | None = None
        self._reported_ms = 0
        self._mark: CommitMark | None = None
        self._open_folder: OpenFolder | None = None
        self._may_doubt, self._doubt_ends = may_doubt, False
        self._dirty: dict[tuple[str, str], bytes | None] = {}
        path = directory / FILE_NAME
        try:
            wal_bytes = file_size(Path(f"{path}-wal"))  # before SQLite creates the file
            if last_seen is not None and not path.exists():
                raise DiskMissing(
                    f"{path} is missing, and {node} has run before. The node may have promised or accepted something that no "
                    "other node knows, so it must not vote without its state, nor with an old copy of it. Put back the directory "
                    "itself, leave the node down, or replace a node of a log by `consensus member replace`."
                )
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._doubts = _doubts_in(directory)
            self._db = apsw.Connection(_name_for_sqlite(path), vfs=vfs)
            path.chmod(0o600)
            if vfs is None:  # after a kill, another VFS may have lost what a mark would say is there
                self._mark = CommitMark(path)
        except OSError as error:
            raise DiskFailed(
                f"{directory} cannot be used: {error.strerror}. Is the path right and writable?"
            ) from error
        except apsw.Error as error:
            raise _disk_error(directory, error) from error
        try:
            self._variables = self._open(cluster, node, made_for, last_seen, wal_bytes)
            self._open_folder, self._next_look_s = OpenFolder(directory), 0.0
        except OSError as error:
            self._close_files()
            raise DiskFailed(f"{directory} cannot be opened: {error.strerror}") from error
        except BaseException as error:
            self._close_files()
            if isinstance(error, apsw.Error):
                raise _disk_error(directory, error) from error
            raise

    def _open(
        self, cluster: str, node: NodeId, made_for: str, last_seen: LastSeen | None, wal_bytes: int
    ) -> dict[str, dict[str, Stored]]:
        """Check and read everything, and count the boot. Returns the keys and values of each variable."""
        self._db.set_busy_timeout(_LOCK_WAIT_MS)
        # Only `close` removes the WAL file, and it records that. After any other end of a process the file must exist.
        self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._db.execute(f"PRAGMA page_size={PAGE_BYTES}")  # applies to a new database only
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        wal_end = check_wal(self._db, self.directory)
        if wal_bytes >= WAL_GROWN_BYTES:  # `read_contents` refuses a shorter one
            self._look_for_doubt(wal_end)
        self._db.set_wal_hook(self._mark_commit)
        self._db.execute("BEGIN EXCLUSIVE")
        if not check_tables(self._db, self.directory / FILE_NAME):
            self._db.execute(";".join(map(create_statement, TABLES)))
        contents = read_contents(self._db, self.directory, wal_bytes, self.read_row)
        if last_seen is not None and not contents.cluster:
            raise DiskCorrupt(
                f"{self.directory / FILE_NAME} is empty, and {node} has run before: restore the file, or leave the node down"
            )
        if (contents.cluster or cluster, contents.node or node) != (cluster, node):
            raise DiskForeign(
                f"{self.directory} belongs to node {contents.node} of cluster {contents.cluster[:8]}, but this is node "
                f"{node} of cluster {cluster[:8]}: start the node on its own directory"
            )
        if (contents.made_for or made_for) != made_for:
            raise DiskForeign(
                f"{self.directory} was made for {contents.made_for}, but the spec says {made_for}: restore the spec"
            )
        if last_seen is not None:
            self._check_newest(node, last_seen, contents.incarnation)
        self.incarnation = contents.incarnation + 1
        self._owner = [cluster, node, str(self.incarnation), made_for]
        self._grow_wal()  # first, because the next line records that the WAL is at least that large
        self._write_owner(WAL_IN_USE)
        # The checkpoint copies that record into the main file, where it survives the loss of the WAL.
        self._db.execute("COMMIT")
        self._checkpoint()
        self.log = self.log_class(self._read, self._damaged)
        return contents.variables

    def _check_newest(self, node: NodeId, last_seen: LastSeen, incarnation: int) -> None:
        """Raise DiskOutdated if this is an old copy of the disk that the launcher has last seen."""
        if incarnation < last_seen.incarnation:
            how = f"it has booted {incarnation} of the {last_seen.incarnation} times that {node} has booted"
        elif incarnation == last_seen.incarnation and self._mark is not None and self._mark.is_other(last_seen.mark):
            how = f"its last commit is not the one with which {node} ended"
        else:
            return
        raise DiskOutdated(
            f"{self.directory} is an old copy of the disk of {node}: {how}. What {node} has promised and accepted since is not "
            "on it, so with it the node must not vote. Put back the newest directory, leave the node down, or replace a node of "
            "a log by `consensus member replace`. If a majority of the newest disks is lost, `consensus recover` makes a new "
            "cluster from what is left."
        )

    def read_row(
        self, file: str, contents: Contents, variable: object, key: object, packed: object, checksum: object
    ) -> None:
        """Take in one row of the table of states.

        Raises:
            DiskCorrupt: the row is damaged.
        """
        read_checked_row(file, contents, variable, key, packed, checksum)

    def _look_for_doubt(self, end: WalEnd | None) -> None:
        """Find out whether the WAL that ends at `end` has lost its last commit, and record a doubt."""
        if end is None:
            return
        lost = True if end.lost else self._mark.lost(end) if self._mark is not None else None
        if lost is False or (lost is None and end.whole):
            return
        if self._may_doubt:
            self._doubts.begin(Doubt.DAMAGED if lost else Doubt.TORN_OR_DAMAGED)
        elif lost:
            raise DiskCorrupt(
                f"{self.directory / FILE_NAME}-wal has lost its last commit, on which the node has relied. Restore the "
                "directory, or leave the node down: it must not vote on data that is damaged."
            )

    def _mark_commit(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        """Mark a commit, which is durable. SQLite calls this after each commit, in the place of its own checkpoints."""
        if self._mark is not None:
            self._mark.note(pages)
        if pages >= self._checkpoint_pages:
            self._checkpoint()
        return 0

    def _checkpoint(self) -> None:
        self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
        if self._mark is not None:
            self._mark.expect_new_generation()

    @property
    def doubt(self) -> Doubt:
        """Whether the last commit may be lost, and `end_doubt` has not been called since."""
        return self._doubts.present

    @property
    def doubts(self) -> int:
        """How many times this directory has been found in doubt."""
        return self._doubts.count

    def end_doubt(self) -> None:
        """End the doubt when the next commit is durable, at the latest at the end of this turn."""
        self._doubt_ends = True

    def _grow_wal(self) -> None:
        """Give the WAL file its final size. SQLite takes the zeros for the end of the WAL and overwrites them."""
        wal = Path(f"{self.directory / FILE_NAME}-wal")
        try:
            with wal.open("ab") as file:
                file.write(bytes(max(WAL_GROWN_BYTES - file_size(wal), 0)))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DiskFailed(f"{wal} cannot be created: {error.strerror}: is there space on the disk?") from error

    def _write_owner(self, wal_state: str) -> None:
        owner = [*self._owner, wal_state]
        self._db.executemany(
            "INSERT OR REPLACE INTO node VALUES (?, ?)",
            zip((*OWNER_KEYS, "checksum"), [*owner, owner_checksum(owner)], strict=True),
        )

    def variables(self) -> list[str]:
        """Return the names of the variables that have stored something."""
        return list(self._variables)

    def variable(self, name: str) -> MutableMapping[str, Stored]:
        """Return the mapping of keys to values that an algorithm sees as `node.disk`, for the variable `name`."""
        return _VariableDisk(name, self._variables.setdefault(name, {}), self._dirty)

    def _read(self, query: str, bindings: Row) -> Iterator[Row]:
        try:
            yield from self._db.execute(query, bindings)
        except apsw.Error as error:
            raise _disk_error(self.directory, error) from error

    def _damaged(self, problem: str) -> DiskCorrupt:
        return DiskCorrupt(f"{self.directory}: {problem}: restore the directory from a copy, or leave the node down")

    @property
    def dirty(self) -> bool:
        """Whether there are assignments or log writes since the last commit."""
        return bool(self._dirty or self.log.writes or self._doubt_ends)

    def commit(self) -> None:
        """Make all assignments and log writes since the last commit durable, in one transaction.

        Raises:
            DiskFailed: a write or a sync failed. The caller must not use the disk any more.
        """
        if not self.dirty:
            return
        began_s = time.monotonic()
        try:
            with self._db:
                for (variable, key), packed in self._dirty.items():
                    if packed is None:
                        self._db.execute("DELETE FROM state WHERE variable=? AND key=?", (variable, key))
                    else:
                        row = (variable, key, packed, row_checksum(variable, key, packed))
                        self._db.execute("INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?)", row)
                for sql, values in self.log.writes:
                    self._db.execute(sql, values)
            if self._doubt_ends:
                self._doubts.end()
                self._doubt_ends = False
        except apsw.Error as error:
            raise _disk_error(self.directory, error) from error
        except OSError as error:  # of the files beside the database
            raise DiskFailed(
                f"{self.directory}: {error}: the node stops, because it cannot note what is durable"
            ) from error
        self._dirty.clear()
        self.log.committed()
        self.commits += 1
        self._commit_ms = int((time.monotonic() - began_s) * 1000)

    def take_slow_commit_ms(self) -> int | None:
        """Return how long the last commit took, in milliseconds, if it was slow or the one reported before was; once each."""
        took_ms, self._commit_ms = self._commit_ms, None
        if took_ms is None or max(took_ms, self._reported_ms) < self._report_ms:
            return None
        self._reported_ms = took_ms
        return took_ms

    def check_in_place(self) -> None:
        """Check once a second that the directory was not removed. What is written to it then is lost when the process ends.

        Raises:
            DiskFailed: it was removed.
        """
        if time.monotonic() < self._next_look_s:
            return
        self._next_look_s = time.monotonic() + _LOOK_EVERY_S
        if self._open_folder is not None and self._open_folder.now() is None:
            raise DiskFailed(f"{self.directory} was removed while the node ran: what it writes is lost, so it stops")

    def close(self) -> None:
        """Copy the WAL into the main file and release the directory. Assignments that were not committed are lost.

        Raises:
            DiskFailed: a write or a sync failed meanwhile. The disk stays as a crash would leave it.
        """
        with suppress(apsw.Error, OSError):  # a disk that has failed stays as a crash would leave it
            with self._db:  # one transaction, which a crash leaves whole or out
                self._write_owner(WAL_FOLDED)
            self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
        try:
            self._close_files()
        except apsw.Error as error:
            raise _disk_error(self.directory, error) from error

    def _close_files(self) -> None:
        try:
            self._db.close()
        finally:
            for file in (self._open_folder, self._mark):
                if file is not None:
                    file.close()


class _VariableDisk(MutableMapping[str, Stored]):
    """The mapping that an algorithm sees as `node.disk`."""

    def __init__(self, name: str, stored: dict[str, Stored], dirty: dict[tuple[str, str], bytes | None]) -> None:
        self._name, self._stored, self._dirty = name, stored, dirty

    def __getitem__(self, key: str) -> Stored:
        return self._stored[key]

    def __setitem__(self, key: str, value: Stored) -> None:
        check_stored(key, value)
        self._dirty[self._name, key] = pack(value)
        self._stored[key] = value

    def __delitem__(self, key: str) -> None:
        del self._stored[key]
        self._dirty[self._name, key] = None

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


def _doubts_in(directory: Path) -> DoubtRecord:
    try:
        return DoubtRecord(directory)
    except (ValueError, KeyError, TypeError) as error:
        raise DiskCorrupt(
            f"{directory / DOUBTS_NAME} is damaged: restore it from a copy, or leave the node down"
        ) from error


def _name_for_sqlite(path: Path) -> str:
    """Return the text whose UTF-8 bytes are the path. SQLite takes UTF-8, whatever encoding Python has for names of files."""
    try:
        return os.fsencode(path).decode()
    except UnicodeError as error:
        raise DiskFailed(f"{path} cannot be used: SQLite needs a path in UTF-8. Choose another folder") from error


def _disk_error(directory: Path, error: apsw.Error) -> DiskError:
    """Convert an error of SQLite to a `DiskError` whose message gives what to do."""
    full = DiskFailed(f"{directory}: the disk is full ({error}): free some space and start the node again")
    match error:
        case apsw.BusyError() | apsw.LockedError():
            return DiskInUse(
                f"{directory} is in use by another process: only one process at a time can use a node's directory"
            )
        case apsw.CorruptError() | apsw.NotADBError():
            return DiskCorrupt(f"{directory / FILE_NAME} is damaged ({error}): restore it, or leave the node down")
        case apsw.FullError():
            return full
        case apsw.CantOpenError() | apsw.ReadOnlyError() | apsw.PermissionsError():
            return DiskFailed(f"{directory} cannot be used: {error}. Is the path right and writable?")
        case _ if is_full(directory):  # on a full disk SQLite also reports errors of other kinds
            return full
    return DiskFailed(
        f"{directory}: {type(error).__name__} {error}: the node stops, because it does not know what is durable"
    )


def log_in_memory(log_class: type[DiskLog] = DiskLog) -> tuple[DiskLog, Callable[[], None]]:
    """Return an empty log on a database in memory, and what commits its writes: a simulator compares its own logs with it."""
    db = apsw.Connection(":memory:")
    db.execute(";".join(map(create_statement, LOG_TABLES)))
    log = log_class(db.execute, DiskCorrupt)

    def commit() -> None:
        with db:
            for sql, values in log.writes:
                db.execute(sql, values)
        log.committed()

    return log, commit


def inspect(directory: Path, *, without_the_last: bool = False) -> Contents:
    """Read and check the directory of a node, whether the node runs or not. Reads a copy and changes nothing.

    Args:
        directory: the node's directory.
        without_the_last: read what is there, although the last whole commit is lost.

    Returns:
        The owner, the keys and values of each variable, and the log.

    Raises:
        DiskError: the directory is missing or damaged, or its files changed too fast to be copied.
    """
    import shutil  # noqa: PLC0415 - a node reads no copies, and importing these two takes 4 % of its start
    import tempfile  # noqa: PLC0415

    source = directory / FILE_NAME
    if not source.exists():
        raise DiskMissing(f"{source} does not exist: has the node ever booted?")
    failure: DiskError = DiskInUse(f"{source} changes too fast to be copied: try again when the node is less busy")
    for attempt in range(5):
        time.sleep(0.01 * attempt)
        # A checkpoint copies pages from the WAL into the main file, and restarts the WAL only afterwards. So if the
        # header of the WAL is the same before and after both files were copied, the two copies together are complete.
        header_before = _wal_header(source)
        with tempfile.TemporaryDirectory(prefix="consensus-inspect-") as folder:
            for name in (FILE_NAME, f"{FILE_NAME}-wal"):
                with suppress(FileNotFoundError):  # a node that stops removes its WAL
                    shutil.copyfile(directory / name, Path(folder) / name)
            if _wal_header(source) == header_before:
                try:
                    return _read_copy(Path(folder) / FILE_NAME, directory, without_the_last)
                except DiskCorrupt as error:
                    failure = error  # perhaps a commit that was copied half written: the next copy is then complete
    raise failure


def _read_copy(copy: Path, directory: Path, without_the_last: bool) -> Contents:
    try:
        db = apsw.Connection(str(copy))
        try:
            db.execute("PRAGMA synchronous=OFF")
            wal_bytes = file_size(Path(f"{copy}-wal"))
            end = check_wal(db, directory)
            if end is not None and end.lost and not without_the_last:
                raise DiskCorrupt(f"{directory / FILE_NAME}-wal has lost its last whole commit: restore it from a copy")
            contents = read_contents(db, directory, wal_bytes, read_checked_row)
            _read_log(db, contents, directory)
            contents.whole = end is None or end.whole
            return contents
        finally:
            db.close()
    except apsw.Error as error:
        raise _disk_error(directory, error) from error


def _read_log(db: apsw.Connection, contents: Contents, directory: Path) -> None:
    log = DiskLog(db.execute, lambda problem: DiskCorrupt(f"{directory}: {problem}"))
    for record in log.since(0, 2**62):
        contents.log.put(record)
    for slot, number in list(db.execute("SELECT slot, number FROM snapshot")):
        data = log.part(int(str(slot)), int(str(number)))
        assert data is not None
        contents.log.put_part(int(str(slot)), int(str(number)), data)


def _wal_header(database: Path) -> bytes:
    with suppress(FileNotFoundError), Path(f"{database}-wal").open("rb") as file:
        return file.read(32)
    return b""
