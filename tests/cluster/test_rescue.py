"""Restoring and recovering without processes: what is refused, what is kept, and what is left when it fails."""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import apsw
import pytest

from cluster.durable_files import DurableFiles
from cluster.errors import AlreadyUp, Mistake, NoSuchNode, NotUp
from cluster.folder_lock import FolderLock
from cluster.folder_mark import FolderMark, check_no_copy, read_mark
from cluster.new_folder import NewCluster, empty_state, raise_numbers
from cluster.recovering import examine, recover
from cluster.restoring import restore
from cluster.save_file import BadSave, Save, write_save
from cluster.spec import Spec, create, open_spec
from harness.faults.last_commit import damage_last_commit
from harness.systematic.rescue_points import SURVIVOR, old_cluster, sample_save, stored_values
from node.contract import BadInput
from node.log_contract import Record
from node.machine import Machine
from node.replication.new_cluster import floor_at
from node.storage.disk import Disk
from node.storage.disk_contents import OWNER_KEYS, WAL_FOLDED, owner_checksum
from node.wire import pack_unchecked
from tests.node.storage.test_disk import leave_as_killed

NOW_MS = 1_800_000_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_save(tmp_path / "a.save", sample_save("multipaxos"), DurableFiles())
    return tmp_path / "a.save"


@pytest.fixture
def old(tmp_path: Path) -> Spec:
    return old_cluster(tmp_path / "old")


def others_in(folder: Path, *known: str) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name not in known)


# --- restore ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "names"), [(None, ("n1", "n2", "n3")), (1, ("n1",)), (5, ("n1", "n2", "n3", "n4", "n5"))]
)
def test_a_restored_cluster_has_as_many_nodes_as_wanted(
    file: Path, tmp_path: Path, nodes: int | None, names: tuple[str, ...]
) -> None:
    spec = restore(file, tmp_path / "new", nodes)
    assert names == spec.nodes
    assert all(stored_values(spec, node)["key 6"] == b"xxxxxx" for node in names)
    assert spec.settings.cluster != "0" * 32
    assert read_mark(spec.root) == FolderMark.of(spec.root, spec.settings.cluster)
    assert others_in(tmp_path, "a.save", "new") == []


def test_a_restore_overwrites_nothing(file: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    (tmp_path / "link").symlink_to("full")
    for name, says in (
        ("full", "holds something already .thesis.txt."),
        ("link", "is no folder"),
        ("a.save", "is no folder"),
    ):
        with pytest.raises(Mistake, match=says):
            restore(file, tmp_path / name)
    (tmp_path / "empty").mkdir()
    restore(file, tmp_path / "empty", 1)
    assert others_in(tmp_path, "a.save", "full", "link", "empty") == []


def test_a_clock_that_is_behind_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="saved at 2023-11-14 22:13:20 UTC, and the clock of this machine is behind"):
        restore(file, tmp_path / "new", now_ms=1_699_999_999_999)
    assert others_in(tmp_path, "a.save") == []


def test_a_state_that_this_version_cannot_read_is_refused(tmp_path: Path) -> None:
    header, _ = sample_save("multipaxos")
    for number, state in enumerate((b"", pack_unchecked(1), pack_unchecked((1, 2, 3)))):
        path = tmp_path / f"{number}.save"
        write_save(path, Save(replace(header, state_bytes=len(state)), state), DurableFiles())
        with pytest.raises(BadSave, match="is whole, and this version cannot read"):
            restore(path, tmp_path / "new")


class DiskFails(DurableFiles):
    """The disk fails at the step with this name."""

    def __init__(self, at: str) -> None:
        self.at = at

    def step(self, what: str, moves: Path | None = None) -> None:
        if what.startswith(self.at):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("at", ["make", "write the disk of n2", "sync", "move"])
def test_a_restore_that_fails_leaves_nothing(file: Path, tmp_path: Path, at: str) -> None:
    with pytest.raises(OSError, match="No space left"):
        restore(file, tmp_path / "new", files=DiskFails(at))
    assert others_in(tmp_path, "a.save") == []


def test_two_restores_do_not_make_one_folder(file: Path, tmp_path: Path) -> None:
    lock = FolderLock(tmp_path / ".new.unfinished")
    with pytest.raises(Mistake, match="another process makes a cluster"):
        restore(file, tmp_path / "new")
    lock.release()
    restore(file, tmp_path / "new", 1)


# --- recover ----------------------------------------------------------------------------------------------------------


def test_a_recovery_keeps_what_was_accepted_and_the_old_folder(old: Spec, tmp_path: Path) -> None:
    old_id = old.settings.cluster
    recovered = recover(old.root, SURVIVOR, accept_loss=True, now_ms=NOW_MS)
    assert recovered.slot == 9
    assert recovered.spec.root == old.root
    assert recovered.spec.settings.cluster != old_id
    expected = {f"key {slot}": b"x" * slot for slot in range(2, 10)}
    assert all(expected == stored_values(recovered.spec, node) for node in ("n1", "n2", "n3"))
    assert recovered.kept == tmp_path / f"old-lost-{old_id[:8]}"
    assert stored_values(open_spec(recovered.kept), SURVIVOR) == {f"key {slot}": b"x" * slot for slot in range(2, 7)}
    check_no_copy(recovered.kept)
    check_no_copy(old.root)
    assert others_in(tmp_path, "old", recovered.kept.name) == []


def test_nothing_is_recovered_without_the_word_of_the_user(old: Spec, tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=r"repeat with --accept-loss\. Nothing was changed"):
        recover(old.root, SURVIVOR, accept_loss=False)
    text = "\n".join(examine(old.root, SURVIVOR).lines)
    assert "n1: there is no disk in" in text
    assert "n3: its disk holds slots to 9, those to 6 known as chosen, the newest of ballot 1.n1" in text
    assert "It has accepted slots 7 to 9 and does not know what was chosen there." in text
    assert "Everything above slot 9 is lost" in text
    assert open_spec(old.root).settings.cluster == old.settings.cluster
    assert others_in(tmp_path, "old") == []


def test_a_gap_counts_as_empty(old: Spec) -> None:
    disk = _open(old, SURVIVOR)
    disk.log.put(Record(12, 1, "n1", _put("after the gap")))
    disk.commit()
    disk.close()
    recovered = recover(old.root, SURVIVOR, 1, accept_loss=True)
    assert recovered.slot == 12
    assert stored_values(recovered.spec, "n1")["after the gap"] == b"x"


def _open(spec: Spec, node: str) -> Disk:
    settings = spec.settings
    return Disk(settings.directory(node), cluster=settings.cluster, node=node, made_for=settings.made_for)


def test_a_disk_whose_last_commit_is_damaged_can_be_used_and_says_so(old: Spec) -> None:
    directory = old.settings.directory(SURVIVOR)
    disk = _open(old, SURVIVOR)
    for slot in (10, 11):
        disk.log.put(Record(slot, 1, "n1", _put(f"in slot {slot}")))
        disk.commit()
    leave_as_killed(disk, directory)
    damage_last_commit(directory, Random(1))
    lines = examine(old.root, SURVIVOR).lines
    assert any(line.endswith("its last commit is torn or damaged, and lost") for line in lines), lines
    recovered = recover(old.root, SURVIVOR, 1, accept_loss=True)
    assert recovered.slot == 10
    assert stored_values(recovered.spec, "n1")["in slot 10"] == b"x"


def _put(key: str) -> bytes:
    return pack_unchecked((0, ((0, 0, 0, "kv", pack_unchecked([["put", key, b"x"]])),)))


@pytest.mark.parametrize(
    ("record", "later"),
    [
        (Record(10, 1, "n1", _put("more")), True),
        (Record(9, 2, "n2", _put("of a newer ballot")), True),
        (Record(8, 0, "n1", _put("of an older ballot")), False),
        (Record(10, 2, "n2", pack_unchecked((0, ()))), False),  # a new leader's first batch, without a command
    ],
)
def test_the_disk_with_the_latest_state_is_to_be_used(old: Spec, record: Record, later: bool) -> None:
    shutil.copytree(old.settings.directory(SURVIVOR), old.settings.directory("n2"))
    database = old.settings.directory("n2")
    _change_owner(database, old)
    disk = _open(old, "n2")
    disk.log.put(record)
    disk.commit()
    disk.close()
    if later:
        with pytest.raises(Mistake, match=r"n2 holds a later state than n3: .* Use --from n2"):
            recover(old.root, SURVIVOR, accept_loss=True)
        recover(old.root, "n2", accept_loss=True)
    else:
        recover(old.root, SURVIVOR, accept_loss=True)


def _change_owner(directory: Path, spec: Spec) -> None:
    """Make a copy of a node's directory that of n2."""
    settings = spec.settings
    owner = [settings.cluster, "n2", "1", settings.made_for, WAL_FOLDED]
    database = apsw.Connection(str(directory / "state.db"))
    rows = zip((*OWNER_KEYS, "checksum"), [*owner, owner_checksum(owner)], strict=True)
    database.executemany("INSERT OR REPLACE INTO node VALUES (?, ?)", list(rows))
    database.close()


def test_what_cannot_be_recovered_gets_a_sentence(old: Spec, tmp_path: Path) -> None:
    def fails(kind: type[Exception], says: str, act: Callable[[], object]) -> None:
        with pytest.raises(kind, match=says):
            act()

    fails(NoSuchNode, "there is no node 'n9': there are n3, n1, n2", lambda: recover(old.root, "n9", accept_loss=True))
    fails(Mistake, "n1 has no disk that can be read", lambda: recover(old.root, "n1", accept_loss=True))
    fails(NotUp, "there is no cluster in", lambda: recover(tmp_path / "missing", "n1", accept_loss=True))
    lock = FolderLock(old.root)
    fails(AlreadyUp, "a cluster is up or starting", lambda: recover(old.root, SURVIVOR, accept_loss=True))
    lock.release()
    other = old_cluster(tmp_path / "other")
    shutil.rmtree(old.settings.directory(SURVIVOR))
    shutil.copytree(other.settings.directory(SURVIVOR), old.settings.directory(SURVIVOR))
    fails(Mistake, "belongs to cluster", lambda: recover(old.root, SURVIVOR, accept_loss=True))
    paxos = create(tmp_path / "paxos", nodes=3, algorithm="paxos")
    fails(Mistake, "paxos keeps no log", lambda: recover(paxos.root, "n1", accept_loss=True))


def test_a_recovery_can_be_made_elsewhere(old: Spec, tmp_path: Path) -> None:
    recovered = recover(old.root, SURVIVOR, accept_loss=True, into=tmp_path / "new")
    assert recovered.kept == old.root
    assert open_spec(old.root).settings.cluster == old.settings.cluster
    assert stored_values(recovered.spec, "n2")["key 9"] == b"x" * 9


class NoExchange(DurableFiles):
    """A file system that cannot exchange two folders."""

    def rename(self, one: Path, other: Path, flag: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def test_a_file_system_without_exchange_is_told_and_nothing_is_changed(old: Spec, tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=r"name another folder with --into\. Nothing was changed"):
        recover(old.root, SURVIVOR, accept_loss=True, files=NoExchange())
    assert others_in(tmp_path) == ["old"]
    assert stored_values(open_spec(old.root), SURVIVOR)["key 6"] == b"xxxxxx"


class FailsAfterTheExchange(DurableFiles):
    """The disk fails once the new folder has taken the old one's place."""

    exchanged = False

    def step(self, what: str, moves: Path | None = None) -> None:
        if self.exchanged:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.exchanged = what.startswith("exchange")


def test_the_old_folder_is_never_deleted(old: Spec, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Input/output error"):
        recover(old.root, SURVIVOR, accept_loss=True, files=FailsAfterTheExchange())
    kept = tmp_path / f"old-lost-{old.settings.cluster[:8]}"
    assert stored_values(open_spec(kept), SURVIVOR)["key 6"] == b"xxxxxx"
    assert stored_values(open_spec(old.root), "n1")["key 9"] == b"x" * 9


def test_what_is_in_the_way_of_the_old_folder_stays(old: Spec, tmp_path: Path) -> None:
    kept = tmp_path / f"old-lost-{old.settings.cluster[:8]}"
    kept.mkdir()
    (kept / "thesis.txt").touch()
    with pytest.raises(Mistake, match="is in the way"):
        recover(old.root, SURVIVOR, accept_loss=True)
    assert (kept / "thesis.txt").exists()


# --- machines of users ------------------------------------------------------------------------------------------------


class Tickets(Machine):
    """Gives out numbers, and raises them as a machine's author is told to."""

    name = "tickets"

    def __init__(self) -> None:
        self.last = 0

    def apply(self, at: object, command: list[object]) -> int:
        self.last += 1
        return self.last

    def query(self, question: list[object]) -> int:
        return self.last

    def snapshot(self) -> int:
        return self.last

    def restore(self, state: int) -> None:
        self.last = state

    def rise(self, floor: int) -> None:
        self.last = max(self.last, floor)


def test_the_machines_of_users_are_restored_and_raised(tmp_path: Path) -> None:
    new = NewCluster(("n1",), "multipaxos", ("kv", f"{__name__}:Tickets"))
    state = empty_state(new)
    state.machines["tickets"].restore(7)
    raise_numbers(state, new, NOW_MS)
    assert state.machines["tickets"].query([]) == floor_at(NOW_MS)
