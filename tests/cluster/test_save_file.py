"""The file of a save: no damage passes, nothing is overwritten, and what fails leaves nothing."""

import errno
import fcntl
import os
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.durable_files import DurableFiles
from cluster.errors import Mistake
from cluster.save_file import BadSave, Save, read_save, write_save
from harness.systematic.rescue_points import sample_save
from node.contract import BadInput

SAVE = sample_save("multipaxos")


def write(folder: Path, save: Save = SAVE) -> Path:
    path = folder / "a.save"
    write_save(path, save, DurableFiles())
    return path


def test_a_save_comes_back_as_it_was(tmp_path: Path) -> None:
    odd = Save(replace(SAVE.header, learners=("n9",), machines=("kv", "mine:Mine")), SAVE.state)
    path = write(tmp_path, odd)
    assert odd == read_save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [path] == list(tmp_path.iterdir())


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    path = write(tmp_path)
    whole = path.read_bytes()
    other = tmp_path / "flipped"
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        other.write_bytes(flipped)
        with pytest.raises(BadSave, match=r"damaged|cut short|no file|name a file|format"):
            read_save(other)


def test_every_missing_end_and_every_added_byte_is_found(tmp_path: Path) -> None:
    whole = write(tmp_path).read_bytes()
    other = tmp_path / "cut"
    for size in range(0, len(whole), 3):
        other.write_bytes(whole[:size])
        with pytest.raises(BadSave):
            read_save(other)
    other.write_bytes(whole[:-7])
    with pytest.raises(BadSave, match=r"7 of [\d,]+ bytes are missing"):
        read_save(other)
    other.write_bytes(whole + b"\n")
    with pytest.raises(BadSave, match="damaged"):
        read_save(other)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty: name a file that"),
        (b"SQLite format 3\0", "does not begin as a save does"),
        (b"consensus-save 2\n{}\n", "has the format '2', and this version reads format 1"),
        (b"consensus-save 1\nno json\n", "is damaged"),
        (b'consensus-save 1\n{"state_bytes": "x"}\n', "is damaged"),
    ],
)
def test_a_foreign_file_gets_a_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(BadSave, match=says):
        read_save(tmp_path / "file")


def test_what_cannot_be_read_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadSave, match="cannot be read: No such file"):
        read_save(tmp_path / "missing")
    with pytest.raises(BadSave, match="cannot be read: Is a directory"):
        read_save(tmp_path)


def test_a_save_overwrites_nothing(tmp_path: Path) -> None:
    path = write(tmp_path)
    before = path.read_bytes()
    with pytest.raises(Mistake, match="exists, and a save overwrites nothing"):
        write(tmp_path, Save(SAVE.header, b"other"))
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(Mistake, match="exists"):
        write_save(tmp_path / "link", SAVE, DurableFiles())
    assert before == path.read_bytes()


class AnotherIsFaster(DurableFiles):
    """Another process gives the name to a file of its own in the last moment."""

    def step(self, what: str, moves: Path | None = None) -> None:
        if moves is not None:
            (moves.parent / "a.save").write_text("theirs")


class WithoutRenameat2(AnotherIsFaster):
    """The same on a file system that cannot refuse to overwrite."""

    def rename(self, one: Path, other: Path, flag: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


@pytest.mark.parametrize("files", [AnotherIsFaster, WithoutRenameat2])
def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path, files: type[DurableFiles]) -> None:
    with pytest.raises(Mistake, match="exists"):
        write_save(tmp_path / "a.save", SAVE, files())
    assert [path.read_text() for path in tmp_path.iterdir()] == ["theirs"]


class DiskFull(DurableFiles):
    """A disk without room for the file."""

    def sync_descriptor(self, descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_save_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"No space left on device\. Nothing of it is left"):
        write_save(tmp_path / "a.save", SAVE, DiskFull())
    with pytest.raises(BadInput, match="there is no folder"):
        write_save(tmp_path / "missing" / "a.save", SAVE, DurableFiles())
    assert list(tmp_path.iterdir()) == []


def test_two_processes_do_not_write_one_save(tmp_path: Path) -> None:
    with (tmp_path / ".a.save.unfinished").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Mistake, match="another process is saving"):
            write(tmp_path)
    assert read_save(write(tmp_path)) == SAVE  # what a killed process has left is no obstacle
