"""A cluster to write tests against: it speaks like `cluster.Cluster`, and all that is done with it is recorded and judged.

What clients are told goes into the run's history, and what is broken leaves a receipt: a node that a test killed behind the
judges' backs would look to them like one that broke its promise.
"""

from typing import Any

from cluster.clients.outcomes import value_of
from cluster.processes import ProcessState
from harness.faults.active import LinkFault
from harness.runs.experiment import OWED_S, Experiment
from node.contract import NodeId


class JudgedCluster:
    """The cluster of an experiment that has begun."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """The nodes' names, in order."""
        return self.experiment.nodes

    def propose(self, variable: str, value: object, at: NodeId | None = None, timeout_s: float = OWED_S) -> Any:
        """Try to have `value` decided, and return the value that is.

        Raises:
            Refused: definitely not done.
            Unknown: no answer in time; it may have been done, or may yet be.
        """
        return value_of(self.experiment.propose(variable, value, at, timeout_s))

    def query(self, variable: str, at: NodeId | None = None, timeout_s: float = OWED_S) -> Any:
        """The decided value, or None if nothing had been decided. Raises as `propose`."""
        return value_of(self.experiment.query(variable, at, timeout_s), read=True)

    def kill(self, *nodes: NodeId) -> None:
        """SIGKILL each node."""
        self.experiment.faults.kill(*nodes)

    def suspend(self, *nodes: NodeId) -> None:
        """SIGSTOP each node."""
        self.experiment.faults.suspend(*nodes)

    def resume(self, *nodes: NodeId) -> None:
        """SIGCONT each node."""
        self.experiment.faults.resume(*nodes)

    def restart(self, *nodes: NodeId) -> None:
        """Start each node again on its disk."""
        self.experiment.faults.restart(*nodes)

    def partition(self, *groups: list[NodeId]) -> LinkFault:
        """Cut the groups from each other until `heal`, or the end of a `with`."""
        return self.experiment.faults.partition(*groups)

    def state(self, node: NodeId) -> ProcessState:
        """What a node's process is doing, as the kernel sees it."""
        return self.experiment.cluster.state(node)

    def status(self, timeout_s: float = 1.0) -> dict[NodeId, dict[str, Any]]:
        """How each node that is up says it is."""
        return self.experiment.cluster.status(timeout_s)
