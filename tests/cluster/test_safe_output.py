"""What a process writes for people ends no process."""

import errno
import os
import sys
import traceback
from io import StringIO
from pathlib import Path

import pytest

from cluster.safe_output import SafeOutput, full_disk, last_line, safe_stderr, see_log, see_log_and_disk


class FullDisk(StringIO):
    """A file on a disk that is full for as long as `full` is set. Like a real one, it may fail in `flush` only."""

    full, fails_in_flush = True, False

    def write(self, text: str) -> int:
        if self.full and not self.fails_in_flush:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)

    def flush(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("in_flush", [False, True])
def test_a_full_disk_is_no_error_and_is_named_when_there_is_space_again(in_flush: bool) -> None:
    file = FullDisk()
    file.fails_in_flush = in_flush
    output = SafeOutput(file)
    print("one\ntwo", file=output, flush=True)
    assert (output.lost, output.trouble) == (2, "No space left on device")
    file.full = False
    print("three", file=output)
    assert file.getvalue().endswith("(2 lines before this one could not be written: No space left on device)\nthree\n")
    assert (output.lost, output.trouble) == (0, "")


def test_neither_a_closed_nor_a_missing_stream_is_an_error() -> None:
    closed = StringIO()
    closed.close()
    for stream in (closed, None):
        output = SafeOutput(stream)
        print("x", file=output)
        assert output.trouble


def test_tracebacks_and_prints_outlive_a_real_full_device(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full").open("w")  # noqa: SIM115 - its close fails, too
    monkeypatch.setattr(sys, "stderr", full)
    with safe_stderr() as output:
        sys.stderr.write("for people\n")
        try:
            raise ValueError("a bug")
        except ValueError:
            traceback.print_exc()
        assert output.trouble == "No space left on device"
    monkeypatch.undo()
    with pytest.raises(OSError, match="No space"):
        full.close()


def test_the_end_of_a_log_is_found(tmp_path: Path) -> None:
    log = tmp_path / "n1.log"
    assert last_line(log) == ""
    log.write_text("first\n" + "x" * 10_000 + "\nthe reason\n\n")
    assert last_line(log) == "the reason"
    assert f"see its log, {log}, which ends with: the reason" in see_log(log)


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert full_disk(tmp_path / "missing") == ""
    monkeypatch.setattr(os, "statvfs", lambda _path: type("Disk", (), {"f_bavail": 1, "f_frsize": 4096}))
    assert full_disk(tmp_path) == f"the disk of {tmp_path} is full: 4,096 bytes are free"
    assert "is full" in see_log_and_disk(tmp_path / "n1.log")
