"""Hooks for pytest: each test ends in time, fails alone, and leaves no process.

Theory of operation
-------------------
pytest-timeout reads the limit (`timeout` in pyproject.toml, `--timeout`, the marker `timeout`), and calls a hook below, which
exchanges its timer. Set-up, body and clean-up of a test have that many seconds each. When the time is over, SIGALRM raises
`TookTooLong` in the main thread: the test fails with a traceback, and its fixtures are torn down as after any failure.
pytest-timeout's own timers do not do that. Its `thread` method ends the whole process, without any clean-up and with all the
tests that were still to come; its `signal` method raises once, and never again in the clean-up.

Rules
-----
1. The alarm goes off again each quarter of the limit until the phase is over. So a `finally` that hangs is interrupted, too.
2. A main thread that never comes back to the interpreter, such as one in a loop of C code, takes no signal. After half the
   limit more the process writes the stack of each thread and ends. Under pytest-xdist the test that ran fails, and another
   worker goes on with the rest: see `tests.distribution`.
3. A thread that a test has left behind must not keep the run from ending: `_END_S` seconds after the last test the process
   ends all the same.
4. The kernel hands orphans to the process that runs the tests, so that it finds and ends those, too. Only Linux does that.
5. A shell that starts pytest in the background has it ignore Ctrl-C, and every process below it, too. Some tests send Ctrl-C to
   a process that they have started, so pytest takes it all the same.
"""

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from harness.systems.guardian import MARK

_END_S: Final = 10.0
_MOMENT_S: Final = 5.0
_PR_SET_CHILD_SUBREAPER: Final = 36

_STDERR: Final = pytest.StashKey[int]()
_LIMIT_S: Final = pytest.StashKey[float]()

#: When the process is to end, as a time of the monotonic clock in seconds; 0 if it is not.
_armed_until: Final = [0.0]


class TookTooLong(BaseException):
    """A phase of a test took longer than its limit. No `except Exception` catches it, and Hypothesis does not retry it."""


def pytest_configure(config: pytest.Config) -> None:
    """Adopt orphans, take Ctrl-C, and keep the real stderr, since pytest captures it while a test runs."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.stash[_STDERR] = os.dup(sys.__stderr__.fileno() if sys.__stderr__ else 2)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:
    """Keep the limit for the phases below. Returns True: pytest-timeout then sets no timer of its own."""
    item.stash[_LIMIT_S] = float(settings.timeout)
    return True


@pytest.hookimpl(optionalhook=True)
def pytest_timeout_cancel_timer() -> bool:
    """Return True: there is no timer of pytest-timeout's to cancel."""
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Limit the set-up."""
    with _limited(item, "set-up"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Limit the body."""
    with _limited(item, "body"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Limit the clean-up. After it no test runs, for as long as a worker of pytest-xdist waits for the next one."""
    try:
        with _limited(item, "clean-up"):
            return (yield)
    finally:
        _disarm()


def pytest_enter_pdb() -> None:
    """Lift the limit: somebody debugs the test."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    _disarm()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End what is left after the last test. A worker of pytest-xdist leaves both to the process that has started it."""
    if not hasattr(config, "workerinput"):
        end_processes(psutil.Process().children(recursive=True))
        faulthandler.dump_traceback_later(_END_S, exit=True, file=config.stash[_STDERR])


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    """End the processes that a test has left, and fail the test for them.

    A node that a test has restarted in a cluster that several tests share is not left: the cluster was there before. Nor is a
    fork server, or a browser's helper, of a process that was there before: it serves later tests, too, and ends with that
    process. A child of a process that was killed has a moment to end: the kernel kills it after its parent.
    """
    known = set(_descendants())
    clusters = {_cluster_of(pid) for pid in known} - {None}
    yield
    deadline = time.monotonic() + _MOMENT_S
    while True:
        after = [pid for pid in _descendants() if pid not in known]
        left = [
            child for child in _processes(after) if _is_left(child, known) and _cluster_of(child.pid) not in clusters
        ]
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.01)
    assert end_processes(left) == []


def _descendants() -> list[int]:
    """Return the ids of the processes below this one.

    psutil reads the whole process table for that, which takes 7 ms with 200 processes on the machine, twice in each test. The
    kernel lists the children of a thread in a file, where it is built to. Each test pays for this twice, so it uses no `Path`.
    """
    if not os.path.exists(f"/proc/self/task/{threading.get_native_id()}/children"):
        return [child.pid for child in psutil.Process().children(recursive=True)]
    pids = [os.getpid()]  # grows while it is walked
    for pid in pids:
        with contextlib.suppress(OSError):  # the process has ended meanwhile
            for thread in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as children:
                    pids += map(int, children.read().split())
    return pids[1:]


def _processes(pids: list[int]) -> list[psutil.Process]:
    """Return those that have not ended."""
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid))
    return found


def _cluster_of(pid: int) -> str | None:
    """Return the spec file of the cluster that a node or a proxy belongs to, or the mark of a run of other nodes."""
    with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        words = psutil.Process(pid).cmdline()
        if "--spec" in words:
            return words[words.index("--spec") + 1]
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if entry.startswith(f"{MARK}=".encode()):
                return entry.decode().partition("/")[0]
    return None


def end_processes(processes: list[psutil.Process]) -> list[str]:
    """Kill those that still run. Returns their command lines."""
    ended = []
    for process in filter(_is_running, processes):
        with contextlib.suppress(psutil.NoSuchProcess):
            ended.append(" ".join(process.cmdline()))
            process.kill()
    return ended


def _is_left(process: psutil.Process, known: set[int]) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        helps = "node.fork_server" in process.cmdline() or "chrom" in process.name()
        serves_on = process.ppid() in {os.getpid(), *known} and helps
        return not serves_on and _is_running(process)
    return False


def _is_running(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


@contextlib.contextmanager
def _limited(item: pytest.Item, phase: str) -> Iterator[None]:
    limit_s = item.stash.get(_LIMIT_S, 0.0)
    if not limit_s:
        yield
        return

    def over(_signal: int, _frame: object) -> None:
        __tracebackhide__ = True
        _print_other_threads()
        raise TookTooLong(f"the {phase} of this test took longer than {limit_s:g} s")

    previous = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, limit_s, limit_s / 4)
    _arm(limit_s, item.config.stash[_STDERR])
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _arm(limit_s: float, stderr: int) -> None:
    """Have the process end half the limit after the limit of this phase, or up to a tenth of it later.

    Each change ends a thread and starts another one, so the three phases of a quick test share one.
    """
    now = time.monotonic()
    if _armed_until[0] < now + limit_s * 1.5:
        faulthandler.dump_traceback_later(limit_s * 1.6, exit=True, file=stderr)
        _armed_until[0] = now + limit_s * 1.6


def _disarm() -> None:
    faulthandler.cancel_dump_traceback_later()
    _armed_until[0] = 0.0


def _print_other_threads() -> None:
    """Print where each thread but this one is. pytest shows it with the failure."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        if ident != threading.get_ident():
            sys.stderr.write(f"--- thread {names.get(ident, ident)} ---\n")
            traceback.print_stack(frame, file=sys.stderr)
