"""`NodeSet`: the nodes of a cluster as its supervisor, faults and sessions see them. `Cluster` is one of ours."""

from collections.abc import Mapping
from typing import Any, Protocol

from cluster.processes import ProcessState
from cluster.spawning import Ready
from node.contract import NodeId


class AnyProcess(Protocol):
    """The process of one node, over all its incarnations."""

    @property
    def node(self) -> NodeId:
        """The node."""

    @property
    def pid(self) -> int | None:
        """The process id, if a process runs."""

    @property
    def ready(self) -> Ready | None:
        """What is known since the node was ready, such as its incarnation. None before its first start."""

    @property
    def ended(self) -> str:
        """How the last process has ended, for people."""

    @property
    def why_it_ended(self) -> str:
        """The reason that the node gave for its end, for people; empty if it gave none."""

    def look(self) -> ProcessState:
        """Return the state, from the kernel. Notices what other processes have done to it."""

    def describe(self) -> str:
        """Return the state for people, such as "down: killed by SIGKILL"."""


class ProcessControl(Protocol):
    """Acts on the processes of nodes. Each method returns what proves the act, per node: `signal`, `pid`, what the kernel says.

    It raises WrongState if a node is not in the state for it, and FaultFailed if the kernel shows no effect.
    """

    def kill(self, *nodes: NodeId) -> list[dict[str, object]]:
        """Send SIGKILL to each node."""

    def terminate(self, *nodes: NodeId) -> list[dict[str, object]]:
        """Send SIGTERM to each node, and wait for its end."""

    def suspend(self, *nodes: NodeId) -> list[dict[str, object]]:
        """Send SIGSTOP to each node."""

    def resume(self, *nodes: NodeId) -> list[dict[str, object]]:
        """Send SIGCONT to each node."""

    def restart(self, *nodes: NodeId) -> list[dict[str, object]]:
        """Start each node again on its disk. A node that still runs is killed first. Raises BootFailed; other nodes did start."""


class NodeSet(ProcessControl, Protocol):
    """The nodes of one cluster that runs."""

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """The names of the nodes, in order."""

    @property
    def processes(self) -> Mapping[NodeId, AnyProcess]:
        """Their processes, by name."""

    @property
    def keeps_log(self) -> bool:
        """Whether they are a replicated log of ours."""

    def process(self, node: NodeId) -> AnyProcess:
        """Return the process of a node. Raises NoSuchNode."""

    def state(self, node: NodeId) -> ProcessState:
        """Return the state of a node's process, as the kernel sees it."""

    def status(self, timeout_s: float = 1.0) -> dict[NodeId, dict[str, Any]]:
        """Return the status of each node that replies in time. Nodes that are not ours report none."""
