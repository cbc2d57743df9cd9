"""The proxy of streams, a real process, between sockets of this test: one proxy for the whole module."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.network.errors import NetworkError
from harness.network.installed_rule import InstalledRule
from harness.network.rules import Bandwidth, Corrupt, Cut, HalfOpen, Hold, Pause, Reset
from harness.network.socket_owner import _look_into_tables, listening_ports, socket_inode
from harness.network.stream_network import StreamNetwork

NODES = ("n1", "n2")
THERE, BACK = ("client", "n1"), ("n1", "client")
SOON_S = 20.0


class Echo:
    """A node that sends back what it receives."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    @staticmethod
    def _serve(one: socket.socket) -> None:
        with one:
            try:
                while data := one.recv(65536):
                    one.sendall(data)
            except OSError:
                pass


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    node = Echo()
    yield node
    node.server.close()


@pytest.fixture(scope="module", params=["pair", "shared"])
def shared_network(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, echo: Echo
) -> Iterator[StreamNetwork]:
    folder = tmp_path_factory.mktemp("network")
    with StreamNetwork(folder, NODES, ("client",), shared=request.param == "shared", seed=3) as network:
        network.node_up(
            "n1", {"client": echo.port}, group=1
        )  # the process group of no node: so this process is a client
        yield network


@pytest.fixture
def network(shared_network: StreamNetwork) -> Iterator[StreamNetwork]:
    yield shared_network
    shared_network.heal()


@pytest.fixture
def client(network: StreamNetwork) -> Iterator[socket.socket]:
    with dial(network) as one:
        yield one


def dial(network: StreamNetwork) -> socket.socket:
    one = socket.create_connection(("127.0.0.1", network.client_port("n1", "client")))
    one.settimeout(SOON_S)
    return one


def receive(one: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = one.recv(size - len(data))
        if not more:
            return data
        data += more
    return data


def exchange(one: socket.socket, data: bytes = b"hello") -> float:
    began = time.monotonic()
    one.sendall(data)
    assert receive(one, len(data)) == data
    return time.monotonic() - began


def wait(rule: InstalledRule, what: str, least: int = 1) -> None:
    deadline = time.monotonic() + SOON_S
    while rule.total(what) < least:
        assert time.monotonic() < deadline, rule.counts()
        time.sleep(0.005)


def test_bytes_pass_in_both_directions_and_are_counted(network: StreamNetwork, client: socket.socket) -> None:
    before = network.links()
    exchange(client, b"x" * 300_000)
    after = network.links()
    assert [after[link]["bytes"] - before[link]["bytes"] for link in (THERE, BACK)] == [300_000, 300_000]
    assert after["n1", "n2"]["bytes"] == 0


@pytest.mark.parametrize("link", [THERE, BACK])
def test_a_cut_of_one_direction_keeps_that_direction_alone_and_nothing_crosses_it(
    network: StreamNetwork, client: socket.socket, link: tuple[str, str]
) -> None:
    exchange(client)
    with network.install(Cut(), [link]) as rule:
        client.sendall(b"late")
        wait(rule, "held")
        assert {one for one, counts in rule.counts().items() if counts["held"]} == {link}
        assert rule.total("crossed") == 0
    assert receive(client, 4) == b"late"


def test_a_connection_begun_over_a_cut_is_made_when_the_cut_is_healed(network: StreamNetwork) -> None:
    with network.install(Cut(), [BACK]) as rule:
        client = dial(network)
        client.sendall(b"hello")
        wait(rule, "held")
    with client:
        assert receive(client, 5) == b"hello"


def test_a_reset_ends_the_connections_of_its_link_and_new_ones(network: StreamNetwork, client: socket.socket) -> None:
    exchange(client)
    with network.install(Reset(), [BACK]) as rule:
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        with dial(network) as other, pytest.raises(ConnectionResetError):
            other.recv(1)
        wait(rule, "reset", 2)
    with dial(network) as other:
        exchange(other)


def test_a_delay_is_at_least_what_it_says(network: StreamNetwork, client: socket.socket) -> None:
    exchange(client)
    with network.delay([THERE], seconds=0.05) as rule:
        assert exchange(client) >= 0.05
        assert rule.total("delayed") == 1
        assert rule.total("early") == 0


def test_a_narrow_line_takes_its_time(network: StreamNetwork, client: socket.socket) -> None:
    exchange(client)
    with network.install(Bandwidth(100_000), [BACK]):
        assert exchange(client, b"x" * 10_000) >= 0.07  # its last part is on the line when the others have left


def test_a_stream_stands_still_in_the_middle(network: StreamNetwork, client: socket.socket) -> None:
    exchange(client)
    with network.install(Pause(3, 60.0), [BACK]) as rule:
        client.sendall(b"hello")
        assert receive(client, 3) == b"hel"
        wait(rule, "paused")
    assert receive(client, 2) == b"lo"


def test_a_half_open_connection_does_not_show_its_end(network: StreamNetwork, client: socket.socket) -> None:
    exchange(client)
    with network.install(HalfOpen(), [BACK]) as rule:
        client.shutdown(socket.SHUT_WR)  # so the node ends, too
        wait(rule, "held")
        client.settimeout(0.01)
        with pytest.raises(TimeoutError):
            client.recv(1)
    client.settimeout(SOON_S)
    assert client.recv(1) == b""


def test_a_byte_is_another_one(network: StreamNetwork, client: socket.socket) -> None:
    exchange(client)
    with network.install(Corrupt(), [THERE]):
        client.sendall(b"hello")
        got = receive(client, 5)
    assert sum(one != other for one, other in zip(got, b"hello", strict=True)) == 1


def test_the_nth_byte_waits_for_its_release(network: StreamNetwork, client: socket.socket) -> None:
    with network.install(Hold(after=7), [THERE], types="byte") as rule:
        client.sendall(b"0123456789")
        assert receive(client, 7) == b"0123456"
        rule.wait_held(1, SOON_S)
        rule.release()
        assert receive(client, 3) == b"789"


def test_a_node_that_is_down_resets(network: StreamNetwork) -> None:
    with socket.create_connection(("127.0.0.1", network.client_port("n2", "client"))) as one:
        one.settimeout(SOON_S)
        with pytest.raises(ConnectionResetError):
            one.recv(1)


def test_a_rule_for_messages_and_a_link_that_is_not_there_are_refused(network: StreamNetwork) -> None:
    with pytest.raises(NetworkError, match="streams of bytes"):
        network.reorder()
    with pytest.raises(NetworkError, match="no link"):
        network.install(Cut(), [("n1", "n9")])


DIALER = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.stdin.readline()))) as one:
    one.sendall(b"hello")
    assert one.recv(5) == b"hello"
"""


def test_shared_addresses_say_by_the_kernel_who_dials(tmp_path: Path, echo: Echo) -> None:
    command = [sys.executable, "-I", "-S", "-c", DIALER]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as node,
        StreamNetwork(tmp_path, NODES, ("client",), shared=True) as network,
    ):
        network.node_up("n1", {"client": echo.port}, group=1)
        network.node_up("n2", {"client": echo.port}, group=node.pid)
        node.communicate(f"{network.client_port('n1', 'client')}\n".encode(), SOON_S)
        with dial(network) as one:
            exchange(one, b"a client")
        links = network.links()
    assert [links["n2", "n1"]["bytes"], links["n1", "n2"]["bytes"], links[THERE]["bytes"]] == [5, 5, 8]


def test_the_ports_at_which_a_process_listens_are_known() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert server.getsockname()[1] in listening_ports(os.getpgid(0))


def test_the_kernel_and_its_table_say_the_same_of_a_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_INET6) as mapped:
        port = server.getsockname()[1]
        mapped.connect(("::ffff:127.0.0.1", port))
        with socket.create_connection(("127.0.0.1", port)) as plain:
            for one in (mapped, plain):
                inode = str(os.fstat(one.fileno()).st_ino)
                own = one.getsockname()[1]
                assert (socket_inode(own, port), _look_into_tables(own, port)) == (inode, inode)
            assert socket_inode(port, 1) is None
