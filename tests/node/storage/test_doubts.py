"""Tests of a disk whose last commit does not check: `node/storage/doubts.py`."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from harness.faults.last_commit import damage_last_commit, last_frame
from node.log_contract import Doubt
from node.storage.disk import FILE_NAME, DiskCorrupt, LastSeen
from node.storage.disk_contents import PAGE_BYTES
from tests.node.storage.test_disk import contents, filled, flip, leave_as_killed, opened


def torn_disks(directory: Path) -> Iterator[bool]:
    """Make a disk, and leave some frames of its last commit, which has several pages. Yields whether any are missing."""
    disk = opened(directory)
    x = disk.variable("x")
    x["a"] = 1
    disk.commit()
    before = {path: path.read_bytes() for path in directory.iterdir()}
    for number in range(200):  # several pages
        disk.variable(f"y{number}")["a"] = b"w" * 100
    disk.commit()
    after = {path: path.read_bytes() for path in directory.iterdir()}
    disk.close()
    log = directory / f"{FILE_NAME}-wal"
    frame = 24 + PAGE_BYTES
    changed = [n for n in range(len(after[log]) // frame) if part(before[log], n) != part(after[log], n)]
    assert len(changed) > 4
    for torn in ([changed[0]], changed[:-1], changed[1:], [changed[-1]], changed[1:3], []):
        for path in directory.iterdir():
            path.unlink()
        for path, data in after.items():
            path.write_bytes(data)
        mixed = bytearray(after[log])
        for n in torn:  # these frames did not reach the disk
            mixed[32 + n * frame : 32 + (n + 1) * frame] = part(before[log], n)
        log.write_bytes(mixed)
        yield bool(torn)


def test_after_a_restart_of_the_machine_a_torn_commit_is_a_doubt_and_no_damage(tmp_path: Path) -> None:
    """If frames of the last commit are missing, the disk holds the commit before it, whole."""
    for torn in torn_disks(tmp_path):
        give_another_boot_id(tmp_path)
        disk = opened(tmp_path, last_seen=LastSeen(), may_doubt=True)
        assert (1 if torn else 201) == len(disk.variables())
        assert (Doubt.TORN_OR_DAMAGED if torn else Doubt.NONE) == disk.doubt
        disk.close()


def test_a_node_that_cannot_ask_others_starts_after_a_commit_that_may_be_torn(tmp_path: Path) -> None:
    for torn in torn_disks(tmp_path):
        give_another_boot_id(tmp_path)
        disk = opened(tmp_path, last_seen=LastSeen())
        assert ((1 if torn else 201), Doubt.NONE) == (len(disk.variables()), disk.doubt)
        disk.close()


def test_the_mark_proves_that_a_commit_was_lost(tmp_path: Path) -> None:
    for torn in torn_disks(tmp_path):
        if torn:
            with pytest.raises(DiskCorrupt, match="has lost its last commit, on which the node has relied"):
                opened(tmp_path, last_seen=LastSeen())
        disk = opened(tmp_path, last_seen=LastSeen(), may_doubt=True)
        assert (Doubt.DAMAGED if torn else Doubt.NONE) == disk.doubt
        disk.close()


def test_the_mark_proves_that_a_torn_commit_was_not_relied_on(tmp_path: Path) -> None:
    disk = opened(tmp_path)
    disk.variable("x")["a"] = 1
    disk.commit()
    mark = (tmp_path / f"{FILE_NAME}-mark").read_bytes()
    disk.variable("x")["a"] = 2
    disk.commit()
    leave_as_killed(disk, tmp_path)
    (tmp_path / f"{FILE_NAME}-mark").write_bytes(mark)  # as if the kill had come before the commit was noted
    damage_last_commit(tmp_path, Random(1))
    disk = opened(tmp_path, last_seen=LastSeen(), may_doubt=True)
    assert (disk.doubt, contents(disk)) == (Doubt.NONE, {"x": {"a": 1}})
    disk.close()


@pytest.mark.parametrize("commits", [0, 1, 3, 700])  # the last restarts the WAL
def test_every_kill_leaves_a_mark_that_fits(tmp_path: Path, commits: int) -> None:
    disk = opened(tmp_path)
    for number in range(commits):
        disk.variable("x")["a"] = number
        disk.variable(f"y{number % 5}")["b"] = b"v" * 700
        disk.commit()
    held = contents(disk)
    leave_as_killed(disk, tmp_path)
    disk = opened(tmp_path, last_seen=LastSeen(), may_doubt=True)
    assert (Doubt.NONE, held) == (disk.doubt, contents(disk))
    leave_as_killed(disk, tmp_path)
    damage_last_commit(tmp_path, Random(commits))  # of the boot
    disk = opened(tmp_path, last_seen=LastSeen(), may_doubt=True)
    assert (Doubt.DAMAGED, held) == (disk.doubt, contents(disk))
    disk.close()


@pytest.mark.parametrize("mark", [True, False])
def test_each_flipped_bit_of_the_last_frame_is_seen(tmp_path: Path, mark: bool) -> None:
    filled(tmp_path, close=False)
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    start, end = last_frame(tmp_path)
    bits = [*range((start) * 8, (start + 24) * 8), *Random(3).sample(range((start + 24) * 8, end * 8), 40)]
    for bit in bits:
        for path, data in files.items():
            path.write_bytes(data)
        if not mark:
            give_another_boot_id(tmp_path)
        flip(tmp_path / f"{FILE_NAME}-wal", bit // 8, bit % 8)
        disk = opened(tmp_path, last_seen=LastSeen(), may_doubt=True)
        assert disk.doubt is (Doubt.DAMAGED if mark else Doubt.TORN_OR_DAMAGED), bit - start * 8
        disk.close()


def test_a_doubt_outlives_a_kill_until_it_is_ended(tmp_path: Path) -> None:
    filled(tmp_path, close=False)
    damage_last_commit(tmp_path, Random(1))
    for _ in range(3):
        disk = opened(tmp_path, last_seen=LastSeen(), may_doubt=True)
        assert (disk.doubt, disk.doubts) == (Doubt.DAMAGED, 1)
        leave_as_killed(disk, tmp_path)
    disk = opened(tmp_path, last_seen=LastSeen(), may_doubt=True)
    disk.end_doubt()
    assert (disk.doubt, disk.dirty) == (Doubt.DAMAGED, True)
    disk.commit()
    assert (disk.doubt, disk.doubts) == (Doubt.NONE, 1)
    leave_as_killed(disk, tmp_path)
    disk = opened(tmp_path, last_seen=LastSeen(), may_doubt=True)
    assert (disk.doubt, disk.doubts) == (Doubt.NONE, 1)
    disk.close()


def test_a_record_of_doubts_that_is_damaged_is_corrupt(tmp_path: Path) -> None:
    filled(tmp_path, close=True)
    (tmp_path / "doubts").write_bytes(b"{")
    with pytest.raises(DiskCorrupt, match="doubts is damaged"):
        opened(tmp_path, last_seen=LastSeen(), may_doubt=True)


def part(log: bytes, number: int) -> bytes:
    frame = 24 + PAGE_BYTES
    return log[32 + number * frame : 32 + (number + 1) * frame]


def give_another_boot_id(directory: Path) -> None:
    """Change the mark of the last commit as if the machine had been restarted since."""
    path = directory / f"{FILE_NAME}-mark"
    path.write_bytes(b"another boot".ljust(36, b".") + path.read_bytes()[36:])
