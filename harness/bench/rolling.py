"""Rolling restart under load: each node in turn is ended with SIGTERM and started again, while clients continue to put.

The load is a number of puts per second, which begin at their times however long earlier ones take. (A load that took the whole
machine would show how much of the machine a starting process takes.)

A service is *out* while no put is acknowledged for longer than usual. So the benchmark records the time of each
acknowledgement. A baseline phase without a fault precedes the restart. The 99th percentile of the gaps between these times in
the baseline is the usual gap. The time out of service is the sum of what the gaps during the restart exceed the usual gap by.
One in a hundred gaps of the baseline exceeds it too, so the same sum over the baseline, scaled to the same length, stands
beside it as the floor. A further figure is the sum of what the gaps exceed the longest gap of the baseline by: a service that
is only slower for a while is not out.
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
from node.algorithms import DEFAULT_LOG
from node.contract import NodeId

#: How many calls may be in flight.
_SHAPE: Final = Shape(64, 4)
#: How long the load runs before the baseline, in seconds.
_WARM_UP_S: Final = 1.0
_KEYS: Final = 2_000
#: How long a node may take to catch up, in seconds.
_WAIT_S: Final = 60.0
_CHECK_INTERVAL_S: Final = 0.05
#: How many slots a node may be behind and still count as caught up.
_BEHIND_MAX: Final = 64


def rolling(
    nodes: int = 5,
    per_s: float = 500.0,
    baseline_s: float = 5.0,
    progress: Callable[[str], None] = lambda _: None,
    algorithm: str = DEFAULT_LOG,
) -> dict[str, Any]:
    """Restart each node once under load.

    Args:
        nodes: how many nodes the cluster has.
        per_s: how many puts begin per second.
        baseline_s: how long the baseline is, in seconds.
        progress: called with a line for people before each phase.
        algorithm: the log.

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

    with Cluster(nodes=nodes, algorithm=algorithm) as cluster:
        settings, addresses = cluster.spec.settings.cluster, cluster.client_addresses
        generator = LoadGenerator(settings, addresses, _SHAPE, tracked.begin, per_s=per_s, on_ok=done, monitors=True)
        with in_background(generator) as load:
            _wait(lambda: len(acknowledged) > 0, "no put was acknowledged")
            time.sleep(_WARM_UP_S)
            baseline = time.monotonic()
            progress(f"{baseline_s:g} s without a fault")
            time.sleep(baseline_s)
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
        "calm_s": began - baseline,
        **_gap_figures(acknowledged, baseline, began, ended),
        "acknowledged": figures.done,
        "unknown": figures.failed,
        "lost": found.lost,
        "twice": found.twice,
    }


def _gap_figures(acknowledged: Sequence[float], baseline: float, began: float, ended: float) -> dict[str, Any]:
    """Return the row's figures of the gaps between acknowledgements, in milliseconds.

    Args:
        acknowledged: the times of the acknowledgements.
        baseline: when the baseline began.
        began: when the restart began and the baseline ended.
        ended: when the restart ended.
    """
    before = _gaps(acknowledged, baseline, began)
    during = _gaps(acknowledged, began, ended)
    usual_s = percentile(sorted(before), 0.99)
    scale = (ended - began) / (began - baseline)
    return {
        "out_of_service_ms": _excess(during, usual_s) * 1000,
        "calm_out_of_service_ms": _excess(before, usual_s) * 1000 * scale,
        "beyond_any_calm_gap_ms": _excess(during, max(before)) * 1000,
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
        time.sleep(_CHECK_INTERVAL_S)


def _gaps(moments: Sequence[float], start: float, end: float) -> list[float]:
    """Return the gaps between acknowledgements in a phase, and from its `start` to the first and from the last to its `end`."""
    inside = [start, *(moment for moment in moments if start < moment < end), end]
    return [later - earlier for earlier, later in itertools.pairwise(inside) if later > earlier]


def _excess(gaps: Sequence[float], usual_s: float) -> float:
    """Return the sum of what the gaps exceed `usual_s` by, in seconds."""
    return sum(gap - usual_s for gap in gaps if gap > usual_s)
