"""A child that a fork server has made is like one that was started from nothing."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster import forking
from cluster.forking import COLD, ForkedProcess, ForkServers
from cluster.process_mark import VARIABLE, ProcessMark
from cluster.spawning import spawn
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
    "signals": [line for line in visible("status").splitlines() if line.startswith(("Sig", "Shd"))],
    "int": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    "gc": [gc.isenabled(), gc.get_threshold()], "loggers": repr(logging.getLogger().handlers),
    "warnings": repr(warnings.filters), "encoding": [sys.stdout.encoding, sys.stderr.errors, sys.stdin.encoding],
    "value": customized.VALUE,
}
varies = {"pid": os.getpid(), "random": random.random(), "hash": hash("a"), "warm": "node.runtime" in sys.modules}
varies["has a log"] = {"node.algorithms.multipaxos.replica", "node.machines.locks"} <= set(sys.modules)
os.write(ready, json.dumps({**report, "varies": varies}).encode() + b"\\n")
sys.stdin.read()
sys.exit(7)
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
    ready = [str(report["argv"][4]) for report in (one, two, cold)]
    assert f'{VARIABLE}={{"role": "n1"' in one["environ"]
    assert one["cmdline"].split("\0") == [*one["orig_argv"], ""]
    for report, number in zip((one, two, cold), ready, strict=True):
        for where in ("environment", "environ"):
            report[where] = sorted(report[where].split("\0")) if where == "environ" else report[where]
            assert (COLD in report["environment"]) is (report is cold)
        report["environment"].pop(COLD, None)
        report["environ"] = [line for line in report["environ"] if not line.startswith(COLD)]
        for where in ("argv", "orig_argv"):
            report[where] = ["READY" if word == number else word for word in report[where]]
        report["cmdline"] = report["cmdline"].replace(f"\0{number}\0", "\0READY\0")
    assert one == cold
    assert two == cold


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
