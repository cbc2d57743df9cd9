import itertools
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records.history import BadHistory, Event, History, load
from harness.records.history_recorder import HistoryRecorder
from harness.records.jsonable import BadFile, write_lines

values = st.one_of(st.none(), st.text(max_size=5), st.binary(max_size=5), st.tuples(st.integers(), st.text(max_size=2)))


@st.composite
def histories(draw: st.DrawFn) -> History:
    ticks = itertools.count(draw(st.integers(0, 10**12)), 7)
    recorder = HistoryRecorder(clock=lambda: next(ticks))
    calls: dict[str, Event] = {}
    for _ in range(draw(st.integers(0, 20))):
        process = draw(st.sampled_from(["c1", "c2", "c3"]))
        if process not in calls:
            f = draw(st.sampled_from(["propose", "query"]))
            timeout_s = draw(st.one_of(st.none(), st.floats(0, 10)))
            node = draw(st.sampled_from([None, "n1"]))
            calls[process] = recorder.invoke(process, f, "x", draw(values), node=node, timeout_s=timeout_s)
            continue
        match draw(st.sampled_from(["ok", "fail", "info"])):
            case "ok":
                recorder.ok(calls.pop(process), draw(values), node=draw(st.sampled_from([None, "n2"])))
            case "fail":
                recorder.fail(calls.pop(process), "no")
            case "info":
                recorder.info(calls.pop(process), "timeout")
    return recorder.history


@given(history=histories())
def test_a_history_comes_back_from_its_file(history: History, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("history") / "history.jsonl"
    write_lines(path, (event.to_json() for event in history.events))
    assert history == load(path)


def test_each_event_is_in_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    ticks = itertools.count(100, 50)
    with HistoryRecorder(path, clock=lambda: next(ticks)) as recorder:
        call = recorder.invoke("c1", "propose", "x", "blue", node="n1", timeout_s=2.0)
        first = {"index": 0, "time": 100, "process": "c1", "type": "invoke", "f": "propose", "key": "x"}
        assert {**first, "value": "blue", "node": "n1", "timeout_s": 2.0} == json.loads(path.read_text())
        recorder.ok(call, "red", node="n1")
        assert recorder.history == load(path)
    second = {"index": 1, "time": 150, "process": "c1", "type": "ok", "f": "propose", "key": "x", "value": "red"}
    assert {**second, "node": "n1"} == json.loads(path.read_text().splitlines()[1])


def test_calls_are_paired_with_their_ends() -> None:
    recorder = HistoryRecorder()
    one = recorder.invoke("c1", "propose", "x", "blue", timeout_s=1.0)
    two = recorder.invoke("c2", "query", "x", node="n2")
    recorder.ok(two, None)
    recorder.info(one, "timeout")
    three = recorder.invoke("c1", "query", "y", node="n1")
    four = recorder.invoke("c2", "query", "y")
    recorder.fail(three, "no", node="n3")
    first, second, third, fourth = recorder.history.operations
    assert [one.outcome for one in (first, second, third, fourth)] == ["info", "ok", "fail", "info"]
    assert first.completion is not None
    assert first.completion.error == "timeout"
    assert fourth.completion is None
    assert four is fourth.invoke
    assert [one.node for one in (first, second, third, fourth)] == [None, "n2", "n3", None]
    assert second.ended_before(third)
    assert third.ended_before(third) is False
    assert first.ended_before(third) is False  # a call that timed out may still take effect


def test_seconds_count_from_the_first_event() -> None:
    ticks = iter([5_000_000_000, 6_500_000_000])
    recorder = HistoryRecorder(clock=lambda: next(ticks))
    recorder.invoke("c1", "query", "x")
    late = recorder.invoke("c2", "query", "x")
    assert recorder.history.seconds(late.time) == 1.5
    assert History().seconds(7) == 0.0


def test_a_recorder_refuses_events_that_form_no_history(tmp_path: Path) -> None:
    recorder = HistoryRecorder(tmp_path / "history.jsonl")
    with pytest.raises(BadHistory, match="f is 'porpoise'; the operations are propose"):
        recorder.invoke("c1", "porpoise", "x")
    with pytest.raises(TypeError, match="of type set cannot be recorded"):
        recorder.invoke("c1", "propose", "x", {1})
    call = recorder.invoke("c1", "query", "x")
    with pytest.raises(BadHistory, match="process c1 calls while its call 0 is open"):
        recorder.invoke("c1", "query", "x")
    recorder.ok(call, None)
    with pytest.raises(BadHistory, match="call 0 of process c1 has ended already"):
        recorder.info(call, "timeout")
    recorder.close()
    assert recorder.history == load(tmp_path / "history.jsonl")


def test_many_threads_record_one_history(tmp_path: Path) -> None:
    def work(recorder: HistoryRecorder, process: str) -> None:
        for number in range(50):
            recorder.ok(recorder.invoke(process, "propose", "x", number), number)

    with HistoryRecorder(tmp_path / "history.jsonl") as recorder:
        threads = [threading.Thread(target=work, args=(recorder, f"c{number}")) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    history = load(tmp_path / "history.jsonl")
    assert history == recorder.history
    assert len(history.operations) == 200


def event(index: int, type_: str, /, **about: Any) -> dict[str, Any]:
    return {
        "index": index,
        "time": index,
        "process": "c1",
        "type": type_,
        "f": "query",
        "key": "x",
        "value": None,
        **about,
    }


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([event(0, "ok")], "event 0 ends query of x in process c1, which has no call open"),
        ([event(0, "invoke"), event(1, "ok", key="y")], "event 1 ends query of y .* whose open call is query of x"),
        ([event(0, "invoke"), event(1, "invoke")], "process c1 calls while its call 0 is open"),
        ([event(1, "invoke"), event(1, "ok")], "event 1 comes after event 1"),
        ([event(0, "invoke", time=5), event(1, "ok")], "event 1 comes after event 0"),
        ([event(0, "invoke"), event(1, "done")], "line 2: type is 'done'; the types are invoke"),
        ([event(0, "invoke", f="ask")], "line 1: f is 'ask'; the operations are propose"),
        ([event(0, "invoke", index="0")], "line 1: index is '0', which is a str"),
        ([event(0, "invoke", index=True)], "line 1: index is True, which is a bool"),
        ([event(0, "invoke", extra=1)], "line 1: 'extra' is not a field"),
        ([event(0, "invoke", value={"$x": 1})], r"line 1: a map has the key '\$x'"),
        ([{"index": 0}], "line 1: time is missing"),
    ],
)
def test_a_malformed_history_is_refused_with_the_line(
    tmp_path: Path, lines: list[dict[str, Any]], expected: str
) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(BadFile, match=expected):
        load(path)
