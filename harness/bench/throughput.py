"""Puts a second of a replicated log, with the floor beside each figure, and a peer if there is one.

Every acknowledged put is on a quorum's disks. The floor is `harness/bench/floor.py`: the same message pattern and the same
fdatasync calls with no logic between, driven in the same shapes.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Final

from cluster.local import Cluster
from cluster.log_client import LogClient, shared_poller
from cluster.pipeline import Call
from harness.bench.etcd import Etcd
from harness.bench.floor import floor
from harness.bench.load import SHAPES, Figures, Shape, drive

KEYS: Final = 10_000


def put_load(value_bytes: int) -> Callable[[LogClient], Call]:
    """Puts of one size, on keys in turn."""
    keys = itertools.cycle([f"key-{number}" for number in range(KEYS)])
    value = bytes(value_bytes)

    def begin(client: LogClient) -> Call:
        return client.begin("kv", ["put", next(keys), value], size=value_bytes + 32, timeout_s=30.0)

    return begin


def measure(cluster: Cluster, shape: Shape, seconds: float, value_bytes: int) -> tuple[Figures, float]:
    """Drive a running cluster. Returns the figures, and fsyncs of all nodes per put."""
    settings = cluster.spec.settings.cluster
    before = _commits(cluster)
    found = drive(
        lambda poller: LogClient(settings, cluster.client_addresses, poller=poller),
        shared_poller(),
        shape,
        seconds,
        put_load(value_bytes),
    )
    # The warm-up's puts took commits too.
    return found, (_commits(cluster) - before) / max(found.done * 1.2, 1)


def throughput(
    nodes: int = 3,
    value_bytes: int = 100,
    seconds: float = 5.0,
    shapes: Sequence[Shape] = SHAPES,
    against: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """One row a shape. The peer and ours take turns, so that both meet the same machine."""
    rows = []
    for shape in shapes:
        progress(f"{shape.in_flight} in flight on {shape.connections} connections: floor")
        least = floor(nodes, shape, seconds, value_bytes)
        progress(f"{shape.in_flight} in flight on {shape.connections} connections: multipaxos")
        with Cluster(nodes=nodes, algorithm="multipaxos") as cluster:
            ours, fsyncs = measure(cluster, shape, seconds, value_bytes)
        row: dict[str, Any] = {
            "in_flight": shape.in_flight,
            "connections": shape.connections,
            "nodes": nodes,
            "value_bytes": value_bytes,
            "ours_per_s": ours.per_s,
            "floor_per_s": least.per_s,
            "times_floor": least.per_s / ours.per_s if ours.per_s else None,
            "p50_ms": ours.p50_ms,
            "p99_ms": ours.p99_ms,
            "failed": ours.failed,
            "fsyncs_per_decision": fsyncs,
        }
        if against == "etcd":
            progress(f"{shape.in_flight} in flight on {shape.connections} connections: etcd")
            with Etcd(nodes) as etcd:
                peer = etcd.measure(shape, seconds, value_bytes)
            row |= {
                "peer": etcd.version,
                "peer_per_s": peer.per_s,
                "peer_p50_ms": peer.p50_ms,
                "ratio": ours.per_s / peer.per_s if peer.per_s else None,
            }
        rows.append(row)
    return rows


def _commits(cluster: Cluster) -> int:
    return sum(int(status["commits"]) for status in cluster.status().values())
