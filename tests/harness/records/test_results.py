import json
from pathlib import Path
from typing import Any

import pytest

from harness.records.jsonable import BadFile
from harness.records.results import RecordedVerdict, RunResults

VERDICTS = {
    "coherence": RecordedVerdict("invalid", "n1 answered 'blue', n2 'red'", ("another one",)),
    "fault tolerance": RecordedVerdict("valid", "2 operations"),
}


def test_results_come_back_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results = RunResults(
        "failover",
        ("n1", "n2"),
        7,
        VERDICTS,
        notes={"replicas": {"n1": {"applied": 3}}},
        about={"scenario": "split-brain"},
        counts={"messages": 12},
    )
    results.save(path)
    assert results == RunResults.load(path)


def test_the_keys_stand_in_the_documented_order(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    RunResults("paxos", ("n1",), 0, {}, about={"scenario": "race"}, counts={"messages": None}).save(path)
    keys = ["schema", "algorithm", "nodes", "seed", "scenario", "verdicts", "notes", "messages"]
    assert keys == list(json.loads(path.read_text()))


def test_results_of_a_session_by_hand_have_no_count(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    RunResults("paxos", ("n1",), 0, {}, about={"by_hand": True}).save(path)
    assert {"schema", "algorithm", "nodes", "seed", "by_hand", "verdicts", "notes"} == set(json.loads(path.read_text()))


def test_a_value_that_json_lacks_can_be_a_note(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    RunResults("paxos", ("n1",), 0, {}, notes={"digest": b"\x00"}).save(path)
    assert json.loads(path.read_text())["notes"] == {"digest": {"$bytes": "\0"}}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, "verdicts is None"),
        ({"verdicts": [1]}, r"verdicts is \[1\]"),
        ({"verdicts": {"coherence": "valid"}}, "the verdict on coherence is 'valid'"),
        ({"verdicts": {"coherence": {"status": 1}}}, "the verdict on coherence"),
    ],
)
def test_results_without_verdicts_are_refused(tmp_path: Path, data: dict[str, Any], expected: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(data))
    with pytest.raises(BadFile, match=rf"results\.json: {expected}"):
        RunResults.load(path)


def test_other_keys_may_be_missing_or_of_another_type(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(
        '{"verdicts": {"coherence": {"status": "valid", "more": 3}}, "nodes": 5, "seed": "x", "messages": null}'
    )
    results = RunResults.load(path)
    assert (results.algorithm, results.nodes, results.seed, results.counts) == ("?", (), 0, {})
    assert results.verdicts == {"coherence": RecordedVerdict("valid")}
