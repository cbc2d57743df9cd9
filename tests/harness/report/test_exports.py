import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from harness.cli.verbs import cli
from harness.records.jsonable import canonical
from harness.report.edn import Keyword, edn
from tests.run_folders import hostile, split_brain

TOKEN = re.compile(r'\s*,?\s*(##-?\w+|"(?:[^"\\]|\\.)*"|[{}\[\]]|[^\s,{}\[\]"]+)')


def read(text: str) -> Any:
    """Read EDN, as far as `edn` writes it."""
    tokens = [match.group(1) for match in TOKEN.finditer(text)]
    value, rest = _read(tokens)
    assert rest == []
    return value


def _read(tokens: list[str]) -> tuple[Any, list[str]]:
    first, rest = tokens[0], tokens[1:]
    if first in ("{", "["):
        items = []
        while rest[0] not in ("}", "]"):
            item, rest = _read(rest)
            items.append(item)
        return (_map(items) if first == "{" else items), rest[1:]
    return _atom(first), rest


def _map(items: list[Any]) -> Any:
    pairs = dict(zip(items[::2], items[1::2], strict=True))
    if list(pairs) == [Keyword("bytes")]:
        return bytes.fromhex(pairs[Keyword("bytes")])
    return tuple(pairs[Keyword("tuple")]) if list(pairs) == [Keyword("tuple")] else pairs


def _atom(text: str) -> Any:
    constants = {
        "nil": None,
        "true": True,
        "false": False,
        "##Inf": float("inf"),
        "##-Inf": -float("inf"),
        "##NaN": float("nan"),
    }
    if text in constants:
        return constants[text]
    if text.startswith('"'):
        return json.loads(text)  # `edn` writes only escapes that JSON has too
    if text.startswith(":"):
        return Keyword(text[1:])
    return int(text.removesuffix("N")) if re.fullmatch(r"-?\d+N?", text) else float(text)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(plain)
def test_a_value_survives_a_round_trip_through_edn(value: object) -> None:
    assert canonical(read(edn(value))) == canonical(value)


def test_the_edn_of_each_kind() -> None:
    assert edn({"a": [1, 2.5, True, None, b"\x00\xff", (1,), 2**70]}) == (
        '{"a" [1 2.5 true nil {:bytes "00ff"} {:tuple [1]} 1180591620717411303424N]}'
    )
    with pytest.raises(TypeError, match="set cannot be written as EDN"):
        edn({1, 2})


def exported(folder: Path, form: str) -> str:
    result = CliRunner().invoke(cli, ["export", str(folder), "--to", form, "--file", "-"])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_history_for_jepsen(tmp_path: Path) -> None:
    rows = [read(line) for line in exported(split_brain(tmp_path / "run"), "edn").splitlines()]
    rows = [{key.name: item for key, item in row.items()} for row in rows]
    assert [row["index"] for row in rows] == list(range(10))
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)
    assert rows[0]["time"] == 0
    faults = [(row["f"].name, row["type"].name) for row in rows if row["process"] == Keyword("nemesis")]
    assert faults == [("start-partition", "info"), ("stop-partition", "info"), ("start-kill", "info")]
    clients = [row for row in rows if row["process"] != Keyword("nemesis")]
    assert [(row["process"], row["type"].name, row["f"].name, row["value"]) for row in clients[:4]] == [
        (0, "invoke", "propose", "blue"),
        (1, "invoke", "propose", "red"),
        (0, "ok", "propose", "blue"),
        (1, "ok", "propose", "red"),
    ]
    assert clients[-2]["error"] == "nobody answered"


def test_a_torn_history_is_an_error(tmp_path: Path) -> None:
    folder = split_brain(tmp_path / "run")
    (folder / "history.jsonl").write_text("{")
    result = CliRunner().invoke(cli, ["export", str(folder), "--to", "edn"])
    assert result.exit_code == 1
    assert "history.jsonl, line 1: not JSON" in result.output


def test_a_trace_for_perfetto(tmp_path: Path) -> None:
    folder = split_brain(tmp_path / "run")
    result = CliRunner().invoke(cli, ["export", str(folder), "--to", "chrome-trace"])
    assert result.stdout.strip() == str(folder / "trace.json")
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    counts = Counter(event["ph"] for event in events)
    assert counts["s"] == counts["f"] == 8  # of ten messages one is dropped, one discarded, one held; one has a copy
    assert min(event["ts"] for event in events if "ts" in event) == 0
    names = {event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert names == {"faults", "clients", "n1", "n2", "n3"}
    assert "Vote 1·n1 'blue' ✗ dropped" in {event["name"] for event in events}
    _slices_of_a_row_do_not_overlap(events)
    _flows_stand_in_slices(events)


def _slices_of_a_row_do_not_overlap(events: list[dict[str, Any]]) -> None:
    rows: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for event in events:
        if event["ph"] == "X":
            rows.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
    for slices in rows.values():
        slices.sort()
        assert all(before[1] <= after[0] + 1e-6 for before, after in pairwise(slices)), slices


def _flows_stand_in_slices(events: list[dict[str, Any]]) -> None:
    slices = [event for event in events if event["ph"] == "X" and event.get("cat") == "message"]
    for flow in (event for event in events if event["ph"] in "sf"):
        assert any(
            (one["pid"], one["tid"]) == (flow["pid"], flow["tid"]) and one["ts"] <= flow["ts"] <= one["ts"] + one["dur"]
            for one in slices
        )


def test_a_trace_of_hostile_values_is_json(tmp_path: Path) -> None:
    folder = hostile(tmp_path / "run")
    assert json.loads(exported(folder, "chrome-trace"))["traceEvents"]
