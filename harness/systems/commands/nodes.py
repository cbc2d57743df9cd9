"""The processes of a system of commands: their ports and files, how they start, and what they write.

Each node runs in a folder of its own, and keeps its ports over all its incarnations. What it writes to its standard output and
error goes to its log.
"""

import contextlib
import os
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from cluster.errors import BootFailed
from cluster.processes import ProcessState
from cluster.spawning import Ready
from harness.network.ports import ReservedPorts
from harness.network.socket_owner import listening_ports
from harness.network.stream_network import StreamNetwork
from harness.systems.child_nodes import ChildNodes
from harness.systems.child_process import ChildProcess, how_it_ended
from harness.systems.commands.description import Description, ReadyWhen, fill, values_of
from harness.systems.commands.readiness import is_ready, why_not_ready
from harness.systems.guardian import MARK, Guardian
from harness.systems.node_logs import NodeLogs
from node.contract import NodeId

_LOOK_S: Final = 0.01
#: How long to wait for the last output of a process that has ended, in seconds.
_FINISH_S: Final = 1.0
_READ_BYTES: Final = 65_536
#: How many characters of a node's output are searched for the line that says that it is ready.
_OUTPUT_MAX: Final = 262_144


class _Output:
    """What one incarnation of a node writes: threads take it to the log, so that the node never waits for a full pipe."""

    def __init__(self, node: NodeId, logs: NodeLogs, pipes: Sequence[IO[bytes]]) -> None:
        self._node, self._logs = node, logs
        self._texts, self._lock = [""] * len(pipes), threading.Lock()
        self._threads = [
            threading.Thread(target=self._read, args=(number, pipe), name=f"output-{node}", daemon=True)
            for number, pipe in enumerate(pipes)
        ]
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Take what a process that has ended has left in its pipes, but wait no longer: its children may hold them open."""
        for thread in self._threads:
            thread.join(_FINISH_S)

    @property
    def text(self) -> str:
        """The last of what it has written, to each pipe."""
        with self._lock:
            return "\n".join(self._texts)

    def _read(self, number: int, pipe: IO[bytes]) -> None:
        with pipe, contextlib.suppress(OSError, ValueError):
            while data := os.read(pipe.fileno(), _READ_BYTES):
                self._logs.wrote(self._node, data)
                with self._lock:
                    self._texts[number] = (self._texts[number] + data.decode(errors="replace"))[-_OUTPUT_MAX:]


class CommandNodes(ChildNodes):
    """The processes of one run's nodes."""

    def __init__(
        self, description: Description, nodes: tuple[NodeId, ...], folder: Path, network: StreamNetwork, logs: NodeLogs
    ) -> None:
        """Prepare the processes; `start` starts them, when the network has its ports."""
        super().__init__(nodes, folder, logs)
        self.description, self._network = description, network
        self._run = uuid.uuid4().hex
        self._guardian = Guardian(self._run)
        self._reserved = ReservedPorts()
        self._ports: dict[NodeId, dict[str, int]] = {}
        self._values: dict[NodeId, dict[str, object]] = {}
        self._output: dict[NodeId, _Output] = {}

    def _has_ended(self, node: NodeId) -> None:
        """End what a node has started and what has left its group."""
        _end_marked(self._mark(node))

    def _mark(self, node: NodeId) -> str:
        return f"{self._run}/{node}"

    # --- their life -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start every node, and wait until all are ready. Raises BootFailed; `end` ends the others then."""
        self._guardian.start()
        for node in self.nodes:
            self._ports[node] = {name: self._reserved.reserve() for name in self.description.ports}
        for number, node in enumerate(self.nodes, 1):
            self._prepare(number, node)
        self._launch(self.nodes)
        if self.description.serving is not None:
            for node in self.nodes:
                self._wait(node, self.description.serving, "serves")

    def _prepare(self, number: int, node: NodeId) -> None:
        """Make a node's folder and files, and its process, which is not started yet."""
        of_it, folder = self.description, self.disk(node)
        folder.mkdir(parents=True)
        via = {name: self._network.client_port(node, name) for name in of_it.ports} if of_it.shared else {}
        values = values_of(of_it, node, number, folder, self._ports[node], via)
        values |= {"run": self._run, "peers": of_it.peers_join.join(self._peers(node))}
        self._values[node] = values
        for name, text in of_it.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(fill(text, values))
        environment = {
            **os.environ,
            **{name: fill(text, values) for name, text in of_it.environment.items()},
            MARK: self._mark(node),
        }
        command = [fill(word, values) for word in of_it.command]
        self.processes[node] = ChildProcess(node, command, folder, environment, self._guardian)

    def _peers(self, node: NodeId) -> list[str]:
        """Return the entries of a node's list of peers, as this node must see them."""
        of_it, found = self.description, []
        for number, peer in enumerate(self.nodes, 1):
            if peer == node and not of_it.peers_with_itself:
                continue
            if peer == node and not of_it.shared:
                via = self._ports[node]  # it reaches itself directly
            else:
                via = {name: self._network.port(node, peer, name) for name in of_it.ports}
            named: Mapping[str, object] = {
                "id": peer,
                "number": number,
                **{f"{name}_via": each for name, each in via.items()},
            }
            found.append(fill(of_it.peers, named))
        return found

    def end(self) -> None:
        """End every process of the run, and keep of the nodes' folders what the description says. A second call does nothing."""
        for node, process in self.processes.items():
            process.end()
            self._has_ended(node)
        self._guardian.close()
        self._reserved.close()
        if self.description.keep is not None:
            for node in self.nodes:
                _keep(self.disk(node), self.description.keep)

    def look(self) -> list[tuple[NodeId, str]]:
        """Return the nodes that have ended by themselves since the last call, and how."""
        found = []
        for node, process in self.processes.items():
            if process.look() is ProcessState.DOWN and process.own_ends:
                self._has_ended(node)
                found += [(node, how) for how in process.own_ends]
                process.own_ends.clear()
        return found

    # --- the start of a node ----------------------------------------------------------------------------------------

    def _launch_one(self, node: NodeId) -> BootFailed | None:
        process = self.process(node)
        try:
            process.launch()
            assert process.pid is not None
            self._logs.note(node, f"start {process.starts}, process {process.pid}")
            stdin, stdout, stderr = process.pipes
            stdin.close()
            self._output[node] = _Output(node, self._logs, (stdout, stderr))
            self._network.node_up(node, self._ports[node], process.pid)
            self._wait(node, self.description.ready, "is ready")
        except BootFailed as error:
            process.end()
            process.own_ends.clear()
            self._has_ended(node)
            return error
        process.ready = Ready({"incarnation": process.starts})
        return None

    def _wait(self, node: NodeId, when: ReadyWhen, what: str) -> None:
        """Wait until a node is ready. Raises BootFailed, with its last output and what to do."""
        process, until_s = self.process(node), time.monotonic() + when.within_s
        while not is_ready(when, self._values[node], self._output[node].text):
            if process.look() is ProcessState.DOWN:
                self._output[node].finish()
                raise self._failed(node, f"{process.ended} before it was ready", self._end_hint(process.ended))
            if time.monotonic() > until_s:
                raise self._failed(
                    node,
                    f"was not ready within {when.within_s:g} s: it {what} when {why_not_ready(when, self._values[node])}",
                    self._ports_hint(node),
                )
            time.sleep(_LOOK_S)

    def _end_hint(self, ended: str) -> str:
        """Return what to do about a node that has ended so."""
        if ended == how_it_ended(0):
            return "The command has to stay in the foreground: a program that goes to the background by itself counts as ended"
        words = [*self.description.command, *self.description.environment.values()]
        names = [f"{{{port}_port}}" for port in self.description.ports]
        lacking = [name for name in names if not any(name in word for word in words)]
        if lacking:
            return f"The command does not name {' and '.join(lacking)}: each node needs ports of its own"
        return "Its last words say why"

    def _ports_hint(self, node: NodeId) -> str:
        """Return what to do about a node that is not ready: the ports at which it listens may be others."""
        pid = self.process(node).pid
        listens = [] if pid is None else listening_ports(pid)
        given = self._ports[node]
        wanted = ", ".join(f"{name} {port}" for name, port in given.items())
        if listens and not set(given.values()) <= set(listens):
            return (
                f"It listens on {', '.join(map(str, listens))}, and its ports are {wanted}: let the command name "
                f"{' and '.join(f'{{{name}_port}}' for name in given)}"
            )
        where = ", ".join(map(str, listens)) or "no port"
        return f"It listens on {where}; its ports are {wanted}. A slow one needs a longer within_s"

    def _failed(self, node: NodeId, what: str, hint: str) -> BootFailed:
        command = " ".join(fill(word, self._values[node]) for word in self.description.command)
        return BootFailed(f"{node} {what}. {self._logs.last_words(node)}. {hint}. Its command: {command}")


def _end_marked(mark: str) -> None:
    """Kill every process that has been started with this mark in its environment, however far it has gone from its group."""
    wanted = f"{MARK}={mark}\0".encode()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if wanted in Path(f"/proc/{entry}/environ").read_bytes() + b"\0":
                    os.kill(int(entry), signal.SIGKILL)


def _keep(folder: Path, patterns: Sequence[str]) -> None:
    """Remove from a folder every file that no pattern matches, and the folders that are empty then."""
    kept = {path for pattern in patterns for path in folder.glob(pattern)}
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):
                path.rmdir()
        elif path not in kept and not any(parent in kept for parent in path.parents):
            path.unlink()
    if not any(folder.iterdir()):
        shutil.rmtree(folder)
