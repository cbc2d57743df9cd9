"""The client of variables, without a cluster: nodes that leave."""

from cluster.clients.client import Client
from cluster.clients.outcomes import NotKnown
from node.tuning import Tuning


def test_a_call_at_a_node_that_has_left_has_no_answer() -> None:
    addresses = {"n1": "tcp://127.0.0.1:1", "n2": "tcp://127.0.0.1:1"}
    with Client("0" * 32, lambda: addresses, tuning=Tuning(client_same_node_ms=10)) as client:
        call = client.begin_query("x", at="n2", timeout_s=0.05)
        del addresses["n2"]
        assert client.wait(call) == NotKnown("no answer from n2 within 0.05 s")


def test_a_node_that_has_left_has_no_status() -> None:
    with Client("0" * 32, dict) as client:
        assert client.status(["n2"], timeout_s=5.0) == {}
