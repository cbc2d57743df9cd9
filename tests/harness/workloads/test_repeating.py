"""The clients of runs that send again by themselves, and those that stay at a node."""

from random import Random
from typing import Any

from cluster.clients.connections import shared_poller
from harness.workloads.reads import ReadsWorkload
from harness.workloads.repeating import RepeatingClient

ADDRESSES = {"n1": "tcp://127.0.0.1:1"}


class Wire:
    """Connections that keep what is sent, and lose nothing."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, _node: str, _address: str, data: bytes) -> None:
        self.sent.append(data)

    def receive(self, source: Any) -> Any:
        return source

    def close(self) -> None:
        """Do nothing."""


def test_what_a_repeating_client_sends_arrives_again_late_and_some_replies_are_lost() -> None:
    client = RepeatingClient(Random(1), "0" * 32, lambda: ADDRESSES, poller=shared_poller())
    client._connections.close()
    client._connections = wire = Wire()  # type: ignore[assignment]
    for number in range(100):
        client.begin("kv", ["get", f"k{number}"], read=True)
        client.send(0.0)
    once = len(wire.sent)
    assert len(set(wire.sent)) == once
    client.pipeline.outgoing = lambda now: iter(())  # type: ignore[method-assign]
    client.send(0.001)
    assert len(wire.sent) == once
    client.send(2.0)
    again = wire.sent[once:]
    assert 0 < len(again) < once / 3
    assert set(again) <= set(wire.sent[:once])
    taken = []
    client.pipeline.incoming = lambda node, data, now: taken.append(data)  # type: ignore[method-assign]
    for number in range(200):
        client.receive(("n1", bytes([number])))
    assert 150 < len(taken) < 200
    client.close()


def test_at_each_node_a_client_reads_that_stays_there() -> None:
    nodes = ("n1", "n2", "n3")
    workload = ReadsWorkload(nodes, 1, 5.0)
    asked = [workload.next_call(client, 0.0) for client in range(workload.clients)]
    assert [call.node for call in asked] == [None] * (workload.clients - 3) + list(nodes)
    assert not any(workload.is_public(client) for client in range(workload.clients - 3, workload.clients))
