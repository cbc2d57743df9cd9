"""What all verbs have in common, walked over every verb that the command line has."""

import inspect
import json
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any, TextIO

import click
import pytest

from harness.cli import links
from harness.cli.convention import EXIT_BAD_ARGUMENTS, EXIT_VIOLATED, Verb, VerbGroup, consensus_in
from harness.cli.main import run
from harness.cli.verbs import cli
from tests.end_to_end.hand import run_in_this_process
from tests.run_folders import split_brain


def verbs(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every verb of the command line, with the words that name it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            assert isinstance(command, VerbGroup)
            yield from verbs(command, (*path, name))
        else:
            yield (*path, name), command


VERBS = dict(verbs())
every_verb = pytest.mark.parametrize("path", VERBS, ids=" ".join)


def objects(stdout: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stdout.splitlines()]


@every_verb
def test_it_has_the_options_of_all_verbs(path: tuple[str, ...]) -> None:
    verb = VERBS[path]
    assert isinstance(verb, Verb)
    options = [name for parameter in verb.params for name in parameter.opts if name.startswith("-")]
    assert {"-o", "--output", "--dir"} <= set(options)
    assert sorted(set(options)) == sorted(options), "two options share a name"
    assert verb.callback is not None
    assert "as_json" in inspect.signature(verb.callback).parameters


@every_verb
def test_its_errors_are_objects_on_stdout(path: tuple[str, ...], tmp_path: Path) -> None:
    wrong = [*path, "--no-such-option", "-o", "json", "--dir", str(tmp_path)]
    as_json, as_text = run_in_this_process(*wrong), run_in_this_process(*wrong[:-4], *wrong[-2:])
    (error,) = objects(as_json.stdout)
    assert error["schema"] == 1
    assert error["exit_code"] == as_json.returncode == as_text.returncode != 0
    assert error["error"]["kind"] in ("bad_arguments", "not_up")
    assert error["error"]["message"] in as_json.stderr
    assert as_text.stdout == ""
    assert as_text.stderr == as_json.stderr


def test_the_folder_may_stand_on_both_sides_of_the_verb(tmp_path: Path) -> None:
    for arguments in (("--dir", str(tmp_path / "a"), "ps"), ("ps", "--dir", str(tmp_path / "a"))):
        assert f"no cluster is up in {tmp_path / 'a'}" in run_in_this_process(*arguments).stderr
    both = run_in_this_process("--dir", str(tmp_path / "b"), "ps", "--dir", str(tmp_path / "a"))
    assert f"no cluster is up in {tmp_path / 'a'}" in both.stderr


def test_what_other_programs_call_a_verb_leads_to_a_verb_of_ours() -> None:
    assert isinstance(cli, VerbGroup)
    assert set(cli.other_words.values()) <= set(cli.list_commands(click.Context(cli)))
    assert not set(cli.other_words) & set(cli.list_commands(click.Context(cli)))


@pytest.mark.parametrize(
    "arguments",
    [
        ("kil",),
        ("export", "--to", "edn"),
        ("check", "FILE", "--model", "register"),
        ("ps", "--nonsense"),
        ("faults", "kil"),
    ],
    ids=" ".join,
)
def test_every_error_has_one_form(arguments: tuple[str, ...], tmp_path: Path) -> None:
    broken = tmp_path / "runs" / "broken" / "history.jsonl"
    broken.parent.mkdir(parents=True)
    broken.write_text("{\n")
    done = run_in_this_process("--dir", str(tmp_path), *(str(broken) if word == "FILE" else word for word in arguments))
    assert done.returncode == EXIT_BAD_ARGUMENTS
    assert done.stderr.splitlines()[-1].startswith("consensus: ")
    assert "Error" not in done.stderr


def run_onto(stdout: TextIO, stderr: TextIO, *arguments: str) -> int:
    """Run a command whose output goes to these files. Returns its exit code."""
    with redirect_stdout(stdout), redirect_stderr(stderr):
        return run(list(arguments))


def full_disk() -> TextIO:
    return Path("/dev/full").open("w")


def unread_pipe() -> TextIO:
    reader, writer = os.pipe()
    os.close(reader)
    return open(writer, "w")


@pytest.mark.parametrize("opened", [full_disk, unread_pipe], ids=["full disk", "unread pipe"])
def test_an_error_keeps_its_exit_code_where_nothing_can_be_written(
    opened: Callable[[], TextIO], tmp_path: Path
) -> None:
    said = StringIO()
    with opened() as stdout:
        assert run_onto(stdout, said, "ps", "-o", "json", "--dir", str(tmp_path)) == 1
    assert said.getvalue().startswith(f"consensus: no cluster is up in {tmp_path}")
    assert said.getvalue().count("\n") == 1
    with opened() as stdout, suppress(OSError), opened() as stderr:  # closing stderr fails as its writes do
        assert run_onto(stdout, stderr, "ps", "-o", "json", "--dir", str(tmp_path)) == 1


@pytest.mark.parametrize("arguments", [("faults",), ("faults", "-o", "json"), ("mutants", "--list")], ids=" ".join)
def test_output_that_cannot_be_written_is_no_failure_of_the_command(arguments: tuple[str, ...]) -> None:
    said = StringIO()
    with open("/dev/full", "w") as stdout:
        assert run_onto(stdout, said, *arguments) == EXIT_BAD_ARGUMENTS
    assert said.getvalue() == (
        "consensus: the command was carried out up to its output, and this output cannot be written: "
        "[Errno 28] No space left on device\n"
    )


@pytest.mark.parametrize(
    ("typed", "meant"), [("kil", "kill"), ("scorcard", "scorecard"), ("Kill", "kill"), ("status", "ps?")]
)
def test_a_mistyped_verb_is_guessed(typed: str, meant: str) -> None:
    done = run_in_this_process(typed)
    assert done.returncode == EXIT_BAD_ARGUMENTS
    assert f"there is no command {typed!r}: did you mean {meant}" in done.stderr


def test_help_names_every_verb_and_cuts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = run_in_this_process("--help")
    assert done.returncode == 0
    assert "..." not in done.stdout.replace("[ARGS]...", "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    for name, *_ in VERBS:
        assert f"\n  {name} " in done.stdout


#: A call of each verb that answers without a cluster, in a moment. `RUN` is a run's folder, `HISTORY` its history.
WITHOUT_A_CLUSTER = [
    ["runs"], ["report", "RUN", "--file", "FILE"], ["export", "RUN", "--to", "edn", "--file", "FILE"], ["faults"],
    ["faults", "kill"], ["mutants", "--list"], ["check", "HISTORY", "--model", "consensus"], ["flp", "majority"], ["figure8"],
    ["mutate", "node.quorum", "--list"], ["tour", "--list"],
    ["explore", "leader", "-n", "1", "--proposals", "1"], ["simulate", "leader", "--seeds", "1", "--workers", "1"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", WITHOUT_A_CLUSTER, ids=" ".join)
def test_its_answer_is_one_object_on_stdout(arguments: list[str], tmp_path: Path) -> None:
    run = split_brain(tmp_path / "runs" / "run")
    places = {"RUN": str(run), "HISTORY": str(run / "history.jsonl"), "FILE": str(tmp_path / "written")}
    done = run_in_this_process(*(places.get(word, word) for word in arguments), "-o", "json", "--dir", str(tmp_path))
    (answer,) = objects(done.stdout)
    assert answer["schema"] == 1
    assert "error" not in answer, answer
    as_text = run_in_this_process(*(places.get(word, word) for word in arguments), "--dir", str(tmp_path))
    assert as_text.returncode == done.returncode


#: A session by hand on one node that keeps a log, with every verb for it. Each is a verb with its arguments.
BY_HAND = [
    "up multipaxos -d -n 2 --prepare disk", "ps", "propose colour blue", "query colour", "put a 1", "get a", "get none", "del a",
    "lock printer -- true", "assign add t1", "assign list", "assign remove t1", "member list",
    "save FILE", "restore FILE --into DIR", "inspect n1", "logs -n 1",
    "suspend n2", "resume n2", "kill n2", "restart n2", "partition n1/n2", "isolate n1", "link n1 n2 --delay 1ms", "links",
    "inject drop probability=0.1", "heal", "down --wipe",
]  # fmt: skip
#: Those that take long, run until a signal, or need more than this. Most have tests of their own that read their `-o json`.
ELSEWHERE = {
    "watch", "assign join", "member add", "member remove", "member replace", "scorecard", "test", "campaign", "sweep",
    "crashpoints", "replay", "shrink", "trace", "recover", "hold", "live", "new",
}  # fmt: skip


def test_a_session_by_hand_answers_with_objects(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    try:
        for line in BY_HAND:
            places = line.replace("FILE", str(tmp_path / "saved")).replace("DIR", str(tmp_path / "other"))
            verb, dashes, rest = places.partition(" -- ")
            done = run_in_this_process(*verb.split(), "-o", "json", "--dir", str(folder), *(dashes + rest).split())
            answers = objects(done.stdout)
            assert answers, (line, done.stderr)
            assert line.startswith("logs") or len(answers) == 1, line
            assert all(answer["schema"] == 1 and "error" not in answer for answer in answers), line
            assert done.returncode == (line == "get none"), (line, done.stderr)
    finally:
        if (folder / "supervisor.json").exists():
            run_in_this_process("down", "--dir", str(folder))


def test_every_verb_is_walked() -> None:
    walked = [line.split() for line in BY_HAND] + WITHOUT_A_CLUSTER
    missing = [
        " ".join(path)
        for path in VERBS
        if path[0] != "bench"
        and " ".join(path) not in ELSEWHERE
        and not any(tuple(words[: len(path)]) == path for words in walked)
    ]
    assert missing == []


# --- algorithms and other names ---------------------------------------------------------------------------------------

#: The verbs that take an algorithm.
TAKERS = [path for path, verb in VERBS.items() if any("--algorithm" in parameter.opts for parameter in verb.params)]


def test_every_verb_that_takes_an_algorithm_is_known() -> None:
    assert {" ".join(path) for path in TAKERS} >= {
        "up", "scorecard", "test", "campaign", "sweep", "crashpoints", "explore", "simulate", "flp", "bench boot",
    }  # fmt: skip
    for path, verb in VERBS.items():
        arguments = [
            param.make_metavar(click.Context(verb)) for param in verb.params if isinstance(param, click.Argument)
        ]
        assert any("ALGORITHM" in metavar for metavar in arguments) == (path in TAKERS), path


@pytest.mark.parametrize("path", TAKERS, ids=" ".join)
def test_an_algorithm_is_an_argument_or_an_option(path: tuple[str, ...], tmp_path: Path) -> None:
    as_argument = run_in_this_process(*path, "paxso", "--dir", str(tmp_path))
    as_option = run_in_this_process(*path, "--algorithm", "paxso", "--dir", str(tmp_path))
    assert as_argument.returncode == as_option.returncode == EXIT_BAD_ARGUMENTS
    for said in (as_argument.stderr, as_option.stderr):
        assert "'paxso'" in said
        assert "paxos" in said
    assert list(tmp_path.iterdir()) == []


def test_two_different_algorithms_are_refused() -> None:
    done = run_in_this_process("simulate", "paxos", "--algorithm", "leader")
    assert done.returncode == EXIT_BAD_ARGUMENTS
    assert "two algorithms are given, paxos and leader" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["mutants", "paxso"],
            "'paxso': name a mutant, such as ignores-accepted, and not an algorithm; `consensus mutants",
        ),
        (
            ["simulate", "nope"],
            "there are leader, failover, majority, paxos, multipaxos, raft, and the mutants of `consensus mut",
        ),
        (["simulate", "raft", "--rivals", "4"], "--rivals is for algorithms of one variable"),
        (["mutants", "ignore-accepted"], "no mutant is called 'ignore-accepted': did you mean ignores-accepted, "),
        (["simulate", "adopts-lowst"], "no algorithm or mutant is called 'adopts-lowst': did you mean adopts-lowest"),
        (["faults", "kil"], "no fault is called 'kil': did you mean kill, "),
        (["test", "paxos", "--faults", "suspnd"], "did you mean suspend"),
        (["test", "paxos", "--workload", "registr"], "did you mean register"),
        (["up", "multi-paxos"], "did you mean multipaxos or paxos? (one of your own is module:Class or path.py:Class)"),
        (["test", "paxos", "--faults", "kill,,cut"], "'kill,,cut' has an empty name"),
        (["campaign", "--faults", ""], "'' has an empty name"),
        (["kill", "n1", "n2"], "Write several nodes as one word, such as n1,n2"),
    ],
)
def test_a_mistyped_name_is_guessed(arguments: list[str], says: str, tmp_path: Path) -> None:
    done = run_in_this_process("--dir", str(tmp_path), *arguments)
    assert done.returncode == EXIT_BAD_ARGUMENTS
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_group_without_a_command_prints_its_help_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["member"]) == EXIT_BAD_ARGUMENTS
    printed = capsys.readouterr().err
    assert printed.startswith("Usage: consensus member")
    assert printed.count("Usage:") == 1


def test_a_new_node_with_a_space_in_its_name_can_be_run_as_it_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["new", "a b", "--language", "perl"]) == 0
    word = shlex.split(capsys.readouterr().out.partition("consensus test ")[2])[0]
    assert shlex.split(word) == ["./a b.pl"]


@pytest.mark.parametrize(("name", "says"), [("", "names no file"), (".", ". is a folder: name a file")])
def test_a_new_node_needs_the_name_of_a_file(
    name: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["new", name]) == EXIT_VIOLATED
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_current_folder_that_was_removed_is_no_bug(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    removed = tmp_path / "removed"
    removed.mkdir()
    os.chdir(removed)
    removed.rmdir()
    assert run(["ps"]) == EXIT_BAD_ARGUMENTS
    assert "the current folder has been removed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "arguments", "said"),
    [
        ("partition", {"groups": [["n1"], ["n2", "n3"]]}, "partition n1/n2,n3"),
        ("isolate", {"node": "n2"}, "isolate n2"),
        ("kill", {"nodes": ["n1", "n2"]}, "kill n1,n2"),
        ("delay", {"links": [["n1", "n2"], ["n2", "n1"]], "seconds": 1}, "delay n1->n2 and 1 link more"),
        ("lossy", {}, "lossy"),
    ],
)
def test_heal_says_what_each_fault_struck(fault: str, arguments: dict[str, Any], said: str) -> None:
    assert links.fault_of(fault, arguments) == said


def test_a_command_that_comes_next_names_the_folder_unless_it_is_the_usual_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONSENSUS_DIR", raising=False)
    assert consensus_in(tmp_path / ".consensus") == "consensus"
    assert consensus_in(tmp_path / "my lab") == "consensus --dir 'my lab'"
    monkeypatch.setenv("CONSENSUS_DIR", "my lab")
    assert consensus_in(tmp_path / "my lab") == "consensus"
