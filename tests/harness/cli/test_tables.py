"""What people see in a terminal of 80 columns."""

import io
from typing import Any

import pytest
from rich.console import Console

from harness.cli.look import table_of_nodes
from harness.report.events import variable_facts
from tests.end_to_end.hand import run_in_this_process

LONG = "down: ended with status 70: the algorithm or the node failed, see its log"
STATUS = {"role": "learned", "ballot": [12, "n1"], "decided": "a value of some length"}


def seen(how: str) -> dict[str, Any]:
    row = {
        "node": "n1", "pid": 3_999_999, "state": "up", "how": "up", "boots": 12, "answers": True, "variable": "colour-of-car",
        "algorithm_status": STATUS, "variable_count": 1, "bad_frames": 0,
    }  # fmt: skip
    down = {**row, "node": "n2", "pid": None, "state": "down", "how": how, "variable": None, "algorithm_status": {}}
    return {"nodes": [row, down], "trouble": None}


def printed(how: str, columns: int = 80) -> list[str]:
    console = Console(width=columns, file=io.StringIO())
    console.print(table_of_nodes(seen(how), columns))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_long_state_takes_no_room_from_the_columns() -> None:
    lines = printed(LONG)
    header_at = next(number for number, line in enumerate(lines) if line.startswith("node"))
    above, header = lines[header_at - 1 : header_at + 1]
    second_at = next(number for number, line in enumerate(lines) if line.startswith("n2"))
    second, *below = lines[second_at:]
    assert above.split() == ["ballot", "or"]
    assert header.split() == ["node", "pid", "state", "boots", "role", "variable", "vote", "decided"]
    assert "down, see below" in second
    assert " ".join(below) == f"n2 is {LONG}"


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_a_narrow_terminal_cuts_nothing(columns: int) -> None:
    lines = printed("down: killed by SIGKILL", columns)
    assert max(map(len, lines)) <= columns
    assert "…" not in "".join(lines)
    if columns < 80:
        text = " ".join(lines)
        assert "ballot 12.n1" in text
        assert 'decided "a value of some length"' in text
        assert "n2: killed by SIGKILL, boots 12" in text


@pytest.mark.parametrize(
    "details", [{"applied": 3, "commit": 4, "voters": 5, "holds": 6}, {"votes": 3, "role": 4, "ballot": 5, "chain": 6}]
)
def test_details_of_any_name_and_kind_are_shown(details: dict[str, Any]) -> None:
    """What an algorithm of one's own reports beside the fields of `Status` is for people: tools must not rely on it."""
    nodes = seen("down: killed by SIGKILL")
    nodes["nodes"][0]["algorithm_status"] = {"decided": "blue", "waiting": 0, **details}
    console = Console(width=80, file=io.StringIO())
    console.print(table_of_nodes(nodes, 80))
    assert isinstance(console.file, io.StringIO)
    assert '"blue"' in console.file.getvalue()
    assert variable_facts({"decided": "blue", **details})["decided"] == "'blue'"


def test_a_short_state_stands_in_its_column() -> None:
    *_, second = printed("down: killed by SIGKILL")
    assert second.split() == ["n2", "killed", "by", "SIGKILL", "12"]


@pytest.mark.parametrize(
    "arguments",
    [["faults"], ["faults", "suspend"], ["faults", "halves"], ["flp", "majority"], ["flp", "--rounds", "2"]],
)
def test_nothing_is_wider_than_the_terminal(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = run_in_this_process(*arguments)
    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []
