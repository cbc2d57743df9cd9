"""One row of figures: a cluster of ours under a load, the floor beside it, and a peer if one is asked for.

Floor, ours and peer take turns in one run, so that all three meet the same machine. Every acknowledged put of ours is on a
quorum's disks.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Final

from cluster.clients.log_call import LogCall
from cluster.clients.log_client import LogClient
from cluster.cluster import Cluster
from harness.bench.etcd import Etcd
from harness.bench.floor import floor
from harness.bench.load import Begin, Drive, Figures, Load, Shape
from harness.bench.peers import Peer
from harness.bench.pysyncobj import PySyncObj

_KEYS_MAX: Final = 10_000
_STATE_BYTES_MAX: Final = 8 * 1024 * 1024  # of all keys together: what is measured are calls, not snapshots
_TIMEOUT_S: Final = 30.0


PEERS: Final[dict[str, Callable[[int], Peer]]] = {"etcd": Etcd, "pysyncobj": PySyncObj}


def compare(
    nodes: int, loads: Sequence[Load], against: str | None = None, progress: Callable[[str], None] = lambda _: None
) -> list[dict[str, Any]]:
    """One row a load. What was not measured is None; times are in milliseconds. Raises PeerMissing."""
    if against is not None:
        PEERS[against](nodes)  # what is missing is told before anything is measured
    rows = []
    for load in loads:
        progress(f"{load}, {nodes} nodes: floor")
        least = floor(nodes, load)
        progress(f"{load}, {nodes} nodes: multipaxos")
        ours, fsyncs = _ours(nodes, load)
        peer: Figures | None = None
        if against is not None:
            progress(f"{load}, {nodes} nodes: {against}")
            with PEERS[against](nodes) as other:
                peer = other.measure(load)
        rows.append(
            {
                "in_flight": load.shape.in_flight,
                "connections": load.shape.connections,
                "nodes": nodes,
                "value_bytes": load.value_bytes,
                "reads": load.reads,
                "ours_per_s": ours.per_s,
                "ours_mb_per_s": ours.per_s * load.value_bytes / 1e6,
                "p50_ms": ours.p50_ms,
                "p90_ms": ours.p90_ms,
                "p99_ms": ours.p99_ms,
                "max_ms": ours.max_ms,
                "histogram": [{"up_to_ms": bound, "calls": calls} for bound, calls in ours.histogram],
                "done": ours.done,
                "failed": ours.failed,
                "fsyncs_per_decision": fsyncs,
                "floor_per_s": least.per_s,
                "floor_p50_ms": least.p50_ms,
                "floor_p99_ms": least.p99_ms,
                "times_floor": least.per_s / ours.per_s if ours.per_s else None,
                "peer": other.version if against is not None else None,
                "peer_per_s": peer.per_s if peer else None,
                "peer_p50_ms": peer.p50_ms if peer else None,
                "peer_p99_ms": peer.p99_ms if peer else None,
                "peer_not_durable": other.not_durable if against is not None else None,
                "ratio": ours.per_s / peer.per_s if peer and peer.per_s else None,
            }
        )
    return rows


def _ours(nodes: int, load: Load) -> tuple[Figures, float]:
    """The figures, and fsyncs of all nodes together for each call.

    A commit is one fdatasync, counted by each node where it is made. SQLite's checkpoints are not counted: strace has seen
    1.00 (one at a time) to 1.01 (256 in flight) syncs for each commit.
    """
    keys = [f"key-{number}" for number in range(min(_KEYS_MAX, _STATE_BYTES_MAX // load.value_bytes))]
    marks: list[tuple[int, int]] = []
    with Cluster(nodes=nodes, algorithm="multipaxos") as cluster:
        settings = cluster.spec.settings.cluster
        if load.reads:
            puts = iter(keys)
            Drive(settings, cluster.client_addresses, Shape(64, 4), _putting(puts, load.value_bytes)).run()
        else:
            with cluster.log_client() as client:  # there is a leader when this returns
                client.kv.put("first", 0, _TIMEOUT_S)
        drive = Drive(settings, cluster.client_addresses, load.shape, calling(keys, load))
        figures = drive.run(load.seconds, load.seconds / 5, lambda: marks.append((drive.done, _commits(cluster))))
    (done, commits), (done_then, commits_then) = marks
    return figures, (commits_then - commits) / max(done_then - done, 1)


def calling(keys: Sequence[str], load: Load) -> Begin:
    """Puts and reads in the load's proportion, spread evenly, on keys in turn."""
    put = _putting(itertools.cycle(keys), load.value_bytes)
    asked = itertools.cycle(keys)
    due = 0.0

    def begin(client: LogClient, number: int) -> LogCall | None:
        nonlocal due
        due += load.reads
        if due < 1:
            return put(client, number)
        due -= 1
        return client.begin("kv", ["get", next(asked)], read=True, timeout_s=_TIMEOUT_S)

    return begin


def _putting(keys: Any, value_bytes: int) -> Begin:
    value = bytes(value_bytes)

    def begin(client: LogClient, _number: int) -> LogCall | None:
        key = next(keys, None)
        if key is None:
            return None
        return client.begin("kv", ["put", key, value], timeout_s=_TIMEOUT_S)

    return begin


def _commits(cluster: Cluster) -> int:
    found = cluster.status(_TIMEOUT_S)
    assert len(found) == len(cluster.nodes), "a node has not told its commits"
    return sum(int(status["commits"]) for status in found.values())
