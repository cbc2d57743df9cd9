"""Rolling restart under load: each node in turn is ended with SIGTERM and started again, while clients continue to put.

The load is a number of puts per second, which begin at their times however long earlier ones take. (A load that took the whole
machine would show how much of the machine a starting process takes.)

A service is *out* while no put is acknowledged for longer than usual. So the benchmark records the time of each
acknowledgement. The gaps between these times in a calm phase before the restart say what is usual: their 99th percentile. The
time out of service is the sum of what the gaps during the restart have above that. One in a hundred gaps of the calm phase is
above it too, so the same sum over the calm phase, scaled to the same length, stands beside as the floor. The sum of what the
gaps have above the longest calm gap is a figure of its own: a service that is slower for a while is not out.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from cluster.clients.log_call import LogCall
from cluster.cluster import Cluster
from cluster.membership import leader_of
from harness.bench.load import LoadGenerator, Shape, percentile
from harness.bench.tracked import Tracked, in_background
from node.contract import NodeId

#: How many calls may be in flight.
_SHAPE: Final = Shape(64, 4)
#: How long the load runs before the calm phase, in seconds.
_WARM_UP_S: Final = 1.0
_KEYS: Final = 2_000
#: How long a node may take to catch up, in seconds.
_WAIT_S: Final = 60.0
_CHECK_EVERY_S: Final = 0.05
#: How many slots a node that has caught up may be behind.
_BEHIND_MAX: Final = 64


def rolling(
    nodes: int = 5,
    per_s: float = 500.0,
    calm_s: float = 5.0,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Restart each node once under load.

    Args:
        nodes: how many nodes the cluster has.
        per_s: how many puts begin per second.
        calm_s: how long the calm phase is, in seconds.
        progress: called with a line for people before each phase.

    Returns:
        The row of figures. Times are in milliseconds, except where the name says otherwise.

    Raises:
        TimeoutError: no put was acknowledged, or a node did not catch up.
    """
    tracked = Tracked(_SHAPE, _KEYS)
    acknowledged: list[float] = []

    def done(call: LogCall, now: float) -> None:
        tracked.acknowledge(call)
        acknowledged.append(now)

    with Cluster(nodes=nodes, algorithm="multipaxos") as cluster:
        settings, addresses = cluster.spec.settings.cluster, cluster.client_addresses
        generator = LoadGenerator(settings, addresses, _SHAPE, tracked.begin, per_s=per_s, on_ok=done, monitors=True)
        with in_background(generator) as load:
            _wait(lambda: len(acknowledged) > 0, "no put was acknowledged")
            time.sleep(_WARM_UP_S)
            calm = time.monotonic()
            progress(f"{calm_s:g} s without a fault")
            time.sleep(calm_s)
            began = time.monotonic()
            leaders = [_restart(cluster, node, progress) for node in cluster.nodes]
            ended = time.monotonic()
            generator.stop()
            figures = load.result()
        with cluster.log_client() as client:
            found = tracked.read_back(client)
    return {
        "how": "rolling",
        "nodes": nodes,
        "puts_per_s": per_s,
        "connections": _SHAPE.connections,
        "restarts": len(leaders),
        "restarts_of_the_leader": sum(leaders),
        "restart_s": ended - began,
        "calm_s": began - calm,
        **_gap_figures(acknowledged, calm, began, ended),
        "acknowledged": figures.done,
        "unknown": figures.failed,
        "lost": found.lost,
        "twice": found.twice,
    }


def _gap_figures(acknowledged: Sequence[float], calm: float, began: float, ended: float) -> dict[str, Any]:
    """Return the row's figures of the gaps between acknowledgements, in milliseconds.

    Args:
        acknowledged: the times of the acknowledgements.
        calm: when the calm phase began.
        began: when the restart began and the calm phase ended.
        ended: when the restart ended.
    """
    before = _gaps(acknowledged, calm, began)
    during = _gaps(acknowledged, began, ended)
    usual_s = percentile(sorted(before), 0.99)
    scale = (ended - began) / (began - calm)
    return {
        "out_of_service_ms": _above(during, usual_s) * 1000,
        "calm_out_of_service_ms": _above(before, usual_s) * 1000 * scale,
        "beyond_any_calm_gap_ms": _above(during, max(before)) * 1000,
        "longest_gap_ms": max(during) * 1000,
        "calm_longest_gap_ms": max(before) * 1000,
        "usual_gap_ms": usual_s * 1000,
    }


def _restart(cluster: Cluster, node: NodeId, progress: Callable[[str], None]) -> bool:
    """End a node with SIGTERM, start it, and return when it has caught up. Return whether it led before."""
    led = leader_of(cluster) == node
    progress(f"restart of {node}{', which leads' if led else ''}")
    cluster.terminate(node)
    cluster.restart(node)
    _wait(lambda: _has_caught_up(cluster, node), f"{node} has not caught up")
    return led


def _has_caught_up(cluster: Cluster, node: NodeId) -> bool:
    applied = {each: status["variables"][""]["applied"] for each, status in cluster.status().items()}
    return len(applied) == len(cluster.nodes) and max(applied.values()) - applied[node] < _BEHIND_MAX


def _wait(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait for a condition. Raise TimeoutError with `otherwise` if it does not become true in time."""
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{otherwise} within {_WAIT_S:g} s")
        time.sleep(_CHECK_EVERY_S)


def _gaps(moments: Sequence[float], start: float, end: float) -> list[float]:
    """Return the times between acknowledgements in a phase, from `start` to the first one and from the last one to `end`."""
    inside = [start, *(moment for moment in moments if start < moment < end), end]
    return [later - earlier for earlier, later in itertools.pairwise(inside) if later > earlier]


def _above(gaps: Sequence[float], usual_s: float) -> float:
    """Return the sum of what the gaps have above `usual_s`."""
    return sum(gap - usual_s for gap in gaps if gap > usual_s)
