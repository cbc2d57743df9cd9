"""What the record of messages says of streams: what has left, in few lines, and what a rule keeps."""

import json
from pathlib import Path
from typing import Any

from harness.network.stream_rules import Piece, What
from harness.network.stream_traffic import WINDOW_S, StreamTraffic

LINK = ("n1", "n2")


def piece(what: What = "bytes", size: int = 0) -> Piece:
    return Piece(LINK, what, 0.0, 1, size)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_first_bytes_are_a_line_at_once_and_those_that_follow_soon_are_one_more(tmp_path: Path) -> None:
    traffic = StreamTraffic(tmp_path / "messages.jsonl")
    began = traffic.look(0, 10)
    assert (began["lines"], began["next"]) == ([], 0)
    traffic.connected(piece("connection"), 1.0)
    for number in range(100):
        traffic.left(piece(), 10, 1.0 + number * WINDOW_S / 100)
    assert [(line["type"], line["fields"]) for line in traffic.look(0, 10)["lines"]] == [
        ("connection", {"connections": 1}),
        ("bytes", {"bytes": 10}),
    ]
    traffic.do_due_work(1.0 + 2 * WINDOW_S)
    traffic.refused(LINK)
    traffic.close()
    assert [(line["type"], line["fields"], line["fate"]) for line in lines(tmp_path / "messages.jsonl")] == [
        ("connection", {"connections": 1}, "passed"),
        ("bytes", {"bytes": 10}, "passed"),
        ("bytes", {"bytes": 990}, "passed"),
        ("connection", {"connections": 1}, "undeliverable"),
    ]


def test_what_a_rule_keeps_is_held_once_and_then_released_or_gone(tmp_path: Path) -> None:
    traffic = StreamTraffic(tmp_path / "messages.jsonl")
    kept, lost = piece(size=7), piece("connection")
    for _ in range(3):
        traffic.keeps(kept, "cut-1")
        traffic.keeps(lost, "cut-1")
    held = traffic.look(0, 10)
    assert [(one["from"], one["to"], one["type"], one["rule"]) for one in held["held"]] == [
        ("n1", "n2", "bytes", "cut-1"),
        ("n1", "n2", "connection", "cut-1"),
    ]
    traffic.left(kept, 5, 1.0)
    traffic.left(kept, 2, 1.0)  # its rest, which the first line has counted
    traffic.forget(lost)
    traffic.forget(kept)
    assert traffic.look(0, 10)["held_count"] == 0
    traffic.close()
    assert [(line.get("of"), line["fate"]) for line in lines(tmp_path / "messages.jsonl")] == [
        (None, "held"),
        (None, "held"),
        (0, "released"),
        (1, "discarded"),
    ]
