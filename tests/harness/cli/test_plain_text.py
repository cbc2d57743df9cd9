"""A terminal without Unicode, and Ctrl-C before anything has begun."""

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from harness.cli.main import run
from harness.cli.plain_text import exact, use_plain_text

PROGRAM = Path("scripts/consensus").absolute()


def printed_in(encoding: str, *arguments: str) -> str:
    """What a verb prints to stdout and stderr of this encoding."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding)
    with redirect_stdout(stream), redirect_stderr(stream):
        use_plain_text()
        run(list(arguments))
        stream.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_character_is_too_much_for_the_terminal(encoding: str) -> None:
    marks = printed_in(encoding, "kill\N{CHECK MARK}\N{BALLOT X}\N{HORIZONTAL ELLIPSIS}ü\udcff")
    assert "Traceback" not in marks
    assert {"ascii": "kill+x...\\xfc", "latin-1": "kill+x...ü", "utf-8": "kill✓✗…ü"}[encoding] in marks
    assert "\\udcff" in marks
    assert ("…" if encoding == "utf-8" else "...") in printed_in(encoding, "test", "--help")


def test_a_value_of_the_user_is_escaped_and_never_becomes_another() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    with redirect_stdout(stream):
        use_plain_text()
        assert exact("✓ ü") == "\\u2713 \\xfc"


def test_json_is_whole_in_every_encoding(tmp_path: Path) -> None:
    said = printed_in("ascii", "faults", "ü", "-o", "json", "--dir", str(tmp_path))
    (line,) = (line for line in said.splitlines() if line.startswith("{"))
    assert "no fault is called 'ü'" in json.loads(line)["error"]["message"]


def test_the_environment_decides_the_encoding() -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM, "test", "--help"],
        env={**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"(paxos, module:Class, ...)" in done.stdout


@pytest.mark.parametrize("entry", [[PROGRAM], ["-m", "harness.cli.main"]])
def test_ctrl_c_while_modules_are_imported_prints_nothing(tmp_path: Path, entry: list[str | Path]) -> None:
    (tmp_path / "click.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n")
    done = subprocess.run(
        [sys.executable, *entry, "ps"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.getcwd()}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_the_program_imports_nothing_before_it_handles_ctrl_c() -> None:
    program = PROGRAM.read_text().partition("_signal.signal(")[0]
    imported = [line for line in program.splitlines() if "import" in line and not line.startswith("#")]
    assert imported == [
        "import _signal",
        "import os",
    ]  # the first is built in, and Python itself has imported the second


def test_worker_processes_may_import_the_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM, "simulate", "leader", "--seeds", "2", "--workers", "2", "--dir", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "simulate leader on 3 nodes" in done.stdout, done.stderr
