"""A record on a full disk: the run goes on, and the file ends with a whole line."""

import errno
import os
from pathlib import Path

import pytest

from harness.network.in_transit import InTransit
from harness.records import history
from harness.records.history_recorder import HistoryRecorder
from harness.records.messages import MessageRecorder, load
from harness.records.record_file import RecordFile
from node.client_messages import QueryRequest
from node.wire import Envelope


def fill_disk_after(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """Let writes fail after so many bytes, as a full disk does: the last one writes a part first."""
    write, left = os.write, free

    def write_some(descriptor: int, data: memoryview) -> int:
        nonlocal left
        if left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(descriptor, data[:left])
        left -= written
        return written

    monkeypatch.setattr(os, "write", write_some)


def test_a_record_ends_with_a_whole_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_disk_after(monkeypatch, 10)
    record = RecordFile(tmp_path / "record")
    for _ in range(4):
        record.write("line\n")
    assert record.lost == f"{record.path} cannot be written: No space left on device"
    assert record.path.read_text() == "line\nline\n"
    record.close()


def test_a_record_ends_at_its_limit_with_a_whole_line(tmp_path: Path) -> None:
    record = RecordFile(tmp_path / "record", bytes_max=12)
    record.write("one\n")
    assert not record.is_full
    record.write("two\nthree and more\n")
    assert (record.is_full, record.lost) == (True, "")
    record.write("x\n")  # it would fit, and would leave a gap before it
    assert record.path.read_text() == "one\ntwo\n"


def test_half_a_line_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_disk_after(monkeypatch, 8)
    record = RecordFile(tmp_path / "record")
    record.write("line\n")
    record.write("line\n")
    assert record.lost
    assert record.path.read_text() == "line\n"


def test_a_history_stays_whole_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = HistoryRecorder(tmp_path / "history.jsonl")
    recorder.ok(recorder.invoke("c1", "propose", "colour", "blue"), "blue")
    fill_disk_after(monkeypatch, 0)
    recorder.ok(recorder.invoke("c1", "query", "colour"), "blue")
    recorder.close()
    assert "No space" in recorder.lost
    assert [call.f for call in recorder.history.operations] == ["propose", "query"]
    assert [call.f for call in history.load(tmp_path / "history.jsonl").operations] == ["propose"]


def test_a_proxy_counts_on_when_it_cannot_record(tmp_path: Path) -> None:
    recorder = MessageRecorder(Path("/dev/full"))
    message = type(
        "Message", (), {"link": ("n1", "n2"), "envelope": None, "payload": b"", "original": None, "index": None}
    )
    for _ in range(300):
        recorder.note(message(), "passed", None, 1)
        recorder.flush()
    recorder.close()
    assert recorder.count == 300
    assert not recorder.behind
    assert recorder.lost == "/dev/full cannot be written: No space left on device"


def test_copies_of_a_message_have_lines_of_their_own(tmp_path: Path) -> None:
    envelope = Envelope("n1", 2, 'a "variable"', QueryRequest(7, 100))
    recorder = MessageRecorder(tmp_path / "messages.jsonl")
    for receiver, rule in (("n2", None), ("n3", 'drop "1"')):
        recorder.note(InTransit(("n1", receiver), b"frame", envelope), "passed", rule, 5)
    recorder.note(InTransit(("n1", "n2"), b"\xff"), "dropped", None, 6)
    recorder.close()

    first, copy, unknown = load(tmp_path / "messages.jsonl")

    said = {
        "type": "QueryRequest",
        "variable": 'a "variable"',
        "incarnation": 2,
        "fields": {"number": 7, "timeout_ms": 100},
    }
    assert {"index": 0, "time": 5, "from": "n1", "to": "n2", **said, "fate": "passed", "rule": None} == first
    assert {**first, "index": 1, "to": "n3", "rule": 'drop "1"'} == copy
    assert (unknown["type"], unknown["fields"], unknown["fate"]) == ("?", {"bytes": "ff"}, "dropped")
