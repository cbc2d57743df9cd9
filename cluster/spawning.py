"""Start child processes that report on a pipe when they are ready.

Rules
-----
1. A child writes one line of JSON to its ready pipe: what it reports when it is ready, or `{"error": reason}`. If it ends before
   that, the pipe closes.
2. One thread, which lives as long as this process, spawns every child. The kernel kills a child when the *thread* that has
   spawned it ends (PDEATHSIG).
3. A child that ends with this process is forked by a server that has its imports, where that is possible (`cluster/forking.py`).
   A supervisor, which outlives this process, comes from a server that runs already, or starts from nothing, as nodes that do so.
"""

import atexit
import json
import os
import select
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from cluster.errors import BootFailed
from cluster.forking import ForkServers
from cluster.process_mark import ProcessMark
from cluster.safe_output import see_log_and_disk

#: How long a process may take to become ready, in seconds.
READY_S: Final = 30.0

_Result = TypeVar("_Result")


class _Spawner:
    """The thread that spawns. The process ends without waiting for it.

    A thread of `concurrent.futures` would keep the process from ending if a signal interrupts the call that starts it.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def run(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        """Call a function in the thread, and return what it returns."""
        done: Future[_Result] = Future()

        def work() -> None:
            try:
                done.set_result(function(*arguments))
            except BaseException as error:  # noqa: BLE001 - the caller gets it
                done.set_exception(error)

        with self._starting:
            if not self.is_running():
                self._thread = threading.Thread(target=self._run, name="spawner", daemon=True)
                self._thread.start()
        self._work.put(work)
        return done.result()

    def is_running(self) -> bool:
        """Return whether the thread has started. It has not in a process that was forked since."""
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        while True:
            self._work.get()()


def _close_servers() -> None:
    if _spawner.is_running():
        _spawner.run(_servers.close)  # after what it is doing
    else:
        _servers.close()


_spawner = _Spawner()
_servers = ForkServers()
atexit.register(_close_servers)


@dataclass(frozen=True, slots=True)
class Ready:
    """What a process reports when it is ready."""

    report: dict[str, Any]

    @property
    def address(self) -> str:
        """The address at which a node listens."""
        return str(self.report["address"])

    @property
    def incarnation(self) -> int:
        """The number of this boot of the node."""
        return int(self.report["incarnation"])


class ReadyPipe:
    """A pipe on which a child writes one line of JSON, once: that it is ready, or why it will not be."""

    def __init__(self, log: Path) -> None:
        """Make the pipe. `log` is the child's log, which errors name."""
        self._log = log
        self._reader, self.writer = os.pipe()
        self._text = b""
        self._made = time.monotonic()

    @staticmethod
    def write(descriptor: int, report: dict[str, object]) -> None:
        """Write the line. The child calls this with the descriptor that it has inherited.

        Raises:
            BrokenPipeError: the process that has started the child waits for it no more.
        """
        os.write(descriptor, json.dumps(report).encode() + b"\n")

    def wait(self, name: str, deadline: float) -> Ready:
        """Wait for the line, and return it.

        Args:
            name: names the child in errors.
            deadline: how long to wait, as a time of the monotonic clock in seconds.

        Raises:
            BootFailed: the child has reported an error, has ended, or has written nothing until `deadline`.
        """
        try:
            while not self._text.endswith(b"\n"):
                readable, _, _ = select.select([self._reader], [], [], max(deadline - time.monotonic(), 0))
                data = os.read(self._reader, 65536) if readable else b""
                if not data:
                    waited_s = time.monotonic() - self._made
                    how = "ended before it was ready" if readable else f"was not ready within {waited_s:.3g} s"
                    raise BootFailed(f"{name} {how}: {see_log_and_disk(self._log)}")
                self._text += data
        finally:
            os.close(self._reader)
        report = json.loads(self._text)
        if "error" in report:
            raise BootFailed(f"{name} cannot start: {report['error']}")
        return Ready(report)


def warm_up() -> None:
    """Start the servers that fork children, for a process that is to launch many clusters."""
    _spawner.run(_servers.warm_up, os.environ)


def fork_this_process() -> None:
    """Have this process, which has the imports of a node, fork the first of those servers: see `ForkServers`."""
    _servers.fork_this_process()


def spawn_detached(
    command: Sequence[str], log: Path, mark: ProcessMark, descriptor: int
) -> tuple[subprocess.Popen[bytes], ReadyPipe]:
    """Start a process that outlives this one, in a session of its own, and let it inherit a descriptor."""
    pipe = ReadyPipe(log)
    full = [*command, "--ready-fd", str(pipe.writer)]
    inherited = [pipe.writer, descriptor]
    try:
        with open(log, "ab") as output:
            forked = _spawner.run(_servers.start_detached, full, inherited, output.fileno(), mark.environment())
            popen = forked or subprocess.Popen(
                full,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=inherited,
                start_new_session=True,
                env=mark.environment(),
            )
    finally:
        os.close(pipe.writer)
    return popen, pipe


def spawn_outliving(command: Sequence[str], log: Path, mark: ProcessMark) -> tuple[subprocess.Popen[bytes], ReadyPipe]:
    """Start a child that outlives this process, in a session of its own, so that no terminal ends it."""
    pipe = ReadyPipe(log)
    try:
        with open(log, "ab") as output:
            popen = subprocess.Popen(
                [*command, "--ready-fd", str(pipe.writer)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[pipe.writer],
                start_new_session=True,
                env=mark.environment(),
            )
    finally:
        os.close(pipe.writer)
    return popen, pipe


def spawn(
    command: Sequence[str], log: Path, mark: ProcessMark | None = None
) -> tuple[subprocess.Popen[bytes], ReadyPipe]:
    """Start a child with a control pipe on stdin, a ready pipe, and its output appended to `log`.

    `mark` is what the child is, for those who look for the processes of clusters.
    The child has a process group of its own, so that Ctrl-C in a terminal reaches only the process that launched it.
    """
    pipe = ReadyPipe(log)

    def start() -> subprocess.Popen[bytes]:
        full = [*command, "--ready-fd", str(pipe.writer), "--parent", str(os.getpid())]
        environment = os.environ if mark is None else mark.environment()
        with open(log, "ab") as output:
            return _servers.start(full, pipe.writer, output.fileno(), environment) or subprocess.Popen(
                full,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=[pipe.writer],
                process_group=0,
                env=environment,
            )

    try:
        return _spawner.run(start), pipe
    finally:
        os.close(pipe.writer)
