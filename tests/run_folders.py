"""Run folders made by hand, for tests of the code that reads them."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

START_NS = 5_000_000_000_000
MS = 1_000_000

#: A text that a page must survive in every place where a run can have a text.
HOSTILE = "</script><script>boom()</script><img src=http://evil.example/x onerror=boom()>\u2028\"'&<!--\ud800"


def lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def message(index: int, at_ms: float, sender: str, receiver: str, **more: Any) -> dict[str, Any]:
    return {
        "index": index,
        "time": START_NS + int(at_ms * MS),
        "from": sender,
        "to": receiver,
        "type": "Vote",
        "variable": "colour",
        "incarnation": 1,
        "fields": {"value": "blue", "ballot": [1, "n1"]},
        "fate": "passed",
        "rule": None,
        **more,
    }


def event(index: int, at_ms: float, process: str, kind: str, f: str, **more: Any) -> dict[str, Any]:
    line = {"index": index, "time": START_NS + int(at_ms * MS), "process": process, "type": kind, "f": f}
    return {**line, "key": "colour", "value": None, **more}


def receipt(fault: str, began_ms: float, ended_ms: float | None, **more: Any) -> dict[str, Any]:
    return {
        "fault": fault,
        "began_ns": START_NS + int(began_ms * MS),
        "ended_ns": None if ended_ms is None else START_NS + int(ended_ms * MS),
        "bit": True,
        "nodes_down": [],
        "links_cut": [],
        "links_disturbed": [],
        "evidence": {},
        **more,
    }


def results(**more: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "algorithm": "failover",
        "nodes": ["n1", "n2", "n3"],
        "seed": 7,
        "scenario": "split-brain",
        "story": "a cut, and both sides are asked",
        "verdicts": {
            "coherence": {
                "status": "invalid",
                "evidence": "n1 answered 'blue' at 0.01 s and n3 answered 'red' at 0.50 s for colour",
            },
            "fault tolerance": {"status": "valid", "evidence": "2 operations received the answer that was owed"},
        },
        "notes": {},
        **more,
    }


def split_brain(folder: Path) -> Path:
    """Write a run in which two sides decide differently, with a message of every fate, a kill and a cut."""
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results()))
    lines(
        folder / "history.jsonl",
        [
            event(0, 0, "c1", "invoke", "propose", value="blue", node="n1", timeout_s=1.0),
            event(1, 1, "c2", "invoke", "propose", value="red", node="n3", timeout_s=1.0),
            event(2, 10, "c1", "ok", "propose", value="blue", node="n1"),
            event(3, 500, "c2", "ok", "propose", value="red", node="n3"),
            event(4, 600, "c1", "invoke", "query", node="n2", timeout_s=1.0),
            event(5, 1600, "c1", "info", "query", error="nobody answered"),
            event(6, 1700, "c2", "invoke", "query"),
        ],
    )
    cut = [["n1", "n3"], ["n3", "n1"], ["n2", "n3"], ["n3", "n2"]]
    lines(
        folder / "receipts.jsonl",
        [
            receipt("partition", -5, 550, links_cut=cut, evidence={"by link": {"n1->n3": {"dropped": 3}}}),
            receipt("kill", 580, None, nodes_down=["n2"], evidence={"wait_status": -9}),
        ],
    )
    lines(
        folder / "messages.jsonl",
        [
            message(0, 1, "client", "n1", type="ProposeRequest"),
            message(1, 2, "n1", "n2"),
            message(2, 3, "n1", "n3", fate="dropped", rule="partition-1-cut"),
            message(3, 4, "n2", "n1", fate="held"),
            message(4, 5, "n1", "n2", fate="delayed"),
            message(5, 6, "n2", "n1", fate="held"),
            message(6, 7, "n3", "n1", fate="held"),
            message(7, 20, "n1", "n2", fate="passed", of=4),
            message(8, 30, "n2", "n1", fate="released", of=3),
            message(9, 31, "n2", "n1", fate="discarded", of=5),
            message(10, 32, "n2", "n3", fate="corrupted", type="?", variable=None, incarnation=None),
            message(11, 33, "n1", "n2"),
            message(12, 33.5, "n1", "n2", fate="duplicated", of=11),
            message(13, 40, "n1", "client", type="Reply"),
        ],
    )
    (folder / "logs").mkdir()
    (folder / "logs" / "n1.log").write_text("n1 runs\n")
    return folder


def hostile(folder: Path) -> Path:
    """Write a run whose every text would break out of its place in a page."""
    folder.mkdir(parents=True)
    verdicts = {HOSTILE: {"status": "invalid", "evidence": HOSTILE, "more": [HOSTILE]}}
    data = results(
        algorithm=HOSTILE,
        nodes=["n1", HOSTILE],
        scenario=HOSTILE,
        story=HOSTILE,
        verdicts=verdicts,
        seed=HOSTILE,
        settings={HOSTILE: HOSTILE},
        shrunk_for=HOSTILE,
    )
    (folder / "results.json").write_text(json.dumps(data))
    lines(
        folder / "history.jsonl",
        [
            event(0, 0, HOSTILE, "invoke", "propose", key=HOSTILE, value=HOSTILE, node=HOSTILE),
            event(1, 1, HOSTILE, "ok", "propose", key=HOSTILE, value=HOSTILE, node=HOSTILE),
            event(2, 2, HOSTILE, "invoke", HOSTILE, key=HOSTILE, value={HOSTILE: HOSTILE}),
            event(3, 3, HOSTILE, "fail", HOSTILE, key=HOSTILE, error=HOSTILE),
        ],
    )
    lines(
        folder / "messages.jsonl",
        [
            message(
                0,
                1,
                "n1",
                HOSTILE,
                type=HOSTILE,
                variable=HOSTILE,
                rule=HOSTILE,
                fields={HOSTILE: HOSTILE, "value": HOSTILE},
            ),
            message(1, 2, HOSTILE, "n1", type=HOSTILE, fate=HOSTILE),
        ],
    )
    about = {HOSTILE: HOSTILE, "by link": {HOSTILE: {HOSTILE: 1}}}
    lines(
        folder / "receipts.jsonl",
        [
            receipt(HOSTILE, 0, 2, nodes_down=[HOSTILE], evidence=about),
            receipt(HOSTILE, 0, 2, links_cut=[[HOSTILE, "n1"]], evidence=about),
        ],
    )
    (folder / "logs").mkdir()
    (folder / "logs" / "n1.log").write_text(HOSTILE.encode("utf-8", "backslashreplace").decode())
    (folder / "plan.json").write_text(json.dumps(HOSTILE))
    return folder
