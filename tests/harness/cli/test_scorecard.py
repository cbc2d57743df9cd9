"""`consensus scorecard` says what its table does not show."""

from pathlib import Path

import pytest

from harness.cli import scorecard
from tests.end_to_end.hand import run_in_this_process


@pytest.mark.parametrize("only", [None, "split-brain"])
def test_a_part_of_the_table_says_that_it_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only: str | None
) -> None:
    monkeypatch.setattr(scorecard, "_with_progress", lambda *_, **__: [])
    part = [] if only is None else ["--only", only]
    done = run_in_this_process("scorecard", "--dir", str(tmp_path), "--algorithm", "majority", *part)
    assert done.returncode == 0, done.stderr
    said = "only split-brain: a tick means not broken by that; the whole table: consensus scorecard" in done.stdout
    assert said == (only is not None)
