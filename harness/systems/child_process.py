"""The process of one node that is not ours: a command in a session of its own, so that all that it starts ends with it.

Rules
-----
1. Every signal goes to the whole process group. The proof of a kill is the wait status of its first process, that of a suspension
   the state letter in the process table.
2. `look` notices an end that no fault has caused. Each such end is kept, once, in `own_ends`.
3. Any thread may call any method.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from cluster.errors import BootFailed, FaultFailed, WrongState
from cluster.processes import PROOF_S, ProcessState, is_suspended
from cluster.spawning import Ready
from harness.systems.guardian import Guardian
from node.contract import NodeId

_LOOK_S: Final = 0.002
#: How long a process may take to end after SIGTERM, in seconds, before the fault counts as failed.
_TERMINATE_S: Final = 10.0


class ChildProcess:
    """The process of one node, over all its incarnations."""

    def __init__(
        self, node: NodeId, command: Sequence[str], folder: Path, environment: Mapping[str, str], guardian: Guardian
    ) -> None:
        """Describe a process; `launch` starts it.

        Args:
            node: the node.
            command: its words.
            folder: the folder in which it runs, which is the same for all incarnations.
            environment: the environment, in whole.
            guardian: ends the process if the harness is killed.
        """
        self.node, self.folder, self.ready = node, folder, None
        self.own_ends: list[str] = []
        self.ended = ""
        self.starts = 0
        self._command, self._environment, self._guardian = tuple(command), dict(environment), guardian
        self._popen: subprocess.Popen[bytes] | None = None
        self._asked_to_end = False
        self._lock = threading.RLock()

    ready: Ready | None

    @property
    def pid(self) -> int | None:
        """The process id, if a process runs."""
        return None if self._popen is None else self._popen.pid

    @property
    def pipes(self) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
        """The ends of the pipes to its standard input, and from its standard output and error."""
        assert self._popen is not None
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        assert self._popen.stderr is not None
        return self._popen.stdin, self._popen.stdout, self._popen.stderr

    # --- its state --------------------------------------------------------------------------------------------------

    def look(self) -> ProcessState:
        """Return the state, from the kernel. Notes an end that no fault has caused."""
        with self._lock:
            if self._popen is None:
                return ProcessState.DOWN if self.ended else ProcessState.NEW
            status = self._popen.poll()
            if status is not None:
                if not self._asked_to_end:
                    self._note_end(how_it_ended(status), by_itself=True)
                return ProcessState.DOWN
            return ProcessState.SUSPENDED if is_suspended(self._popen.pid) else ProcessState.UP

    def has_ended_by_itself(self) -> bool:
        """Return whether there are ends in `own_ends`. Looks for one first, more cheaply than `look`."""
        with self._lock:
            if self._popen is not None and self._popen.poll() is not None:
                self.look()
            return bool(self.own_ends)

    def describe(self) -> str:
        """Return the state for people."""
        state = self.look()
        return f"down: {self.ended}" if state is ProcessState.DOWN else str(state)

    @property
    def why_it_ended(self) -> str:
        """Nothing: such a node reports no reason, and `describe` says how it has ended."""
        return ""

    def _require(self, *wanted: ProcessState) -> subprocess.Popen[bytes]:
        state = self.look()
        if state not in wanted or self._popen is None:
            raise WrongState(
                f"{self.node} is {self.describe()}, and the request needs that it is {' or '.join(wanted)}"
            )
        return self._popen

    # --- acts -------------------------------------------------------------------------------------------------------

    def launch(self) -> None:
        """Start the process. Raises WrongState if one runs, BootFailed if the command cannot be executed."""
        with self._lock:
            state = self.look()
            if state in (ProcessState.UP, ProcessState.SUSPENDED):
                raise WrongState(f"{self.node} is {state} already (process {self.pid})")
            try:
                self._popen = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    cwd=self.folder,
                    env=self._environment,
                    start_new_session=True,
                    bufsize=0,
                )
            except OSError as error:
                self.ended = "could not start"
                raise BootFailed(f"{self.node}: {self._command[0]} cannot be started: {error.strerror}") from error
            self._guardian.watch(self._popen.pid)
            self.starts += 1
            self.ended = ""

    def kill(self) -> dict[str, object]:
        """Send SIGKILL to the group. Returns `signal`, `pid`, `wait_status`. Raises WrongState, FaultFailed."""
        with self._lock:
            popen = self._require(ProcessState.UP, ProcessState.SUSPENDED)
            _signal_group(popen.pid, signal.SIGKILL)
            status = popen.wait(PROOF_S)
            if status != -signal.SIGKILL:
                raise FaultFailed(f"{self.node} was sent SIGKILL, and its wait status is {status}")
            self._note_end("killed by SIGKILL")
            return {"signal": "SIGKILL", "pid": popen.pid, "wait_status": status}

    def terminate(self) -> dict[str, object]:
        """Send SIGTERM to the group, and wait for its end. Returns and raises as `kill`. What is left of the group is killed."""
        with self._lock:
            popen = self._require(ProcessState.UP)
            self._asked_to_end = True
            _signal_group(popen.pid, signal.SIGTERM)
        try:
            status = popen.wait(_TERMINATE_S)  # without the lock: other threads look at the node meanwhile
        except subprocess.TimeoutExpired:
            raise FaultFailed(f"{self.node} was sent SIGTERM, and has not ended after {_TERMINATE_S:g} s") from None
        finally:
            self._asked_to_end = False
        with self._lock:
            self._note_end("terminated by SIGTERM")
        return {"signal": "SIGTERM", "pid": popen.pid, "wait_status": status}

    def suspend(self) -> dict[str, object]:
        """Send SIGSTOP to the group. Returns `signal`, `pid`, `process_state`. Raises WrongState, FaultFailed."""
        with self._lock:
            popen = self._require(ProcessState.UP)
            _signal_group(popen.pid, signal.SIGSTOP)
            self._prove(suspended=True)
            return {"signal": "SIGSTOP", "pid": popen.pid, "process_state": "T"}

    def resume(self) -> dict[str, object]:
        """Send SIGCONT to the group. Returns `signal`, `pid`. Raises WrongState, FaultFailed."""
        with self._lock:
            popen = self._require(ProcessState.SUSPENDED)
            _signal_group(popen.pid, signal.SIGCONT)
            self._prove(suspended=False)
            return {"signal": "SIGCONT", "pid": popen.pid}

    def end(self) -> None:
        """Kill the group, whatever its state. An end that was not asked for before is still noted."""
        with self._lock:
            if self.look() in (ProcessState.UP, ProcessState.SUSPENDED):
                self.kill()

    def _prove(self, *, suspended: bool) -> None:
        deadline = time.monotonic() + PROOF_S
        while (self.look() is ProcessState.SUSPENDED) is not suspended:
            if self._popen is None:
                raise WrongState(f"{self.node} has ended meanwhile ({self.ended})")
            if time.monotonic() > deadline:
                raise FaultFailed(f"{self.node} was signalled, and the process table shows no effect")
            time.sleep(_LOOK_S)

    def _note_end(self, how: str, *, by_itself: bool = False) -> None:
        assert self._popen is not None
        _signal_group(self._popen.pid, signal.SIGKILL)  # what it has started ends with it
        self._guardian.forget(self._popen.pid)
        self._popen, self.ended = None, how
        if by_itself:
            self.own_ends.append(how)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def how_it_ended(status: int) -> str:
    """Return a wait status as words, such as "ended with status 1" or "was killed by SIGSEGV"."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
