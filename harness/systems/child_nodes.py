"""The processes of nodes that are not ours: the acts that faults and the nemesis ask for, which both kinds of them share."""

from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster.errors import BootFailed, NoSuchNode
from cluster.processes import ProcessState
from harness.systems.child_process import ChildProcess
from harness.systems.node_logs import NodeLogs
from harness.systems.system import SystemNodes
from node.contract import NodeId


class ChildNodes(SystemNodes):
    """Nodes of which each is a `ChildProcess`. A subclass says how one starts, and what is left to do when one has ended."""

    processes: dict[NodeId, ChildProcess]

    def __init__(self, nodes: tuple[NodeId, ...], folder: Path, logs: NodeLogs) -> None:
        """Describe the nodes of one run.

        Args:
            nodes: their names.
            folder: the run folder, in which each node gets a folder of its own.
            logs: what nodes say to people.
        """
        self.nodes, self.processes = nodes, {}
        self._folder, self._logs = folder, logs

    def process(self, node: NodeId) -> ChildProcess:
        if node not in self.processes:
            raise NoSuchNode(f"there is no node {node!r}; there are {', '.join(self.nodes)}")
        return self.processes[node]

    def state(self, node: NodeId) -> ProcessState:
        return self.process(node).look()

    def disk(self, node: NodeId) -> Path:
        return self._folder / "nodes" / node

    def log(self, node: NodeId) -> Path:
        return self._logs.path(node)

    def kill(self, *nodes: NodeId) -> list[dict[str, object]]:
        return [self._kill(node) for node in nodes]

    def _kill(self, node: NodeId) -> dict[str, object]:
        proof = self.process(node).kill()
        self._has_ended(node)
        return proof

    def terminate(self, *nodes: NodeId) -> list[dict[str, object]]:
        proofs = []
        for node in nodes:
            proofs.append(self.process(node).terminate())
            self._has_ended(node)
        return proofs

    def suspend(self, *nodes: NodeId) -> list[dict[str, object]]:
        return [self.process(node).suspend() for node in nodes]

    def resume(self, *nodes: NodeId) -> list[dict[str, object]]:
        return [self.process(node).resume() for node in nodes]

    def restart(self, *nodes: NodeId) -> list[dict[str, object]]:
        for node in nodes:
            self.process(node).end()
            self._has_ended(node)
        self._launch(nodes)
        return [{"node": node, "incarnation": self.process(node).starts} for node in nodes]

    def _launch(self, nodes: Sequence[NodeId]) -> None:
        """Start nodes, all at once.

        Raises:
            BootFailed: the first that did not become ready; its process has ended, and the others go on.
        """
        with ThreadPoolExecutor(len(nodes)) as pool:
            failures = [error for error in pool.map(self._launch_one, nodes) if error is not None]
        if failures:
            raise failures[0]

    @abstractmethod
    def _launch_one(self, node: NodeId) -> BootFailed | None:
        """Start a node, and wait until it is ready. Returns the error if it did not become ready; its process has ended then."""

    @abstractmethod
    def _has_ended(self, node: NodeId) -> None:
        """Do what is left to do when the process of a node has ended."""
