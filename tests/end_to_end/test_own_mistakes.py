"""Each tool reports a mistake of an algorithm's author as such, with its line."""

import re
from pathlib import Path

import pytest

from harness.cli.main import run
from harness.records.node_failures import failures


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Raising", "ZeroDivisionError: the author's mistake (in propose, own_algorithms.py, line "),
        ("SendsWhatIsNotListed", "Other is not in the `messages` of the algorithm"),
        ("Exiting", "SystemExit: 3 (in propose, own_algorithms.py, line "),
        ("Looping", "does not answer a status request: is its algorithm in an endless loop?"),
    ],
)
def test_a_run_says_first_what_its_nodes_failed_of(
    name: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["test", f"tests.own_algorithms:{name}", "--faults", "drop", "--steps", "1", "--time", "0.5", "-n", "3"]
    assert run(["--dir", str(tmp_path), *arguments]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("✗ contract")
    assert says in said


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("Raising", 1, r"contract: n\d fails: ZeroDivisionError the author's mistake"),
        ("Exiting", 1, r"contract: n\d fails: SystemExit 3"),
        ("CannotSayHowItIs", 254, r"the status\(\) of n\d's CannotSayHowItIs fails: ZeroDivisionError"),
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
    trace = 'Traceback (most recent call last):\n  File "/a/mine.py", line 7, in propose\n    x\n'
    ends = ["MemoryError: ", "OSError: [Errno 24] Too many open files", "zmq.error.ZMQError: Too many open files"]
    text = "".join(f"2026 1 ERROR the algorithm or the node failed\n{trace}x\n2026 1 CRITICAL {end}\n" for end in ends)
    log.write_text(text)
    assert failures({"n1": log, "n2": tmp_path / "none"}) == []
    log.write_text(2 * text.replace("MemoryError: ", "KeyError: 'x'"))
    assert failures({"n1": log}) == [
        "n1 failed 2 times: KeyError: 'x' (in propose, mine.py, line 7); the traceback is in its log, logs/n1.log"
    ]
