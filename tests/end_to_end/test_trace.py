"""A recorded run is what the pure classes do; a record that was altered is not."""

import json
import shutil
from collections.abc import Callable, Iterator
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from cluster.spec import open_spec
from harness.cli.main import run
from harness.mutants.paxos import ProposesADefault
from harness.records.jsonable import read_lines
from harness.replay.trace_validation import validate
from harness.replay.trace_wire import RecordedMessage, end_of_stretch
from harness.runs.experiment import Experiment
from harness.runs.plan_generator import generate
from harness.runs.suite import run_plan
from node.algorithms.paxos import Paxos
from node.quorum import Ballot
from node.wire import Codec, Envelope

Lines = list[dict[str, Any]]


def test_what_was_corrupted_may_have_come_as_anything_or_not_at_all() -> None:
    a, b, c = RecordedMessage("a", 1, 0), RecordedMessage("b", 2, 1, corrupted=True), RecordedMessage("c", 3, 2)
    for received in (["a", "c"], ["a", "b", "c"], ["a", "a lie", "c"]):
        assert end_of_stretch(received, [a, b, c], 0) == 3
    assert end_of_stretch(["a", "b"], [a, c], 0) is None
    assert end_of_stretch(["c"], [a, b, c], 0) is None
    assert end_of_stretch(["c"], [a, b, c], 1) == 3


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rivals, of which n1 is beaten once and tries again later; messages that are lost; a node that is killed and comes back."""
    folder = tmp_path_factory.mktemp("trace") / "run"
    experiment = Experiment(folder, nodes=3, trace=True)
    with experiment as running:
        with running.faults.lossy(0.02):
            for round_ in count():
                rivals = [running.begin_propose(f"x{round_}", at, at) for at in ("n1", "n2", "n3")]
                running.settle(*rivals)
                running.network.flush()
                if round_ >= 3 and prepared_twice(list(running.messages())):
                    break
        running.faults.kill("n2")
        running.propose("y", "navy\u2028blue\x85", "n1")  # Unicode ends lines there, and JSON does not
        running.faults.restart("n2")
        running.query_all("y")
    experiment.judge()
    return folder


def test_a_run_is_what_the_pure_classes_do(recorded: Path) -> None:
    report = validate(recorded)
    assert report.differences == []
    assert (report.nodes, report.lives, report.exit_code) == (3, 4, 0)
    assert report.messages > 50
    assert report.inputs > report.messages
    assert "all equal to the pure class" in report.line()


def test_a_log_is_what_the_pure_class_does(tmp_path: Path) -> None:
    plan = generate("multipaxos", ("n1", "n2", "n3"), 3, faults=("kill", "terminate"), time_s=2, workload="kv", steps=2)
    run_plan(plan, tmp_path / "run", trace=True)
    report = validate(tmp_path / "run")
    assert report.differences == []
    assert report.lives > 3
    assert report.messages > 100


def lines(path: Path) -> Lines:
    return [line for _, line in read_lines(path)]


def write(path: Path, changed: Lines) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in changed))


def renumbered(changed: Lines) -> Lines:
    """As a careful forger leaves them."""
    turns = 0
    for line in changed:
        if "boot" in line:
            turns = 0
        if "turn" in line:
            turns += 1
            line["turn"] = turns
    return changed


def sent(wire: Lines, type_: str) -> Iterator[int]:
    return (at for at, line in enumerate(wire) if line["type"] == type_ and "of" not in line)


def alter_a_ballot(wire: Lines, _trace: Lines) -> None:
    wire[next(sent(wire, "Promise"))]["fields"]["ballot"][0] += 1


def alter_a_value(wire: Lines, _trace: Lines) -> None:
    wire[next(sent(wire, "Accept"))]["fields"]["value"] = "purple"


def alter_an_answer(wire: Lines, _trace: Lines) -> None:
    wire[next(at for at in sent(wire, "Reply") if wire[at]["from"] == "n1")]["fields"]["value"] = "purple"


def drop_a_line(wire: Lines, _trace: Lines) -> None:
    del wire[next(sent(wire, "Accepted"))]


def drop_a_line_and_renumber(wire: Lines, _trace: Lines) -> None:
    at = next(at for at in sent(wire, "Prepare") if wire[at]["fate"] == "passed" and wire[at]["from"] == "n1")
    del wire[at]
    for number, line in enumerate(wire):
        line["index"] = number


def swap_two_lines(wire: Lines, _trace: Lines) -> None:
    wire[10], wire[11] = wire[11], wire[10]


def prepared_twice(wire: Lines) -> list[tuple[int, int]]:
    """Return where n1 sends n2 two different Prepares about one variable, one right after the other: their places, as pairs."""
    link = [at for at in sent(wire, "Prepare") if (wire[at]["from"], wire[at]["to"]) == ("n1", "n2")]
    return [
        (a, b)
        for a, b in pairwise(link)
        if wire[a]["variable"] == wire[b]["variable"] and wire[a]["fields"] != wire[b]["fields"]
    ]


def swap_two_messages_of_a_link(wire: Lines, _trace: Lines) -> None:
    one, other = prepared_twice(wire)[0]
    wire[one]["fields"], wire[other]["fields"] = wire[other]["fields"], wire[one]["fields"]


def drop_a_turn(_wire: Lines, trace: Lines) -> None:
    del trace[5]


def drop_a_turn_and_renumber(_wire: Lines, trace: Lines) -> None:
    del trace[next(at for at, line in enumerate(trace) if line.get("in"))]
    renumbered(trace)


def swap_two_inputs(_wire: Lines, trace: Lines) -> None:
    """Two frames of one peer, which the proxy has delivered in the other order."""
    frames = [
        (line, place) for line in trace for place, frame in enumerate(line.get("in", [])) if b"n2" in sender(frame)
    ]
    one, other = frames[0], next(each for each in frames if each[0]["in"][each[1]] != frames[0][0]["in"][frames[0][1]])
    one[0]["in"][one[1]], other[0]["in"][other[1]] = other[0]["in"][other[1]], one[0]["in"][one[1]]


def sender(frame: str) -> bytes:
    """The part of a frame in which its sender stands: after the version and the cluster's 32 digits."""
    return bytes.fromhex(frame)[36:39]


def leave_the_timers_out(_wire: Lines, trace: Lines) -> None:
    assert any(line.get("timers") for line in trace)
    for line in trace:
        if "turn" in line:
            line["timers"] = []


def add_a_timer(_wire: Lines, trace: Lines) -> None:
    for line in [line for line in trace if "turn" in line][2:5]:
        line["timers"].append(["x0", "again"])


ALTERED = [
    (alter_a_ballot, "sent Promise"),
    (alter_a_value, '"purple"'),
    (alter_an_answer, "replied to a client"),
    (drop_a_line, "the proxy's record has line"),
    (drop_a_line_and_renumber, ""),
    (swap_two_lines, "the proxy's record has line"),
    (swap_two_messages_of_a_link, "sent Prepare"),
    (drop_a_turn, "in its trace where"),
    (drop_a_turn_and_renumber, ""),
    (swap_two_inputs, ""),
    (leave_the_timers_out, ""),
    (add_a_timer, ""),
]


@pytest.mark.parametrize(("alter", "says"), ALTERED, ids=[alter.__name__ for alter, _ in ALTERED])
def test_a_record_that_was_altered_differs(
    alter: Callable[[Lines, Lines], None], says: str, recorded: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "altered"
    shutil.copytree(recorded, folder)
    wire, trace = lines(folder / "messages.jsonl"), lines(folder / "traces" / "n1.jsonl")
    alter(wire, trace)
    write(folder / "messages.jsonl", wire)
    write(folder / "traces" / "n1.jsonl", trace)
    report = validate(folder)
    assert report.exit_code == 1
    assert any(says in difference.text for difference in report.differences), report.differences


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def damage_a_line(path: Path) -> None:
    one, _, rest = path.read_text().partition("\n")
    path.write_text(f"{one}\n{rest[1:]}")


def replace_a_line(path: Path) -> None:
    one, _, rest = path.read_text().partition("\n")
    path.write_text(f"{one}\n[]\n{rest}")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("messages.jsonl", cut_short),
        ("messages.jsonl", damage_a_line),
        ("messages.jsonl", replace_a_line),
        ("traces/n1.jsonl", damage_a_line),
        ("traces/n1.jsonl", replace_a_line),
    ],
)
def test_a_record_that_was_damaged_differs(
    name: str, damage: Callable[[Path], None], recorded: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(recorded, folder)
    damage(folder / name)
    assert validate(folder).exit_code == 1


def test_what_is_missing_differs(recorded: Path, tmp_path: Path) -> None:
    """The end of the record, and a disk."""
    folder = tmp_path / "without its end"
    shutil.copytree(recorded, folder)
    record = folder / "messages.jsonl"
    write(record, lines(record)[:-1])
    (difference, *_) = validate(folder).differences
    assert "and had" in difference.text
    folder = tmp_path / "without a disk"
    shutil.copytree(recorded, folder)
    shutil.rmtree(folder / "nodes" / "n1")
    (difference,) = validate(folder).differences
    assert difference.text.startswith("n1 has no disk that can be compared in the end")


def test_what_a_kill_has_cut_short_had_not_left(recorded: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    shutil.copytree(recorded, folder)
    trace = folder / "traces" / "n2.jsonl"
    first, boot, second = trace.read_text().rpartition('{"boot": ')
    trace.write_text(f'{first}{{"turn": 99, "in": ["0\n{boot}{second}')
    assert validate(folder).differences == []


def test_an_input_that_never_came_differs(recorded: Path, tmp_path: Path) -> None:
    """A node's own note cannot make up a promise to explain what it has done."""
    folder = tmp_path / "altered"
    shutil.copytree(recorded, folder)
    codec = Codec(open_spec(folder).settings.cluster, Paxos.messages)
    trace = lines(folder / "traces" / "n1.jsonl")
    turn, place = next(
        (line, place)
        for line in trace
        for place, frame in enumerate(line.get("in", []))
        if type(codec.decode(bytes.fromhex(frame)).message).__name__ == "Promise"
    )
    heard = codec.decode(bytes.fromhex(turn["in"][place]))
    higher = type(heard.message)(Ballot(99, "n1"), None, None)  # type: ignore[call-arg]  # a Promise
    turn["in"][place] = codec.encode(Envelope(heard.sender, heard.incarnation, heard.variable, higher)).hex()
    write(folder / "traces" / "n1.jsonl", trace)
    assert any("has in its trace Promise" in difference.text for difference in validate(folder).differences)


def test_another_class_than_the_one_that_ran_differs(recorded: Path, tmp_path: Path) -> None:
    """What it is for: the process runs one class, and explorer and simulator another."""
    folder = tmp_path / "altered"
    shutil.copytree(recorded, folder)
    name = f"{ProposesADefault.__module__}:{ProposesADefault.__qualname__}"
    spec = folder / "cluster.toml"
    spec.write_text(spec.read_text().replace('"paxos"', f'"{name}"'))
    report = validate(folder)
    assert report.exit_code == 1
    assert "the pure class" in report.differences[0].text


def test_the_command(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--dir", str(tmp_path), "trace", str(recorded), "-o", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["validated"], data["differ"], data["runs"][0]["lives"]) == (1, 0, 4)
    untraced = tmp_path / "untraced"
    shutil.copytree(recorded, untraced)
    shutil.rmtree(untraced / "traces")
    assert run(["--dir", str(tmp_path), "trace", str(untraced)]) == 2
    assert "were not traced" in capsys.readouterr().err
    assert run(["--dir", str(tmp_path), "trace"]) == 254
    assert "consensus scorecard --trace" in capsys.readouterr().err
