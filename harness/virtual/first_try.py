"""Tries an algorithm once without processes, before a long work with processes begins.

A mistake of the algorithm's author that every run would meet is found in a moment, with its line. Nothing else is judged here.
"""

from typing import Final

from harness.virtual.cluster import VirtualCluster
from harness.virtual.steps import Deliver
from harness.virtual.watchdog import watching
from node.algorithms import load_algorithm
from node.wire import encode_value

_STEPS_MAX: Final = 1_000


def broken_contract(algorithm: str) -> str | None:
    """Return how an algorithm breaks its contract with two proposals and a query on three nodes; None if it does not.

    An algorithm that keeps a log is not tried: it needs clocks.

    Args:
        algorithm: a name that `node.algorithms.load_algorithm` knows.

    Raises:
        UnknownAlgorithm: there is no algorithm of that name.
    """
    cls = load_algorithm(algorithm)
    if cls.keeps_log:
        return None
    cluster = VirtualCluster(cls, ("n1", "n2", "n3"))
    with watching():
        _propose_and_query(cluster)
    return next((violation.text for violation in cluster.violations if violation.kind == "contract"), None)


def _propose_and_query(cluster: VirtualCluster) -> None:
    cluster.propose("n1", encode_value("blue"))
    if cluster.nodes["n2"].up:
        cluster.propose("n2", encode_value("red"))
    if cluster.nodes["n3"].up:
        cluster.query("n3")
    for _ in range(_STEPS_MAX):
        packet = next((packet for packet in cluster.pending if cluster.nodes[packet.to].up), None)
        if packet is None:
            break
        cluster.apply(Deliver(packet))
        for step in cluster.own_turns():
            cluster.apply(step)
