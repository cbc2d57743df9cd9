"""A real proxy process, with plain sockets for nodes and clients."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from cluster.errors import BootFailed, Mistake, NoSuchNode
from cluster.spawning import spawn
from cluster.spec import Spec, create
from harness.network.installed_rule import NotSeen
from harness.network.network import Network, NetworkError, ProxyGone
from harness.network.rules import BadRule, Delay, Rule
from harness.records.links import CLIENT
from node.algorithms.paxos import Accept, Paxos, Promise
from node.client_messages import QueryRequest, Reply
from node.contract import Message
from node.quorum import Ballot
from node.transport import bind_any_port, tuned
from node.wire import Codec, Envelope, encode_value, pack, unpack
from tests.waiting import WAIT_S, wait_until

PROMISE = Promise(Ballot(3, "n1"), Ballot(2, "n2"), encode_value("blue"))


class FakeNode:
    """A node as the network sees it: a ROUTER for incoming messages, and a DEALER for each peer."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], network: Network, name: str) -> None:
        self.inbox = tuned(context.socket(zmq.ROUTER))
        self.address = bind_any_port(self.inbox)
        self.outs: dict[str, zmq.Socket[bytes]] = {}
        for peer, address in network.addresses(name).items():
            self.outs[peer] = tuned(context.socket(zmq.DEALER))
            self.outs[peer].connect(address)

    def close(self) -> None:
        for each in (self.inbox, *self.outs.values()):
            each.close()

    def receive(self) -> tuple[list[bytes], bytes]:
        """Return the route back to the sender, and the payload."""
        assert self.inbox.poll(int(WAIT_S * 1000)), "nothing arrived"
        *route, payload = self.inbox.recv_multipart()
        return route, payload

    def payloads(self, count: int) -> list[bytes]:
        return [self.receive()[1] for _ in range(count)]

    def has_no_message(self) -> bool:
        return not self.inbox.poll(0)


class FakeCluster:
    """A network with fake nodes n1 to n3."""

    def __init__(self, network: Network, spec: Spec, record: Path) -> None:
        self.network, self.spec, self.record = network, spec, record
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.codec = Codec(spec.settings.cluster, Paxos.messages)
        self.nodes: dict[str, FakeNode] = {}
        self.clients: list[zmq.Socket[bytes]] = []
        for name in spec.nodes:
            self.boot(name)

    def boot(self, name: str) -> FakeNode:
        if name in self.nodes:
            self.nodes[name].close()
        node = self.nodes[name] = FakeNode(self.context, self.network, name)
        self.network.node_up(name, node.address)
        return node

    def send(self, sender: str, to: str, *payloads: bytes) -> None:
        for payload in payloads:
            self.nodes[sender].outs[to].send(payload)

    def frame(self, message: Message, variable: str = "x", sender: str = "n1") -> bytes:
        return self.codec.encode(Envelope(sender, 1, variable, message))

    def client(self, node: str) -> zmq.Socket[bytes]:
        socket = tuned(self.context.socket(zmq.DEALER))
        socket.connect(self.network.client_address(node))
        self.clients.append(socket)
        return socket

    def lines(self) -> list[dict[str, Any]]:
        count = self.network.flush()
        lines = [json.loads(line) for line in self.record.read_text().splitlines()]
        assert len(lines) >= count  # a further line may be written in between
        return lines


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    return create(tmp_path / "cluster", nodes=3, algorithm="paxos")


@pytest.fixture
def cluster(spec: Spec, tmp_path: Path) -> Iterator[FakeCluster]:
    record = tmp_path / "messages.jsonl"
    with Network(spec.path, record=record, seed=7) as network:
        fake = FakeCluster(network, spec, record)
        try:
            yield fake
        finally:
            fake.context.destroy(linger=0)


# --- forwarding -----------------------------------------------------------------------------------------------------


def test_messages_of_a_link_pass_in_order_and_on_no_other_link(cluster: FakeCluster) -> None:
    sent = [str(number).encode() for number in range(1000)]
    cluster.send("n1", "n2", *sent)
    assert cluster.nodes["n2"].payloads(1000) == sent
    assert cluster.nodes["n3"].has_no_message()
    links = cluster.network.links()
    assert links["n1", "n2"] == {"arrived": 1000, "passed": 1000}
    assert sum(counts.total() for counts in links.values()) == 2000
    assert len(links) == 12  # 6 between nodes, 3 from clients, 3 to clients


def test_a_reply_goes_back_to_the_client_that_asked(cluster: FakeCluster) -> None:
    one, other = cluster.client("n2"), cluster.client("n2")
    one.send(b"request 1")
    other.send(b"request 2")
    node = cluster.nodes["n2"]
    for _ in range(2):
        route, payload = node.receive()
        node.inbox.send_multipart([*route, b"reply to " + payload])
    for client, expected in ((one, b"reply to request 1"), (other, b"reply to request 2")):
        assert client.poll(int(WAIT_S * 1000))
        assert client.recv_multipart() == [expected]


def test_rules_apply_to_requests_and_to_replies(cluster: FakeCluster) -> None:
    client, node = cluster.client("n1"), cluster.nodes["n1"]
    with cluster.network.drop(senders="n1", receivers=CLIENT, types="Reply", times=1) as lost:
        client.send(cluster.frame(QueryRequest(1, 1000), sender="c1"))
        route, _ = node.receive()
        node.inbox.send_multipart([*route, cluster.frame(Reply(1, None, None))])
        lost.wait_matched(1)
        node.inbox.send_multipart([*route, cluster.frame(Reply(2, None, None))])
        assert client.poll(int(WAIT_S * 1000))
        assert cluster.codec.decode(client.recv()).message == Reply(2, None, None)
    assert lost.counts() == {("n1", CLIENT): Counter(matched=2, dropped=1)}
    with cluster.network.cut_one_way(CLIENT, "n1") as cut:
        client.send(b"lost")
        wait_until(lambda: cut.total("dropped") == 1)
    assert node.has_no_message()


def test_a_reply_to_a_client_that_has_gone_is_undeliverable(cluster: FakeCluster) -> None:
    client, node = cluster.client("n1"), cluster.nodes["n1"]
    client.send(b"?")
    route, _ = node.receive()
    client.close()

    def reply_is_undeliverable() -> bool:
        node.inbox.send_multipart([*route, b"!"])
        return cluster.network.links()["n1", CLIENT]["undeliverable"] > 0

    wait_until(reply_is_undeliverable)


def test_connections_to_a_node_close_as_it_ends_and_it_comes_back_elsewhere(spec: Spec) -> None:
    with Network(spec.path, seed=7, moves=True) as network:
        fake = FakeCluster(network, spec, spec.path)
        try:
            client, out = fake.client("n2"), fake.nodes["n1"].outs["n2"]
            closed = [each.get_monitor_socket(zmq.EVENT_DISCONNECTED) for each in (client, out)]
            client.send(b"before")
            fake.send("n1", "n2", b"before")
            assert fake.nodes["n2"].payloads(2) == [b"before"] * 2
            before = network.client_address("n2"), network.addresses("n1")["n2"]
            stays = network.client_address("n1"), network.addresses("n2")["n1"]
            network.node_down("n2")
            network.node_leaves("n3")
            for monitor in closed:
                assert monitor.poll(int(WAIT_S * 1000)), "the connection did not close"
            assert before == (network.client_address("n2"), network.addresses("n1")["n2"])
            fake.boot("n2")
            after = network.client_address("n2"), network.addresses("n1")["n2"]
            assert not {*before} & {*after}
            assert stays == (network.client_address("n1"), network.addresses("n2")["n1"])
            asking = fake.client("n2")
            out.connect(after[1])
            asking.send(b"after")
            route, payload = fake.nodes["n2"].receive()
            assert payload == b"after"
            fake.nodes["n2"].inbox.send_multipart([*route, b"reply"])
            assert asking.poll(int(WAIT_S * 1000))
            assert asking.recv_multipart() == [b"reply"]
        finally:
            fake.context.destroy(linger=0)


def test_a_message_to_a_dead_node_does_not_reach_its_next_incarnation(cluster: FakeCluster) -> None:
    cluster.send("n1", "n2", b"first")
    assert cluster.nodes["n2"].payloads(1) == [b"first"]
    cluster.nodes["n2"].inbox.close()

    def message_is_undeliverable() -> bool:
        cluster.send("n1", "n2", b"to the old incarnation")
        return cluster.network.links()["n1", "n2"]["undeliverable"] > 0

    wait_until(message_is_undeliverable)
    with cluster.network.watch([("n1", "n2")]) as watched:
        cluster.send("n1", "n2", b"to the old incarnation")
        watched.wait_matched(1)
    restarted = cluster.boot("n2")
    cluster.send("n3", "n2", b"to the new incarnation")
    assert restarted.payloads(1) == [b"to the new incarnation"]
    assert restarted.has_no_message()
    cluster.send("n1", "n2", b"from the same sender")  # its connection to the proxy outlives n2
    assert restarted.payloads(1) == [b"from the same sender"]


def test_a_node_that_is_down_or_was_never_up_is_unreachable(cluster: FakeCluster) -> None:
    cluster.network.node_down("n2")
    cluster.send("n1", "n2", b"m")
    wait_until(lambda: cluster.network.links()["n1", "n2"]["undeliverable"] == 1)
    assert cluster.lines()[-1]["fate"] == "undeliverable"


def test_a_node_joins_and_one_leaves(cluster: FakeCluster) -> None:
    cluster.network.node_joins("n4")
    newcomer = cluster.boot("n4")
    cluster.send("n4", "n1", b"hello")  # n1 was up before n4 joined
    assert cluster.nodes["n1"].payloads(1) == [b"hello"]
    old = cluster.nodes["n1"]
    old.outs["n4"] = tuned(cluster.context.socket(zmq.DEALER))
    old.outs["n4"].connect(cluster.network.addresses("n1")["n4"])
    with cluster.network.isolate("n4") as cut:
        cluster.send("n1", "n4", b"lost")
        wait_until(lambda: cut.total("dropped") == 1)
    cluster.client("n4").send(b"request")
    assert newcomer.payloads(1) == [b"request"]
    assert cluster.network.links()["n4", "n1"] == {"arrived": 1, "passed": 1}
    with cluster.network.delay(
        [("n1", "n2")], seconds=0.05
    ) as late:  # a message on its way to a node that leaves is lost
        cluster.send("n1", "n2", b"late")
        wait_until(lambda: cluster.network.links()["n1", "n2"]["arrived"] == 1)
        cluster.network.node_leaves("n2")
        wait_until(lambda: cluster.lines()[-1]["fate"] == "undeliverable")
        assert late.total("delayed") == 1  # the proof of a fault outlasts the node
    assert cluster.network.nodes == ("n1", "n3", "n4")
    assert len(cluster.network.links()) == 12
    assert set(cluster.network.addresses("n1")) == {"n3", "n4"}
    cluster.boot("n1")  # node_up waits for the links to the present nodes only
    with pytest.raises(NoSuchNode, match="there are n1, n3, n4"):
        cluster.network.isolate("n2")
    with cluster.network.drop(
        [("n1", "n2"), ("n1", "n3")]
    ) as drop:  # it leaves out the link that is not there any more
        assert drop.rule.links == frozenset({("n1", "n3")})
    with pytest.raises(NoSuchNode, match="none of these links is left: n2 has left"):
        cluster.network.drop([("n1", "n2")])
    with pytest.raises(NetworkError, match="n3 has its links already"):
        cluster.network.request("node_joins", node="n3")
    cluster.network.node_joins("n4")  # n4 has its links already, so nothing changes
    assert cluster.network.nodes == ("n1", "n3", "n4")


def test_a_node_that_accepts_no_connection_is_an_error(cluster: FakeCluster) -> None:
    with socket.socket() as listener:  # a plain socket closes at the end of the block, unlike one of ZeroMQ
        listener.bind(("127.0.0.1", 0))
        closed = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(NetworkError, match="n2 accepted 0 of 3 connections"):
        cluster.network.node_up("n2", closed, timeout_s=0.2)
    with pytest.raises(NetworkError, match="no address"):
        cluster.network.node_up("n2", "nonsense")


# --- rules ----------------------------------------------------------------------------------------------------------


def test_hold_wait_then_discard_or_release(cluster: FakeCluster) -> None:
    with cluster.network.hold(receivers="n3", types="Promise") as vote:
        cluster.send("n1", "n3", cluster.frame(Accept(Ballot(1, "n1"), encode_value(1))), cluster.frame(PROMISE))
        cluster.send("n2", "n3", cluster.frame(PROMISE, sender="n2"))
        vote.wait_held(1, links=[("n1", "n3")])
        vote.wait_held(2, timeout_s=WAIT_S)
        assert cluster.codec.decode(cluster.nodes["n3"].payloads(1)[0]).message == Accept(
            Ballot(1, "n1"), encode_value(1)
        )
        assert cluster.nodes["n3"].has_no_message()
        assert vote.discard(1) == 1
        assert vote.release() == 1
        assert cluster.codec.decode(cluster.nodes["n3"].payloads(1)[0]).message == PROMISE
    assert vote.total("held") == 2
    assert vote.counts()["n1", "n3"]["keeps"] == 0
    with pytest.raises(NetworkError, match="Was it removed"):
        vote.release()


def test_a_look_shows_what_is_new_and_what_is_held(cluster: FakeCluster) -> None:
    cluster.network.look(0, 10)  # from now on, lines are kept in memory
    with cluster.network.hold(receivers="n2") as rule:
        cluster.send("n1", "n2", cluster.frame(PROMISE))
        rule.wait_held(1, WAIT_S)
        seen = cluster.network.look(0, 10)
        (held,) = seen["held"]
        assert (held["rule"], held["from"], held["to"], held["type"]) == (rule.id, "n1", "n2", "Promise")
        assert (seen["held_count"], seen["lines"][-1]["fate"]) == (1, "held")
        rule.release_one(held["index"])
        cluster.nodes["n2"].receive()
        later = cluster.network.look(seen["next"], 10)
        assert [(line["of"], line["fate"]) for line in later["lines"]] == [(held["index"], "released")]
        assert later["held"] == []


def test_the_error_of_a_wait_that_timed_out_has_the_counts(cluster: FakeCluster) -> None:
    with cluster.network.hold(types="Promise") as vote:
        cluster.send("n1", "n2", cluster.frame(Accept(Ballot(1, "n1"), encode_value(1))))
        cluster.nodes["n2"].payloads(1)
        with pytest.raises(NotSeen, match=r"0 messages were counted as keeps, and 1 were expected. On .* 1 messages"):
            vote.wait_held(1, timeout_s=0.05)


def test_one_thread_waits_while_another_steers(cluster: FakeCluster) -> None:
    vote = cluster.network.hold(receivers="n2")
    waiting = threading.Thread(target=vote.wait_held, args=(1, WAIT_S))
    waiting.start()
    with cluster.network.isolate("n3"):
        cluster.send("n1", "n2", b"m")
        waiting.join(WAIT_S)
    assert not waiting.is_alive()
    assert vote.total("keeps") == 1


def test_a_partition_cuts_both_ways_and_ends_with_its_block(cluster: FakeCluster) -> None:
    with cluster.network.partition([["n1"], ["n2", "n3"]]) as partition:
        cluster.send("n1", "n2", b"lost")
        cluster.send("n2", "n1", b"lost")
        cluster.send("n2", "n3", b"delivered")
        assert cluster.nodes["n3"].payloads(1) == [b"delivered"]
        wait_until(lambda: partition.total("dropped") == 2)
    dropped = {link: counts["dropped"] for link, counts in partition.counts().items()}
    assert dropped == {("n1", "n2"): 1, ("n1", "n3"): 0, ("n2", "n1"): 1, ("n3", "n1"): 0}
    cluster.send("n1", "n2", b"whole again")
    assert cluster.nodes["n2"].payloads(1) == [b"whole again"]


def test_the_links_that_each_kind_of_rule_covers(cluster: FakeCluster) -> None:
    network = cluster.network
    around_n1 = {("n1", "n2"), ("n1", "n3"), ("n2", "n1"), ("n3", "n1")}
    for rule, expected in (
        (network.isolate("n1"), around_n1),
        (network.partition([{"n1"}]), around_n1),
        (network.cut("n1", ["n2", "n3"]), around_n1),
        (network.cut_one_way("n1", {"n2"}), {("n1", "n2")}),
        (network.drop(senders="n1"), {("n1", "n2"), ("n1", "n3"), ("n1", CLIENT)}),
        (network.drop([("n1", "n2"), ("n2", "n1")], senders="n1"), {("n1", "n2")}),
    ):
        assert set(rule.counts()) == expected
    assert len(network.rules()) == 6


@pytest.mark.parametrize(
    ("install", "error", "reason"),
    [
        (lambda network: network.partition([["n1"], ["n2"]]), BadRule, "leaves out n3"),
        (lambda network: network.partition([["n1", "n2"], ["n2", "n3"]]), BadRule, "names n2 twice"),
        (lambda network: network.partition([["n1", "n2", "n3"]]), BadRule, "two or more groups"),
        (lambda network: network.partition([]), BadRule, "leaves out"),
        (lambda network: network.isolate("n4"), NoSuchNode, "there are n1, n2, n3"),
        (lambda network: network.cut("n1", ["n1", "n2"]), BadRule, "both sides"),
        (lambda network: network.addresses("client"), NoSuchNode, "no node"),
        (lambda network: network.drop(types="Promised"), NetworkError, "did you mean Promise"),
        (lambda network: network.drop([("n1", "n9")]), NetworkError, "no link n1 -> n9"),
        (lambda network: network.drop(probability=2.0), BadRule, "between 0 and 1"),
        (lambda network: network.delay(seconds=-1.0), BadRule, "seconds"),
    ],
)
def test_an_impossible_rule_is_refused_and_changes_nothing(
    cluster: FakeCluster, install: Callable[[Network], object], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        install(cluster.network)
    assert cluster.network.rules() == []
    assert issubclass(BadRule, Mistake)


def test_heal_ends_every_rule_and_releases_what_is_held(cluster: FakeCluster) -> None:
    cut = cluster.network.isolate("n3")
    held = cluster.network.hold(receivers="n2")
    cluster.network.add(Rule("by plan", Delay(3000.0), types=frozenset({"Promise"})))
    cluster.send("n1", "n2", b"1", b"2")
    cluster.send("n1", "n3", b"lost")
    held.wait_held(2)
    wait_until(lambda: cut.total("dropped") == 1)
    cluster.network.heal()
    assert cluster.nodes["n2"].payloads(2) == [b"1", b"2"]
    assert cluster.network.rules() == []
    assert held.total("released") == 2
    assert cut.total("dropped") == 1
    held.remove()  # a second removal does nothing
    assert cluster.nodes["n3"].has_no_message()


def test_delay_duplicate_corrupt_and_reorder_reach_the_receiver(cluster: FakeCluster) -> None:
    node = cluster.nodes["n2"]
    with cluster.network.duplicate(copies=2, times=1):
        cluster.send("n1", "n2", b"a", b"b")
        assert node.payloads(4) == [b"a", b"a", b"a", b"b"]
    with cluster.network.reorder(window=2, times=1):
        cluster.send("n1", "n2", b"a", b"b", b"c", b"d")
        assert node.payloads(4) == [b"b", b"c", b"a", b"d"]
    with cluster.network.corrupt(position=1, times=1):
        cluster.send("n1", "n2", b"abc")
        (payload,) = node.payloads(1)
        assert (payload[:1], payload[2:]) == (b"a", b"c")
        assert payload != b"abc"
    with cluster.network.delay(seconds=0.2, times=1) as delayed:
        began = time.monotonic()
        cluster.send("n1", "n2", b"late", b"early")
        assert node.payloads(2) == [b"early", b"late"]
        assert time.monotonic() - began >= 0.2
    assert delayed.counts()["n1", "n2"] == {"matched": 2, "delayed": 1}


# --- the record -----------------------------------------------------------------------------------------------------


def test_the_record_has_every_message_and_every_fate(cluster: FakeCluster) -> None:
    frame = cluster.frame(PROMISE)
    with cluster.network.hold(times=1, name="hold it") as held:
        cluster.send("n1", "n2", frame, b"\xc1 nonsense")
        held.wait_held(1)
        cluster.nodes["n2"].payloads(1)
        held.release()
    with cluster.network.duplicate(name="twice"), cluster.network.delay(seconds=0.01, name="slow"):
        cluster.send("n1", "n2", frame)
        assert cluster.nodes["n2"].payloads(3) == [frame] * 3
    lines = cluster.lines()
    promise = {"type": "Promise", "variable": "x", "incarnation": 1}
    fields = {"ballot": [3, "n1"], "accepted": [2, "n2"], "value": "blue"}
    first = lines[0]
    assert first == {
        "index": 0,
        "time": first["time"],
        "from": "n1",
        "to": "n2",
        **promise,
        "fields": fields,
        "fate": "held",
        "rule": "hold it",
    }
    unknown = {"type": "?", "variable": None, "incarnation": None, "fields": {"bytes": b"\xc1 nonsense".hex()}}
    assert {key: lines[1][key] for key in unknown} == unknown
    assert [(line["index"], line["fate"], line["rule"], line.get("of")) for line in lines] == [
        (0, "held", "hold it", None),
        (1, "passed", None, None),
        (2, "released", "hold it", 0),
        (3, "delayed", "slow", None),
        (4, "delayed", "slow", 3),
        (5, "passed", "slow", 3),
        (6, "duplicated", "twice", 3),
    ]
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)


def test_the_record_shows_different_values_differently(cluster: FakeCluster) -> None:
    for value in ("1", 1, b"1", (1, 2), {"a": b"\xff"}):
        cluster.send("n1", "n2", cluster.frame(Promise(Ballot(1, "n1"), None, encode_value(value))))
    cluster.nodes["n2"].payloads(5)
    shown = [line["fields"]["value"] for line in cluster.lines()]
    assert shown == ["1", 1, {"$bytes": "1"}, {"$tuple": [1, 2]}, {"a": {"$bytes": "\xff"}}]


def test_the_record_is_written_when_the_proxy_is_idle_and_is_private(cluster: FakeCluster) -> None:
    cluster.send("n1", "n2", b"m")
    wait_until(lambda: cluster.record.read_text().endswith("\n"))
    assert cluster.record.stat().st_mode & 0o777 == 0o600


# --- the process ----------------------------------------------------------------------------------------------------


def test_the_record_is_complete_after_close(spec: Spec, tmp_path: Path) -> None:
    record = tmp_path / "messages.jsonl"
    with Network(spec.path, record=record) as network:
        cluster = FakeCluster(network, spec, record)
        cluster.send("n1", "n2", *[b"m"] * 500)
        cluster.nodes["n2"].payloads(500)
        cluster.context.destroy(linger=0)
    assert len(record.read_text().splitlines()) == 500
    assert network.proxy.returncode == 0
    network.close()
    with pytest.raises(ProxyGone, match="closed"):
        network.links()


def test_a_dead_proxy_is_reported_and_does_not_hide_the_first_error(spec: Spec) -> None:
    with Network(spec.path) as network:

        def block_fails() -> None:
            with network.isolate("n1"):
                network.proxy.kill()
                raise KeyError("the first error")

        with pytest.raises(KeyError, match="the first error"):
            block_fails()
        with pytest.raises(ProxyGone, match="status -9"):
            network.links()


def test_requests_without_the_token_and_late_ones_are_not_answered(cluster: FakeCluster) -> None:
    control = cluster.network._control
    assert control is not None
    with tuned(cluster.context.socket(zmq.DEALER)) as stranger:
        stranger.connect(control._address)
        token = cluster.spec.settings.cluster.encode()
        request = {"verb": "flush", "arguments": {}, "deadline": time.monotonic() + WAIT_S}
        flush, late = pack(request), pack({**request, "deadline": time.monotonic() - 1.0})
        for frames in ([flush], [b"0" * 32, flush], [token, b"\xc1"], [token], [token, flush, b""], [token, late]):
            stranger.send_multipart(frames)
        stranger.send_multipart([token, flush])
        assert stranger.poll(int(WAIT_S * 1000))
        assert unpack(stranger.recv()) == {"result": 0}
        assert not stranger.poll(0)
    with pytest.raises(NetworkError, match="has no request 'explode'"):
        cluster.network.request("explode")


def test_the_proxy_ignores_sigint(cluster: FakeCluster) -> None:
    os.kill(cluster.network.proxy.pid, signal.SIGINT)
    cluster.send("n1", "n2", b"m")
    assert cluster.nodes["n2"].payloads(1) == [b"m"]


def test_the_proxy_ends_when_its_control_pipe_closes(spec: Spec) -> None:
    with Network(spec.path) as network:
        assert network.proxy.stdin is not None
        network.proxy.stdin.close()
        assert network.proxy.wait(WAIT_S) == 0


def test_the_proxy_dies_with_its_launcher_even_if_it_is_suspended(spec: Spec) -> None:
    code = (
        "import os, pathlib, sys\nfrom harness.network.network import Network\n"
        "network = Network(pathlib.Path(sys.argv[1])).start()\nprint(network.proxy.pid, flush=True)\nsys.stdin.read()\n"
    )
    launcher = subprocess.Popen(
        [sys.executable, "-c", code, str(spec.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with launcher:
        assert launcher.stdout is not None
        pid = int(launcher.stdout.readline())
        os.kill(pid, signal.SIGSTOP)
        launcher.kill()

    def gone() -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        return state == "Z"  # init may not have reaped it yet

    wait_until(gone)


def test_the_proxy_reports_a_bad_spec(spec: Spec) -> None:
    spec.path.write_text(spec.path.read_text().replace('"paxos"', '"praxos"'))
    network = Network(spec.path)
    with pytest.raises(BootFailed, match="no algorithm is called 'praxos'"):
        network.start()
    assert network.proxy.poll() is not None


def test_a_caller_can_start_the_proxy_its_own_way(spec: Spec) -> None:
    commands = []

    def start(command: Any, log: Path) -> Any:
        commands.append(command)
        return spawn(command, log)

    with Network(spec.path, start=start) as network:
        assert network.links()["n1", "n2"] == Counter()
    assert commands[0][2:4] == ["-m", "harness.network.proxy"]
