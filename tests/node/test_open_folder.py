import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.open_folder import OpenFolder
from node.storage.disk import Disk, DiskFailed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.fixture
def place(folder: Path) -> Iterator[OpenFolder]:
    place = OpenFolder(folder)
    yield place
    place.close()


def test_a_place_is_where_it_was_opened(place: OpenFolder, folder: Path) -> None:
    assert place.now() == folder


def test_a_place_that_was_moved_is_found(place: OpenFolder, folder: Path) -> None:
    moved = folder.rename(folder.with_name("there"))
    folder.mkdir()  # another one, in its old place
    assert place.now() == moved


def test_a_place_that_was_removed_is_gone(place: OpenFolder, folder: Path) -> None:
    folder.rmdir()
    assert place.now() is None
    folder.mkdir()  # another one, in its old place
    assert place.now() is None


def test_a_disk_whose_directory_was_removed_has_failed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(folder, cluster="c", node="n1")
    disk.check_in_place()
    in_a_minute_s = time.monotonic() + 60
    monkeypatch.setattr(time, "monotonic", lambda: in_a_minute_s)
    shutil.rmtree(folder)
    with pytest.raises(DiskFailed, match="was removed while the node ran"):
        disk.check_in_place()
    disk.close()
