"""Compare: one row of figures for a cluster with a log under a load, beside the floor and, on request, a peer.

Floor, log and peer run one after the other in the same benchmark, on the same machine. Every acknowledged put of
ours is on the disks of a quorum.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from cluster.clients.log_call import LogCall
from cluster.clients.log_client import LogClient
from cluster.cluster import Cluster
from harness.bench.etcd import Etcd
from harness.bench.floor import floor
from harness.bench.load import BeginCall, Figures, Load, LoadGenerator, Shape
from harness.bench.peers import Peer
from harness.bench.pysyncobj import PySyncObj
from node.algorithms import DEFAULT_LOG
from node.wording import count

#: How many keys a load uses at most.
_KEYS_MAX: Final = 10_000
#: How many bytes of values all keys hold at most, so that the load measures calls and not snapshots.
_STATE_BYTES_MAX: Final = 8 * 1024 * 1024
_TIMEOUT_S: Final = 30.0

#: The peers, by the names that the command line uses. Each takes a number of nodes.
PEERS: Final[dict[str, Callable[[int], Peer]]] = {"etcd": Etcd, "pysyncobj": PySyncObj}


def compare(
    nodes: int,
    loads: Sequence[Load],
    against: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
    algorithm: str = DEFAULT_LOG,
) -> list[dict[str, Any]]:
    """Measure loads on a log of ours, the floor, and perhaps a peer.

    Args:
        nodes: how many nodes each cluster has.
        loads: the loads to measure.
        against: the name of a peer in `PEERS`; None for no peer.
        progress: called with a line for people before each measurement.
        algorithm: the log.

    Returns:
        One row for each load. A figure that was not measured is None. Times are in milliseconds.

    Raises:
        PeerMissing: the peer is not installed, or does not run here.
    """
    if against is not None:
        PEERS[against](nodes)  # raises before any measurement if the peer is not installed
    rows = []
    for load in loads:
        progress(f"{load}, {count(nodes, 'node')}: floor")
        least = floor(nodes, load)
        progress(f"{load}, {count(nodes, 'node')}: {algorithm}")
        ours, fsyncs = _measure_ours(algorithm, nodes, load)
        peer: Peer | None = None
        peer_figures: Figures | None = None
        if against is not None:
            progress(f"{load}, {count(nodes, 'node')}: {against}")
            with PEERS[against](nodes) as peer:
                peer_figures = peer.measure(load)
        rows.append(
            {
                "algorithm": algorithm,
                "nodes": nodes,
                **_row(load, ours, fsyncs, least),
                **_peer_columns(peer, peer_figures, ours),
            }
        )
    return rows


def _row(load: Load, ours: Figures, fsyncs: float, least: Figures) -> dict[str, Any]:
    """Return the columns of our log, `ours`, and of the floor, `least`."""
    return {
        "in_flight": load.shape.in_flight,
        "connections": load.shape.connections,
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
    }


def _peer_columns(peer: Peer | None, figures: Figures | None, ours: Figures) -> dict[str, Any]:
    """Return the columns of the peer. Each is None without a peer; its figures are None if it was not measured."""
    return {
        "peer": peer.version if peer is not None else None,
        "peer_per_s": figures.per_s if figures else None,
        "peer_p50_ms": figures.p50_ms if figures else None,
        "peer_p99_ms": figures.p99_ms if figures else None,
        "peer_not_durable": peer.not_durable if peer is not None else None,
        "ratio": ours.per_s / figures.per_s if figures and figures.per_s else None,
    }


class _OurFigures(NamedTuple):
    figures: Figures
    fsyncs_per_call: float
    """The syncs of all nodes together, for each successful call."""


def _measure_ours(algorithm: str, nodes: int, load: Load) -> _OurFigures:
    """Measure a load on a cluster of ours.

    A commit is one fdatasync, and each node counts its commits. The syncs of SQLite's checkpoints are not counted: strace has
    shown 1.00 (one call at a time) to 1.01 (256 in flight) syncs for each commit.
    """
    keys = [f"key-{number}" for number in range(min(_KEYS_MAX, _STATE_BYTES_MAX // load.value_bytes))]
    edges: list[tuple[int, int]] = []  # successful calls and commits, at the beginning and at the end
    with Cluster(nodes=nodes, algorithm=algorithm) as cluster:
        settings = cluster.spec.settings.cluster
        if load.reads:
            puts = iter(keys)
            LoadGenerator(settings, cluster.client_addresses, Shape(64, 4), _puts_on(puts, load.value_bytes)).run()
        else:
            with cluster.log_client() as client:  # after this put there is a leader
                client.kv.put("first", 0, _TIMEOUT_S)
        generator = LoadGenerator(settings, cluster.client_addresses, load.shape, calls_of(load, keys))
        figures = generator.run(
            load.seconds, load.seconds / 5, lambda: edges.append((generator.done, _commits(cluster)))
        )
    (done_before, commits_before), (done_after, commits_after) = edges
    return _OurFigures(figures, (commits_after - commits_before) / max(done_after - done_before, 1))


def calls_of(load: Load, keys: Sequence[str]) -> BeginCall:
    """Return what begins the calls of a load: puts and reads in its proportion, spread evenly, which take the keys in turn."""
    put = _puts_on(itertools.cycle(keys), load.value_bytes)
    keys_to_read = itertools.cycle(keys)
    due = 0.0  # reads that are due

    def begin(client: LogClient, number: int) -> LogCall | None:
        nonlocal due
        due += load.reads
        if due < 1:
            return put(client, number)
        due -= 1
        return client.begin("kv", ["get", next(keys_to_read)], read=True, timeout_s=_TIMEOUT_S)

    return begin


def _puts_on(keys: Any, value_bytes: int) -> BeginCall:
    value = bytes(value_bytes)

    def begin(client: LogClient, _number: int) -> LogCall | None:
        key = next(keys, None)
        if key is None:
            return None
        return client.begin("kv", ["put", key, value], timeout_s=_TIMEOUT_S)

    return begin


def _commits(cluster: Cluster) -> int:
    found = cluster.status(_TIMEOUT_S)
    assert len(found) == len(cluster.nodes), "a node has not returned its status"
    return sum(int(status["commits"]) for status in found.values())
