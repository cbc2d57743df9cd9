"""A rolling restart under load: every node in turn is ended in order (SIGTERM) and started again, and clients go on putting.

The load is so many puts a second, begun at their times whatever became of those before. A load that takes all of the machine
would show how much of it a starting process takes.

A service is out while no put is acknowledged for longer than it usually takes. So the moments in which puts are acknowledged
are kept. The gaps between them in a calm time before say what is usual: 99 of 100 are shorter than its 99th percentile. What
the gaps during the restart have above that, all together, is the time out of service. One in a hundred gaps of a calm time
is above it, too: the same sum over the calm time, for a time of the same length, stands beside as the floor. What the gaps
have above the longest gap of the calm time is told as well: a service that is slower for a time is not out.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from cluster.clients.log_call import LogCall
from cluster.cluster import Cluster
from cluster.membership import leader_of
from harness.bench.load import Drive, Shape, percentile
from harness.bench.tracked import Tracked, driving
from node.contract import NodeId

_SHAPE: Final = Shape(64, 4)  # at most
_BEFORE_S: Final = 1.0
_KEYS: Final = 2_000
_WAIT_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.05
_BEHIND_MAX: Final = 64  # slots


def rolling(
    nodes: int = 5,
    per_s: float = 500.0,
    calm_s: float = 5.0,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Restart each node once. Times are in milliseconds, but for what says otherwise."""
    tracked = Tracked(_SHAPE, _KEYS)
    acknowledged: list[float] = []

    def done(call: LogCall, now: float) -> None:
        tracked.acknowledge(call)
        acknowledged.append(now)

    with Cluster(nodes=nodes, algorithm="multipaxos") as cluster:
        settings, addresses = cluster.spec.settings.cluster, cluster.client_addresses
        drive = Drive(settings, addresses, _SHAPE, tracked.begin, per_s=per_s, on_ok=done, monitors=True)
        with driving(drive) as load:
            _wait(lambda: len(acknowledged) > 0, "no put was acknowledged")
            time.sleep(_BEFORE_S)
            calm = time.monotonic()
            progress(f"{calm_s:g} s with nothing wrong")
            time.sleep(calm_s)
            began = time.monotonic()
            leaders = [_restart(cluster, node, progress) for node in cluster.nodes]
            ended = time.monotonic()
            drive.stop()
            figures = load.result()
        with cluster.log_client() as client:
            found = tracked.read_back(client)
    before = _gaps(acknowledged, calm, began)
    during = _gaps(acknowledged, began, ended)
    usual_s = percentile(sorted(before), 0.99)
    scaled = (ended - began) / (began - calm)
    return {
        "how": "rolling",
        "nodes": nodes,
        "puts_per_s": per_s,
        "connections": _SHAPE.connections,
        "restarts": len(leaders),
        "restarts_of_the_leader": sum(leaders),
        "restart_s": ended - began,
        "calm_s": began - calm,
        "out_of_service_ms": _above(during, usual_s) * 1000,
        "calm_out_of_service_ms": _above(before, usual_s) * 1000 * scaled,
        "beyond_any_calm_gap_ms": _above(during, max(before)) * 1000,
        "longest_gap_ms": max(during) * 1000,
        "calm_longest_gap_ms": max(before) * 1000,
        "usual_gap_ms": usual_s * 1000,
        "acknowledged": figures.done,
        "unknown": figures.failed,
        "lost": found.lost,
        "twice": found.twice,
    }


def _restart(cluster: Cluster, node: NodeId, progress: Callable[[str], None]) -> bool:
    """End a node in order, start it, and return when it has caught up. Returns whether it led."""
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
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{otherwise} within {_WAIT_S:g} s")
        time.sleep(_LOOK_EVERY_S)


def _gaps(moments: Sequence[float], start: float, end: float) -> list[float]:
    """The times from `start` to the first acknowledgement after it, between those that follow, and from the last to `end`."""
    inside = [start, *(moment for moment in moments if start < moment < end), end]
    return [later - earlier for earlier, later in itertools.pairwise(inside) if later > earlier]


def _above(gaps: Sequence[float], usual_s: float) -> float:
    return sum(gap - usual_s for gap in gaps if gap > usual_s)
