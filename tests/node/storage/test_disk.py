import errno
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import apsw
import pytest

from harness.virtual.disk import VirtualDisk
from node.contract import ContractBroken, Stored
from node.log_contract import Record
from node.quorum import Ballot
from node.storage.disk import (
    FILE_NAME,
    Contents,
    Disk,
    DiskCorrupt,
    DiskFailed,
    DiskForeign,
    DiskInUse,
    DiskMissing,
    LastSeen,
    inspect,
)
from node.storage.disk_contents import PAGE_BYTES, WAL_GROWN_BYTES
from node.wire import BadValue
from tests.node.conftest import ROOT, Spawn

CLUSTER = "0123456789abcdef" * 2


def opened(directory: Path, **options: object) -> Disk:
    return Disk(directory, **{"cluster": CLUSTER, "node": "n1", **options})  # type: ignore[arg-type]


def contents(disk: Disk) -> dict[str, dict[str, Stored]]:
    return {name: dict(disk.variable(name)) for name in disk.variables()}


def filled(directory: Path, *, close: bool) -> dict[str, dict[str, Stored]]:
    """Make a disk of a few pages with many commits. Returns what it holds."""
    disk = opened(directory)
    for number in range(40):
        variable = disk.variable(f"x{number % 25}")
        variable["promised"] = Ballot(number, "n1")
        variable["accepted"] = (number, "n1", b"v" * 100)
        disk.commit()
    held = contents(disk)
    if close:
        disk.close()
    else:
        leave_as_killed(disk, directory)
    return held


def leave_as_killed(disk: Disk, directory: Path) -> None:
    """Close the disk, and restore its files as SIGKILL would leave them: closing copies the WAL into the main file."""
    files = {path: path.read_bytes() for path in directory.iterdir()}
    disk.close()
    for path, data in files.items():
        path.write_bytes(data)


# --- keys and values ---------------------------------------------------------------------------------------------------


def test_committed_assignments_are_there_after_reopening(tmp_path: Path) -> None:
    disk = opened(tmp_path / "d")
    x, y = disk.variable("x"), disk.variable("y")
    x["value"] = b"v"
    y["promised"] = Ballot(3, "n2")
    y["nested"] = (1, (True, None, "s"), ())
    disk.commit()
    x["value"] = b"w"
    disk.commit()
    x["value"] = b"never committed"
    y["late"] = 1
    disk.close()

    disk = opened(tmp_path / "d", last_seen=LastSeen())
    assert contents(disk) == {"x": {"value": b"w"}, "y": {"nested": (1, (True, None, "s"), ()), "promised": (3, "n2")}}
    assert tuple is type(disk.variable("y")["promised"])
    disk.close()


@pytest.mark.parametrize("close", [True, False], ids=["closed", "killed"])
def test_many_commits_are_there_after_reopening(tmp_path: Path, close: bool) -> None:
    held = filled(tmp_path, close=close)
    for _ in range(3):
        disk = opened(tmp_path, last_seen=LastSeen())
        assert held == contents(disk)
        leave_as_killed(disk, tmp_path)


def test_a_deleted_key_stays_deleted(tmp_path: Path) -> None:
    disk = opened(tmp_path)
    x = disk.variable("x")
    x["a"], x["b"], x["c"] = 1, 2, 3
    disk.commit()
    del x["a"]
    assert list(x) == ["b", "c"]
    assert disk.dirty
    disk.commit()
    x["b"] = 4
    del x["b"]  # assigned and deleted in one turn
    del x["c"]
    x["c"] = 5  # deleted and assigned in one turn
    disk.commit()
    with pytest.raises(KeyError):
        del x["nothing"]
    assert not disk.dirty
    disk.close()
    disk = opened(tmp_path)
    assert contents(disk) == {"x": {"c": 5}}
    disk.close()


def test_a_variable_is_a_mutable_mapping(tmp_path: Path) -> None:
    disk = opened(tmp_path)
    x = disk.variable("x")
    assert x.setdefault("a", 7) == 7
    assert x.setdefault("a", 8) == 7
    assert x.pop("a") == 7
    assert x.get("a") is None
    assert len(x) == 0
    x.update(a=1, b=2)
    assert dict(disk.variable("x")) == {"a": 1, "b": 2}
    disk.close()


def test_a_value_that_cannot_be_encoded_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    disk = opened(tmp_path)
    x = disk.variable("x")
    x["a"] = 1
    disk.commit()
    with pytest.raises(BadValue):
        x["a"] = 2**64
    assert not disk.dirty
    assert x["a"] == 1
    disk.close()


@pytest.mark.parametrize("value", [[1], {"a": 1}, 1.5, (1, [2]), {1}])
def test_a_value_of_another_type_breaks_the_contract_on_both_kinds_of_disk(tmp_path: Path, value: object) -> None:
    """A list could be changed without an assignment: an acknowledged decision would not be on disk."""
    for disk in (opened(tmp_path), VirtualDisk()):
        with pytest.raises(ContractBroken, match="a disk stores int, bool, str, bytes, None, and tuples of these"):
            disk.variable("x")["decided"] = value  # type: ignore[assignment]
        assert not disk.variable("x")


def test_a_commit_without_assignments_is_not_counted(tmp_path: Path) -> None:
    disk = opened(tmp_path)
    disk.commit()
    assert disk.commits == 0
    disk.variable("x")["a"] = 1
    assert disk.dirty
    disk.commit()
    disk.commit()
    assert disk.commits == 1
    disk.close()


def test_each_boot_counts_one_incarnation(tmp_path: Path) -> None:
    for expected in (1, 2, 3):
        disk = opened(tmp_path)
        assert expected == disk.incarnation
        leave_as_killed(disk, tmp_path) if expected == 2 else disk.close()
    assert inspect(tmp_path).incarnation == 3


def test_a_boot_follows_one_that_died_after_it_had_grown_the_wal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def died(_disk: Disk, _log: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Disk, "_write_owner", died)
        with pytest.raises(KeyboardInterrupt):
            opened(tmp_path)
    assert (tmp_path / f"{FILE_NAME}-wal").stat().st_size == WAL_GROWN_BYTES
    disk = opened(tmp_path)
    assert disk.incarnation == 1
    disk.close()


def test_only_the_owner_can_read(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "n1"
    old = os.umask(0)
    try:
        disk = opened(directory)
        disk.variable("x")["a"] = 1
        disk.commit()
    finally:
        os.umask(old)
    assert directory.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}
    assert {FILE_NAME: 0o600, f"{FILE_NAME}-wal": 0o600, f"{FILE_NAME}-mark": 0o600} == modes
    disk.close()


# --- processes and owners ------------------------------------------------------------------------------------------------


def test_a_second_opener_is_refused_until_the_first_is_gone(tmp_path: Path, spawn: Spawn) -> None:
    holder = spawn("-c", HOLD, str(tmp_path))
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    for _ in range(2):
        with pytest.raises(DiskInUse, match="in use by another process"):
            opened(tmp_path)
    holder.kill()
    assert holder.wait() == -signal.SIGKILL
    disk = opened(tmp_path)
    assert disk.incarnation == 2  # the refused opens did not count
    with pytest.raises(DiskInUse):  # this process may not open it twice, either
        opened(tmp_path)
    disk.variable("x")["a"] = 1
    disk.commit()
    disk.close()


HOLD = """
import sys
from pathlib import Path
from node.storage.disk import Disk
disk = Disk(Path(sys.argv[1]), cluster="0123456789abcdef" * 2, node="n1")
x = disk.variable("x")
x["a"] = (1, "n1", b"v")
disk.commit()
x["a"] = "in memory only"
print("open", flush=True)
sys.stdin.readline()
"""


def test_a_directory_that_should_exist_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(DiskMissing, match="n1 has run before"):
        opened(tmp_path / "d", last_seen=LastSeen())
    assert not (tmp_path / "d").exists()
    (tmp_path / "d").mkdir()
    with pytest.raises(DiskMissing, match="n1 has run before"):
        opened(tmp_path / "d", last_seen=LastSeen())
    assert list((tmp_path / "d").iterdir()) == []


def test_an_empty_file_is_not_a_first_boot(tmp_path: Path) -> None:
    filled(tmp_path, close=True)
    (tmp_path / FILE_NAME).write_bytes(b"")
    with pytest.raises(DiskCorrupt, match="is empty, and n1 has run before"):
        opened(tmp_path, last_seen=LastSeen())


def test_the_directory_of_another_node_or_cluster_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with pytest.raises(
        DiskForeign, match="belongs to node n1 of cluster 01234567, but this is node n2 of cluster 01234567"
    ):
        opened(tmp_path, node="n2")
    with pytest.raises(DiskForeign, match="start the node on its own directory"):
        opened(tmp_path, cluster="f" * 32)
    assert inspect(tmp_path).incarnation == 1
    opened(tmp_path).close()


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A directory for all users, in a process without root's rights: file modes do not restrict root."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            if root:
                os.seteuid(0)


def test_a_directory_that_cannot_be_written_is_refused() -> None:
    with unprivileged() as folder:
        (folder / "d").mkdir(mode=0o500)
        with pytest.raises(DiskFailed, match="Is the path right and writable"):
            opened(folder / "d")
        with pytest.raises(DiskFailed, match="Permission denied"):
            opened(folder / "d" / "n1")
        (folder / "d").chmod(0)
        with pytest.raises(DiskFailed, match="Permission denied"):
            opened(folder / "d", last_seen=LastSeen())


def test_a_file_where_the_directory_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d").write_text("I am a file")
    with pytest.raises(DiskFailed, match="cannot be used"):
        opened(tmp_path / "d")
    with pytest.raises(DiskMissing):
        opened(tmp_path / "d", last_seen=LastSeen())
    (tmp_path / "e" / FILE_NAME).mkdir(parents=True)
    with pytest.raises(DiskFailed, match="Is the path right"):
        opened(tmp_path / "e")


def test_a_file_that_is_no_database_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database" * 1000)
    with pytest.raises(DiskCorrupt, match="is damaged"):
        opened(tmp_path)
    with pytest.raises(DiskCorrupt, match="is damaged"):
        inspect(tmp_path)


# --- damage ---------------------------------------------------------------------------------------------------------


def flip(path: Path, at: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def test_a_flipped_bit_in_a_stored_value_is_corrupt(tmp_path: Path) -> None:
    disk = opened(tmp_path)
    disk.variable("x")["accepted"] = b"a value that stands in the file once"
    disk.commit()
    disk.close()
    at = (tmp_path / FILE_NAME).read_bytes().index(b"stands")
    flip(tmp_path / FILE_NAME, at)
    with pytest.raises(DiskCorrupt, match="stored value of x/accepted does not match its checksum"):
        opened(tmp_path)
    with pytest.raises(DiskCorrupt, match="does not match its checksum"):
        inspect(tmp_path)


def test_a_flipped_bit_in_the_incarnation_is_corrupt(tmp_path: Path) -> None:
    filled(tmp_path, close=True)
    at = (tmp_path / FILE_NAME).read_bytes().index(b"incarnation1")
    flip(tmp_path / FILE_NAME, at + len("incarnation"), bit=1)  # "3"
    with pytest.raises(DiskCorrupt, match="its number of boots does not match"):
        opened(tmp_path)


def outcome(directory: Path) -> object:
    """Boot from the directory. Returns the contents, or the class of the error."""
    try:
        disk = opened(directory, last_seen=LastSeen())
    except (DiskCorrupt, DiskForeign, DiskFailed) as error:
        return type(error)
    held = contents(disk)
    disk.close()
    return held


def inspected(directory: Path) -> object:
    """Inspect the directory. Returns the contents, or the class of the error."""
    try:
        return inspect(directory).variables
    except (DiskCorrupt, DiskFailed) as error:
        return type(error)


def boot_with_damage(directory: Path, name: str, places: list[int], held: object, *, look: bool) -> list[object]:
    """Boot once for each place, with one bit flipped there. Returns the outcomes. `look`: inspect the directory, too."""
    files = {path: path.read_bytes() for path in directory.iterdir()}
    rng = random.Random(7)
    outcomes = []
    for at in places:
        for path in directory.iterdir():
            path.unlink()
        for path, data in files.items():
            path.write_bytes(data)
        flip(directory / name, at, rng.randrange(8))
        if look:
            assert inspected(directory) in (held, DiskCorrupt, DiskFailed), at
        outcomes.append(outcome(directory))
    return outcomes


def test_a_flipped_bit_in_a_page_never_yields_a_wrong_value(tmp_path: Path) -> None:
    held = filled(tmp_path, close=True)
    rng = random.Random(3)
    pages = 5  # the schema, the tables and the first free page
    places = [*range(24), *(page * PAGE_BYTES + at for page in range(1, pages) for at in range(12))]
    places += [rng.randrange(pages * PAGE_BYTES) for _ in range(100)]
    outcomes = boot_with_damage(tmp_path, FILE_NAME, places, held, look=False)
    for at, found in zip(places, outcomes, strict=True):
        assert found in (held, DiskCorrupt, DiskFailed), at
    assert outcomes.count(DiskCorrupt) > 30
    assert outcomes.count(held) > 30  # free space, counters that SQLite keeps for itself


def test_the_log_returns_as_many_records_as_fit_also_if_they_are_not_committed(tmp_path: Path) -> None:
    disk = opened(tmp_path)
    records = [Record(slot, 1, "n1", b"ten bytes!") for slot in range(1, 7)]
    for record in records[:4]:
        disk.log.put(record)
    disk.commit()
    replaced = Record(3, 2, "n2", b"longer than ten bytes")
    for record in (replaced, *records[4:]):
        disk.log.put(record)
    log = [*records[:2], replaced, *records[3:]]
    for slot, bytes_max, expected in (
        (1, 2**62, log),
        (4, 20, log[3:5]),
        (5, 1, log[4:5]),
        (2, 30, log[1:2]),
        (3, 1, log[2:3]),
        (7, 1, []),
    ):
        assert disk.log.since(slot, bytes_max) == expected
    disk.close()


def test_a_flipped_bit_in_the_schema_or_in_a_record_never_loses_or_changes_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the type of the slot is not INTEGER, the slot is not the row's number, and SQLite finds no record at all."""
    # `inspect` sleeps between its copies.
    monkeypatch.setattr("node.storage.disk.time", SimpleNamespace(sleep=lambda _: None, monotonic=lambda: 0.0))
    disk = opened(tmp_path)
    records = [Record(slot, 1, "n1", b"batch %d" % slot) for slot in range(1, 20)]
    for record in records:
        disk.log.put(record)
    disk.log.put_part(3, 0, b"part of a snapshot")
    disk.commit()
    disk.close()
    file = tmp_path / FILE_NAME
    whole = file.read_bytes()
    rng = random.Random(9)
    integer = whole.index(b"INTEGER PRIMARY KEY, round")
    schema = [(at, bit) for at in range(integer, integer + 7) for bit in range(8)]
    used = [at for at in range(3000, len(whole)) if whole[at]]
    rest = [(rng.choice(used), rng.randrange(8)) for _ in range(80)]
    corrupt = 0
    for at, bit in [*schema, *rest]:
        file.write_bytes(whole)
        flip(file, at, bit)
        try:
            assert list(inspect(tmp_path).log.records.values()) == records, (at, bit)
        except (DiskCorrupt, DiskFailed):
            corrupt += 1
    assert corrupt > len(schema) + 40
    file.write_bytes(whole)
    flip(file, *schema[3])
    with pytest.raises(DiskCorrupt, match="its schema is damaged"):
        opened(tmp_path, last_seen=LastSeen())


def test_a_flipped_bit_in_the_wal_is_corrupt_and_not_a_torn_commit(tmp_path: Path) -> None:
    held = filled(tmp_path, close=False)
    frame = 24 + PAGE_BYTES
    log = (tmp_path / f"{FILE_NAME}-wal").read_bytes()
    salts = log[16:24]
    frames = next(n for n in range(1000) if log[32 + n * frame + 8 : 32 + n * frame + 16] != salts)
    assert frames > 40  # at least one for each commit
    rng = random.Random(5)
    places = [*range(0, 32, 3), *(32 + rng.randrange((frames - 4) * frame) for _ in range(30))]
    outcomes = boot_with_damage(tmp_path, f"{FILE_NAME}-wal", places, held, look=False)
    assert [DiskCorrupt] * len(places) == outcomes


def test_inspect_finds_damage_in_the_wal(tmp_path: Path) -> None:
    held = filled(tmp_path, close=False)
    size = (tmp_path / f"{FILE_NAME}-wal").stat().st_size
    places = [20, 32 + 9 * (24 + PAGE_BYTES) + 500, size - 500]  # the header, a frame, and the grown end
    boot_with_damage(tmp_path, f"{FILE_NAME}-wal", places, held, look=True)


def test_a_refused_boot_releases_the_directory(tmp_path: Path) -> None:
    filled(tmp_path, close=True)
    with pytest.raises(DiskForeign) as kept:  # its traceback holds a reference to the disk
        opened(tmp_path, node="n2")
    opened(tmp_path).close()
    assert kept.type is DiskForeign


@pytest.mark.parametrize("keep", [0, 20_000])
def test_a_wal_that_is_missing_or_cut_short_after_a_crash_is_corrupt(tmp_path: Path, keep: int) -> None:
    filled(tmp_path, close=False)
    log = tmp_path / f"{FILE_NAME}-wal"
    content = log.read_bytes()
    log.unlink()
    if keep:
        log.write_bytes(content[:keep])
    for look in (lambda: opened(tmp_path, last_seen=LastSeen()), lambda: inspect(tmp_path)):
        with pytest.raises(DiskCorrupt, match="-wal is"):
            look()
    log.write_bytes(content)
    assert opened(tmp_path, last_seen=LastSeen()).incarnation == 2


def test_an_orderly_end_leaves_no_wal(tmp_path: Path) -> None:
    held = filled(tmp_path, close=True)
    assert not (tmp_path / f"{FILE_NAME}-wal").exists()
    assert held == inspect(tmp_path).variables


def test_a_directory_that_was_made_for_another_algorithm_is_refused(tmp_path: Path) -> None:
    opened(tmp_path, made_for="paxos among n1, n2").close()
    with pytest.raises(DiskForeign, match="was made for paxos among n1, n2, but the spec says majority among n1, n2"):
        opened(tmp_path, made_for="majority among n1, n2")
    opened(tmp_path, made_for="paxos among n1, n2").close()


# --- writes that fail -----------------------------------------------------------------------------------------------

FILL = """
import resource, sys
from pathlib import Path
from node.storage.disk import Disk, DiskFailed
disk = Disk(Path(sys.argv[1]), cluster="0123456789abcdef" * 2, node="n1")
size = 3 * 1024 * 1024
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
x = disk.variable("x")
for number in range(10_000):
    x[f"key {number}"] = bytes(20_000)
    try:
        disk.commit()
    except DiskFailed as error:
        print(error)
        break
    print(number, flush=True)
"""


def test_a_full_disk_fails_the_commit_and_loses_no_earlier_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.stderr == ""
    *committed, error = done.stdout.splitlines()
    assert str(tmp_path) in error
    assert len(committed) > 20
    disk = opened(tmp_path, last_seen=LastSeen())
    keys = [f"key {number}" for number in committed]
    assert sorted(keys) == sorted(key for key in disk.variable("x") if key in keys)
    assert len(disk.variable("x")) - len(keys) in (0, 1)  # the failed commit may have been written
    disk.variable("x")["after"] = True
    disk.commit()
    disk.close()


def test_a_disk_that_is_full_at_boot_is_refused(tmp_path: Path) -> None:
    small = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n{HOLD}"
    done = subprocess.run(
        [sys.executable, "-c", small, str(tmp_path)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert "DiskFailed: " in done.stderr
    disk = opened(tmp_path)
    assert contents(disk) == {}
    disk.close()


class _FaultyFile(apsw.VFSFile):
    def __init__(self, vfs: "FaultyVFS", name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._vfs = vfs

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's own name
        self._vfs.check("write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's own name
        self._vfs.check("sync")
        super().xSync(flags)


class FaultyVFS(apsw.VFS):
    """The real file system; calls of the kind `failing` fail, but the first `spared`."""

    def __init__(self) -> None:
        super().__init__("faulty", "")
        self.failing = ""
        self.spared = 0
        self.failed = 0

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - as above
        return _FaultyFile(self, name, flags)

    def check(self, call: str) -> None:
        if call != self.failing:
            return
        if self.spared:
            self.spared -= 1
            return
        self.failed += 1
        raise apsw.IOError


@pytest.fixture
def faulty() -> Iterator[FaultyVFS]:
    vfs = FaultyVFS()
    yield vfs
    vfs.unregister()


@pytest.mark.parametrize("call", ["write", "sync"])
# SQLite calls the VFS, so its errors cannot be raised to a Python caller.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_io_error_fails_the_commit_without_a_retry(tmp_path: Path, faulty: FaultyVFS, call: str) -> None:
    disk = opened(tmp_path, vfs="faulty")
    x = disk.variable("x")
    x["a"] = 1
    disk.commit()
    faulty.failing = call
    x["a"] = 2
    with pytest.raises(DiskFailed, match=r"IOError.*does not know what is durable"):
        disk.commit()
    assert faulty.failed == 1  # a second sync would report a success although the data is lost
    assert disk.commits == 1
    faulty.failing = ""
    disk.close()
    disk = opened(tmp_path, last_seen=LastSeen())
    assert disk.variable("x")["a"] in (1, 2)
    disk.close()


@pytest.mark.parametrize("call", ["write", "sync"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_io_error_at_any_moment_of_the_close_loses_nothing(tmp_path: Path, faulty: FaultyVFS, call: str) -> None:
    refused = 0
    for number in range(20):
        disk = opened(tmp_path, vfs="faulty", last_seen=LastSeen() if number else None)
        assert disk.variable("x").get("a", 0) == number
        disk.variable("x")["a"] = number + 1
        disk.commit()
        faulty.failing, faulty.spared, faulty.failed = call, number, 0
        try:
            disk.close()
        except DiskFailed:
            refused += 1
        faulty.failing = ""
        if not faulty.failed:
            break  # the whole close has fewer such calls
    assert number > 1
    assert refused > 0  # while the WAL was copied into the main file


def test_a_boot_without_space_for_the_wal_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = filled(tmp_path, close=True)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("node.storage.disk.os.fsync", full)
        with pytest.raises(DiskFailed, match="-wal cannot be created: No space left on device"):
            opened(tmp_path)
    disk = opened(tmp_path, last_seen=LastSeen())  # nothing is lost
    assert contents(disk) == before
    disk.close()


@pytest.mark.parametrize("call", ["write", "sync"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_io_error_at_boot_is_refused(tmp_path: Path, faulty: FaultyVFS, call: str) -> None:
    held = filled(tmp_path, close=True)
    faulty.failing = call
    with pytest.raises(DiskFailed):
        opened(tmp_path, vfs="faulty")
    assert faulty.failed >= 1
    disk = opened(tmp_path, last_seen=LastSeen())
    assert held == contents(disk)
    disk.close()


def test_every_commit_is_synced_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faulty: FaultyVFS
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(faulty, "check", calls.append)
    disk = opened(tmp_path, vfs="faulty")
    for number in range(20):
        calls.clear()
        disk.variable("x")["a"] = number
        disk.commit()
        assert calls[-1] == "sync"
    disk.close()


# --- inspect --------------------------------------------------------------------------------------------------------


def stored_files(directory: Path) -> dict[str, object]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.iterdir()}


def test_inspect_reads_the_disk_of_a_running_a_suspended_and_a_killed_node(tmp_path: Path, spawn: Spawn) -> None:
    with pytest.raises(DiskMissing, match="has the node ever booted"):
        inspect(tmp_path)
    holder = spawn("-c", HOLD, str(tmp_path))
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    files = stored_files(tmp_path)
    expected = Contents(CLUSTER, "n1", 1, {"x": {"a": (1, "n1", b"v")}})

    assert expected == inspect(tmp_path)
    holder.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, holder.pid, os.WSTOPPED | os.WNOWAIT)
    assert expected == inspect(tmp_path)
    holder.kill()
    holder.wait()
    assert expected == inspect(tmp_path)

    assert files == stored_files(tmp_path)


def test_inspect_reads_a_closed_disk(tmp_path: Path) -> None:
    held = filled(tmp_path, close=True)
    files = stored_files(tmp_path)
    assert Contents(CLUSTER, "n1", 1, held) == inspect(tmp_path)
    assert files == stored_files(tmp_path)


BUSY = """
import sys
from pathlib import Path
from node.storage.disk import Disk
disk = Disk(Path(sys.argv[1]), cluster="0123456789abcdef" * 2, node="n1")
x, y = disk.variable("x"), disk.variable("y")
number = 0
while True:
    number += 1
    x["number"] = y["number"] = number
    disk.variable(f"filler {number % 50}")["content"] = bytes(30_000)  # restarts the WAL about every 150 commits
    disk.commit()
    if number == 1:
        print("open", flush=True)
"""


def test_inspect_reads_whole_commits_of_a_busy_node(tmp_path: Path, spawn: Spawn) -> None:
    busy = spawn("-c", BUSY, str(tmp_path))
    assert busy.stdout is not None
    assert busy.stdout.readline() == "open\n"
    numbers: list[int] = []
    generations = set()
    while len(numbers) < 20 or numbers[-1] < 500:
        assert busy.poll() is None
        try:
            variables = inspect(tmp_path).variables
        except DiskInUse:
            continue  # the files may change too fast
        assert variables["x"]["number"] == variables["y"]["number"]
        number = variables["x"]["number"]
        assert isinstance(number, int)
        numbers.append(number)
        generations.add((tmp_path / f"{FILE_NAME}-wal").read_bytes()[16:24])
    assert sorted(numbers) == numbers
    assert len(generations) > 1


NAMES = """
import sys
from pathlib import Path
from node.storage.disk import Disk, inspect
for _ in range(2):
    disk = Disk(Path(sys.argv[1]), cluster="0123456789abcdef" * 2, node="n1")
    disk.variable("x")["promised"] = 1
    disk.commit()
    disk.close()
print(disk.incarnation, inspect(Path(sys.argv[1])).variables)
"""


def test_a_folder_with_any_name_can_be_used_where_python_takes_names_for_ascii(tmp_path: Path) -> None:
    ascii_names = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", NAMES, str(tmp_path / "ü")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=ascii_names)
    assert (done.stderr, done.stdout) == ("", "2 {'x': {'promised': 1}}\n")
    assert inspect(tmp_path / "ü").incarnation == 2


def test_a_path_that_sqlite_cannot_take_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(DiskFailed, match="SQLite needs a path in UTF-8"):
        opened(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")))
