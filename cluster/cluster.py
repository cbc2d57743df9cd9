"""A cluster on this machine: its nodes as processes, and the clients that call them.

```python
with Cluster(nodes=5, algorithm="paxos") as cluster:
    cluster.propose("owner", "alice")
    cluster.kill("n1")
    cluster.query("owner", at="n3")
```

The nodes end with this process, however it ends. A `Links` object may stand between the nodes: the harness's proxy is one. A node
behaves the same with and without it.
"""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, Self

from cluster.clients.client import Client
from cluster.errors import BootFailed, ConsensusError, NoSuchNode
from cluster.outliving import OutlivingProcess
from cluster.processes import NODE_COMMAND, NodeProcess, ProcessState
from cluster.service import Service
from cluster.spawning import READY_S
from cluster.spec import Spec, create
from node.algorithms import load_algorithm
from node.contract import NodeId
from node.settings import BadSpec, check_node_name


class Links(Protocol):
    """What stands between the nodes. It gives the address to which node i must send so that the message reaches node j."""

    def addresses(self, node: NodeId) -> Mapping[NodeId, str]:
        """Return, for each peer of `node`, the address that `node` must send to."""

    def client_address(self, node: NodeId) -> str:
        """Return the address that a client must send to so that the message reaches `node`."""

    def node_up(self, node: NodeId, address: str) -> None:
        """Note that `node` now listens at `address`."""

    def node_down(self, node: NodeId) -> None:
        """Note that `node` has ended. Another process may get its old address."""

    def node_joins(self, node: NodeId) -> None:
        """Note that `node`, which is not in the spec, is a member of the cluster."""

    def node_leaves(self, node: NodeId) -> None:
        """Note that `node` is not a member any more, and never will be."""


class DirectLinks:
    """Nothing stands between the nodes: each one gets the others' own addresses."""

    def __init__(self) -> None:
        self._addresses: dict[NodeId, str] = {}

    def addresses(self, node: NodeId) -> Mapping[NodeId, str]:
        """Return, for each peer of `node`, the address at which it listens."""
        return {peer: address for peer, address in self._addresses.items() if peer != node}

    def client_address(self, node: NodeId) -> str:
        """Return the address at which `node` listens."""
        return self._addresses[node]

    def node_up(self, node: NodeId, address: str) -> None:
        """Note that `node` now listens at `address`."""
        self._addresses[node] = address

    def node_down(self, node: NodeId) -> None:
        """Do nothing: a message names its cluster, so another process at that address drops it."""

    def node_joins(self, node: NodeId) -> None:
        """Do nothing: `node_up` follows."""

    def node_leaves(self, node: NodeId) -> None:
        """Forget the address of a node that is not a member any more."""
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
        outliving: bool = False,
        settings: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Describe a cluster; `start` launches it.

        Args:
            nodes: how many nodes, or their names in order. The first one leads in algorithms with a configured leader.
            algorithm: the name of an algorithm of this project, or `module:Class`.
            directory: the cluster's folder, which is made. None: a temporary one, which is removed when the cluster stops.
            seed: every random draw of the nodes comes from it.
            spec: the folder of a cluster that exists already, instead of the arguments above.
            links: what stands between the nodes; None: nothing.
            command: the command that starts a node.
            machines: the machines that a log drives besides those of this project, each as `module:Class`; see
                `node/machine.py`.
            outliving: whether the nodes outlive this process. `start` adopts those that run; `leave` lets go of them.
            settings: sizes, counts and times that are not as shipped, by name: `docs/reference/settings.md` lists them.

        Raises:
            BadSpec, BadSetting, UnknownAlgorithm, UnknownMachine: as `cluster.spec.create` does.
        """
        self._temporary: Path | None = None
        if spec is None:
            if directory is None:
                directory = self._temporary = Path(tempfile.mkdtemp(prefix="consensus-"))
            try:
                if not str(directory):
                    raise BadSpec("the name of the folder is empty: the current folder is .")
                spec = create(
                    Path(directory), nodes=nodes, algorithm=algorithm, seed=seed, machines=machines, settings=settings
                )
            except BaseException:
                self._remove_temporary()
                raise
        of_spec = spec.settings
        super().__init__(
            of_spec.cluster,
            of_spec.algorithm,
            keeps_log=load_algorithm(of_spec.algorithm).keeps_log,
            machines=of_spec.machines,
            tuning=of_spec.tuning,
        )
        self.spec = spec
        self.links: Links = links or DirectLinks()
        self._command, self._outliving = command, outliving
        self._process_class = OutlivingProcess if outliving else NodeProcess
        self.processes = {node: self._process_class(spec, node, command) for node in spec.present_nodes()}
        self._observer: Client | None = None
        self._observing = threading.Lock()
        self.failures: dict[NodeId, BootFailed] = {}

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """The nodes' names in the spec's order, then those of added nodes. Removed nodes are left out."""
        return tuple(self.processes)

    # --- life and death ---------------------------------------------------------------------------------------------

    def start(self, *, without_the_lost: bool = False) -> Self:
        """Launch every node that is not up, all at once.

        Args:
            without_the_lost: go on without nodes that have run before and cannot start now, for instance because their disk
                is gone, as long as one node can start. `failures` then holds the error of each.

        Returns:
            This cluster.

        Raises:
            BootFailed: a node could not start. No process is left running.
        """
        for node in self.spec.nodes:
            if node not in self.processes:
                self.links.node_leaves(node)
        for node in self.nodes:
            if node not in self.spec.nodes:
                self.links.node_joins(node)
        for node, process in self.processes.items():
            adopted = process.adopt()
            if adopted is not None:
                self.links.node_up(node, adopted.address)
        nodes = [node for node in self.nodes if self.state(node) in (ProcessState.NEW, ProcessState.DOWN)]
        known = [node for node in nodes if self.spec.has_booted(node)]
        try:
            self.failures = self._launch(nodes)
            some_run = len(self.failures) < len(self.nodes)
            lost = without_the_lost and set(self.failures) <= set(known) and some_run
            if self.failures and not lost:
                raise next(iter(self.failures.values()))
        except BaseException:
            if self._outliving:  # those that were adopted go on, as they did before
                for node in nodes:
                    self.process(node).end()
                self.leave()
            else:
                self.stop()
            raise
        return self

    def leave(self) -> None:
        """Close the clients, and let the nodes run. A later cluster with `outliving` adopts them."""
        self.close()
        if self._observer is not None:
            self._observer.close()
            self._observer = None

    def stop(self) -> None:
        """End every node, and remove a temporary folder. A second call does nothing, nor does one in a forked child process."""
        if not self._process.is_here:
            return
        self.leave()
        for process in self.processes.values():
            process.end()
        self._remove_temporary()

    def _remove_temporary(self) -> None:
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def kill(self, *nodes: NodeId) -> list[dict[str, object]]:
        """Send SIGKILL to each node.

        Returns:
            For each node what proves its end: `signal`, `pid`, `wait_status`.

        Raises:
            NoSuchNode: there is no such node.
            WrongState: a node is down. The nodes before it are killed then.
            FaultFailed: a process did not end with SIGKILL.
        """
        return [self._end(node, self.process(node).kill) for node in nodes]

    def terminate(self, *nodes: NodeId) -> list[dict[str, object]]:
        """Send SIGTERM to each node, and wait for its orderly end. Returns and raises as `kill` does."""
        return [self._end(node, self.process(node).terminate) for node in nodes]

    def _end(self, node: NodeId, act: Callable[[], dict[str, object]]) -> dict[str, object]:
        proof = act()
        self.links.node_down(node)
        return proof

    def suspend(self, *nodes: NodeId) -> list[dict[str, object]]:
        """Send SIGSTOP to each node. Returns for each what proves it: `signal`, `pid`, `process_state`. Raises as `kill` does."""
        return [self.process(node).suspend() for node in nodes]

    def resume(self, *nodes: NodeId) -> list[dict[str, object]]:
        """Send SIGCONT to each node. Returns for each `signal` and `pid`. Raises as `kill` does."""
        return [self.process(node).resume() for node in nodes]

    def restart(self, *nodes: NodeId) -> list[dict[str, object]]:
        """Start each node again on its disk. A node that still runs is killed first.

        Returns:
            For each node its name and its incarnation: `node`, `incarnation`.

        Raises:
            NoSuchNode: there is no such node.
            BootFailed: a node could not start.
        """
        for node in nodes:
            self.process(node).end()
        for failure in self._launch(nodes).values():
            raise failure
        return [
            {"node": node, "incarnation": ready.incarnation} for node in nodes if (ready := self.process(node).ready)
        ]

    def launch_new(self, node: NodeId) -> None:
        """Start a node that is not in the spec. `cluster.membership.add_node` also makes it a member.

        Raises:
            BadSpec: a node cannot have this name.
            BootFailed: it could not start. `restart` may try again.
        """
        check_node_name(node)
        if node not in self.processes:
            self.links.node_joins(node)
            self.spec.mark_launched(node)
            # A new map: other threads may go through the old one.
            self.processes = {**self.processes, node: self._process_class(self.spec, node, self._command)}
        for failure in self._launch([node]).values():
            raise failure

    def forget(self, node: NodeId) -> None:
        """Forget a node that was removed for ever, and whose process has ended."""
        self.spec.mark_removed(node)
        self.links.node_leaves(node)
        self.processes = {name: process for name, process in self.processes.items() if name != node}

    def _launch(self, nodes: Iterable[NodeId]) -> dict[NodeId, BootFailed]:
        """Start these nodes at once. Returns the errors of those that could not start."""
        nodes = tuple(nodes)
        for node in nodes:
            self.process(node).launch()
        failures: dict[NodeId, BootFailed] = {}
        deadline = time.monotonic() + READY_S
        for node in nodes:
            try:
                ready = self.process(node).wait_ready(max(deadline - time.monotonic(), 0.0))
                self._connect(node, ready.address)
            except BootFailed as error:
                failures[node] = error
        for node, process in self.processes.items():
            process.send_control_line({"peers": dict(self.links.addresses(node))})
        return failures

    def _connect(self, node: NodeId, address: str) -> None:
        """Have the links lead to a node that is ready. Raises BootFailed if it has ended, or was suspended, meanwhile."""
        try:
            self.links.node_up(node, address)
        except ConsensusError as error:
            process = self.process(node)
            if process.look() is ProcessState.UP:
                raise
            raise BootFailed(f"{node} is {process.describe()}, before its links were connected") from error

    # --- addresses and states ---------------------------------------------------------------------------------------

    def client_addresses(self) -> Mapping[NodeId, str]:
        """Return the address at which clients find each node that has been up."""
        return {node: self.links.client_address(node) for node, process in self.processes.items() if process.ready}

    def status(self, timeout_s: float = 1.0, nodes: Collection[NodeId] | None = None) -> dict[NodeId, dict[str, Any]]:
        """Ask every node that is up for its status, directly and not over the links. Threads that call it take turns.

        Args:
            timeout_s: how long to wait for the replies, in seconds.
            nodes: which nodes to ask; None: all.

        Returns:
            The status of each node that has replied: see `node/status.py`.
        """
        self._process.check()
        up = [
            node
            for node, process in self.processes.items()
            if (nodes is None or node in nodes) and process.look() is ProcessState.UP
        ]
        with self._observing:
            if self._observer is None:
                self._observer = Client(self.spec.settings.cluster, self._own_addresses, "observer")
            return self._observer.status(up, timeout_s)

    def _own_addresses(self) -> Mapping[NodeId, str]:
        return {node: process.ready.address for node, process in self.processes.items() if process.ready}

    def process(self, node: NodeId) -> NodeProcess:
        """Return the process of a node. Raises NoSuchNode, and Mistake in a forked child process."""
        self._process.check()
        if not isinstance(node, str) or node not in self.processes:
            raise NoSuchNode(f"there is no node {node!r}: there are {', '.join(self.nodes)}")
        return self.processes[node]

    def state(self, node: NodeId) -> ProcessState:
        """Return the state of a node's process, as the kernel sees it. Raises NoSuchNode."""
        return self.process(node).look()
