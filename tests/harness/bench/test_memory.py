"""What the bench of memory measures beside a node that is being wiped."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.bench.memory import bytes_in


def test_a_folder_counts_as_far_as_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bytes_in(tmp_path / "n1") == 0
    (tmp_path / "kept").write_bytes(b"x" * 10_000)
    kept = bytes_in(tmp_path)
    assert kept >= 10_000

    def with_a_file_that_goes(folder: Path) -> Iterator[Path]:
        yield folder / "gone"
        yield folder / "kept"

    monkeypatch.setattr(Path, "iterdir", with_a_file_that_goes)
    assert bytes_in(tmp_path) == kept
