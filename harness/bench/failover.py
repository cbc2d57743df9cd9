"""From the end of the leader, or the beginning of its trouble, to the next acknowledged put, as a client sees it."""

import time
from collections.abc import Callable
from typing import Any, Final

from cluster.local import Cluster
from cluster.log_client import LogClient
from cluster.membership import leader_of
from harness.bench.load import figures
from node.contract import NodeId

TROUBLES: Final = ("kill", "suspend", "hand over")
_SETTLE_S: Final = 0.5


def failover(
    trouble: str = "kill", nodes: int = 3, rounds: int = 50, progress: Callable[[int], None] = lambda _: None
) -> dict[str, Any]:
    """Trouble the leader `rounds` times, each time when all nodes are up. Times are in milliseconds."""
    waits: list[float] = []
    with Cluster(nodes=nodes, algorithm="multipaxos") as cluster, cluster.log_client() as client:
        client.kv.put("key", 0)
        for done in range(rounds):
            leader = _settled_leader(cluster, client)
            began = time.monotonic()
            _trouble(cluster, client, trouble, leader)
            client.kv.put("key", done, timeout_s=30.0)
            waits.append(time.monotonic() - began)
            if trouble == "kill":
                cluster.restart(leader)
            elif trouble == "suspend":
                cluster.resume(leader)
            progress(done + 1)
    found = figures(waits, sum(waits))
    return {
        "trouble": trouble,
        "nodes": nodes,
        "rounds": rounds,
        "p50_ms": found.p50_ms,
        "p99_ms": found.p99_ms,
        "max_ms": max(waits) * 1000,
    }


def _trouble(cluster: Cluster, client: LogClient, trouble: str, leader: NodeId) -> None:
    match trouble:
        case "kill":
            cluster.kill(leader)
        case "suspend":
            cluster.suspend(leader)
        case "hand over":
            heir = next(node for node in cluster.nodes if node != leader)
            client.members.hand_over(heir)


def _settled_leader(cluster: Cluster, client: LogClient) -> NodeId:
    """The leader, once every node is up and has caught up, and the client knows it."""
    while True:
        client.kv.put("settle", 0, timeout_s=30.0)
        time.sleep(_SETTLE_S)
        states = [status["variables"][""] for status in cluster.status().values()]
        leader = leader_of(cluster)
        behind = max(each["applied"] for each in states) - min(each["applied"] for each in states) if states else 1
        if leader is not None and len(states) == len(cluster.nodes) and behind <= 1:
            return leader
