"""Processes that each do one thing and end: they are forked, so that what one imports, breaks or fills no other sees."""

import contextlib
import json
import math
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

K = TypeVar("K")  # what a process is about

_NEVER: Final = math.inf
#: How long one wait for a process lasts, in seconds, so that Ctrl-C ends it on any thread.
_MOMENT_S: Final = 0.2


@dataclass(slots=True)
class Ended(Generic[K]):
    """A process that has ended. `result` is what its function returned; None if it did not, and `how` says why."""

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

    def __init__(self, *, wall_s: float = _NEVER, memory_max: int | None = None) -> None:
        """Limit each process to `wall_s` seconds, and to `memory_max` bytes of address space."""
        self._wall_s, self._memory_max = wall_s, memory_max
        self._running: dict[int, _Running[K]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def start(self, about: K, function: Callable[[], dict[str, Any]], *, cpu_s: float | None = None) -> None:
        """Fork a process that calls `function`, and has `cpu_s` seconds of processor time; None for no limit.

        What the function returns or raises must be of JSON, or have a text.
        """
        reader, writer = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._in_child(parent, writer, function, cpu_s)
        os.close(writer)
        self._running[pid] = _Running(about, reader, time.monotonic() + self._wall_s)

    def _in_child(self, parent: int, writer: int, function: Callable[[], dict[str, Any]], cpu_s: float | None) -> None:
        status = 1
        try:
            os.setpgid(0, 0)
            die_with(parent)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if cpu_s is not None:
                resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_s) + 1, int(cpu_s) + 3))
            if self._memory_max is not None:
                resource.setrlimit(resource.RLIMIT_AS, (self._memory_max, self._memory_max))
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
        readable: list[int] = []
        while not readable and (left := first - time.monotonic()) > 0:
            readable, _, _ = select.select(list(ready), [], [], min(left, _MOMENT_S))
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
        if code == -signal.SIGXCPU or (code == -signal.SIGKILL and running.deadline <= time.monotonic()):
            return Ended(running.about, None, "it did not end in time")
        if code == -signal.SIGKILL:
            return Ended(running.about, None, "its process was killed: did the machine run out of memory?")
        return Ended(running.about, None, f"the process ended with {code}")

    def end_all(self) -> None:
        """End every process that runs, with what it has started."""
        for pid in list(self._running):
            _end(pid)
            self._reap(pid)


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
