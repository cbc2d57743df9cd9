"""Schedules that were found without processes, replayed on real ones: they violate there, too."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli.main import run
from harness.cli.virtual import explore
from harness.mutants.paxos import IgnoresAccepted
from harness.mutants.raft import HalfIsEnough
from harness.page.event_log import EventLog
from harness.page.twin import Twin
from harness.page.twin_run import Conditions
from harness.records import receipts
from harness.replay.schedule import Schedule, load
from harness.replay.schedule_replay import replay
from harness.virtual.bounds import Bounds
from harness.virtual.cluster import VirtualCluster
from harness.virtual.explorer import run_explore
from harness.virtual.fault_model import FaultModel
from harness.virtual.judge import EVERYTHING, with_contract
from harness.virtual.steps import SendFrame
from node.algorithms import load_algorithm
from node.contract import Request
from node.frames import CommandFrame, ReadFrame
from node.wire import encode_value, pack
from tests.rows import ROWS, SCHEDULES, Row

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "explore.md"

#: What the judges of real runs say of each kind of violation that a schedule may have.
JUDGED = {"agreement": "coherence", "promise": "promise", "ballot": "invariants", "fault tolerance": "fault tolerance"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_was_found_without_processes_violates_on_real_ones(row: Row, tmp_path: Path) -> None:
    result = replay(load(row.path), tmp_path / "run")
    assert result.diverged is None
    assert result.followed == len(result.schedule.steps)
    assert JUDGED[row.kind] in result.violated, result.lines()
    assert (result.verdict.status, result.verdict.exit_code) == ("invalid", 1)
    kept = receipts.load(tmp_path / "run" / "receipts.jsonl")
    assert [receipt.fault for receipt in kept if not receipt.bit] == []
    assert (tmp_path / "run" / "report.html").exists()


def test_a_stale_read_of_a_log_that_was_clicked_together_is_one_on_real_processes(tmp_path: Path) -> None:
    log = EventLog(events_max=10**6)
    twin = Twin(load_algorithm("harness.mutants.log_clients:ReadsAreLocal"), 3, log)

    def send(node: str, number: int, frame: CommandFrame | ReadFrame) -> None:
        twin.take(SendFrame(node, Request(f"c{number}", 1), frame))

    def leader() -> str:
        return next(name for name in twin.members if name not in twin.run.conditions.suspended and leads(name))

    def leads(name: str) -> bool:
        instance = twin.run.cluster.nodes[name].instance
        return instance is not None and instance.status().leads

    twin.pass_time(0.4, 500)
    old = leader()
    send(old, 1, CommandFrame(1, 0, 0, 0, "kv", pack([["put", "a", encode_value("blue")]])))
    twin.pass_time(0.1, 500)
    twin.change("suspended", Conditions(suspended=frozenset({old})))  # it does not know that another node leads
    twin.pass_time(1.0, 500)
    send(leader(), 2, CommandFrame(1, 0, 0, 0, "kv", pack([["put", "a", encode_value("red")]])))
    twin.pass_time(0.1, 500)
    twin.change("resumed", Conditions())
    send(old, 3, ReadFrame(1, 0, "kv", pack([["get", "a"]])))
    found = twin.schedule()
    assert found.kinds == ("order",)

    found.save(tmp_path / "schedule.json")
    result = replay(load(tmp_path / "schedule.json"), tmp_path / "run")
    assert result.diverged is None
    assert result.followed == len(found.steps)
    assert result.violated == ("linearizability",)
    assert "(read by c3 at " in result.verdict.evidence


def test_an_election_timeout_of_an_explored_log_ends_on_real_processes(tmp_path: Path) -> None:
    found = Schedule.explored(run_explore(HalfIsEnough, Bounds(proposals=0)), HalfIsEnough)
    assert {"ElectionTimeout", "Fire", "HearSelf", "Deliver"} <= {step["step"] for step in found.steps}
    result = replay(found, tmp_path / "run")
    assert result.diverged is None
    assert result.followed == len(found.steps)
    assert "invariants" in result.violated  # n1 may also fail of it: a record that it had chosen is deleted
    assert any("leader completeness" in text for text in (result.verdict.evidence, *result.verdict.more))


class Otherwise(Schedule):
    """A schedule of another algorithm than the real nodes run."""

    def cluster(self) -> VirtualCluster:
        return VirtualCluster(IgnoresAccepted, self.members)


def test_a_schedule_that_goes_otherwise_is_unknown_and_never_valid(tmp_path: Path) -> None:
    found = load(SCHEDULES / "row-1.json")
    result = replay(Otherwise("paxos", 3, found.steps), tmp_path / "run")
    assert (result.verdict.status, result.verdict.exit_code) == ("unknown", 2)
    assert result.diverged is not None
    # Sound nodes find blue accepted where the broken ones pass over it.
    assert result.diverged.startswith(f"step {result.followed + 1}, ")
    assert "value 'blue'" in result.diverged
    assert 0 < result.followed < len(found.steps)


def test_a_sound_algorithm_is_followed_to_the_end_and_found_valid(tmp_path: Path) -> None:
    """The same steps, as far as a sound replica takes part in them: an answer, and a copy of an old message."""
    found = load(SCHEDULES / "row-1.json")
    steps = found.steps[: next(at for at, step in enumerate(found.steps) if step.get("request") == "c2/1")]
    again = next(step for step in steps if step.get("message") == "Accept")
    result = replay(
        replace(found, algorithm="paxos", steps=(*steps, {**again, "step": "Duplicate"}, again), violations=()),
        tmp_path / "run",
    )
    assert (result.verdict.status, result.diverged) == ("valid", None)
    record = [json.loads(line) for line in (tmp_path / "run" / "messages.jsonl").read_text().splitlines()]
    accepts = [line["fate"] for line in record if line["type"] == "Accept" and line["to"] == "n2"]
    assert accepts == ["held", "duplicated", "released"]


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--dir", str(tmp_path), "explore", "promise-in-memory", "--crashes", "1"]) == 1
    said = capsys.readouterr()
    assert "consensus replay" in said.err
    assert run(["--dir", str(tmp_path), "replay", "-o", "json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert (data["times"], data["fired"]) == (1, 1)
    assert "promise" in data["runs"][0]["verdicts"]
    assert run(["--dir", str(tmp_path), "runs"]) == 0
    assert "promise" in capsys.readouterr().out


def test_the_guide_has_the_command_that_finds_each() -> None:
    commands = re.findall(r"^\|[^|]*\| `consensus explore (.*)` \| (\d+) \|$", GUIDE.read_text(), re.MULTILINE)
    assert len(commands) == len(ROWS)
    for (arguments, lines), row in zip(commands, ROWS, strict=True):
        given = explore.make_context("explore", arguments.split()).params
        fields = {name.replace("-", "_"): True for name in given.pop("fault_model")}
        assert (given["named"], int(lines)) == (row.mutant, row.lines)
        assert with_contract(given["look_for"] or EVERYTHING) == row.bounds.look_for
        assert FaultModel(**fields) == row.bounds.fault_model
        given["proposals"] = Bounds().proposals if given["proposals"] is None else given["proposals"]
        for name in ("nodes", "proposals", "queries", "ballots", "crashes", "lose_disk", "calls_at"):
            assert given[name] == getattr(row.bounds, name)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "holds no JSON object"),
        ("{}", "is no schedule"),
        ('{"schema": 1, "algorithm": "paxos", "nodes": 3, "steps": [{"step": "Sing"}]}', "no step is called 'Sing'"),
        ('{"schema": 1, "algorithm": "paxos", "nodes": 3, "steps": [{"step": "Recover", "node": "n1"}]}', "step 1"),
        ('{"schema": 1, "algorithm": "nobody", "nodes": 3, "steps": []}', "no algorithm is called"),
        ('{"schema": 1, "algorithm": "paxos", "nodes": 3, "steps": [{"step": "Turn"}]}', "several inputs in one turn"),
        ('{"schema": 1, "algorithm": "paxos", "nodes": 3, "steps": [{"step": "Doom"}]}', "in the middle of a turn"),
    ],
)
def test_a_file_that_is_no_schedule_is_refused(
    text: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.json"
    file.write_text(text)
    assert run(["--dir", str(tmp_path / "state"), "replay", str(file)]) == 254
    assert why in capsys.readouterr().err
