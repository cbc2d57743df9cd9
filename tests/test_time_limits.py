"""A test that takes too long fails alone: the other tests pass, the run ends, and no process is left."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.distribution import LONGEST_FIRST

ROOT = Path(__file__).resolve().parent.parent

#: Each of these takes the signal: it fails after its limit, and the next test runs in the same process.
HANGING = """
import subprocess, threading, time, zmq

def test_before():
    pass

def test_a_loop():
    while True:
        pass

def test_a_call_of_c_that_waits():
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.poll()

def test_a_thread_that_never_ends():
    thread = threading.Thread(target=threading.Event().wait, name="stuck")
    thread.start()
    thread.join()

def test_a_clean_up_that_hangs():
    try:
        time.sleep(600)
    finally:
        time.sleep(600)

def test_a_child():
    subprocess.run(["sleep", "600"])

def test_an_orphan():
    subprocess.run(["sh", "-c", "sleep 600 > /dev/null 2>&1 &"])

def test_after():
    pass
"""

#: This one never returns to the interpreter, so that no signal reaches it.
DEAF = """
import itertools, subprocess

def test_before():
    pass

def test_deaf():
    subprocess.Popen(["sleep", "600"])
    sum(itertools.repeat(1))

def test_after():
    pass
"""


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the tests in a folder as this project's are run."""
    plugins = ("tests.time_limits", "tests.distribution", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", *(f"-p{name}" for name in plugins)]
    command += ["--timeout", "2", "-rA", *arguments, str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)


def outcomes(output: str) -> dict[str, str]:
    """The outcome of each test, from the summary that `-rA` asks for."""
    found: dict[str, str] = {}
    for line in output.splitlines():
        outcome, _, rest = line.partition(" ")
        if outcome in ("PASSED", "FAILED", "ERROR") and "::" in rest:
            name = rest.partition("::")[2].split()[0]
            found[name] = " ".join(filter(None, (found.get(name), outcome)))
    return found


EXPECTED = {
    "test_before": "PASSED",
    "test_a_loop": "FAILED",
    "test_a_call_of_c_that_waits": "FAILED",
    "test_a_thread_that_never_ends": "FAILED",
    "test_a_clean_up_that_hangs": "FAILED",
    "test_a_child": "FAILED",
    "test_an_orphan": "PASSED ERROR",  # its body passes, and it leaves a process
    "test_after": "PASSED",
}


def check_processes() -> None:
    """The kernel hands what the run has left to this process."""
    alive = [child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]
    assert [child.cmdline() for child in alive if "sleep" in child.cmdline()] == []


def test_each_fails_alone_and_the_run_ends(tmp_path: Path) -> None:
    (tmp_path / "test_hanging.py").write_text(HANGING)
    (tmp_path / "test_deaf.py").write_text(DEAF)
    done = run_pytest(tmp_path, "-n", "2", "--dist", "loadscope")
    found = outcomes(done.stdout.replace("test_deaf.py::test_", "test_deaf.py::test_deaf_"))
    assert {name: outcome for name, outcome in found.items() if name in EXPECTED} == EXPECTED, done.stdout
    assert [found[f"test_deaf_{name}"] for name in ("before", "deaf", "after")] == ["PASSED", "FAILED", "PASSED"]
    assert done.stdout.count("the body of this test took longer than 2 s") >= 5
    assert "--- thread stuck ---" in done.stdout
    assert "in test_deaf" in done.stderr
    assert done.returncode == 1
    check_processes()


def test_a_thread_that_a_test_has_left_does_not_keep_pytest_from_ending(tmp_path: Path) -> None:
    (tmp_path / "test_hanging.py").write_text(HANGING)
    done = run_pytest(tmp_path, "-p", "no:xdist", "-k", "test_before or test_a_thread_that_never_ends or test_after")
    assert outcomes(done.stdout) == {
        "test_before": "PASSED",
        "test_a_thread_that_never_ends": "FAILED",
        "test_after": "PASSED",
    }
    assert done.returncode == 1
    check_processes()


@pytest.mark.parametrize("end", LONGEST_FIRST)
def test_the_modules_that_take_longest_are_there(end: str) -> None:
    assert (ROOT / "tests" / end).exists()
