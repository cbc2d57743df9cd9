"""A cluster on this machine: its nodes as processes, and one client to talk to them.

```python
with Cluster(nodes=5, algorithm="paxos") as cluster:
    cluster.propose("owner", "alice")
    cluster.kill("n1")
    cluster.query("owner", at="n3")
```

The nodes die with this process, however it ends. A `Links` object may stand between the nodes: the harness's proxy is one,
and nobody below it can tell.
"""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from cluster.clients.client import Client
from cluster.errors import BootFailed, NoSuchNode
from cluster.processes import NODE_COMMAND, READY_S, NodeProcess, ProcessState
from cluster.service import Service
from cluster.spec import Spec, create
from node.algorithms import load_algorithm
from node.contract import NodeId
from node.settings import check_node_name


class Links(Protocol):
    """What stands between the nodes: where node i must send so that it reaches node j."""

    def addresses(self, node: NodeId) -> Mapping[NodeId, str]:
        """For each peer of `node`, where `node` must send."""

    def client_address(self, node: NodeId) -> str:
        """Where a client must send so that it reaches `node`."""

    def node_up(self, node: NodeId, address: str) -> None:
        """`node` now listens at `address`."""

    def node_down(self, node: NodeId) -> None:
        """`node` has ended: its old address may be given to somebody else."""

    def node_joins(self, node: NodeId) -> None:
        """`node`, which is not in the spec, is a member of the cluster."""

    def node_leaves(self, node: NodeId) -> None:
        """`node` is no member any more, and will never be."""


class DirectLinks:
    """Nothing between: everybody is told everybody's own address."""

    def __init__(self) -> None:
        self._addresses: dict[NodeId, str] = {}

    def addresses(self, node: NodeId) -> Mapping[NodeId, str]:
        """For each peer of `node`, where that peer listens."""
        return {peer: address for peer, address in self._addresses.items() if peer != node}

    def client_address(self, node: NodeId) -> str:
        """Where `node` listens."""
        return self._addresses[node]

    def node_up(self, node: NodeId, address: str) -> None:
        """`node` now listens at `address`."""
        self._addresses[node] = address

    def node_down(self, node: NodeId) -> None:
        """Nothing to do: whoever sends there names the cluster, and a stranger would drop it."""

    def node_joins(self, node: NodeId) -> None:
        """Nothing to do: it is known when it is up."""

    def node_leaves(self, node: NodeId) -> None:
        """Nobody is told its address any more."""
        self._addresses.pop(node, None)


class Cluster(Service):
    """A launched cluster. Use it as a context manager, or call `start` and `stop`."""

    def __init__(
        self,
        nodes: int | Sequence[NodeId] = 5,
        algorithm: str = "paxos",
        *,
        directory: Path | str | None = None,
        seed: int = 0,
        spec: Spec | None = None,
        links: Links | None = None,
        command: Sequence[str] = NODE_COMMAND,
        machines: Sequence[str] = (),
    ) -> None:
        """Describe a cluster; `start` launches it.

        Args:
            nodes: how many, or their names in order. The first is the configured leader of algorithms that have one.
            algorithm: a name of ours, or `module:Class`.
            directory: where its folder is made. None: a temporary one, gone when the cluster stops.
            seed: every random draw of the nodes comes from it.
            spec: a cluster's folder that exists already, instead of the above.
            links: what stands between the nodes.
            command: what starts a node.
            machines: what a log drives besides ours, each as `module:Class`; see `node/machine.py`.

        Raises:
            BadSpec, UnknownAlgorithm, UnknownMachine: as `cluster.spec.create`.
        """
        self._temporary: Path | None = None
        if spec is None:
            if directory is None:
                directory = self._temporary = Path(tempfile.mkdtemp(prefix="consensus-"))
            try:
                spec = create(Path(directory), nodes=nodes, algorithm=algorithm, seed=seed, machines=machines)
            except BaseException:
                self._remove_temporary()
                raise
        settings = spec.settings
        super().__init__(settings.cluster, settings.algorithm, keeps_log=load_algorithm(settings.algorithm).keeps_log)
        self.spec = spec
        self.links: Links = links or DirectLinks()
        self._command = command
        self.processes = {node: NodeProcess(spec, node, command) for node in spec.present_nodes()}
        self._observer: Client | None = None
        self._observing = threading.Lock()
        self.failures: dict[NodeId, BootFailed] = {}

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """The nodes' names, in the spec's order; those that were added later follow, those that were removed are left out."""
        return tuple(self.processes)

    # --- life and death ---------------------------------------------------------------------------------------------

    def start(self, *, without_the_lost: bool = False) -> Self:
        """Launch every node that is not up, all at once.

        Args:
            without_the_lost: go on without nodes that have run before and cannot start now, for instance because their disk
                is gone, as long as one node can. `failures` says which and why.

        Raises:
            BootFailed: a node could not start. Nothing is left running.
        """
        for node in self.spec.nodes:
            if node not in self.processes:
                self.links.node_leaves(node)
        for node in self.nodes:
            if node not in self.spec.nodes:
                self.links.node_joins(node)
        nodes = [node for node in self.nodes if self.state(node) in (ProcessState.NEW, ProcessState.DOWN)]
        known = [node for node in nodes if self.spec.has_booted(node)]
        try:
            self.failures = self._launch(nodes)
            lost = without_the_lost and set(self.failures) <= set(known) and len(self.failures) < len(nodes)
            if self.failures and not lost:
                raise next(iter(self.failures.values()))
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End every node and remove a temporary folder. Safe to call twice."""
        self.close()
        if self._observer is not None:
            self._observer.close()
            self._observer = None
        for process in self.processes.values():
            process.bury()
        self._remove_temporary()

    def _remove_temporary(self) -> None:
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def kill(self, *nodes: NodeId) -> list[dict[str, object]]:
        """SIGKILL each node. Returns the proofs. Raises WrongState if one is down; the ones before it are killed then."""
        return [self._end(node, self.process(node).kill) for node in nodes]

    def terminate(self, *nodes: NodeId) -> list[dict[str, object]]:
        """SIGTERM each node and wait for its orderly end."""
        return [self._end(node, self.process(node).terminate) for node in nodes]

    def _end(self, node: NodeId, act: Callable[[], dict[str, object]]) -> dict[str, object]:
        proof = act()
        self.links.node_down(node)
        return proof

    def suspend(self, *nodes: NodeId) -> list[dict[str, object]]:
        """SIGSTOP each node. Returns the proofs."""
        return [self.process(node).suspend() for node in nodes]

    def resume(self, *nodes: NodeId) -> list[dict[str, object]]:
        """SIGCONT each node. Returns the proofs."""
        return [self.process(node).resume() for node in nodes]

    def restart(self, *nodes: NodeId) -> list[dict[str, object]]:
        """Start each node again on the same disk; one that is still running is killed first. Returns the incarnations."""
        for node in nodes:
            self.process(node).bury()
        for failure in self._launch(nodes).values():
            raise failure
        return [
            {"node": node, "incarnation": ready.incarnation} for node in nodes if (ready := self.process(node).ready)
        ]

    def launch_new(self, node: NodeId) -> None:
        """Start a node that is not in the spec. See `cluster.membership.add_node`, which also has the others know it.

        Raises BootFailed if it could not start; `restart` may then try again.
        """
        check_node_name(node)
        if node not in self.processes:
            self.links.node_joins(node)
            self.processes[node] = NodeProcess(self.spec, node, self._command)
        for failure in self._launch([node]).values():
            raise failure

    def forget(self, node: NodeId) -> None:
        """A node was removed for ever; its process has ended."""
        self.spec.mark_removed(node)
        self.links.node_leaves(node)
        del self.processes[node]

    def _launch(self, nodes: Iterable[NodeId]) -> dict[NodeId, BootFailed]:
        """Start these at once. Returns those that could not."""
        nodes = tuple(nodes)
        for node in nodes:
            self.process(node).launch()
        failures: dict[NodeId, BootFailed] = {}
        deadline = time.monotonic() + READY_S
        for node in nodes:
            try:
                ready = self.process(node).wait_ready(max(deadline - time.monotonic(), 0.0))
                self.links.node_up(node, ready.address)
            except BootFailed as error:
                failures[node] = error
        for node, process in self.processes.items():
            process.tell({"peers": dict(self.links.addresses(node))})
        return failures

    # --- talking to it ----------------------------------------------------------------------------------------------

    def client_addresses(self) -> Mapping[NodeId, str]:
        """Where clients find each node that has been up."""
        return {node: self.links.client_address(node) for node, process in self.processes.items() if process.ready}

    def status(self, timeout_s: float = 1.0) -> dict[NodeId, dict[str, Any]]:
        """How each node that is up says it is, past any links between. One that does not answer in time is left out.

        Any thread may call it; they take turns.
        """
        up = [node for node in self.nodes if self.state(node) is ProcessState.UP]
        with self._observing:
            if self._observer is None:
                self._observer = Client(self.spec.settings.cluster, self._own_addresses, "observer")
            return self._observer.status(up, timeout_s)

    def _own_addresses(self) -> Mapping[NodeId, str]:
        return {node: process.ready.address for node, process in self.processes.items() if process.ready}

    def process(self, node: NodeId) -> NodeProcess:
        """The process of a node. Raises NoSuchNode."""
        if not isinstance(node, str) or node not in self.processes:
            raise NoSuchNode(f"there is no node {node!r}: there are {', '.join(self.nodes)}")
        return self.processes[node]

    def state(self, node: NodeId) -> ProcessState:
        """What a node's process is doing, as the kernel sees it."""
        return self.process(node).look()
