"""What a fault is injected into: a cluster behind the proxy. `harness.runs.experiment.Experiment` is one."""

from pathlib import Path
from typing import Protocol

from cluster.cluster import Cluster
from cluster.spec import Spec
from harness.faults.injector import Faults
from harness.network.network import Network
from node.contract import NodeId


class Target(Protocol):
    """A running cluster, and what breaks it."""

    cluster: Cluster
    network: Network
    faults: Faults
    spec: Spec

    @property
    def folder(self) -> Path:
        """Where the run keeps its evidence."""

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """The nodes' names, in the spec's order."""
