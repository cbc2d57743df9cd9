"""The processes of nodes that speak Maelstrom's protocol: how they start, and how one knows that they are ready.

A node is ready when it has answered `init`, and then what the workload has each node told at its start. After a kill it is
started by the same command, in the same folder, and gets the same again.
"""

import os
import shutil
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cluster.errors import BootFailed
from cluster.processes import ProcessState, end_processes, own_processes
from cluster.spawning import Ready
from harness.systems.child_nodes import ChildNodes
from harness.systems.child_process import ChildProcess
from harness.systems.guardian import MARK, Guardian
from harness.systems.maelstrom.channel import Channel
from harness.systems.maelstrom.protocol import Body, JsonLine
from harness.systems.maelstrom.router import Router
from harness.systems.node_logs import NodeLogs
from node.contract import NodeId

#: The name under which the harness itself sends `init`.
_HARNESS: Final = "c0"
_LOOK_S: Final = 0.01


class MaelstromNodes(ChildNodes):
    """The processes of one run's nodes."""

    def __init__(
        self,
        nodes: tuple[NodeId, ...],
        command: Sequence[str],
        folder: Path,
        *,
        volatile: bool,
        ready_s: float,
        setup: Sequence[Body],
        router: Router,
        logs: NodeLogs,
    ) -> None:
        """Describe the processes; `start` starts them.

        Args:
            nodes: the nodes' names.
            command: what starts a node.
            folder: the folder of the run; each node runs in a folder of its own there.
            volatile: whether a kill takes away what a node has in its folder.
            ready_s: how long a node may take until it is ready, in seconds.
            setup: the bodies of what a node is told after `init`.
            router: the network.
            logs: what nodes say to people.
        """
        super().__init__(nodes, folder, logs)
        self._volatile, self._ready_s = volatile, ready_s
        self._setup, self._router = list(setup), router
        self._mark = uuid.uuid4().hex
        self._guardian = Guardian(self._mark)
        environment = {**os.environ, MARK: self._mark}
        for node in nodes:
            self.disk(node).mkdir(parents=True)
        self.processes = {
            node: ChildProcess(node, command, self.disk(node), environment, self._guardian) for node in nodes
        }
        self._answers: dict[NodeId, dict[int, JsonLine]] = {node: {} for node in nodes}
        self._answered = threading.Condition()
        self._changing = threading.Lock()
        self.lost_files: dict[NodeId, int] = dict.fromkeys(nodes, 0)
        """How many files kills have taken from each node's folder."""
        self._killing: set[NodeId] = set()

    def _kill(self, node: NodeId) -> dict[str, object]:
        proof = super()._kill(node)
        if self._volatile:
            lost = sum(1 for path in self.disk(node).rglob("*") if path.is_file())
            for path in self.disk(node).iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            self.lost_files[node] += lost
            proof["files lost"] = lost
        return proof

    # --- their life -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start every node. Raises BootFailed if one does not become ready; `end` ends the others."""
        self._guardian.start()
        self._launch(self.nodes)

    def end(self) -> None:
        """End every process of the run, also one that has left its group. A second call does nothing."""
        for node, process in self.processes.items():
            process.end()
            self._has_ended(node)
        end_processes([found for found in own_processes(MARK) if found.value == self._mark])
        self._guardian.close()

    def look(self) -> list[tuple[NodeId, str]]:
        """Return the nodes that have ended by themselves since the last call, and how."""
        found = []
        for node, process in self.processes.items():
            if not process.has_ended_by_itself():
                continue
            with self._changing:  # so that no thread starts the node again meanwhile, and loses the new pipes
                if process.look() is ProcessState.DOWN:
                    self._has_ended(node)
                found += [(node, how) for how in process.own_ends]
                process.own_ends.clear()
        return found

    def _has_ended(self, node: NodeId) -> None:
        self._router.ends(node)
        self._answers[node].clear()

    # --- the start of a node ----------------------------------------------------------------------------------------

    def started(self, node: NodeId, line: JsonLine) -> bool:
        """Take in a message of a node that is starting. Returns whether it answers what the node was told."""
        number = line.body.get("in_reply_to")
        if line.dest != _HARNESS or not isinstance(number, int):
            return False
        with self._answered:
            self._answers[node][number] = line
            self._answered.notify_all()
        return True

    def _launch_one(self, node: NodeId) -> BootFailed | None:
        process = self.process(node)
        try:
            with self._changing:
                process.launch()
                self._logs.note(node, f"start {process.starts}, process {process.pid}")
                self._router.starts(node, Channel(*process.pipes))
            init: Body = {"type": "init", "node_id": node, "node_ids": list(self.nodes)}
            for number, body in enumerate([init, *self._setup], 1):
                self._tell(node, {**body, "msg_id": number})
            self._router.opens(node)
        except BootFailed as error:
            process.end()
            process.own_ends.clear()
            self._has_ended(node)
            return error
        process.ready = Ready({"incarnation": process.starts})
        return None

    def _tell(self, node: NodeId, body: Body) -> None:
        """Tell a node something of its start, and wait for its answer. Raises BootFailed."""
        self._router.tell(node, JsonLine(_HARNESS, node, body))
        process, wanted, until_s = self.process(node), f"{body['type']}_ok", time.monotonic() + self._ready_s
        while True:
            with self._answered:
                answer = self._answers[node].get(body["msg_id"])
                if answer is None:
                    self._answered.wait(_LOOK_S)
            if answer is not None:
                if answer.type != wanted:
                    raise self._failed(node, f"has answered {body['type']} by {answer.body}, where {wanted} is wanted")
                return
            if process.look() is ProcessState.DOWN:
                self._router.ends(node)  # takes in its last words
                raise self._failed(node, f"{process.ended} before it had answered {body['type']}")
            if self._router.closed_its_output(node):
                raise self._failed(node, f"has closed its standard output before it had answered {body['type']}")
            if time.monotonic() > until_s:
                raise self._failed(node, f"has not answered {body['type']} within {self._ready_s:g} s")

    def _failed(self, node: NodeId, what: str) -> BootFailed:
        hint = (
            "A node reads lines of JSON on its standard input, and writes its answers, one a line and flushed, to its standard "
            "output; everything for people goes to its standard error"
        )
        return BootFailed(f"{node} {what}. {self._logs.last_words(node)}. {hint}")
