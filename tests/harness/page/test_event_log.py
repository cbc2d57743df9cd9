"""The log of events: bounded, with a place for each browser, and a base of what has fallen out."""

from harness.page.event_log import EventLog


def test_a_reader_gets_what_it_has_not_read() -> None:
    log = EventLog()
    log.add({"k": "msg", "t": number} for number in range(5))
    first = log.read(0, 3)
    assert [event["t"] for event in first.events] == [0, 1, 2]
    assert [event["t"] for event in log.read(first.place, 3).events] == [3, 4]
    assert not first.is_anew
    assert log.read(5, 3).events == []


def test_a_reader_that_fell_behind_begins_anew_with_the_latest_of_each_node_call_and_fault() -> None:
    log = EventLog(events_max=3)
    log.add([{"k": "node", "t": 1, "node": "n1", "state": "up"}, {"k": "node", "t": 2, "node": "n1", "state": "down"}])
    log.add([{"k": "call", "t": 3, "id": 1, "t1": None}, {"k": "call", "t": 3, "id": 1, "t1": 4}])
    log.add({"k": "msg", "t": 5 + number} for number in range(3))
    batch = log.read(1, 10)
    assert batch.is_anew
    assert [(event["k"], event.get("state", event.get("t1"))) for event in batch.events] == [
        ("node", "down"), ("call", 4), ("msg", None), ("msg", None), ("msg", None),
    ]  # fmt: skip
    assert batch.place == log.end == 7


def test_the_log_and_its_base_are_bounded() -> None:
    log = EventLog(events_max=10)
    for number in range(5000):
        log.add([{"k": "call", "t": number, "id": number}])
    batch = log.read(0, 100_000)
    assert len(batch.events) == 2010
    assert batch.events[-1]["t"] == 4999


def test_a_place_that_never_was_begins_anew() -> None:
    log = EventLog()
    log.add([{"k": "msg", "t": 1}])
    assert log.read(99, 10).is_anew
    assert log.read(-1, 10).is_anew
