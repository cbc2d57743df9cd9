"""From the beginning of the leader's trouble to the next acknowledged put, as a client sees it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from cluster.clients.log_client import LogClient
from cluster.cluster import Cluster
from cluster.membership import who_leads
from cluster.spec import create
from harness.bench.etcd import Etcd
from harness.bench.load import Figures, figures
from harness.network.network import Network
from harness.records.links import CLIENT
from node.contract import NodeId

_SETTLE_S: Final = 0.5
_TIMEOUT_S: Final = 30.0
_USUAL: Final = 5  # puts before each trouble that say how long one takes


def failover(
    how: str = "kill",
    nodes: int = 3,
    rounds: int = 50,
    against_etcd: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Trouble the leader `rounds` times, each time when all nodes are up. Times are in milliseconds.

    Cut out, the leader hears and cannot speak, cut in it speaks and cannot hear: its peers and clients alike.
    `usual_ms` is the floor: how long a put takes, at the median, with nothing wrong. `lost` counts the puts that were
    acknowledged and could not be read back. etcd can be killed and suspended. Raises PeerMissing.
    """
    etcd = Etcd(nodes) if against_etcd else None
    waits_s: list[float] = []
    usual_s: list[float] = []
    lost = 0
    with _cluster(how, nodes) as (cluster, network), cluster.log_client() as client:
        for done in range(rounds):
            leader = _settled_leader(cluster, client)
            usual_s += [_put(client, done) for _ in range(_USUAL)]
            with _trouble(how, leader, cluster, network, client) as began:
                _put(client, done)
                waits_s.append(time.monotonic() - began)
                lost += client.kv.get("key", _TIMEOUT_S) != done
            progress(f"{how} {done + 1} of {rounds}")
    found = figures(waits_s, sum(waits_s))
    peer = _peer(etcd, how, rounds, progress) if etcd is not None else None
    return {
        "how": how,
        "nodes": nodes,
        "rounds": rounds,
        "p50_ms": found.p50_ms,
        "p90_ms": found.p90_ms,
        "p99_ms": found.p99_ms,
        "max_ms": found.max_ms,
        "usual_ms": figures(usual_s, sum(usual_s)).p50_ms,
        "lost": lost,
        "peer": etcd.version if etcd is not None else None,
        "peer_p50_ms": peer.p50_ms if peer else None,
        "peer_p99_ms": peer.p99_ms if peer else None,
        "ratio": peer.p50_ms / found.p50_ms if peer else None,
    }


def _peer(etcd: Etcd, how: str, rounds: int, progress: Callable[[str], None]) -> Figures:
    waits_s = []
    with etcd:
        for done in range(rounds):
            time.sleep(_SETTLE_S)
            waits_s.append(etcd.failover_s(how))
            progress(f"etcd: {how} {done + 1} of {rounds}")
    return figures(waits_s, sum(waits_s))


@contextmanager
def _cluster(how: str, nodes: int) -> Iterator[tuple[Cluster, Network | None]]:
    """A cluster; behind the proxy if links are to be cut."""
    if not how.startswith("cut"):
        with Cluster(nodes=nodes, algorithm="multipaxos") as cluster:
            yield cluster, None
        return
    with TemporaryDirectory(prefix="consensus-bench-") as folder:
        spec = create(Path(folder), nodes=nodes, algorithm="multipaxos")
        with Network(spec.path) as network, Cluster(spec=spec, links=network) as cluster:
            yield cluster, network


def _put(client: LogClient, value: int) -> float:
    began = time.monotonic()
    client.kv.put("key", value, timeout_s=_TIMEOUT_S)
    return time.monotonic() - began


@contextmanager
def _trouble(how: str, leader: NodeId, cluster: Cluster, network: Network | None, client: LogClient) -> Iterator[float]:
    """Yields the moment in which it began. At the end all is well again."""
    everybody = [*(node for node in cluster.nodes if node != leader), CLIENT]
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
            client.configuration.hand_over(everybody[0])
            yield began
        case "cut-out" | "cut-in":
            assert network is not None
            senders, receivers = (leader, everybody) if how == "cut-out" else (everybody, leader)
            with network.cut_one_way(senders, receivers):
                yield time.monotonic()
        case _:
            raise ValueError(f"there is no trouble called {how!r}")


def _settled_leader(cluster: Cluster, client: LogClient) -> NodeId:
    """The leader, once every node is up and has caught up, and the client knows it."""
    while True:
        client.kv.put("settle", 0, timeout_s=_TIMEOUT_S)
        time.sleep(_SETTLE_S)
        states = [status["variables"][""] for status in cluster.status().values()]
        leader = who_leads(cluster)
        behind = max(each["applied"] for each in states) - min(each["applied"] for each in states) if states else 1
        if leader is not None and len(states) == len(cluster.nodes) and behind <= 1:
            return leader
