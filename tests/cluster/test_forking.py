"""A child that a fork server has made is like one that was started from nothing."""

import json
import logging
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster import forking
from cluster.adopted_process import UNSEEN_STATUS
from cluster.forking import COLD, ForkedProcess, ForkServers
from cluster.process_mark import VARIABLE, ProcessMark
from cluster.spawning import spawn, spawn_detached, warm_up
from cluster.spec import create
from node.fork_server import is_possible

WAIT_S = 20.0
ON_LINUX = pytest.mark.skipif(not is_possible(), reason="this system has no fork server")

#: Reports what a process can see of itself, and waits until its stdin ends.
PROBE = """
import gc, json, logging, os, random, signal, stat, sys, threading, warnings
import customized

def visible(name):
    with open(f"/proc/self/{name}", "rb") as file:
        return os.fsdecode(file.read())

ready = int(sys.argv[sys.argv.index("--ready-fd") + 1])
os.set_inheritable(ready, True)
report = {
    "name": __name__, "file": __file__, "package": __package__, "is_main": sys.modules["__main__"].__dict__ is globals(),
    "argv": sys.argv, "orig_argv": sys.orig_argv, "path": sys.path, "flags": repr(sys.flags), "warn": sys.warnoptions,
    "cmdline": visible("cmdline"), "environ": visible("environ"), "comm": visible("comm"), "exe": os.readlink("/proc/self/exe"),
    "environment": dict(os.environ), "cwd": os.getcwd(), "umask": os.umask(0o77), "group": os.getpgid(0) == os.getpid(),
    "parent": os.getppid(), "session": os.getsid(0), "threads": threading.active_count(),
    "descriptors": sorted(
        (fd, stat.S_IFMT(os.fstat(fd).st_mode), os.get_inheritable(fd)) for fd in map(int, os.listdir("/proc/self/fd"))
        if os.path.exists(f"/proc/self/fd/{fd}") and fd != ready
    ),
    "output": os.readlink("/proc/self/fd/1") + os.readlink("/proc/self/fd/2"),
    "signals": [line for line in visible("status").splitlines() if line.startswith(("SigP", "SigB", "SigI", "SigC", "Shd"))],
    "int": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    "gc": [gc.isenabled(), gc.get_threshold()], "loggers": repr(logging.getLogger().handlers),
    "warnings": repr(warnings.filters), "encoding": [sys.stdout.encoding, sys.stderr.errors, sys.stdin.encoding],
    "value": customized.VALUE,
}
varies = {"pid": os.getpid(), "random": random.random(), "hash": hash("a"), "warm": "node.runtime" in sys.modules}
varies["imported by the launcher"] = "colorsys" in sys.modules
varies["has a log"] = {"node.algorithms.multipaxos.replica", "node.machines.locks"} <= set(sys.modules)
os.write(ready, json.dumps({**report, "varies": varies}).encode() + b"\\n")
sys.stdin.read()
sys.exit(7)
"""

#: What one process has in its environment and another one lacks: the readline library adds the size of a terminal.
VARIES = (COLD, "COLUMNS", "LINES")

#: Forks itself for its first server, and has three processes started.
LAUNCHER = """
import colorsys, json, sys, time
from pathlib import Path
from cluster.process_mark import ProcessMark
from cluster.spawning import fork_this_process, spawn

fork_this_process()
folder = Path(sys.argv[1])
reports = []
for _ in range(3):
    popen, pipe = spawn(sys.argv[2:], folder / "log", ProcessMark("n1", "cluster", str(folder), 1, 2))
    reports.append(pipe.wait("the probe", time.monotonic() + 20).report)
    popen.communicate()
print(json.dumps(reports))
"""

Probe = Callable[..., tuple[ForkedProcess, dict[str, Any]]]


@pytest.fixture
def servers() -> Iterator[ForkServers]:
    own = ForkServers()
    yield own
    own.close()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the probe."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "probe.py").write_text(PROBE)
    (folder / "sitecustomize.py").write_text("import customized")  # so that a server has it from its start
    (folder / "customized.py").write_text("VALUE = 1")
    return folder


@pytest.fixture
def probe(tmp_path: Path, sources: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Probe]:
    """Starts a process that reports what it sees."""
    started: list[subprocess.Popen[bytes]] = []
    monkeypatch.setenv("PYTHONPATH", str(sources))
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)

    def start(*arguments: str) -> tuple[Any, dict[str, Any]]:
        mark = ProcessMark("n1", "cluster", str(tmp_path), 1, 2)
        command = [sys.executable, "-P", "-m", "probe", "--value", "ü \udcff", *arguments]
        popen, pipe = spawn(command, tmp_path / "log", mark)
        started.append(popen)
        return popen, pipe.wait("the probe", time.monotonic() + WAIT_S).report

    yield start
    for popen in started:
        popen.kill()
        popen.wait(WAIT_S)
        assert popen.stdin is not None
        popen.stdin.close()


@ON_LINUX
def test_a_forked_process_is_like_one_that_starts_from_nothing(
    probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (first, one), (second, two) = probe(), probe()
    assert isinstance(first, ForkedProcess)
    monkeypatch.setenv(COLD, "1")
    plain, cold = probe()
    assert not isinstance(plain, ForkedProcess)
    vary = [report.pop("varies") for report in (one, two, cold)]
    assert [seen["pid"] for seen in vary] == [first.pid, second.pid, plain.pid]
    assert [seen["warm"] for seen in vary] == [True, True, False]
    assert len({seen["random"] for seen in vary}) == len({seen["hash"] for seen in vary}) == 3
    assert f'{VARIABLE}={{"role": "n1"' in one["environ"]
    assert one["cmdline"].split("\0") == [*one["orig_argv"], ""]
    assert (COLD in cold["environment"], COLD in cold["environ"], COLD in one["environ"]) == (True, True, False)
    assert comparable(one) == comparable(two) == comparable(cold)


def comparable(report: dict[str, Any]) -> dict[str, Any]:
    """What a report has in common with that of a process that was started in another way."""
    words = report["argv"]
    numbers = {words[words.index(option) + 1]: option for option in ("--ready-fd", "--parent")}
    return {
        **report,
        "environment": {name: value for name, value in report["environment"].items() if name not in VARIES},
        "environ": sorted(line for line in report["environ"].split("\0") if line.partition("=")[0] not in VARIES),
        "argv": [numbers.get(word, word) for word in words],
        "orig_argv": [numbers.get(word, word) for word in report["orig_argv"]],
        "cmdline": [numbers.get(word, word) for word in report["cmdline"].split("\0")],
        "parent": None,
        "session": None,
    }


@ON_LINUX
def test_so_is_one_that_a_fork_of_its_launcher_has_forked(
    probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(COLD, "1")
    _, cold = probe()
    monkeypatch.delenv(COLD)
    probed = [sys.executable, "-P", "-m", "probe", "--value", "ü \udcff"]
    launcher = [sys.executable, "-P", "-c", LAUNCHER, str(tmp_path), *probed]
    done = subprocess.run(launcher, capture_output=True, text=True, check=True, timeout=WAIT_S)
    one, two, third = json.loads(done.stdout)
    vary = [report.pop("varies") for report in (one, two, third, cold)]
    assert [seen["warm"] for seen in vary] == [True, True, True, False]
    assert [seen["imported by the launcher"] for seen in vary] == [True, False, True, False]
    assert vary[0]["hash"] == vary[2]["hash"] != vary[1]["hash"]
    assert len({seen["random"] for seen in vary}) == 4
    assert comparable(one) == comparable(two) == comparable(third) == comparable(cold)


@ON_LINUX
def test_a_child_that_outlives_its_launcher_has_a_session_of_its_own(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(sources))
    mark = ProcessMark("supervisor", "cluster", str(tmp_path), 1, 2)
    warm_up()
    with (tmp_path / "lock").open("w") as lock:
        command = [sys.executable, "-P", "-m", "probe", "--parent", "0"]
        popen, pipe = spawn_detached(command, tmp_path / "log", mark, lock.fileno())
        report = pipe.wait("the probe", time.monotonic() + WAIT_S).report
        assert isinstance(popen, ForkedProcess)
        assert (report["session"], report["group"], report["parent"]) == (popen.pid, True, os.getpid())
        assert report["output"] == str(tmp_path / "log") * 2
        kinds = {number: stat.S_ISREG(kind) for number, kind, _ in report["descriptors"]}
        assert kinds == {0: False, 1: True, 2: True, lock.fileno(): True}
        assert popen.wait(WAIT_S) == 7  # its stdin is empty


@ON_LINUX
def test_a_server_imports_the_algorithm_and_the_machines_that_a_spec_names(probe: Probe, tmp_path: Path) -> None:
    spec = create(tmp_path / "log of commands", nodes=1, algorithm="multipaxos")
    damaged = tmp_path / "damaged.toml"
    damaged.write_text("algorithm = ")
    for arguments, has_a_log in ((), False), (("--spec", str(damaged)), False), (("--spec", str(spec.path)), True):
        _, report = probe(*arguments)
        assert report["varies"]["has a log"] is has_a_log


@ON_LINUX
def test_its_parent_learns_how_it_ends(probe: Probe) -> None:
    popen, _ = probe()
    assert popen.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        popen.wait(0.01)
    popen.send_signal(signal.SIGSTOP)
    popen.kill()
    assert [popen.wait(WAIT_S), popen.poll(), popen.wait()] == [-signal.SIGKILL] * 3
    popen.terminate()  # it has ended, so nothing happens
    popen, _ = probe()
    assert popen.communicate(timeout=WAIT_S) == (b"", b"")
    assert popen.wait() == 7


@ON_LINUX
@pytest.mark.parametrize("ask", [ForkedProcess.poll, ForkedProcess.wait])
def test_an_end_whose_status_is_lost_is_an_end(probe: Probe, ask: Callable[[ForkedProcess], int | None]) -> None:
    """Ctrl-C may come when the child is reaped and its status not noted yet."""
    popen, _ = probe()
    assert isinstance(popen, ForkedProcess)
    popen.kill()
    os.waitpid(popen.pid, 0)
    assert ask(popen) == UNSEEN_STATUS
    popen.kill()  # nothing happens


@ON_LINUX
def test_a_file_that_has_changed_is_read_anew(probe: Probe, sources: Path) -> None:
    (sources / "customized.py").write_text("VALUE = 1")
    assert probe()[1]["value"] == 1
    (sources / "customized.py").write_text("VALUE = 23")
    _, report = probe()
    assert report["value"] == 23
    assert report["varies"]["warm"]
    (sources / "probe.py").write_text(PROBE.replace("customized.VALUE", "24"))
    assert [probe()[1]["value"], probe()[1]["value"]] == [24, 24]


@ON_LINUX
def test_a_server_that_was_killed_is_replaced(probe: Probe) -> None:
    probe()
    running = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    killed = [child for child in running if forking._SERVER in child.cmdline()]
    for child in killed:
        child.kill()
    assert len(killed) == 2
    assert [probe()[1]["varies"]["warm"] for _ in range(3)] == [True] * 3


def test_what_no_server_can_do_starts_from_nothing(
    servers: ForkServers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    command = [sys.executable, "-P", "-m", "node"]

    def start(*command: str, **variables: str) -> object:
        return servers.start(command, 1, 2, {**os.environ, **variables})

    assert start("python-of-another-name", "-P", "-m", "node") is None
    assert start(sys.executable, "-P", "-c", "pass") is None
    assert start(*command, **{COLD: "1"}) is None
    assert start(*command, COVERAGE_PROCESS_START="here") is None
    assert not caplog.records
    monkeypatch.setattr(forking, "_SERVER", "node.contract")  # it ends at once
    with caplog.at_level(logging.WARNING):
        assert start(*command) is None
        assert start(*command) is None
    assert len(caplog.records) == 1
