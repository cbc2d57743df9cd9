"""Nodes that outlive the process that has launched them: `consensus up --detach-nodes`.

Theory of operation
-------------------
Such a node is not killed with its launcher, and reads its orders from a FIFO in the cluster's folder and not from a pipe. The
launcher writes down each node that is ready: process id, birth, address. The next launcher adopts what it finds there. It ends a
node that was launched and not written down, since it cannot know the node's address.

Rules
-----
1. A process is adopted only if its id, its birth and the mark in its environment say that it is this node of this cluster.
2. Nothing stands between the nodes, so the end of no process but of a majority of nodes ends the service.
3. No file here decides anything: a node's disk has a lock of its own, so a node never runs twice.
"""

import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cluster.adopted_process import AdoptedProcess
from cluster.errors import FaultFailed
from cluster.folder_mark import read_mark
from cluster.process_mark import VARIABLE, ProcessMark
from cluster.processes import (
    PROOF_S,
    NodeProcess,
    born_at,
    end_processes,
    environment_variable,
    is_alive,
    is_suspended,
    own_processes,
)
from cluster.spawning import READY_S, Ready, ReadyPipe, spawn_outliving
from cluster.spec import Spec, open_spec
from node.algorithms import load_algorithm
from node.contract import NodeId

#: The folder of the records and FIFOs, below the cluster's folder.
FOLDER = "running"


class RunningNode(NamedTuple):
    """The record of a node that is ready, `running/n1.json`. `born` is as `born_at` returns it."""

    pid: int
    born: float
    address: str
    incarnation: int


class OutlivingProcess(NodeProcess):
    """The process of a node that may outlive this process."""

    @property
    def _fifo(self) -> Path:
        return self._spec.root / FOLDER / f"{self.node}.control"

    @property
    def _record(self) -> Path:
        return self._spec.root / FOLDER / f"{self.node}.json"

    def adopt(self) -> Ready | None:
        """Take over the node's process if an earlier launcher has left one. Returns what it reported when it was ready."""
        record = running_nodes(self._spec.root).get(self.node)
        if record is None:
            return None
        try:
            process = AdoptedProcess(record.pid)
        except ProcessLookupError:
            return None
        if not _is_node(record, self.node, self._spec.settings.cluster):  # the id was used again before the line above
            process.close()
            return None
        self._popen = process
        self._is_noted = True
        self.ready = Ready({"address": record.address, "incarnation": record.incarnation})
        return self.ready

    def _spawn(self, command: Sequence[str], log: Path, mark: ProcessMark) -> tuple[subprocess.Popen[bytes], ReadyPipe]:
        self._fifo.parent.mkdir(mode=0o700, exist_ok=True)
        for left in (self._record, self._fifo):
            left.unlink(missing_ok=True)
        os.mkfifo(self._fifo, 0o600)
        return spawn_outliving([*command, "--control", str(self._fifo)], log, mark)

    def wait_ready(self, timeout_s: float = READY_S) -> Ready:
        """Wait as `NodeProcess.wait_ready`, and write the node down."""
        ready = super().wait_ready(timeout_s)
        assert self.pid is not None
        record = RunningNode(self.pid, born_at(self.pid), ready.address, ready.incarnation)
        aside = self._record.with_suffix(".new")
        aside.write_text(json.dumps(record._asdict()))
        aside.rename(self._record)
        return ready

    def send_control_line(self, line: dict[str, object]) -> None:
        """Write one line of JSON to the node's FIFO, unless no node reads it. Raises FaultFailed if the node does not take it."""
        try:
            descriptor = os.open(self._fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return
        data, deadline = json.dumps(line).encode() + b"\n", time.monotonic() + PROOF_S
        try:
            while data:
                select.select([], [descriptor], [], PROOF_S)
                with contextlib.suppress(BlockingIOError):
                    data = data[os.write(descriptor, data) :]
                if data and time.monotonic() > deadline:
                    raise FaultFailed(f"{self.node} does not read its orders: is it suspended?")
        except BrokenPipeError:
            return
        finally:
            os.close(descriptor)

    def _note_end(self, how: str) -> None:
        if isinstance(self._popen, AdoptedProcess):
            self._popen.close()
        super()._note_end(how)
        with contextlib.suppress(OSError):
            self._record.unlink(missing_ok=True)
            self._fifo.unlink(missing_ok=True)


def running_nodes(root: Path) -> dict[NodeId, RunningNode]:
    """Return the nodes of the cluster in `root` that outlive their launcher and run now, or are suspended."""
    mark = read_mark(root)
    found: dict[NodeId, RunningNode] = {}
    if mark is not None:
        for path in sorted((root / FOLDER).glob("*.json")):
            with contextlib.suppress(OSError, ValueError, TypeError):
                record = RunningNode(**json.loads(path.read_text()))
                if _is_node(record, path.stem, mark.cluster):
                    found[path.stem] = record
    return found


def _is_node(record: RunningNode, node: NodeId, cluster: str) -> bool:
    mark = ProcessMark.read(environment_variable(record.pid, VARIABLE))
    return is_alive(record.pid, record.born) and mark is not None and (mark.role, mark.cluster) == (node, cluster)


def end_strays(spec: Spec) -> None:
    """End nodes of this cluster that an earlier launcher has not written down. The caller holds the folder's lock."""
    recorded = {record.pid for record in running_nodes(spec.root).values()}
    strays = []
    for process in own_processes(VARIABLE):
        mark = ProcessMark.read(process.value)
        if mark is not None and mark.cluster == spec.settings.cluster and "--control" in process.command:
            strays += [process] if process.pid not in recorded else []
    end_processes(strays)


def end_running_nodes(root: Path) -> tuple[NodeId, ...]:
    """End every node that outlives its launcher. Returns their names. The caller holds the folder's lock."""
    running = running_nodes(root)
    pids = {record.pid for record in running.values()}
    end_processes([process for process in own_processes(VARIABLE) if process.pid in pids])
    return tuple(running)


def where_they_run(root: Path) -> Mapping[str, Any] | None:
    """Return what a client needs, as the supervisor's verb `where` does, if nodes run without one. None: none runs."""
    running = running_nodes(root)
    if not running:
        return None
    settings = open_spec(root).settings
    return {
        "cluster": settings.cluster,
        "algorithm": settings.algorithm,
        "keeps_log": load_algorithm(settings.algorithm).keeps_log,
        "machines": list(settings.machines),
        "settings": settings.tuning.changed(),
        "seed": settings.seed,
        "addresses": {node: record.address for node, record in running.items()},
        "states": {node: "suspended" if is_suspended(record.pid) else "up" for node, record in running.items()},
    }
