"""Failover: the time from a fault of the leader to the next acknowledged put, as a client sees it.

The links between nodes may be slow and lossy. Then each stands behind the proxy, which delays and loses messages. The bound of a
failover is ten round trips and a second: a canvass, phase 1, the leader's first batch and the put take a round trip each, and the
rest is for rivals, and for what is lost. The links of clients stay as they are.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from cluster.clients.log_client import LogClient
from cluster.cluster import Cluster
from cluster.membership import who_leads
from cluster.spec import create
from harness.bench.etcd import Etcd
from harness.bench.load import Figures, figures
from harness.network.network import Network
from harness.records.links import CLIENT
from node.algorithms import DEFAULT_LOG
from node.contract import NodeId

#: How long to wait for a leader that every node follows, in seconds, before each check.
_SETTLE_S: Final = 0.5
_TIMEOUT_S: Final = 30.0
#: The bound of a failover, beside the network's round trip.
_BOUND_ROUND_TRIPS: Final = 10
_BOUND_S: Final = 1.0
#: How many puts before each fault measure how long a put usually takes.
_USUAL_PUTS: Final = 5


def failover(
    how: str = "kill",
    nodes: int = 3,
    rounds: int = 50,
    against_etcd: bool = False,
    progress: Callable[[str], None] = lambda _: None,
    late_ms: float | None = None,
    loss: float = 0.0,
    algorithm: str = DEFAULT_LOG,
) -> dict[str, Any]:
    """Inject a fault on the leader several times, each time when all nodes are up.

    Args:
        how: the fault: `kill`, `suspend`, `cut-out` (no message of the leader reaches its peers and clients), `cut-in` (no
            message reaches the leader) or `hand-over` (the leader gives up its role in an orderly way).
        nodes: how many nodes the cluster has.
        rounds: how often to inject the fault.
        against_etcd: whether to measure etcd too, which can be killed and suspended.
        progress: called with a line for people after each round.
        late_ms: how much later each message between two nodes arrives, in milliseconds; None: no proxy delays them.
        loss: how likely each such message is lost, from 0 to 1.
        algorithm: the log.

    Returns:
        The row of figures. Times are in milliseconds. `usual_ms` is the floor: how long a put takes without a fault, at the
        median. `lost` counts the acknowledged puts that could not be read. `round_trip_ms` and `bound_ms` are None without
        `late_ms`; `beyond_bound` counts the rounds that took longer than the bound.

    Raises:
        PeerMissing: etcd is not installed, or does not run here.
    """
    etcd = Etcd(nodes) if against_etcd else None
    waits_s: list[float] = []
    usual_s: list[float] = []
    lost = 0
    late_s = (late_ms or 0.0) / 1000
    behind_proxy = how.startswith("cut") or late_ms is not None or loss > 0
    with _cluster(algorithm, nodes, behind_proxy) as (cluster, network), cluster.log_client() as client:
        if network is not None:
            between = [(one, other) for one in cluster.nodes for other in cluster.nodes if one != other]
            network.delay(between, late_s)
            if loss:
                network.drop(between, probability=loss)
        for done in range(rounds):
            leader = _settled_leader(cluster, client, max(_SETTLE_S, 4 * late_s))
            usual_s += [_put(client, done) for _ in range(_USUAL_PUTS)]
            with _fault_on_leader(how, leader, cluster, network, client) as began:
                _put(client, done)
                waits_s.append(time.monotonic() - began)
                lost += client.kv.get("key", _TIMEOUT_S) != done
            progress(f"{how} {done + 1} of {rounds}")
    found = figures(waits_s, sum(waits_s))
    bound_s = None if late_ms is None else _BOUND_ROUND_TRIPS * 2 * late_s + _BOUND_S
    peer = _measure_etcd(etcd, how, rounds, progress) if etcd is not None else None
    return {
        "algorithm": algorithm,
        "how": how,
        "nodes": nodes,
        "rounds": rounds,
        "p50_ms": found.p50_ms,
        "p90_ms": found.p90_ms,
        "p99_ms": found.p99_ms,
        "max_ms": found.max_ms,
        "usual_ms": figures(usual_s, sum(usual_s)).p50_ms,
        "lost": lost,
        "late_ms": late_ms,
        "loss": loss,
        "round_trip_ms": None if late_ms is None else 2 * late_ms,
        "bound_ms": None if bound_s is None else bound_s * 1000,
        "beyond_bound": sum(wait_s > bound_s for wait_s in waits_s) if bound_s is not None else 0,
        "peer": etcd.version if etcd is not None else None,
        "peer_p50_ms": peer.p50_ms if peer else None,
        "peer_p99_ms": peer.p99_ms if peer else None,
        "ratio": peer.p50_ms / found.p50_ms if peer else None,
    }


def _measure_etcd(etcd: Etcd, how: str, rounds: int, progress: Callable[[str], None]) -> Figures:
    waits_s = []
    with etcd:
        for done in range(rounds):
            time.sleep(_SETTLE_S)
            waits_s.append(etcd.failover_s(how))
            progress(f"etcd: {how} {done + 1} of {rounds}")
    return figures(waits_s, sum(waits_s))


class _Running(NamedTuple):
    cluster: Cluster
    network: Network | None
    """The proxy, if the cluster runs behind it."""


@contextmanager
def _cluster(algorithm: str, nodes: int, behind_proxy: bool) -> Iterator[_Running]:
    """Run a cluster during the block, behind the proxy if a fault cuts links, or if links are slow or lossy."""
    if not behind_proxy:
        with Cluster(nodes=nodes, algorithm=algorithm) as cluster:
            yield _Running(cluster, None)
        return
    with TemporaryDirectory(prefix="consensus-bench-") as folder:
        spec = create(Path(folder), nodes=nodes, algorithm=algorithm)
        with Network(spec.path) as network, Cluster(spec=spec, links=network) as cluster:
            yield _Running(cluster, network)


def _put(client: LogClient, value: int) -> float:
    """Put a value, and return how many seconds it took."""
    began = time.monotonic()
    client.kv.put("key", value, timeout_s=_TIMEOUT_S)
    return time.monotonic() - began


@contextmanager
def _fault_on_leader(
    how: str, leader: NodeId, cluster: Cluster, network: Network | None, client: LogClient
) -> Iterator[float]:
    """Inject the fault for the block, and yield the time at which it began. After the block it has healed."""
    others = [*(node for node in cluster.nodes if node != leader), CLIENT]
    began = time.monotonic()
    match how:
        case "kill":
            cluster.kill(leader)
            yield began
            cluster.restart(leader)
        case "suspend":
            cluster.suspend(leader)
            yield began
            cluster.resume(leader)
        case "hand-over":
            client.configuration.hand_over(others[0])
            yield began
        case "cut-out" | "cut-in":
            assert network is not None
            senders, receivers = (leader, others) if how == "cut-out" else (others, leader)
            with network.cut_one_way(senders, receivers):
                yield time.monotonic()
        case _:
            raise ValueError(f"there is no fault {how!r} of a leader")


def _settled_leader(cluster: Cluster, client: LogClient, settle_s: float) -> NodeId:
    """Return the leader, when every node is up and has caught up, and the client has reached the leader."""
    while True:
        client.kv.put("settle", 0, timeout_s=_TIMEOUT_S)
        time.sleep(settle_s)
        states = [status["variables"][""] for status in cluster.status().values()]
        leader = who_leads(cluster)
        behind = max(each["applied"] for each in states) - min(each["applied"] for each in states) if states else 1
        if leader is not None and len(states) == len(cluster.nodes) and behind <= 1:
            return leader
