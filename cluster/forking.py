"""Fork servers: start a child from a process that has its imports already. `node/fork_server.py` is the server.

Rules
-----
1. A child that a server has forked is like one that `subprocess.Popen` has started: a child of this process, with its own command
   line, environment, folder, descriptors and process group or session. Only `ForkedProcess` reaps it.
2. Each process that launches has two servers of its own, which start with its first child and end with it. Children are forked by
   turns, so that the nodes of a cluster have two seeds of `hash`. One that has the imports may fork itself for the first.
3. What a child inherits and a server cannot give to it, such as limits and the variables that Python reads at its start, belongs
   to the server. If it changes, two other servers take over.
4. `start` returns None for what no server can do: another interpreter, another system, the environment variable
   CONSENSUS_LAB_COLD. The caller then starts the process itself. So it does if a server fails.
"""

import json
import logging
import os
import resource
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Final

from cluster.adopted_process import UNSEEN_STATUS
from cluster.process_mark import VARIABLE
from node.fork_server import is_possible, serve_in_fork

log = logging.getLogger("cluster")

#: If this variable is set, every process starts from nothing.
COLD: Final = "CONSENSUS_LAB_COLD"
#: What a command starts with that a server can do.
_START: Final = (sys.executable, "-P", "-m")
_SERVER: Final = "node.fork_server"
_SERVERS: Final = 2
#: How many servers may end, one after the other, before a child starts from nothing; how long to wait between them, in seconds.
_TRIES: Final = 4
_EDITED_S: Final = 0.05
#: How long a server may take to answer, in seconds.
_ANSWER_S: Final = 30.0
#: The variables that an interpreter, or its C library, reads when it starts.
_READ_AT_START: Final = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_", "GLIBC_", "TZ", "HOME")
#: Coverage begins to measure when an interpreter starts.
_MEASURED: Final = "COVERAGE_PROCESS"


class ForkedProcess(subprocess.Popen[bytes]):
    """A child that a fork server has made. A `wait` with a time limit returns as soon as the child has ended."""

    def __init__(self, command: Sequence[str], pid: int, stdin: IO[bytes] | None) -> None:
        """Take over the child `pid`; nothing else reaps it."""
        self.args, self.pid, self.stdin = list(command), pid, stdin
        self.stdout = self.stderr = None
        self.returncode: int | None = None
        self._reaping = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit status, as `Popen.poll`; None while the child has not ended."""
        with self._reaping:
            if self.returncode is None:
                try:
                    pid, status = os.waitpid(self.pid, os.WNOHANG)
                except ChildProcessError:  # this is a fork of the launcher, or Ctrl-C came before the status was noted
                    return self._look()
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, at most `timeout` seconds. Raises subprocess.TimeoutExpired."""
        with self._reaping:
            pidfd = os.pidfd_open(self.pid) if self.returncode is None and self._look() is None else None
        if pidfd is not None:
            try:
                poller = select.poll()
                poller.register(pidfd, select.POLLIN)
                poller.poll(None if timeout is None else max(timeout, 0) * 1000)
            finally:
                os.close(pidfd)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return status

    def _look(self) -> int | None:
        """Note the end of a child that is no more, whose status is lost. Return that, or None if there still is a process."""
        try:
            os.close(os.pidfd_open(self.pid))
        except ProcessLookupError:
            self.returncode = UNSEEN_STATUS
        return self.returncode

    def communicate(self, input: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:  # noqa: A002
        """Write `input`, close stdin and wait for the end. The output is in the child's log, so nothing is returned.

        Raises:
            subprocess.TimeoutExpired: the child has not ended in `timeout` seconds.
        """
        assert self.stdin is not None
        with suppress(BrokenPipeError), self.stdin:
            self.stdin.write(input or b"")
        self.wait(timeout)
        return b"", b""


class ForkServers:
    """The servers of this process. One thread calls it, which lives as long as this process: see `cluster/spawning.py`."""

    def __init__(self) -> None:
        self._servers: list[_Server] = []
        self._inherited: object = None
        self._failed = False

    def start(
        self, command: Sequence[str], ready_fd: int, output: int, environment: Mapping[str, str]
    ) -> ForkedProcess | None:
        """Start a child with a pipe as its stdin. Returns None if no server can do it.

        Args:
            command: the command line of the child.
            ready_fd: a descriptor that the child inherits under this number.
            output: the descriptor that becomes its stdout and stderr.
            environment: its environment.
        """
        reader, writer = os.pipe()
        try:
            pid = self._start(command, [reader, output], [ready_fd], environment)
        finally:
            os.close(reader)
        if pid is None:
            os.close(writer)
            return None
        return ForkedProcess(command, pid, open(writer, "wb"))

    def start_detached(
        self, command: Sequence[str], inherited: Sequence[int], output: int, environment: Mapping[str, str]
    ) -> ForkedProcess | None:
        """Start a child with a session of its own and no stdin, which outlives this process.

        Returns None if no server can do it, or none runs yet: to start two for one child would take longer than the child.

        Args:
            command: the command line of the child.
            inherited: descriptors that the child inherits under these numbers.
            output: the descriptor that becomes its stdout and stderr.
            environment: its environment.
        """
        if not self._servers:
            return None
        with open(os.devnull, "rb") as nothing:
            pid = self._start(command, [nothing.fileno(), output], inherited, environment, own_session=True)
        return None if pid is None else ForkedProcess(command, pid, None)

    def warm_up(self, environment: Mapping[str, str]) -> None:
        """Start the servers now, so that also the first child comes from one, where that is possible."""
        if _can_serve(environment) and not self._failed:
            self._complete(environment)

    def fork_this_process(self) -> None:
        """Make the first server by forking this process, where that is possible.

        This process has one thread, no zmq context, no connection to a database and no code of a user, and is about to launch.
        """
        if _can_serve(os.environ):
            self._inherited = _inherited(os.environ)
            self._servers.append(_ForkOfThisProcess())

    def _start(
        self,
        command: Sequence[str],
        descriptors: list[int],
        inherited: Sequence[int],
        environment: Mapping[str, str],
        *,
        own_session: bool = False,
    ) -> int | None:
        """Have a server fork. Returns the id of the child; None if no server can do it."""
        if self._failed or tuple(command[: len(_START)]) != _START or not _can_serve(environment):
            return None
        request = {"module": command[len(_START)], "command": list(command), "environment": dict(environment)}
        line = json.dumps({**request, "inherited": list(inherited), "own_session": own_session}).encode() + b"\n"
        try:
            folder = os.open(".", os.O_PATH | os.O_DIRECTORY)
            try:
                return self._fork(line, [*descriptors, folder, *inherited], environment)
            finally:
                os.close(folder)
        except (OSError, ValueError) as error:
            self.close()
            self._failed = True
            log.warning("this process starts its children without a fork server from now on: %s", error)
            return None

    def _fork(self, line: bytes, descriptors: list[int], environment: Mapping[str, str]) -> int:
        for _ in range(_TRIES):
            self._complete(environment)
            self._servers.append(self._servers.pop(0))
            pid = self._servers[-1].fork(line, descriptors)
            if pid is not None:
                return pid
            self.close()
            time.sleep(_EDITED_S)  # it may have ended since a source was being edited when it started
        raise OSError(f"a fork server has ended {_TRIES} times")

    def _complete(self, environment: Mapping[str, str]) -> None:
        """Have as many servers as there should be, with what a child inherits."""
        if self._inherited != (now := _inherited(environment)):
            self.close()
            self._inherited = now
        while len(self._servers) < _SERVERS:
            self._servers.append(_Server(environment))

    def close(self) -> None:
        """End the servers. The next `start` starts others."""
        for server in self._servers:
            server.close()
        self._servers.clear()


class _Server:
    """A fork server, and the socket to it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._connection, end = socket.socketpair()
        self._connection.settimeout(_ANSWER_S)
        self._lines = self._connection.makefile("rb")
        unmarked = {name: value for name, value in environment.items() if name != VARIABLE}
        with end:
            self._process = self._start(end, unmarked)

    def _start(self, end: socket.socket, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start the server at the other end of the socket."""
        return subprocess.Popen(
            _server_command(end),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[end.fileno()],
            process_group=0,
            env=environment,
        )

    def fork(self, line: bytes, descriptors: list[int]) -> int | None:
        """Have the server fork. Returns the id of the child; None if the server has ended, or ends.

        Raises:
            OSError: the server is suspended, or cannot fork.
        """
        try:
            socket.send_fds(self._connection, [b"\n"], descriptors)
            self._connection.sendall(line)
            answer = self._lines.readline()
        except ConnectionError:
            return None
        reply = json.loads(answer) if answer else {"stale": True}
        if "error" in reply:
            raise OSError(reply["error"], os.strerror(reply["error"]))
        return None if "stale" in reply else int(reply["pid"])

    def close(self) -> None:
        """End the server."""
        self._lines.close()
        self._connection.close()
        self._process.kill()
        self._process.wait()


class _ForkOfThisProcess(_Server):
    """A fork server that is a fork of this process."""

    def __init__(self) -> None:
        super().__init__(os.environ)

    def _start(self, end: socket.socket, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        command, launcher = _server_command(end), os.getpid()
        pid = os.fork()
        if pid == 0:
            serve_in_fork(end, launcher, command, environment)
        return ForkedProcess(command, pid, None)


def _server_command(end: socket.socket) -> list[str]:
    return [*_START, _SERVER, str(end.fileno()), str(os.getpid()), str(time.time_ns())]


def _can_serve(environment: Mapping[str, str]) -> bool:
    """Return whether servers are possible here, and wanted."""
    return COLD not in environment and is_possible() and not any(name.startswith(_MEASURED) for name in environment)


def _inherited(environment: Mapping[str, str]) -> object:
    """Return what a child inherits from its server."""
    with open("/proc/self/status", encoding="utf-8", errors="replace") as status:
        mask = next(line for line in status if line.startswith("Umask"))
    limits = [resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")]
    return mask, limits, {name: value for name, value in environment.items() if name.startswith(_READ_AT_START)}
