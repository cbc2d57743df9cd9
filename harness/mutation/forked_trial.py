"""Processes that each try one thing and end: they are forked, so that what one imports or breaks no other sees."""

import contextlib
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from node.launcher import die_with

K = TypeVar("K")  # what a trial is about

#: More memory than this, in bytes, ends a trial: a changed loop may fill it.
_MEMORY_MAX: Final = 4 << 30


@dataclass(slots=True)
class Ended(Generic[K]):
    """A trial that has ended. `result` is what its function returned; None if it did not, and `how` says why."""

    about: K
    result: dict[str, Any] | None
    how: str


@dataclass(slots=True)
class _Running(Generic[K]):
    about: K
    reader: int
    deadline: float
    data: bytes = b""


class Forks(Generic[K]):
    """Runs functions in forked processes, and yields their results as they end.

    The process that forks must have one thread.
    """

    def __init__(self, *, wall_s: float) -> None:
        """Limit each process to `wall_s` seconds."""
        self._wall_s = wall_s
        self._running: dict[int, _Running[K]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def start(self, about: K, function: Callable[[], dict[str, Any]], *, cpu_s: float) -> None:
        """Fork a process that calls `function`, and has `cpu_s` seconds of processor time."""
        reader, writer = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._in_child(parent, writer, function, int(cpu_s) + 1)
        os.close(writer)
        self._running[pid] = _Running(about, reader, time.monotonic() + self._wall_s)

    def _in_child(self, parent: int, writer: int, function: Callable[[], dict[str, Any]], cpu_s: int) -> None:
        status = 1
        try:
            os.setpgid(0, 0)
            die_with(parent)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 2))
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_MAX, _MEMORY_MAX))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(null, descriptor)
            sys.stdout, sys.stderr = open(os.devnull, "w"), open(os.devnull, "w")  # noqa: SIM115 - until the process ends
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 - what runs is changed code
                result = {"raised": f"{type(error).__name__}: {error}"}
            data = json.dumps(result).encode()
            while data:
                data = data[os.write(writer, data) :]
            status = 0
        finally:
            os._exit(status)

    def ended(self) -> Iterator[Ended[K]]:
        """Wait until at least one process has ended, and yield each that has."""
        ready = {running.reader: pid for pid, running in self._running.items()}
        first = min((running.deadline for running in self._running.values()), default=0.0)
        readable, _, _ = select.select(list(ready), [], [], max(first - time.monotonic(), 0))
        for reader in readable:
            running = self._running[ready[reader]]
            data = os.read(reader, 1 << 20)
            running.data += data
            if not data:
                yield self._reap(ready[reader])
        for pid in [pid for pid, running in self._running.items() if running.deadline <= time.monotonic()]:
            _end(pid)
            yield self._reap(pid)

    def _reap(self, pid: int) -> Ended[K]:
        running = self._running.pop(pid)
        os.close(running.reader)
        _, status = os.waitpid(pid, 0)
        _end(pid)  # what it has started
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            result = json.loads(running.data)
            raised = result.get("raised", "")
            return Ended(running.about, None if raised else result, raised)
        if code in (-signal.SIGXCPU, -signal.SIGKILL):
            return Ended(running.about, None, "it did not end in time")
        return Ended(running.about, None, f"the process ended with {code}")

    def end_all(self) -> None:
        """End every process that runs, with what it has started."""
        for pid in list(self._running):
            _end(pid)
            self._reap(pid)


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
