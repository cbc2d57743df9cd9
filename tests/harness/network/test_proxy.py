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
from cluster.processes import spawn
from cluster.spec import Spec, create
from harness.network.installed_rule import NotSeen
from harness.network.network import Network, NetworkError, ProxyGone
from harness.network.rules import BadRule, Delay, Rule
from harness.records.links import CLIENT
from node.algorithms.paxos import Accept, Paxos, Promise
from node.contract import Message
from node.quorum import Ballot
from node.transport import bind_any_port, tuned
from node.wire import Codec, Envelope, QueryRequest, Reply, encode_value, pack, unpack
from tests.waiting import WAIT_S, wait_until

PROMISE = Promise(Ballot(3, "n1"), Ballot(2, "n2"), encode_value("blue"))


class FakeNode:
    """What a node looks like from the network: a ROUTER for what comes in, a DEALER for each peer."""

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
        """The way back, and the payload."""
        assert self.inbox.poll(int(WAIT_S * 1000)), "nothing arrived"
        *route, payload = self.inbox.recv_multipart()
        return route, payload

    def payloads(self, count: int) -> list[bytes]:
        return [self.receive()[1] for _ in range(count)]

    def hears_nothing_more(self) -> bool:
        return not self.inbox.poll(0)


class Bench:
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
        assert len(lines) >= count  # one more may be told in between
        return lines


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    return create(tmp_path / "cluster", nodes=3, algorithm="paxos")


@pytest.fixture
def bench(spec: Spec, tmp_path: Path) -> Iterator[Bench]:
    record = tmp_path / "messages.jsonl"
    with Network(spec.path, record=record, seed=7) as network:
        one = Bench(network, spec, record)
        try:
            yield one
        finally:
            one.context.destroy(linger=0)


# --- passing on -----------------------------------------------------------------------------------------------------


def test_messages_pass_in_order_on_the_link_that_they_were_sent_on(bench: Bench) -> None:
    sent = [str(number).encode() for number in range(1000)]
    bench.send("n1", "n2", *sent)
    assert bench.nodes["n2"].payloads(1000) == sent
    assert bench.nodes["n3"].hears_nothing_more()
    links = bench.network.links()
    assert links["n1", "n2"] == {"arrived": 1000, "passed": 1000}
    assert sum(counts.total() for counts in links.values()) == 2000
    assert len(links) == 12  # 6 between nodes, 3 from clients, 3 to clients


def test_a_reply_goes_back_to_the_client_that_asked(bench: Bench) -> None:
    one, other = bench.client("n2"), bench.client("n2")
    one.send(b"from one")
    other.send(b"from other")
    node = bench.nodes["n2"]
    for _ in range(2):
        route, payload = node.receive()
        node.inbox.send_multipart([*route, b"reply to what came " + payload])
    for client, expected in ((one, b"reply to what came from one"), (other, b"reply to what came from other")):
        assert client.poll(int(WAIT_S * 1000))
        assert client.recv_multipart() == [expected]


def test_rules_apply_to_requests_and_to_replies(bench: Bench) -> None:
    client, node = bench.client("n1"), bench.nodes["n1"]
    with bench.network.drop(senders="n1", receivers=CLIENT, types="Reply", times=1) as lost:
        client.send(bench.frame(QueryRequest(1, 1000), sender="c1"))
        route, _ = node.receive()
        node.inbox.send_multipart([*route, bench.frame(Reply(1, None, None))])
        lost.wait_matched(1)
        node.inbox.send_multipart([*route, bench.frame(Reply(2, None, None))])
        assert client.poll(int(WAIT_S * 1000))
        assert bench.codec.decode(client.recv()).message == Reply(2, None, None)
    assert lost.counts() == {("n1", CLIENT): Counter(matched=2, dropped=1)}
    with bench.network.cut_one_way(CLIENT, "n1") as cut:
        client.send(b"unheard")
        wait_until(lambda: cut.total("dropped") == 1)
    assert node.hears_nothing_more()


def test_a_reply_to_a_client_that_has_gone_is_undeliverable(bench: Bench) -> None:
    client, node = bench.client("n1"), bench.nodes["n1"]
    client.send(b"?")
    route, _ = node.receive()
    client.close()

    def reply_is_undeliverable() -> bool:
        node.inbox.send_multipart([*route, b"!"])
        return bench.network.links()["n1", CLIENT]["undeliverable"] > 0

    wait_until(reply_is_undeliverable)


def test_a_message_to_a_dead_node_does_not_reach_its_next_incarnation(bench: Bench) -> None:
    bench.send("n1", "n2", b"first")
    assert bench.nodes["n2"].payloads(1) == [b"first"]
    bench.nodes["n2"].inbox.close()

    def message_is_undeliverable() -> bool:
        bench.send("n1", "n2", b"to the dead")
        return bench.network.links()["n1", "n2"]["undeliverable"] > 0

    wait_until(message_is_undeliverable)
    with bench.network.watch([("n1", "n2")]) as watched:
        bench.send("n1", "n2", b"to the dead")
        watched.wait_matched(1)
    born_again = bench.boot("n2")
    bench.send("n3", "n2", b"to the living")
    assert born_again.payloads(1) == [b"to the living"]
    assert born_again.hears_nothing_more()
    bench.send("n1", "n2", b"from the same sender")  # its connection to the proxy outlives n2
    assert born_again.payloads(1) == [b"from the same sender"]


def test_a_node_that_is_down_or_was_never_up_is_unreachable(bench: Bench) -> None:
    bench.network.node_down("n2")
    bench.send("n1", "n2", b"m")
    wait_until(lambda: bench.network.links()["n1", "n2"]["undeliverable"] == 1)
    assert bench.lines()[-1]["fate"] == "undeliverable"


def test_a_node_joins_and_one_leaves(bench: Bench) -> None:
    bench.network.node_joins("n4")
    newcomer = bench.boot("n4")
    bench.send("n4", "n1", b"hello")  # to a node that was up before
    assert bench.nodes["n1"].payloads(1) == [b"hello"]
    old = bench.nodes["n1"]
    old.outs["n4"] = tuned(bench.context.socket(zmq.DEALER))
    old.outs["n4"].connect(bench.network.addresses("n1")["n4"])
    with bench.network.isolate("n4") as cut:
        bench.send("n1", "n4", b"lost")
        wait_until(lambda: cut.total("dropped") == 1)
    bench.client("n4").send(b"asked")
    assert newcomer.payloads(1) == [b"asked"]
    assert bench.network.links()["n4", "n1"] == {"arrived": 1, "passed": 1}
    with bench.network.delay([("n1", "n2")], seconds=0.05):  # what is on its way to somebody who leaves goes nowhere
        bench.send("n1", "n2", b"late")
        wait_until(lambda: bench.network.links()["n1", "n2"]["arrived"] == 1)
        bench.network.node_leaves("n2")
        wait_until(lambda: bench.lines()[-1]["fate"] == "undeliverable")
    assert bench.network.nodes == ("n1", "n3", "n4")
    assert len(bench.network.links()) == 12
    assert set(bench.network.addresses("n1")) == {"n3", "n4"}
    bench.boot("n1")  # all its links are those that there are now
    with pytest.raises(NoSuchNode, match="there are n1, n3, n4"):
        bench.network.isolate("n2")
    with pytest.raises(NetworkError, match="n3 has its links already"):
        bench.network.request("node_joins", node="n3")
    bench.network.node_joins("n4")  # known already: nothing changes
    assert bench.network.nodes == ("n1", "n3", "n4")


def test_a_node_that_takes_no_connection_is_an_error(bench: Bench) -> None:
    with socket.socket() as listener:  # closed at once at the end of the block, which a ZeroMQ socket is not
        listener.bind(("127.0.0.1", 0))
        closed = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(NetworkError, match="n2 took 0 of 3 connections"):
        bench.network.node_up("n2", closed, timeout_s=0.2)
    with pytest.raises(NetworkError, match="no address"):
        bench.network.node_up("n2", "nonsense")


# --- rules ----------------------------------------------------------------------------------------------------------


def test_hold_wait_then_discard_or_release(bench: Bench) -> None:
    with bench.network.hold(receivers="n3", types="Promise") as vote:
        bench.send("n1", "n3", bench.frame(Accept(Ballot(1, "n1"), encode_value(1))), bench.frame(PROMISE))
        bench.send("n2", "n3", bench.frame(PROMISE, sender="n2"))
        vote.wait_held(1, links=[("n1", "n3")])
        vote.wait_held(2, timeout_s=WAIT_S)
        assert bench.codec.decode(bench.nodes["n3"].payloads(1)[0]).message == Accept(Ballot(1, "n1"), encode_value(1))
        assert bench.nodes["n3"].hears_nothing_more()
        assert vote.discard(1) == 1
        assert vote.release() == 1
        assert bench.codec.decode(bench.nodes["n3"].payloads(1)[0]).message == PROMISE
    assert vote.total("held") == 2
    assert vote.counts()["n1", "n3"]["keeps"] == 0
    with pytest.raises(NetworkError, match="Was it removed"):
        vote.release()


def test_what_does_not_come_about_is_an_error_that_says_what_did(bench: Bench) -> None:
    with bench.network.hold(types="Promise") as vote:
        bench.send("n1", "n2", bench.frame(Accept(Ballot(1, "n1"), encode_value(1))))
        bench.nodes["n2"].payloads(1)
        with pytest.raises(NotSeen, match=r"keeps is 0 and not 1 after 0.05 s. On its links 1 messages"):
            vote.wait_held(1, timeout_s=0.05)


def test_one_thread_waits_while_another_steers(bench: Bench) -> None:
    vote = bench.network.hold(receivers="n2")
    waiting = threading.Thread(target=vote.wait_held, args=(1, WAIT_S))
    waiting.start()
    with bench.network.isolate("n3"):
        bench.send("n1", "n2", b"m")
        waiting.join(WAIT_S)
    assert not waiting.is_alive()
    assert vote.total("keeps") == 1


def test_a_partition_cuts_both_ways_and_ends_with_its_block(bench: Bench) -> None:
    with bench.network.partition([["n1"], ["n2", "n3"]]) as partition:
        bench.send("n1", "n2", b"lost")
        bench.send("n2", "n1", b"lost")
        bench.send("n2", "n3", b"heard")
        assert bench.nodes["n3"].payloads(1) == [b"heard"]
        wait_until(lambda: partition.total("dropped") == 2)
    dropped = {link: counts["dropped"] for link, counts in partition.counts().items()}
    assert dropped == {("n1", "n2"): 1, ("n1", "n3"): 0, ("n2", "n1"): 1, ("n3", "n1"): 0}
    bench.send("n1", "n2", b"whole again")
    assert bench.nodes["n2"].payloads(1) == [b"whole again"]


def test_which_links_are_cut(bench: Bench) -> None:
    network = bench.network
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
        (lambda network: network.partition([["n1", "n2", "n3"]]), BadRule, "two groups"),
        (lambda network: network.partition([]), BadRule, "leaves out"),
        (lambda network: network.isolate("n4"), NoSuchNode, "there are n1, n2, n3"),
        (lambda network: network.cut("n1", ["n1", "n2"]), BadRule, "both sides"),
        (lambda network: network.addresses("client"), NoSuchNode, "no node"),
        (lambda network: network.drop(types="Promised"), NetworkError, "there are .*Promise"),
        (lambda network: network.drop([("n1", "n9")]), NetworkError, "no link n1 -> n9"),
        (lambda network: network.drop(probability=2.0), BadRule, "between 0 and 1"),
        (lambda network: network.delay(seconds=-1.0), BadRule, "seconds"),
    ],
)
def test_a_mistake_is_refused_and_changes_nothing(
    bench: Bench, install: Callable[[Network], object], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        install(bench.network)
    assert bench.network.rules() == []
    assert issubclass(BadRule, Mistake)


def test_heal_ends_every_rule_and_releases_what_is_held(bench: Bench) -> None:
    cut = bench.network.isolate("n3")
    held = bench.network.hold(receivers="n2")
    bench.network.add(Rule("by plan", Delay(3000.0), types=frozenset({"Promise"})))
    bench.send("n1", "n2", b"1", b"2")
    bench.send("n1", "n3", b"lost")
    held.wait_held(2)
    wait_until(lambda: cut.total("dropped") == 1)
    bench.network.heal()
    assert bench.nodes["n2"].payloads(2) == [b"1", b"2"]
    assert bench.network.rules() == []
    assert held.total("released") == 2
    assert cut.total("dropped") == 1
    held.remove()  # once more does nothing
    assert bench.nodes["n3"].hears_nothing_more()


def test_delay_duplicate_corrupt_and_reorder_reach_the_receiver(bench: Bench) -> None:
    node = bench.nodes["n2"]
    with bench.network.duplicate(copies=2, times=1):
        bench.send("n1", "n2", b"a", b"b")
        assert node.payloads(4) == [b"a", b"a", b"a", b"b"]
    with bench.network.reorder(window=2, times=1):
        bench.send("n1", "n2", b"a", b"b", b"c", b"d")
        assert node.payloads(4) == [b"b", b"c", b"a", b"d"]
    with bench.network.corrupt(position=1, times=1):
        bench.send("n1", "n2", b"abc")
        (payload,) = node.payloads(1)
        assert (payload[:1], payload[2:]) == (b"a", b"c")
        assert payload != b"abc"
    with bench.network.delay(seconds=0.2, times=1) as delayed:
        began = time.monotonic()
        bench.send("n1", "n2", b"late", b"early")
        assert node.payloads(2) == [b"early", b"late"]
        assert time.monotonic() - began >= 0.2
    assert delayed.counts()["n1", "n2"] == {"matched": 2, "delayed": 1}


# --- the record -----------------------------------------------------------------------------------------------------


def test_the_record_tells_every_message_and_every_fate(bench: Bench) -> None:
    frame = bench.frame(PROMISE)
    with bench.network.hold(times=1, name="hold it") as held:
        bench.send("n1", "n2", frame, b"\xc1 nonsense")
        held.wait_held(1)
        bench.nodes["n2"].payloads(1)
        held.release()
    with bench.network.duplicate(name="twice"), bench.network.delay(seconds=0.01, name="slow"):
        bench.send("n1", "n2", frame)
        assert bench.nodes["n2"].payloads(3) == [frame] * 3
    lines = bench.lines()
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


def test_values_are_recorded_so_that_they_can_be_told_apart(bench: Bench) -> None:
    for value in ("1", 1, b"1", (1, 2), {"a": b"\xff"}):
        bench.send("n1", "n2", bench.frame(Promise(Ballot(1, "n1"), None, encode_value(value))))
    bench.nodes["n2"].payloads(5)
    shown = [line["fields"]["value"] for line in bench.lines()]
    assert shown == ["1", 1, {"$bytes": "1"}, {"$tuple": [1, 2]}, {"a": {"$bytes": "\xff"}}]


def test_the_record_is_written_when_the_proxy_is_idle_and_is_private(bench: Bench) -> None:
    bench.send("n1", "n2", b"m")
    wait_until(lambda: bench.record.read_text().endswith("\n"))
    assert bench.record.stat().st_mode & 0o777 == 0o600


# --- the process ----------------------------------------------------------------------------------------------------


def test_the_record_is_whole_after_close(spec: Spec, tmp_path: Path) -> None:
    record = tmp_path / "messages.jsonl"
    with Network(spec.path, record=record) as network:
        bench = Bench(network, spec, record)
        bench.send("n1", "n2", *[b"m"] * 500)
        bench.nodes["n2"].payloads(500)
        bench.context.destroy(linger=0)
    assert len(record.read_text().splitlines()) == 500
    assert network.proxy.returncode == 0
    network.close()
    with pytest.raises(ProxyGone, match="closed"):
        network.links()


def test_a_dead_proxy_is_reported_and_does_not_hide_what_went_wrong(spec: Spec) -> None:
    with Network(spec.path) as network:

        def block_goes_wrong() -> None:
            with network.isolate("n1"):
                network.proxy.kill()
                raise KeyError("the real trouble")

        with pytest.raises(KeyError, match="the real trouble"):
            block_goes_wrong()
        with pytest.raises(ProxyGone, match="status -9"):
            network.links()


def test_strangers_are_not_answered(bench: Bench) -> None:
    control = bench.network._control
    assert control is not None
    with tuned(bench.context.socket(zmq.DEALER)) as stranger:
        stranger.connect(control._address)
        for frames in ([pack({"do": "heal"})], [pack({"do": "heal", "token": "0" * 32})], [b"\xc1"], [b"", b""]):
            stranger.send_multipart(frames)
        stranger.send(pack({"do": "flush", "token": bench.spec.settings.cluster}))
        assert stranger.poll(int(WAIT_S * 1000))
        assert unpack(stranger.recv()) == {"result": 0}
        assert not stranger.poll(0)
    with pytest.raises(NetworkError, match="no such request"):
        bench.network.request("explode")


def test_ctrl_c_is_for_the_launcher(bench: Bench) -> None:
    os.kill(bench.network.proxy.pid, signal.SIGINT)
    bench.send("n1", "n2", b"m")
    assert bench.nodes["n2"].payloads(1) == [b"m"]


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
        return state == "Z"  # nobody may be there to reap it

    wait_until(gone)


def test_a_spec_that_cannot_be_used_is_said_by_the_proxy(spec: Spec) -> None:
    spec.path.write_text(spec.path.read_text().replace('"paxos"', '"praxos"'))
    network = Network(spec.path)
    with pytest.raises(BootFailed, match="no algorithm is called 'praxos'"):
        network.start()
    assert network.proxy.poll() is not None


def test_spawning_is_the_callers_to_choose(spec: Spec) -> None:
    commands = []

    def start(command: Any, log: Path) -> Any:
        commands.append(command)
        return spawn(command, log)

    with Network(spec.path, start=start) as network:
        assert network.links()["n1", "n2"] == Counter()
    assert commands[0][2:4] == ["-m", "harness.network.proxy"]
