"""Tests of old copies of a node's disk: `node/storage/last_seen.py`."""

import shutil
from pathlib import Path

import pytest

from node.storage.disk import FILE_NAME, DiskOutdated
from node.storage.doubts import MARK_SUFFIX
from node.storage.last_seen import LastSeen, note_end
from tests.node.storage.test_disk import leave_as_killed, opened


def boot(disk: Path, seen: Path, commits: int = 1) -> int:
    """Boot as a launcher does, commit, and kill. Returns the number of the boot."""
    opened_disk = opened(disk, last_seen=LastSeen.read(seen) if seen.exists() else None)
    LastSeen(opened_disk.incarnation).write(seen)
    for number in range(commits):
        opened_disk.variable("x")["promised"] = number
        opened_disk.commit()
    leave_as_killed(opened_disk, disk)
    note_end(seen, disk / f"{FILE_NAME}{MARK_SUFFIX}")
    return opened_disk.incarnation


def put_back(copy: Path, disk: Path) -> None:
    shutil.rmtree(disk)
    shutil.copytree(copy, disk)


def test_a_copy_from_before_the_last_boot_is_refused_each_time(tmp_path: Path) -> None:
    disk, seen, old, newest = (tmp_path / name for name in ("d", "booted", "old", "newest"))
    assert boot(disk, seen) == 1
    shutil.copytree(disk, old)
    assert boot(disk, seen) == 2
    shutil.copytree(disk, newest)
    for _ in range(2):
        put_back(old, disk)
        with pytest.raises(DiskOutdated, match="is an old copy of the disk of n1: it has booted 1 of the 2 times"):
            boot(disk, seen)
    put_back(newest, disk)
    assert boot(disk, seen) == 3


def test_a_copy_that_was_made_while_the_node_ran_is_refused(tmp_path: Path) -> None:
    disk, seen, old, newest = (tmp_path / name for name in ("d", "booted", "old", "newest"))
    running = opened(disk)
    LastSeen(running.incarnation).write(seen)
    shutil.copytree(disk, old)
    running.variable("x")["promised"] = 1
    running.commit()
    leave_as_killed(running, disk)
    note_end(seen, disk / f"{FILE_NAME}{MARK_SUFFIX}")
    shutil.copytree(disk, newest)
    put_back(old, disk)
    with pytest.raises(DiskOutdated, match="its last commit is not the one with which n1 ended"):
        boot(disk, seen)
    put_back(newest, disk)
    assert boot(disk, seen) == 2


def test_a_boot_that_was_not_noted_and_an_orderly_end_are_no_old_copies(tmp_path: Path) -> None:
    disk, seen = tmp_path / "d", tmp_path / "booted"
    boot(disk, seen)
    opened(disk, last_seen=LastSeen.read(seen)).close()  # its launcher was killed before it could note anything
    assert boot(disk, seen) == 3


def test_after_a_restart_of_the_machine_the_mark_proves_nothing(tmp_path: Path) -> None:
    disk, seen = tmp_path / "d", tmp_path / "booted"
    boot(disk, seen)
    LastSeen(1, "00" * 48).write(seen)
    assert boot(disk, seen) == 2


def test_the_file_of_an_earlier_version_is_empty(tmp_path: Path) -> None:
    disk, seen = tmp_path / "d", tmp_path / "booted"
    opened(disk).close()
    seen.touch()
    assert boot(disk, seen) == 2
    assert LastSeen.read(seen).incarnation == 2


@pytest.mark.parametrize("content", [b"x", b"[]", b"{}", b'{"incarnation": "one", "mark": ""}'])
def test_a_damaged_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "booted").write_bytes(content)
    with pytest.raises(ValueError):  # noqa: PT011 - the node's error replaces its text
        LastSeen.read(tmp_path / "booted")
