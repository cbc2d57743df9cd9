"""`python -m node.fork_server SOCKET LAUNCHER TIME`: imports what a node needs once, and forks a process for each request.

`cluster/forking.py` starts it and sends the requests. A Python process that imports a node's modules takes some 80 ms of
processor time; one that is forked from a process that has them takes a tenth of that.

Rules
-----
1. A forked process is a child of the *launcher*, not of this server: CLONE_PARENT. So the launcher reaps it, and the kernel kills
   it with the launcher (`node.launcher.die_with`), as if the launcher had started it.
2. The server has one thread, no zmq context, no connection to a database and no code of a user. What it has is what a fresh
   process has after its imports, and after it has read the declarations of its messages and made a parser of arguments.
3. Only modules of this project are imported here, also those of the algorithm and the machines that the spec of the first nodes
   names. An algorithm or a machine of a user is imported by the forked process, so it is always read anew.
4. If the file of a module that is imported here has changed since, the server ends instead of forking, and the launcher starts
   another one. So edited code of this project is read anew, too.
5. The request says what the process inherits. Its command line and its environment in /proc are its own.
6. A process with one thread that has these imports already, such as a supervisor, may fork itself, and the fork becomes a server
   (`serve_in_fork`).
7. All processes of one server share the seed of `hash`. So a launcher has more than one server: otherwise the nodes of a cluster
   would iterate over a set in the same order, and a run would not show that an algorithm depends on that order.

The protocol
------------
A request is one byte that carries descriptors (stdin, output, current folder, and those that the process inherits), then a line
of JSON with `module`, `command`, `environment`, `inherited` (under which numbers it inherits them) and `own_session`. The reply
is a line with `pid`, after the process has become what the request says; or with `stale`, according to rule 4; or with `error`,
the errno of a fork that failed.
"""

import argparse
import ctypes
import fcntl
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import chain, pairwise
from pathlib import Path
from typing import Final, NoReturn

from node.algorithms import BUILT_IN as ALGORITHMS
from node.launcher import die_with
from node.machines import BUILT_IN as MACHINES
from node.machines import DEFAULT
from node.settings import BadSpec, load
from node.wire import Codec

#: What a node imports.
_NODE: Final = "node.__main__"
#: The packages whose modules the server imports.
_OURS: Final = ("node", "cluster", "harness")
#: The number of the system call `clone`, by machine. The order of its last two arguments differs between them.
_CLONE: Final = {"x86_64": 56, "aarch64": 220}
_CLONE_PARENT: Final = 0x00008000
_CLONE_CHILD_CLEARTID: Final = 0x00200000
_CLONE_CHILD_SETTID: Final = 0x01000000
_PR_SET_MM, _PR_SET_MM_MAP, _PR_SET_MM_MAP_SIZE, _PR_GET_TID_ADDRESS = 35, 14, 15, 40
_NO_FILE: Final = 0xFFFFFFFF
_DESCRIPTORS_MAX: Final = 8
#: The clock that stamps files moves in steps; this is longer than any.
_CLOCK_STEP_NS: Final = 20_000_000
#: The stamp of a file that has changed since it was imported.
_CHANGED: Final = (-1, -1)

# With `PyDLL`, a call keeps the interpreter's lock, as `os.fork` does.
_libc: Final = ctypes.PyDLL(None, use_errno=True)
_libc.malloc.restype = _libc.sbrk.restype = ctypes.c_void_p


class _MemoryMap(ctypes.Structure):
    """`struct prctl_mm_map` of <linux/prctl.h>: where the parts of a process lie in its memory."""

    _fields_ = (
        ("start_code", ctypes.c_uint64),
        ("end_code", ctypes.c_uint64),
        ("start_data", ctypes.c_uint64),
        ("end_data", ctypes.c_uint64),
        ("start_brk", ctypes.c_uint64),
        ("brk", ctypes.c_uint64),
        ("start_stack", ctypes.c_uint64),
        ("arg_start", ctypes.c_uint64),
        ("arg_end", ctypes.c_uint64),
        ("env_start", ctypes.c_uint64),
        ("env_end", ctypes.c_uint64),
        ("auxv", ctypes.c_uint64),
        ("auxv_size", ctypes.c_uint32),
        ("exe_fd", ctypes.c_uint32),
    )


@dataclass(frozen=True, slots=True)
class _ForkRequest:
    module: str
    command: list[str]
    environment: dict[str, str]
    inherited: list[int]
    own_session: bool
    descriptors: list[int]


class ForkServer:
    """The server at the other end of a socket. It forks when it is asked to."""

    def __init__(self, connection: socket.socket, began_ns: int) -> None:
        """Import what a node needs. `began_ns` is a time before this process was started, in nanoseconds since the epoch."""
        self._connection = connection
        self._lines = connection.makefile("rb")
        self._files: dict[str, tuple[int, int]] = {}
        _make_a_parser()
        self._warm((_NODE,), began_ns)

    def next_process(self) -> str | None:
        """Serve requests. Returns in each forked process, with the module to run; in the server at its end, with None."""
        while (request := self._receive()) is not None:
            if any(_file_stamp(path) != stamp for path, stamp in self._files.items()):
                self._reply({"stale": True})
                return None
            self._warm(chain([request.module], _modules_of_node(request.command)), time.time_ns())
            done, at_work = os.pipe()
            pid = _fork()
            if pid == 0:
                self._lines.close()
                self._connection.close()
                os.close(done)
                _become(request, at_work)
                return request.module
            for descriptor in (at_work, *request.descriptors):
                os.close(descriptor)
            if pid > 0:
                os.read(done, 1)  # the end of file: the process has become what it is, or has ended
            os.close(done)
            self._reply({"pid": pid} if pid > 0 else {"error": ctypes.get_errno()})
        return None

    def _receive(self) -> _ForkRequest | None:
        data, descriptors, _, _ = socket.recv_fds(self._connection, 1, _DESCRIPTORS_MAX)
        line = self._lines.readline() if data else b""
        if not line:
            return None
        return _ForkRequest(**json.loads(line), descriptors=descriptors)

    def _reply(self, reply: dict[str, object]) -> None:
        self._connection.sendall(json.dumps(reply).encode() + b"\n")

    def _warm(self, modules: Iterable[str], began_ns: int) -> None:
        """Import modules of this project that are not imported yet, and note the files of all modules.

        `began_ns` is a time before the first of these imports.
        """
        known_before = len(sys.modules)
        for name in modules:
            if name not in sys.modules and name.partition(".")[0] in _OURS:
                with suppress(Exception):  # the forked process meets the same error, and reports it
                    importlib.import_module(name)
        if len(sys.modules) == known_before and self._files:
            return
        for known in list(sys.modules.values()):
            path = getattr(known, "__file__", None)
            if path is not None and path not in self._files:
                stamp = _file_stamp(path)
                read_before_it_changed = stamp[0] > began_ns - _CLOCK_STEP_NS
                self._files[path] = _CHANGED if read_before_it_changed else stamp
        gc.collect()
        gc.freeze()  # no collection touches the pages that forked processes share


def _modules_of_node(command: list[str]) -> Iterator[str]:
    """Yield the modules that a node imports for its spec: its algorithm's, and if that keeps a log, those of its machines.

    They are half of what a node with a log costs to start. Each is to be imported before the next one is asked for. A spec that
    cannot be read names none: the node reports why.
    """
    settings = None
    with suppress(ValueError, IndexError, BadSpec):
        settings = load(Path(command[command.index("--spec") + 1]))
    if settings is None:
        return
    module, _, name = ALGORITHMS.get(settings.algorithm, settings.algorithm).partition(":")
    yield module
    algorithm = getattr(sys.modules.get(module), name, None)
    with suppress(Exception):  # as above
        Codec("", algorithm.messages)  # type: ignore[union-attr]  # the codecs of the classes are kept
    if getattr(algorithm, "keeps_log", False):
        yield from (MACHINES.get(each, each).partition(":")[0] for each in settings.machines or DEFAULT)


def _make_a_parser() -> None:
    """Have argparse import and compile what it needs: that is a sixth of what a forked process costs to start."""
    argparse.ArgumentParser(prog="").add_argument("--parent", type=int, help="")


def _file_stamp(path: str) -> tuple[int, int]:
    """Return what changes when a file is written or replaced: when that was, in nanoseconds, and the number of the file."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_ctime_ns, status.st_ino


def _fork() -> int:
    """Fork this process as `os.fork` does, but as a child of this process's parent.

    Returns the id in this process, 0 in the new one, and -1 if the kernel refuses.
    """
    of_thread = ctypes.c_void_p()  # where the C library keeps the id of this thread
    _libc.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(of_thread), 0, 0, 0)
    flags = _CLONE_PARENT | _CLONE_CHILD_SETTID | _CLONE_CHILD_CLEARTID | signal.SIGCHLD
    last_two = (of_thread, None) if os.uname().machine == "x86_64" else (None, of_thread)
    number = _CLONE[os.uname().machine]
    ctypes.pythonapi.PyOS_BeforeFork()
    pid: int = _libc.syscall(number, ctypes.c_ulong(flags), None, None, *last_two)
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
    else:
        ctypes.pythonapi.PyOS_AfterFork_Parent()
    return pid


def _become(request: _ForkRequest, at_work: int) -> None:
    """Make this process what `request` says: its group, its folder, its descriptors, its environment and its command line.

    Closes `at_work`, as every descriptor that the request does not name.
    """
    if request.own_session:
        os.setsid()
    else:
        os.setpgid(0, 0)
    beyond = max(request.inherited) + 1
    moved = [fcntl.fcntl(each, fcntl.F_DUPFD, beyond) for each in (at_work, *request.descriptors)]
    os.close(at_work)
    _, stdin, output, folder, *others = moved
    os.fchdir(folder)
    for source, target in zip((stdin, output, output, *others), (0, 1, 2, *request.inherited), strict=True):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(request.environment)
    _show_in_proc(request.command, request.environment)
    sys.orig_argv[:] = request.command
    sys.argv[:] = ["-m", *request.command[request.command.index("-m") + 2 :]]
    for kept, next_kept in pairwise([2, *sorted(request.inherited), max(moved) + 1]):
        os.closerange(kept + 1, next_kept)


def _show_in_proc(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Have /proc show this command line and this environment, and not those of the process that has forked this one."""
    variables = [os.fsencode(f"{name}={value}") for name, value in environment.items()]
    arguments = [os.fsencode(argument) for argument in command]
    with open(
        "/proc/self/stat", "rb"
    ) as file:  # proc_pid_stat(5): the fields that follow the name begin with the third
        field = [b"", b"", b"", *file.read().rpartition(b")")[2].split()]
    memory = _MemoryMap(exe_fd=_NO_FILE)
    memory.start_code, memory.end_code, memory.start_stack = map(int, field[26:29])
    memory.start_data, memory.end_data, memory.start_brk = map(int, field[45:48])
    memory.arg_start, memory.arg_end = _place(arguments)
    memory.env_start, memory.env_end = _place(variables)
    memory.brk = _libc.sbrk(0)
    _libc.prctl(_PR_SET_MM, _PR_SET_MM_MAP, ctypes.byref(memory), ctypes.c_ulong(ctypes.sizeof(memory)), None)


def _place(texts: list[bytes]) -> tuple[int, int]:
    """Copy texts to memory that is never freed, each with a zero byte behind it. Returns where they begin and end."""
    data = b"".join(text + b"\0" for text in texts)
    start: int = _libc.malloc(ctypes.c_size_t(len(data) + 1))
    ctypes.memmove(start, data, len(data))
    return start, start + len(data)


@cache
def is_possible() -> bool:
    """Return whether this machine can do what a fork server does: glibc, a known processor, and a kernel that lets a process
    say where its command line lies."""
    return (
        sys.platform == "linux"
        and os.uname().machine in _CLONE
        and "CS_GNU_LIBC_VERSION" in os.confstr_names
        and _libc.prctl(_PR_SET_MM, _PR_SET_MM_MAP_SIZE, ctypes.byref(ctypes.c_uint32()), None, None) == 0
    )


def serve_in_fork(
    connection: socket.socket, launcher: int, command: Sequence[str], environment: Mapping[str, str]
) -> NoReturn:
    """Become a server for `launcher`, which has just forked this process, with this command line and environment in /proc."""
    os.setpgid(0, 0)
    die_with(launcher)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.chdir("/")
    null, kept = os.open(os.devnull, os.O_RDWR), connection.fileno()
    for standard in range(3):
        os.dup2(null, standard)
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
    _show_in_proc(command, environment)
    _run(ForkServer(connection, _began_ns(launcher)).next_process())
    sys.exit()


def _began_ns(pid: int) -> int:
    """Return when a process began, in nanoseconds since the epoch. It is a clock tick too early at most."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        ticks = int(file.read().rpartition(b")")[2].split()[19])  # proc_pid_stat(5): `starttime`, since the boot
    age_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    return time.time_ns() - age_ns


def main() -> str | None:
    """Serve the launcher. Returns as `next_process`."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    die_with(int(sys.argv[2]))
    os.chdir("/")  # it keeps no folder from being removed
    return ForkServer(connection, int(sys.argv[3])).next_process()


def _run(module: str | None) -> None:
    """Run what a forked process is to run, as `python -m` does; None is the server, which has ended."""
    if module is None:
        return
    for name in (module, f"{module}.__main__"):
        if not hasattr(sys.modules.get(name), "__path__"):
            sys.modules.pop(name, None)  # as for `python -m`, whose module is imported as `__main__` alone
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _run(main())
