"""The last lines of the record of messages, in memory."""

from harness.records.messages import RecordLine
from harness.records.recent_lines import RecentLines
from node.algorithms.majority import Vote
from node.contract import Value
from node.wire import Envelope, encode_value


def line(number: int, value: object = "blue", of: int | None = None) -> RecordLine:
    payload = encode_value(value)
    envelope = Envelope("n1", 1, "colour", Vote(Value(payload)))
    return RecordLine(number, of, number * 1000, ("n1", "n2"), envelope, payload, "passed", None)


def filled(count: int, recent: RecentLines) -> RecentLines:
    for number in range(count):
        recent.add(line(number))
    return recent


def test_a_reader_gets_the_lines_from_its_place_on() -> None:
    recent = filled(10, RecentLines())
    lines, left_out = recent.since(7, 100)
    assert [each["index"] for each in lines] == [7, 8, 9]
    assert left_out == 0
    assert lines[0]["fields"] == {"value": "blue"}
    assert recent.since(10, 100) == ([], 0)


def test_more_than_a_reader_takes_are_thinned_evenly_and_counted() -> None:
    lines, left_out = filled(100, RecentLines()).since(0, 10)
    assert [each["index"] for each in lines] == list(range(0, 100, 10))
    assert left_out == 90


def test_lines_and_bytes_are_bounded_and_what_was_dropped_is_counted() -> None:
    lines, left_out = filled(100, RecentLines(lines_max=10)).since(0, 1000)
    assert (len(lines), lines[0]["index"], left_out) == (10, 90, 90)
    recent = RecentLines(bytes_max=1000)
    for number in range(10):
        recent.add(line(number, "x" * 400))
    lines, left_out = recent.since(0, 1000)
    assert (len(lines), left_out) == (2, 8)


def test_a_large_value_is_shown_by_its_size() -> None:
    recent = RecentLines()
    recent.add(line(0, "x" * 200_000))
    recent.add(line(1, of=0))
    (arrival, later), _ = recent.since(0, 10)
    assert arrival["fields"] == {"value": {"bytes": 200_005}}
    assert later == {"index": 1, "time": 1000, "from": "n1", "to": "n2", "fate": "passed", "rule": None, "of": 0}
