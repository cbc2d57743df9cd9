"""The target of a fault: a cluster behind the proxy, such as `harness.runs.experiment.Experiment`.

Also the functions by which faults choose nodes of the target and bring them up again.
"""

import contextlib
from collections.abc import Collection, Sequence
from pathlib import Path
from random import Random
from typing import Protocol

from cluster.cluster import Cluster
from cluster.errors import BootFailed, Mistake
from cluster.node_set import NodeSet
from cluster.processes import ProcessState
from harness.faults.injector import Faults
from harness.faults.roles import ROLES
from harness.network.rule_installer import RuleInstaller
from node.contract import NodeId


class Target(Protocol):
    """A running cluster, with the network and the injector that faults use. Its nodes need not be ours."""

    algorithm: str

    @property
    def cluster(self) -> NodeSet:
        """The nodes and their processes."""

    @property
    def network(self) -> RuleInstaller:
        """What stands between them."""

    @property
    def faults(self) -> Faults:
        """The injector."""

    @property
    def message_types(self) -> Collection[str] | None:
        """The types of messages that nodes send each other; None if they are not known before they come."""

    @property
    def folder(self) -> Path:
        """Where the run keeps its evidence."""

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """The names of the nodes, in order."""


def own_cluster(experiment: Target) -> Cluster:
    """Return the cluster of a target whose nodes are ours. Raises Mistake if they are not."""
    if not isinstance(experiment.cluster, Cluster):
        raise Mistake(f"{experiment.algorithm} has no nodes of ours, which this fault needs")
    return experiment.cluster


def choose_node(experiment: Target, rng: Random, node: NodeId | None) -> NodeId:
    """Return `node`, or a random node if it is None. A role, such as "leader", stands for the node that has it now."""
    (chosen,) = resolve_nodes(experiment, rng, None if node is None else [node])
    return chosen


def resolve_nodes(experiment: Target, rng: Random, nodes: Sequence[NodeId] | None) -> tuple[NodeId, ...]:
    """Return the nodes that an argument means.

    Args:
        experiment: the target of the fault.
        rng: draws one node if `nodes` is None.
        nodes: names of nodes, or of roles: see `roles.py`.

    Raises:
        Missed: no node has such a role.
    """
    if nodes is None:
        return (rng.choice(experiment.nodes),)
    named = (experiment.faults.node_in_role(node, rng) if node in ROLES else node for node in nodes)
    return tuple(dict.fromkeys(named))


def bring_up(faults: Faults, nodes: Sequence[NodeId]) -> None:
    """Resume those of the nodes that are suspended, and restart those that are down."""
    with faults.lock:
        nodes = [node for node in nodes if node in faults.cluster.processes]  # one that was removed does not come back
        suspended = [node for node in nodes if faults.cluster.state(node) is ProcessState.SUSPENDED]
        if suspended:
            faults.resume(*suspended)
        down = [node for node in nodes if faults.cluster.state(node) is ProcessState.DOWN]
        if down:
            faults.restart(*down)


def bring_up_those_that_can(faults: Faults, nodes: Sequence[NodeId]) -> None:
    """Bring the nodes up, and leave those down that refuse to start: `faults.refusals` has them, for the judges."""
    with contextlib.suppress(BootFailed):
        bring_up(faults, nodes)
