"""Waits until a cluster that keeps a log has settled: one node leads, and all have applied the same."""

import time
from typing import Final

from cluster.errors import ConsensusError
from cluster.membership import leading_node
from harness.runs.experiment import Experiment
from node.contract import NodeId
from node.instances import LOG_NAME

#: How long a cluster may take to settle, and how long it must have been settled, in seconds.
_SETTLE_S: Final = 20.0
_SETTLED_S: Final = 0.1
_LOOK_S: Final = 0.02


class NotSettled(ConsensusError):
    """No leader was found that all nodes follow. The message says what the nodes report."""


def settled_order(run: Experiment) -> tuple[NodeId, ...]:
    """Wait until one node leads, and all follow it and have applied the same for a while.

    Returns:
        The nodes: the leader, then the others in the order of the spec.

    Raises:
        NotSettled: that has not happened in time.
    """
    until, since = time.monotonic() + _SETTLE_S, time.monotonic()
    before: object = None
    while time.monotonic() < until:
        statuses = run.client.status(run.nodes, _SETTLE_S)
        reports = [status["variables"].get(LOG_NAME, {}) for status in statuses.values()]
        leader = leading_node(statuses)
        seen = {(each.get("leader"), each.get("commit"), each.get("applied")) for each in reports}
        is_settled = len(reports) == len(run.nodes) and all(
            followed == leader and commit == applied for followed, commit, applied in seen
        )
        if leader is None or not is_settled or len(seen) > 1 or seen != before:
            before, since = seen, time.monotonic()
        elif time.monotonic() - since > _SETTLED_S:
            return leader, *(node for node in run.nodes if node != leader)
        time.sleep(_LOOK_S)
    raise NotSettled(f"the nodes have not settled on a leader: they report {before}")
