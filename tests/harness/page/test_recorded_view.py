"""The view of a run folder, also of one that is torn, empty or hostile."""

import json
from pathlib import Path
from typing import Any

from harness.page.recorded_view import recorded_view
from tests.run_folders import HOSTILE, event, hostile, lines, receipt, split_brain


def events(folder: Path) -> list[dict[str, Any]]:
    return recorded_view(folder).log.read(0, 1_000_000).events


def test_a_run_is_shown_as_it_was_recorded(tmp_path: Path) -> None:
    view = recorded_view(split_brain(tmp_path / "run"))
    found = view.log.read(0, 1_000_000).events
    assert view.about["algorithm"] == "failover"
    assert not view.about["live"]
    assert view.about["verdicts"]["coherence"]["status"] == "invalid"
    assert {event["k"] for event in found} >= {"node", "msg", "call", "fault", "predicate"}
    assert [event["t"] for event in found if event["k"] != "predicate"] == sorted(
        event["t"] for event in found if event["k"] != "predicate"
    )
    (broken,) = (event for event in found if event["k"] == "predicate")
    assert broken["name"] == "agreement"
    assert "'blue'" in broken["evidence"]
    assert "'red'" in broken["evidence"]
    assert {"up", "down"} <= {event["state"] for event in found if event["k"] == "node"}


def test_a_run_in_which_clients_were_told_another_value_later_shows_it(tmp_path: Path) -> None:
    run = split_brain(tmp_path / "run")
    asked = [event(7, 1800, "c3", "invoke", "query"), event(8, 1900, "c3", "ok", "query", value="blue", node="n3")]
    lines(run / "history.jsonl", [*map(json.loads, (run / "history.jsonl").read_text().splitlines()), *asked])
    view = recorded_view(run)
    assert "a decision stays" in view.about["predicates"]
    (broken,) = (one for one in events(run) if one["k"] == "predicate" and one["name"] == "a decision stays")
    assert broken["t"] == 1_900_000
    assert broken["evidence"] == "colour: n3 answered 'red', and n3 answers 'blue' to a later call"


def test_a_node_whose_clock_stands_still_is_up_with_a_mark(tmp_path: Path) -> None:
    run = split_brain(tmp_path / "run")
    stopped = receipt("clock-skew", 1, 400, nodes_down=["n1"], evidence={"rate": 0})
    lines(run / "receipts.jsonl", [stopped, receipt("suspend", 20, 30, nodes_down=["n1"])])
    found = events(run)
    assert [event["state"] for event in found if event["k"] == "node" and event["node"] == "n1"].count("suspended") == 1
    assert "down" not in {event["state"] for event in found if event["k"] == "node"}
    assert [one["mark"] for one in found if one["k"] == "fault"] == ["clock stopped", None]


def test_no_state_of_a_folder_is_an_error(tmp_path: Path) -> None:
    run = split_brain(tmp_path / "run")
    for file in ("messages.jsonl", "history.jsonl", "receipts.jsonl", "results.json"):
        path = run / file
        whole = path.read_bytes()
        for torn in (b"", whole[: len(whole) // 2], b"\xff\x00", b'{"index": "x"}\n[]\n5\n', None):
            path.unlink() if torn is None else path.write_bytes(torn)
            view = recorded_view(run)
            assert view.about["gaps"] or torn in (b"", whole[: len(whole) // 2]), (file, torn)
            json.dumps(view.log.read(0, 1_000_000).events)
        path.write_bytes(whole)
    (tmp_path / "empty").mkdir()
    assert recorded_view(tmp_path / "empty").about["gaps"]


def test_every_text_is_cut_and_none_is_lost(tmp_path: Path) -> None:
    run = hostile(tmp_path / "run")
    found = events(run)
    assert any(HOSTILE[:10] in json.dumps(event, ensure_ascii=False) for event in found)
    assert max(len(json.dumps(event)) for event in found) < 6_000


def test_an_algorithm_that_is_not_here_is_shown_all_the_same(tmp_path: Path) -> None:
    run = split_brain(tmp_path / "run")
    results = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps({**results, "algorithm": "gone:Gone"}))
    view = recorded_view(run)
    assert view.about["algorithm"] == "gone:Gone"
    assert any(event["k"] == "msg" for event in view.log.read(0, 1_000_000).events)
