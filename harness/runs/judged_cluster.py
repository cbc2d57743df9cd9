"""The `cluster` fixture: an experiment with calls that return values and raise, as those of `cluster.Cluster` do.

Calls go into the run's history, and faults leave receipts. A test must not kill a node in another way: the judges would take
it for a node that broke its promise.
"""

from typing import Any

from cluster.clients.outcomes import value_of
from cluster.processes import ProcessState
from harness.faults.active import LinkFault
from harness.runs.experiment import Experiment
from harness.runs.run_clients import OWED_S
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
        """Propose `value` for `variable`, and return the decided value.

        Args:
            variable: the variable's name.
            value: plain data.
            at: the node to ask; None for any.
            timeout_s: how long to wait for an answer, in seconds.

        Raises:
            Refused: definitely not done.
            Unknown: no answer in time. The proposal may have been done, or may still be.
        """
        return value_of(self.experiment.propose(variable, value, at, timeout_s))

    def query(self, variable: str, at: NodeId | None = None, timeout_s: float = OWED_S) -> Any:
        """Return the decided value, or None if the variable is undecided. Takes and raises the same as `propose`."""
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
        """Return what a node's process is doing, according to the kernel."""
        return self.experiment.cluster.state(node)

    def status(self, timeout_s: float = 1.0) -> dict[NodeId, dict[str, Any]]:
        """Return the status of each node that is up and answers within `timeout_s` seconds."""
        return self.experiment.cluster.status(timeout_s)
