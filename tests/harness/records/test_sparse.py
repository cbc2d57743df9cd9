"""Files of a run folder that take no space for zeros."""

from pathlib import Path

import pytest

from harness.records.sparse import make_sparse

CONTENTS = {
    "empty": b"",
    "zeros at the end": b"log" + bytes(1 << 20),
    "zeros between": b"a" * 5000 + bytes(1 << 20) + b"b" * 5000,
    "an odd size": bytes(8193),
    "no zeros": b"x" * 100_000,
}


@pytest.mark.parametrize("name", CONTENTS)
def test_the_content_and_the_mode_stay(tmp_path: Path, name: str) -> None:
    path = tmp_path / "wal"
    path.write_bytes(CONTENTS[name])
    path.chmod(0o600)
    make_sparse(path)
    assert path.read_bytes() == CONTENTS[name]
    assert path.stat().st_mode & 0o777 == 0o600
    assert [path] == list(tmp_path.iterdir())


def test_zeros_take_no_space(tmp_path: Path) -> None:
    plain, sparse = tmp_path / "plain", tmp_path / "sparse"
    with plain.open("wb") as file:
        file.truncate(1 << 20)
    if plain.stat().st_blocks * 512 >= 1 << 20:
        pytest.skip("no sparse files on this file system")
    sparse.write_bytes(b"log" + bytes(1 << 20))
    make_sparse(sparse)
    assert sparse.stat().st_blocks * 512 < 100_000


def test_a_file_that_cannot_be_copied_stays(tmp_path: Path) -> None:
    path = tmp_path / "wal"
    path.write_bytes(b"log" + bytes(1 << 20))
    (tmp_path / "wal.sparse").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        make_sparse(path)
    assert path.read_bytes() == b"log" + bytes(1 << 20)
