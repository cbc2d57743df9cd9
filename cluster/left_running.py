"""Finds the processes of all clusters of this user, and those of them that nobody can command any more.

A supervisor is left over if its folder was removed, or holds another cluster or another supervisor. A node or a proxy is left
over with its supervisor, and if the process that has launched it has ended. What another program has launched, such as a test
suite, is never left over while that program lives.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.folder_lock import lock_holder
from cluster.folder_mark import SUPERVISOR_NAME, read_mark
from cluster.outliving import running_nodes
from cluster.process_mark import SUPERVISOR, VARIABLE, ProcessMark
from cluster.processes import FoundProcess, end_processes, is_alive, own_processes
from node.settings import BadSpec


@dataclass(frozen=True, slots=True)
class ClusterProcess:
    """A process of a cluster. `left_over` is why nobody can command it, for people; empty if somebody can."""

    process: FoundProcess
    mark: ProcessMark
    folder: Path | None
    left_over: str

    def to_json(self) -> dict[str, Any]:
        """Return the row of `consensus ps --all -o json`. `folder` is where it was, if it was removed."""
        return {
            "pid": self.process.pid,
            "role": self.mark.role,
            "folder": str(self.folder or self.mark.folder),
            "state": self.process.state,
            "launched_by": self.process.parent,
            "left_over": self.left_over,
        }


def cluster_processes() -> list[ClusterProcess]:
    """Return every process of a cluster that this user runs, by folder, with the supervisor of each before its nodes."""
    found: dict[int, tuple[FoundProcess, ProcessMark]] = {}
    for process in own_processes(VARIABLE):
        mark = ProcessMark.read(process.value)
        if mark is not None and "--ready-fd" in process.command:  # a program that a node has started inherits the mark
            found[process.pid] = process, mark
    seen: dict[int, ClusterProcess] = {}
    for process, mark in sorted(found.values(), key=lambda entry: (entry[1].role != SUPERVISOR, entry[1].role)):
        folder = _folder_now(process.pid, mark)
        left_over = _left_over(process, mark, folder, seen)
        seen[process.pid] = ClusterProcess(process, mark, folder, left_over)
    return sorted(seen.values(), key=lambda one: str(one.folder or one.mark.folder))


def end_left_over(processes: Sequence[ClusterProcess]) -> None:
    """End these processes: in order, and by force what has not ended within a few seconds."""
    end_processes([one.process for one in processes])


def _folder_now(pid: int, mark: ProcessMark) -> Path | None:
    """Return where the folder of a process is now; None if it was removed.

    A process keeps its folder open, or a node's directory in it, so the kernel knows where it was moved.
    """
    candidates = [Path(mark.folder)]
    with suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                where = Path(os.readlink(entry.path))
                candidates += [where, where.parent.parent]
    for path in candidates:
        with suppress(OSError):
            status = path.stat()
            if (status.st_dev, status.st_ino) == (mark.device, mark.inode):
                return path
    return None


def _left_over(
    process: FoundProcess, mark: ProcessMark, folder: Path | None, seen: Mapping[int, ClusterProcess]
) -> str:
    gone = "" if folder is not None and _holds(folder, mark) else "its folder is gone"
    if mark.role == SUPERVISOR:
        if gone or folder is None:
            return gone
        return "" if _serves(folder, process.pid) else "another supervisor serves its folder"
    if (
        folder is not None
        and mark.role in running_nodes(folder)
        and running_nodes(folder)[mark.role].pid == process.pid
    ):
        return ""  # it outlives its supervisor
    launcher = seen.get(process.parent)
    if launcher is not None:  # a supervisor
        return launcher.left_over and f"its supervisor is left over: {launcher.left_over}"
    return "" if process.parent_lives else gone or "the process that has launched it has ended"


def _holds(folder: Path, mark: ProcessMark) -> bool:
    with suppress(BadSpec):
        of_folder = read_mark(folder)
        return of_folder is not None and of_folder.cluster == mark.cluster
    return False


def _serves(folder: Path, pid: int) -> bool:
    """Return whether this process is the folder's supervisor, or is about to be."""
    with suppress(OSError, ValueError, KeyError):
        content = json.loads((folder / SUPERVISOR_NAME).read_text())
        if content["pid"] == pid:
            return True
        if is_alive(int(content["pid"]), float(content["born"])):
            return False
    return bool(lock_holder(folder))  # it is starting or ending
