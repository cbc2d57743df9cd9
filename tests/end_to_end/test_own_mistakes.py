"""Each tool reports a mistake of an algorithm's author as such, with its line."""

import re
from pathlib import Path

import pytest

from harness.checkers.verdict import invalid, valid
from harness.cli.main import run
from harness.records.node_failures import failures
from harness.runs.scenarios import scenarios
from harness.runs.scorecard import Job, ScorecardRun, broken_contracts
from tests.impatient import IMPATIENT


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Raising", "ZeroDivisionError: the author's mistake (in propose, own_algorithms.py, line "),
        (
            "SendsWrongField",
            "the field Say.term is the str '3', and it is declared as int (in mistake, own_algorithms.py",
        ),
        (
            "StatusIsDictionary",
            "StatusIsDictionary returned a dict: return a node.contract.Status (in status, own_algo",
        ),
        ("Exiting", "SystemExit: 3 (in propose, own_algorithms.py, line "),
        ("Looping", "does not answer a status request: is its algorithm in an endless loop?"),
    ],
)
def test_a_run_says_first_what_its_nodes_failed_of(
    name: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = ["--faults", "drop", "--steps", "1", "--time", "0.5", "-n", "3", "--workload", IMPATIENT]
    assert run(["--dir", str(tmp_path), "test", f"tests.own_algorithms:{name}", *plan]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("✗ contract")
    assert says in said


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        (
            "Raising",
            1,
            r"contract: n\d fails: ZeroDivisionError: the author's mistake \(in propose, own_algorithms.py, line",
        ),
        ("Exiting", 1, r"contract: n\d fails: SystemExit: 3"),
        (
            "CannotSayHowItIs",
            1,
            r"contract: n\d fails: ZeroDivisionError: the author's mistake \(in status, own_algorithms",
        ),
    ],
)
@pytest.mark.parametrize("verb", [["explore"], ["simulate", "--seeds", "5", "--workers", "1"]])
def test_so_do_explorer_and_simulator(
    name: str, code: int, says: str, verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--dir", str(tmp_path), verb[0], f"tests.own_algorithms:{name}", *verb[1:]]) == code
    captured = capsys.readouterr()
    assert re.search(says, captured.out + captured.err)
    assert "Traceback" not in captured.err


def test_what_the_machine_denied_is_no_mistake_of_the_author(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "n1.log"
    log.parent.mkdir()
    trace = "Traceback (most recent call last):\n"
    ends = ["MemoryError: ", "OSError: [Errno 24] Too many open files", "zmq.error.ZMQError: Too many open files"]
    text = "".join(f"2026 1 ERROR the algorithm or the node failed\n{trace}x\n2026 1 CRITICAL {end}\n" for end in ends)
    log.write_text(text)
    assert failures({"n1": log, "n2": tmp_path / "none"}) == []
    log.write_text(text.replace("Too many open files", "Host unreachable"))
    assert [failure.partition("failed: ")[2].partition("; ")[0] for failure in failures({"n1": log})] == [
        "OSError: [Errno 24] Host unreachable",
        "zmq.error.ZMQError: Host unreachable",
    ]
    log.write_text(2 * text.replace("MemoryError: ", "KeyError: 'x' (in propose, mine.py, line 7)"))
    assert failures({"n1": log}) == [
        "n1 failed 2 times: KeyError: 'x' (in propose, mine.py, line 7); the traceback is in its log, logs/n1.log"
    ]


@pytest.mark.parametrize("verb", ["sweep", "crashpoints"])
def test_so_do_the_verbs_that_try_every_fault(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They try the algorithm once without processes, before they begin."""
    assert run(["--dir", str(tmp_path), verb, "tests.own_algorithms:SendsWrongField"]) == 1
    captured = capsys.readouterr()
    said = " ".join((captured.out + captured.err).split())
    assert "breaks its contract" in said
    assert "the field Say.term is the str '3', and it is declared as int (in mistake, own_algorithms.py, line" in said
    assert "Traceback" not in said


def test_a_scorecard_says_which_algorithm_breaks_its_contract(tmp_path: Path) -> None:
    job = Job(scenarios()[0], "", "mine:Mine")
    runs = [
        ScorecardRun(job, tmp_path, {"coherence": valid("")}, 1.0),
        ScorecardRun(job, tmp_path, {"contract": invalid("n1 failed: KeyError"), "coherence": valid("")}, 1.0),
    ]
    assert broken_contracts(runs) == {"mine:Mine": "n1 failed: KeyError"}


def test_so_does_a_replay_of_what_the_explorer_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--dir", str(tmp_path), "explore", "tests.own_algorithms:StoresDictionary"]) == 1
    capsys.readouterr()
    assert run(["--dir", str(tmp_path), "replay"]) == 1
    said = capsys.readouterr().out
    assert "contract: n1 failed: a disk stores int, bool, str, bytes, None, and tuples of these, but not a dict" in said
    assert "(in mistake, own_algorithms.py, line" in said
