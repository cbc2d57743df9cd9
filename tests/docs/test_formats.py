"""docs/reference/formats.md describes the formats as they are: its examples, its tables, the schemas and real files agree."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from harness.checkers.wire_record import read_record
from harness.cli.look import table_of_nodes
from harness.records import history, messages, receipts
from harness.records.history import EVENT_TYPES, FUNCTIONS
from harness.records.links import DELIVERED, KEPT, LOST
from harness.records.results import RunResults
from harness.records.run_files import RunFiles
from harness.runs import plan
from harness.runs.experiment import Experiment
from harness.runs.plan import Plan, PlanStep
from harness.runs.suite import run_plan
from tests.end_to_end.hand import Hand, QuickHand

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "formats.md").read_text(encoding="utf-8")
SCHEMAS = {
    path.stem: json.loads(path.read_text()) for path in (ROOT / "harness" / "records" / "schemas").glob("*.json")
}
_REGISTRY: Registry[Any] = Registry().with_resources(
    (f"{name}.json", Resource.from_contents(schema)) for name, schema in SCHEMAS.items()
)

#: The page's section about each schema.
SECTIONS = {
    "history": "`history.jsonl`",
    "messages": "`messages.jsonl`",
    "receipts": "`receipts.jsonl`",
    "results": "`results.json`",
    "plan": "`plan.json`",
    "status": "`status()`",
    "ps": "`consensus ps -o json`",
    "output": "`-o json`",
}


def section(name: str) -> str:
    """The text below a heading, up to the next one."""
    (text,) = [part for part in PAGE.split("\n## ") if part.startswith(f"{SECTIONS[name]}\n")]
    return text


def example(name: str) -> str:
    (text,) = re.findall(r"^```jsonl?\n(.*?)^```", section(name), re.MULTILINE | re.DOTALL)
    return str(text)


def objects(text: str, *, a_line_each: bool) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()] if a_line_each else [json.loads(text)]


def tables(name: str) -> list[list[str]]:
    """The first column of each table of a section, without the headings."""
    found: list[list[str]] = []
    for block in re.findall(r"(?:^\|.*\n)+", section(name), re.MULTILINE):
        rows = [line.split("|")[1].strip() for line in block.splitlines()]
        found.append([row.strip("`") for row in rows[2:]])
    return found


def misfits(name: str, data: Any) -> list[str]:
    """What the schema has against some data."""
    validator = Draft202012Validator(SCHEMAS[name], registry=_REGISTRY)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(data)]


# --- the page ---------------------------------------------------------------------------------------------------------


def test_every_schema_has_a_section_and_an_entry_in_the_first_table() -> None:
    assert set(SECTIONS) == set(SCHEMAS)
    listed = re.findall(r"^\| \[(`.*?`)\]\(#(.*?)\) \| `(\w+)\.json` \|", PAGE, re.MULTILINE)
    assert {schema: heading for heading, _, schema in listed} == SECTIONS
    for heading, anchor, _ in listed:
        assert anchor == re.sub(r"[^\w -]", "", heading).replace(" ", "-")


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_table_has_the_fields_of_the_schema(name: str) -> None:
    assert tables(name)[0] == list(SCHEMAS[name]["properties"])


@pytest.mark.parametrize(
    ("name", "place", "definition", "more"),
    [
        ("results", 1, "verdict", []),
        ("results", 2, "step", []),
        ("plan", 1, "step", ["other keys"]),
        ("status", 1, "replica", ["other fields"]),
        ("ps", 1, "row", []),
    ],
)
def test_a_further_table_has_the_fields_of_its_definition(
    name: str, place: int, definition: str, more: list[str]
) -> None:
    assert tables(name)[place] == [*SCHEMAS[name]["$defs"][definition]["properties"], *more]


def test_the_schemas_list_what_the_code_knows() -> None:
    assert SCHEMAS["history"]["properties"]["type"]["enum"] == list(EVENT_TYPES)
    assert SCHEMAS["history"]["properties"]["f"]["enum"] == list(FUNCTIONS)
    assert set(SCHEMAS["messages"]["properties"]["fate"]["enum"]) == DELIVERED | KEPT | LOST
    fates = [set(re.findall(r"\w+", row)) for row in tables("messages")[1]]
    assert fates == [DELIVERED, KEPT, LOST]


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_example_fits_the_schema(name: str) -> None:
    for data in objects(example(name), a_line_each=name in ("history", "messages", "receipts")):
        assert misfits(name, data) == []


def _messages(path: Path) -> object:
    lines = list(messages.load(path))
    assert [line["index"] for line in lines] == list(range(len(lines)))
    return read_record(lines, ("n1", "n2", "n3")).sent


def _ps(path: Path) -> object:
    return table_of_nodes(json.loads(path.read_text()), 80)


#: What reads each format in this project.
READERS: dict[str, Callable[[Path], object]] = {
    "history": lambda path: history.load(path).operations,
    "messages": _messages,
    "receipts": receipts.load,
    "results": lambda path: RunResults.load(path).verdicts,
    "plan": lambda path: plan.load(path).steps,
    "ps": _ps,
}


@pytest.mark.parametrize("name", READERS)
def test_the_example_is_read_by_the_formats_own_reader(name: str, tmp_path: Path) -> None:
    path = tmp_path / "example"
    path.write_text(example(name), encoding="utf-8")
    assert READERS[name](path)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("history", {"index": 0, "time": 1, "process": "c1", "type": "done", "f": "query", "key": "x"}),
        ("messages", {"index": 0}),
        ("receipts", {"fault": "kill"}),
        ("results", {"schema": 2, "algorithm": "paxos", "nodes": [], "seed": 0, "verdicts": {}, "notes": {}}),
        ("plan", {"steps": [{"at_s": 1}]}),
        ("status", {}),
        ("ps", {"schema": 1, "nodes": [{}], "trouble": None}),
        ("output", []),
    ],
)
def test_a_schema_refuses_what_does_not_fit(name: str, data: Any) -> None:
    assert misfits(name, data) != []


# --- the files of real runs -------------------------------------------------------------------------------------------


def run_misfits(folder: Path) -> Iterator[str]:
    """What the schemas have against the files of a run folder."""
    files = RunFiles(folder)
    for name, path in (("history", files.history), ("messages", files.messages), ("receipts", files.receipts)):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            yield from (f"{path.name}, line {number}: {text}" for text in misfits(name, json.loads(line)))
    for name, path in (("results", files.results), ("plan", files.plan)):
        if path.exists():
            yield from (f"{path.name}: {text}" for text in misfits(name, json.loads(path.read_text())))


@pytest.mark.parametrize("algorithm", ["leader", "failover", "majority", "paxos", "multipaxos"])
def test_a_run_and_a_nodes_status_fit(algorithm: str, tmp_path: Path) -> None:
    run = Experiment(tmp_path / "run", nodes=3, algorithm=algorithm)
    with run:
        run.propose("colour", ("blue", b"\x00"), at="n1")
        run.faults.kill("n3")
        with run.faults.partition(["n1"], ["n2", "n3"]):
            run.query("colour", at="n2", timeout_s=0.2)
        statuses = run.cluster.status()
    run.judge(scenario="mine", variant="", story="a kill and a cut")
    assert statuses
    documented = {field for row in tables("status")[1:] for fields in row for field in re.split("`, `", fields)}
    if algorithm == "multipaxos":
        assert {field for status in statuses.values() for field in status["variables"][""]} <= documented
    assert [text for status in statuses.values() for text in misfits("status", status)] == []
    assert list(run_misfits(tmp_path / "run")) == []


def test_the_run_of_a_plan_fits(tmp_path: Path) -> None:
    kill = PlanStep("kill", 0.1, 0.2, None, {"nodes": ["n3"]})
    run_plan(Plan("paxos", ("n1", "n2", "n3"), 3, "register", 0.5, (kill,)), tmp_path / "run", campaign="mine")
    assert RunFiles(tmp_path / "run").plan.exists()
    assert list(run_misfits(tmp_path / "run")) == []


@pytest.fixture
def hand(tmp_path: Path) -> Hand:
    return QuickHand(tmp_path)


def test_a_session_by_hand_and_its_outputs_fit(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "3", "--record")
    try:
        for verb in (["propose", "colour", "blue"], ["query", "colour", "--at", "all"], ["kill", "n3"], ["links"]):
            assert misfits("output", hand.json(*verb)) == []
        assert misfits("ps", hand.json("ps")) == []
    finally:
        hand.good("down")
    assert misfits("output", hand.json("runs")) == []
    (folder,) = (hand.folder / ".consensus" / "runs").iterdir()
    assert list(run_misfits(folder)) == []


def test_what_explore_keeps_fits(hand: Hand) -> None:
    assert hand.run("explore", "failover").returncode == 1
    (folder,) = (hand.folder / ".consensus" / "runs").iterdir()
    assert misfits("results", json.loads(RunFiles(folder).results.read_text())) == []
