"""One node's process: start, kill, suspend, resume, terminate. The only home of psutil.

Rules
-----
1. Each act checks the state before, and proves the state after from outside the process: by a wait status, or by a state
   letter in the process table. An act without proof raises `FaultFailed`.
2. A process is reaped through its Popen and nowhere else. Only the first `wait` on a child returns its real exit status: after
   a `wait` of psutil, a SIGKILL would look like a clean exit.
3. `look` notices what other processes do to a node, and distinguishes a kill or a suspension from outside from our own.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from cluster.adopted_process import UNSEEN_STATUS, AdoptedProcess
from cluster.errors import BootFailed, FaultFailed, WrongState
from cluster.process_mark import ProcessMark
from cluster.safe_output import see_log
from cluster.spawning import READY_S, Ready, ReadyPipe, spawn
from cluster.spec import Spec
from node.contract import NodeId

NODE_COMMAND: Final = (sys.executable, "-P", "-m", "node")
PROOF_S: Final = 5.0
_LOOK_EVERY_S: Final = 0.002
_ENDING_S: Final = 0.5  # how long a process whose boot has failed may take to end
_SAME_BIRTH_S: Final = 10.0


class ProcessState(StrEnum):
    """The state of a node's process, as the kernel sees it."""

    NEW = "new"
    UP = "up"
    SUSPENDED = "suspended"
    DOWN = "down"


class ClockSetting(NamedTuple):
    """How a node's clock differs from the machine's: its rate, in seconds per second, and how far it was moved, in seconds."""

    rate: float = 1.0
    moved_s: float = 0.0


class NodeProcess:
    """The process of one node, over all its incarnations."""

    def __init__(self, spec: Spec, node: NodeId, command: Sequence[str] = NODE_COMMAND) -> None:
        self.node = node
        self.ready: Ready | None = None
        self.ended = ""  # how the last process ended, for people
        self._stopped_by_itself = False
        self._spec, self._command = spec, command
        self._popen: subprocess.Popen[bytes] | AdoptedProcess | None = None
        self._pipe: ReadyPipe | None = None
        self._suspended_by_us = False
        self._our_end: dict[int, str] = {}  # by exit status: what we are doing to the process just now, for people
        self._is_noted = False  # whether the boot of this process is noted, see node/storage/last_seen.py
        self.clock = ClockSetting()

    # --- its state --------------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        """The process id, if a process runs."""
        return self._popen.pid if self._popen is not None else None

    def look(self) -> ProcessState:
        """Return the state, from the kernel. Notices what other processes have done to it."""
        if self._popen is None:
            return ProcessState.DOWN if self.ended else ProcessState.NEW
        status = self._popen.poll()
        if status is not None:
            how = _how_it_ended(status) + (" from outside" if status < 0 else "")
            self._note_end(self._our_end.get(status, how))  # another thread may look while we wait for the end
            self._stopped_by_itself = status > 0
            return ProcessState.DOWN
        return ProcessState.SUSPENDED if self._is_stopped() else ProcessState.UP

    def describe(self) -> str:
        """Return the state as text. The text says so if another process has caused it."""
        state = self.look()
        if state is ProcessState.SUSPENDED and not self._suspended_by_us:
            return "suspended from outside"
        return f"down: {self.ended}" if state is ProcessState.DOWN else str(state)

    def _is_stopped(self) -> bool:
        assert self._popen is not None
        return is_suspended(self._popen.pid)

    def _require(self, *wanted: ProcessState) -> subprocess.Popen[bytes] | AdoptedProcess:
        state = self.look()
        if state not in wanted or self._popen is None:
            hints = {
                ProcessState.NEW: "it has not been started yet",
                ProcessState.DOWN: f"it is down already ({self.ended}); restart it first",
                ProcessState.SUSPENDED: "it is suspended; resume it first",
                ProcessState.UP: "it is up, not suspended",
            }
            raise WrongState(f"{self.node}: {hints[state]}")
        return self._popen

    @property
    def why_it_ended(self) -> str:
        """Where the reason is to be found, for people, if the node is down and has stopped by itself; else an empty text."""
        return see_log(self._spec.log(self.node)) if self._stopped_by_itself and self._popen is None else ""

    # --- acts -------------------------------------------------------------------------------------------------------

    def launch(self) -> None:
        """Start the process. It is ready only after `wait_ready`, so that many can start at once. Raises WrongState."""
        state = self.look()
        if state in (ProcessState.UP, ProcessState.SUSPENDED):
            raise WrongState(f"{self.node} is {state} already (process {self.pid})")
        arguments = ["--spec", str(self._spec.path), "--id", self.node]
        if self._spec.has_booted(self.node):
            arguments += ["--booted", str(self._spec.booted(self.node))]
        mark = ProcessMark.of(self.node, self._spec.settings.cluster, self._spec.root)
        self._popen, self._pipe = self._spawn([*self._command, *arguments], self._spec.log(self.node), mark)
        if self.clock != ClockSetting():
            self._send_clock()
        self._suspended_by_us = False

    def _spawn(self, command: Sequence[str], log: Path, mark: ProcessMark) -> tuple[subprocess.Popen[bytes], ReadyPipe]:
        return spawn(command, log, mark)

    def adopt(self) -> Ready | None:
        """Take over a process that an earlier launcher has left. Returns what it reported, or None: here there never is one."""
        return None

    def wait_ready(self, timeout_s: float = READY_S) -> Ready:
        """Wait until the node listens, at most `timeout_s` seconds, and return what it reports.

        Raises:
            BootFailed: the node did not become ready. Its process has ended.
        """
        assert self._pipe is not None
        pipe, self._pipe = self._pipe, None
        try:
            self.ready = pipe.wait(self.node, time.monotonic() + timeout_s)
        except BootFailed:
            self._note_end(self._end_of_boot())
            raise
        try:
            self._spec.mark_booted(self.node, self.ready.incarnation)
        except OSError as error:
            self._note_end(self._end_of_boot())
            raise BootFailed(
                f"{self.node} was ended: {self._spec.booted(self.node)} cannot be written: {error.strerror}"
            ) from error
        self._is_noted = True
        return self.ready

    def _end_of_boot(self) -> str:
        """End a process that has not become ready. Returns how it has ended: by itself, if it did so within a moment."""
        popen = self._popen
        if popen is None:
            return self.ended  # another thread has looked meanwhile, and noted it
        try:
            status = popen.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()
            status = 0
        return _how_it_ended(status) if status < 0 else "could not start, see its log"

    def send_control_line(self, line: dict[str, object]) -> None:
        """Write one line of JSON to the node's control pipe, unless the node is down."""
        if self._popen is not None and self._popen.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._popen.stdin.write(json.dumps(line).encode() + b"\n")
                self._popen.stdin.flush()

    def steer_clock(self, rate: float, moved_s: float) -> None:
        """Have the node's clock run at `rate` seconds per second, moved by `moved_s` seconds in total, also after a restart."""
        self.clock = ClockSetting(float(rate), float(moved_s))
        self._send_clock()

    def _send_clock(self) -> None:
        self.send_control_line({"clock": self.clock._asdict()})

    def kill(self) -> dict[str, object]:
        """Send SIGKILL. The wait status proves it. Returns `signal`, `pid`, `wait_status`. Raises WrongState, FaultFailed."""
        popen = self._require(ProcessState.UP, ProcessState.SUSPENDED)
        self._our_end = dict.fromkeys((-signal.SIGKILL, UNSEEN_STATUS), "killed by SIGKILL")
        popen.kill()
        status = popen.wait(PROOF_S)
        if status not in (-signal.SIGKILL, UNSEEN_STATUS):
            raise FaultFailed(f"{self.node} was sent SIGKILL, and its wait status is {status}")
        self._note_end("killed by SIGKILL")
        return {"signal": "SIGKILL", "pid": popen.pid, **_proof_of_end(status)}

    def terminate(self) -> dict[str, object]:
        """Send SIGTERM, and wait for the node's orderly end. A suspended node cannot act on it. Returns and raises as `kill`."""
        popen = self._require(ProcessState.UP)
        self._our_end = dict.fromkeys((0, UNSEEN_STATUS), "terminated by SIGTERM")
        popen.terminate()
        status = popen.wait(PROOF_S)
        if status not in (0, UNSEEN_STATUS):
            raise FaultFailed(f"{self.node} was sent SIGTERM, and its wait status is {status}: see its log")
        self._note_end("terminated by SIGTERM")
        return {"signal": "SIGTERM", "pid": popen.pid, **_proof_of_end(status)}

    def suspend(self) -> dict[str, object]:
        """Send SIGSTOP. The state letter of the process table proves it. Raises WrongState, FaultFailed."""
        popen = self._require(ProcessState.UP)
        popen.send_signal(signal.SIGSTOP)
        self._prove(self._is_stopped, f"{self.node} was sent SIGSTOP, and is not stopped")
        self._suspended_by_us = True
        return {"signal": "SIGSTOP", "pid": popen.pid, "process_state": "T"}

    def resume(self) -> dict[str, object]:
        """Send SIGCONT. The state letter of the process table proves it. Raises WrongState, FaultFailed."""
        popen = self._require(ProcessState.SUSPENDED)
        popen.send_signal(signal.SIGCONT)
        self._prove(lambda: not self._is_stopped(), f"{self.node} was sent SIGCONT, and is still stopped")
        self._suspended_by_us = False
        return {"signal": "SIGCONT", "pid": popen.pid}

    def end(self) -> None:
        """Kill the process if there is one, whatever its state."""
        with contextlib.suppress(WrongState):  # it is down, perhaps since a moment ago: Ctrl-C may interrupt a kill
            try:
                self.kill()
            except FaultFailed:  # it has ended by itself just before the signal
                self.look()

    def _prove(self, holds: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + PROOF_S
        while not holds():
            if self.look() is ProcessState.DOWN:
                raise WrongState(f"{self.node} has ended meanwhile ({self.ended})")
            if time.monotonic() > deadline:
                raise FaultFailed(otherwise)
            time.sleep(_LOOK_EVERY_S)

    def _note_end(self, how: str) -> None:
        if self._popen is not None and self._popen.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._popen.stdin.close()
        if self._is_noted:
            self._spec.mark_ended(self.node)
        self._popen, self.ended, self._stopped_by_itself, self._is_noted = None, how, False, False
        self._our_end = {}


def memory_bytes(pid: int) -> int:
    """Return the resident memory of a process, in bytes; 0 if it has ended."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def born_at(pid: int) -> float:
    """Return when a process was started, in seconds since the epoch: two processes with one id differ in it. 0: it has ended."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0


def is_alive(pid: int, born: float | None = None) -> bool:
    """Return whether a process runs or is suspended. A zombie is not alive, and a later process with the same id is another one.

    Args:
        pid: the process id.
        born: when the process was started, as `born_at` returned it; None: any process with this id counts.
    """
    try:
        process = psutil.Process(pid)
        # The kernel counts from its boot, whose time moves when the clock is set. So a few seconds make no difference.
        same = born is None or abs(process.create_time() - born) < _SAME_BIRTH_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def is_suspended(pid: int) -> bool:
    """Return whether a process is stopped by a signal."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


class FoundProcess(NamedTuple):
    """A process of this user. `value` is that of a variable in its environment; `born` is as `born_at` returns it.

    `state` is "running" or "suspended". `parent_lives`: the process that has launched it has not ended.
    """

    pid: int
    born: float
    parent: int
    parent_lives: bool
    command: tuple[str, ...]
    state: str
    value: str


def own_processes(variable: str) -> list[FoundProcess]:
    """Return the processes of this user that have `variable` in their environment when they are started."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.uids().real != os.getuid():
                continue
            value = process.environ().get(variable)
            if value is None or process.status() == psutil.STATUS_ZOMBIE:
                continue
            state = "suspended" if process.status() == psutil.STATUS_STOPPED else "running"
            parent = process.ppid()
            found.append(
                FoundProcess(
                    process.pid, process.create_time(), parent, parent > 1, tuple(process.cmdline()), state, value
                )
            )
    return found


def end_processes(found: Sequence[FoundProcess]) -> None:
    """End processes: SIGTERM, or SIGKILL for those that are suspended; and SIGKILL for those that are there after 5 s."""
    processes = []
    for one in found:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(one.pid)
            if is_alive(one.pid, one.born):
                (process.kill if one.state == "suspended" else process.terminate)()
                processes.append(process)
    _, alive = psutil.wait_procs(processes, PROOF_S)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, PROOF_S)


def environment_variable(pid: int, name: str) -> str:
    """Return a variable that a process had in its environment when it was started; an empty text if that cannot be read."""
    try:
        return psutil.Process(pid).environ().get(name, "")
    except (psutil.Error, OSError):
        return ""


def _proof_of_end(status: int) -> dict[str, object]:
    """Return what proves an end: the wait status, which only a parent gets, or else that a pidfd has said so."""
    return {"pidfd": "ended"} if status == UNSEEN_STATUS else {"wait_status": status}


def _how_it_ended(status: int) -> str:
    if status == UNSEEN_STATUS:
        return "ended, see its log"
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return "stopped in order" if status == 0 else f"stopped with status {status}, see its log"
