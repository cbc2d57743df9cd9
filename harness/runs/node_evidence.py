"""What the nodes of a run show at its end: whether they answer, how far their replicas are, their disks, their failures."""

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from cluster.cluster import Cluster
from cluster.processes import ProcessState
from cluster.spec import Spec
from harness.faults.catalogue import catalogue
from harness.faults.disk_faults import WENT_ON
from harness.records.node_failures import failures
from harness.records.receipts import Receipt
from harness.runs.machine_watch import times_ns
from node.contract import NodeId
from node.storage.disk import Contents, DiskError, inspect

_LOOK_S: Final = 0.05
#: How often a node is asked that other processes have kept from answering.
_ASKED_MAX: Final = 5
_STATUS_S: Final = 0.5


def silent_nodes(cluster: Cluster, timeout_s: float) -> list[str]:
    """Return a line for each node that is up and does not answer a status request within `timeout_s` seconds.

    A node that waited for a processor most of that time is asked again, a few times.
    """
    silent = list(cluster.nodes)
    for _ in range(_ASKED_MAX):
        waited_ns = {node: _waited_ns(cluster, node) for node in silent}
        statuses = cluster.status(timeout_s)
        silent = [node for node in silent if node not in statuses and cluster.state(node) is ProcessState.UP]
        if all(_waited_ns(cluster, node) - waited_ns[node] < timeout_s * 1e9 / 2 for node in silent):
            break
    return [
        f"{node} is up and does not answer a status request: is its algorithm in an endless loop?" for node in silent
    ]


def _waited_ns(cluster: Cluster, node: NodeId) -> int:
    """Return how long a node was ready to run and did not since its start, or 0 if it does not run."""
    pid = cluster.process(node).pid
    times = times_ns(pid) if pid is not None else None
    return 0 if times is None else times[1]


def replica_statuses(cluster: Cluster, timeout_s: float) -> dict[NodeId, dict[str, Any]]:
    """Return the status of every replica of a log that answers. Replicas that lag have `timeout_s` seconds to catch up."""
    deadline = time.monotonic() + timeout_s
    while True:
        statuses = cluster.status(_STATUS_S)
        replicas = {node: status["variables"][""] for node, status in statuses.items() if "" in status["variables"]}
        level = {replica["applied"] for replica in replicas.values()}
        if (len(level) == 1 and len(replicas) == len(cluster.nodes)) or time.monotonic() > deadline:
            return replicas
        time.sleep(_LOOK_S)


class DisksRead(NamedTuple):
    """The contents of the disks that can be read, and for each other disk why it cannot."""

    contents: dict[NodeId, Contents]
    unreadable: dict[NodeId, str]


def read_disks(spec: Spec) -> DisksRead:
    """Read the disk of every node that the cluster has had, also of removed ones, while the nodes are down."""
    found = DisksRead({}, {})
    for node in spec.known_nodes():
        try:
            found.contents[node] = inspect(spec.settings.directory(node))
        except DiskError as error:
            found.unreadable[node] = str(error)
    return found


def unexplained_failures(spec: Spec, receipts: Iterable[Receipt], silent: Sequence[str]) -> list[str]:
    """Return a line for each failure of a node that no fault of that node explains, by the fault's excuse.

    Args:
        spec: the cluster, whose logs show failures.
        receipts: the faults of the run.
        silent: what `silent_nodes` returned; these are failures, too.
    """
    excused = {node for receipt in receipts if may_fail_its_nodes(receipt.fault) for node in receipt.nodes_down}
    found = failures({node: spec.log(node) for node in spec.known_nodes() if node not in excused})
    return [*found, *(line for line in silent if line.partition(" ")[0] not in excused)]


def nodes_that_went_on(receipts: Iterable[Receipt]) -> list[str]:
    """Return a line for each node that went on after its disk had failed: what it had not saved may be lost."""
    return [
        f"{node} went on after its disk had failed ({receipt.fault}), and a commit that fails is final"
        for receipt in receipts
        if receipt.evidence.get(WENT_ON)
        for node in receipt.nodes_down
    ]


def may_fail_its_nodes(fault: str) -> bool:
    """Return whether a fault of this name excuses any error of its nodes. A name that the catalogue lacks excuses none."""
    return any(entry.name == fault and entry.excuse.fails for entry in catalogue())
