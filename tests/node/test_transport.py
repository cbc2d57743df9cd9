import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice

import pytest
import zmq

from node import transport as transport_module
from node.transport import Poller, Route, Transport, WakeUpPipe, bind_any_port, receive_all, tuned
from tests.sockets import bare_connection
from tests.waiting import WAIT_S


@pytest.fixture
def made() -> Iterator[Callable[[], Transport]]:
    """A function that makes transports. They are closed when the test ends."""
    transports: list[Transport] = []

    def make(*arguments: int) -> Transport:
        transports.append(Transport(*arguments))
        return transports[-1]

    yield make
    for transport in transports:
        if not transport._context.closed:  # a test may have closed it
            transport.close()


@pytest.fixture
def client() -> Iterator[Callable[[str], "zmq.Socket[bytes]"]]:
    """A function that makes DEALER sockets which are connected to an address."""
    context = zmq.Context()
    dealers: list[zmq.Socket[bytes]] = []

    def make(address: str) -> "zmq.Socket[bytes]":
        dealer = tuned(context.socket(zmq.DEALER))
        dealers.append(dealer)  # keeps a reference: a socket without one is closed, with a warning
        dealer.setsockopt(zmq.RCVTIMEO, int(WAIT_S * 1000))
        dealer.connect(address)
        return dealer

    yield make
    context.destroy(linger=0)


def wait_until(condition: Callable[[], bool], *polled: Transport) -> None:
    """Poll the transports, each for 5 ms, until the condition holds."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        for transport in polled:
            transport.poll(0.005)


def take(transport: Transport, most: int = 100) -> list[tuple[Route, bytes]]:
    """Wait until a message has arrived, and receive up to `most` messages."""
    got: list[tuple[Route, bytes]] = []

    def arrived() -> bool:
        got.extend(transport.receive(most))
        return bool(got)

    wait_until(arrived, transport)
    return got


def connect(sender: Transport, receiver: Transport, name: str = "n2") -> None:
    """Connect, and wait until a message has arrived over the connection."""
    sender.connect({name: receiver.address})
    got: list[bytes] = []

    def carried() -> bool:
        sender.send(name, b"hello")
        got.extend(payload for _, payload in receiver.receive(100))
        return bool(got)

    wait_until(carried, receiver)


def drain(transport: Transport) -> list[bytes]:
    """Receive the messages that wait now or arrive within 0.1 seconds."""
    transport.poll(0.1)
    return [payload for _, payload in transport.receive(100_000)]


# --- frames ---------------------------------------------------------------------------------------------------------


def test_frames_go_one_way(made: Callable[[], Transport]) -> None:
    one, two = made(), made()
    connect(one, two)
    one.send("n2", b"first")
    one.send("n2", b"")
    one.send("n2", b"\0" * 1_000_000)
    got: list[bytes] = []
    while len([payload for payload in got if payload != b"hello"]) < 3:
        got += [payload for _, payload in take(two)]
    assert [payload for payload in got if payload != b"hello"] == [b"first", b"", b"\0" * 1_000_000]
    assert drain(one) == []


def test_a_reply_goes_back_the_way_its_request_came(
    made: Callable[[], Transport], client: Callable[[str], "zmq.Socket[bytes]"]
) -> None:
    node = made()
    first, second = client(node.address), client(node.address)
    first.send(b"question")
    ((route, payload),) = take(node)
    assert payload == b"question"
    second.send_multipart([b"through", b"two proxies", b"question 2"])
    ((longer, payload),) = take(node)
    assert (len(longer), longer[1:], payload) == (3, (b"through", b"two proxies"), b"question 2")
    node.send_back(longer, b"answer 2")
    node.send_back(route, b"answer")
    assert first.recv_multipart() == [b"answer"]
    assert second.recv_multipart() == [b"through", b"two proxies", b"answer 2"]


def test_no_more_is_received_than_asked_for(
    made: Callable[[], Transport], client: Callable[[str], "zmq.Socket[bytes]"]
) -> None:
    node = made()
    dealer = client(node.address)
    for number in range(5):
        dealer.send(str(number).encode())
    got: list[bytes] = []
    while len(got) < 5:
        some = [payload for _, payload in take(node, most=2)]
        assert len(some) <= 2
        got += some
    assert got == [b"0", b"1", b"2", b"3", b"4"]


def test_a_message_with_too_long_a_route_becomes_an_empty_one(
    made: Callable[[], Transport], client: Callable[[str], "zmq.Socket[bytes]"]
) -> None:
    node = made()
    dealer = client(node.address)
    dealer.send_multipart([b"x"] * 200)
    ((route, payload),) = take(node)
    assert (len(route), payload) == (1, b"")


# --- dropped messages ------------------------------------------------------------------------------------------------


def test_a_message_without_a_connection_is_dropped_and_counted(made: Callable[[], Transport]) -> None:
    node = made()
    node.send("n9", b"?")
    assert node.dropped == 1
    gone = socket.create_server(("127.0.0.1", 0))
    port = gone.getsockname()[1]
    gone.close()
    node.connect({"n2": f"tcp://127.0.0.1:{port}"})
    node.send("n2", b"?")
    assert node.dropped == 2


def test_a_reply_to_a_client_that_has_gone_is_dropped_and_counted(
    made: Callable[[], Transport], client: Callable[[str], "zmq.Socket[bytes]"]
) -> None:
    node = made()
    dealer = client(node.address)
    dealer.send(b"question")
    ((route, _),) = take(node)
    dealer.close()

    def dropped() -> bool:
        node.send_back(route, b"answer")
        return node.dropped > 0

    wait_until(dropped, node)
    node.send_back((b"an unknown connection",), b"answer")


def test_a_message_to_a_dead_peer_does_not_reach_its_next_incarnation(
    made: Callable[[], Transport], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, first_incarnation = made(), made()
    connect(one, first_incarnation)
    address = first_incarnation.address
    first_incarnation.close()
    before = one.dropped

    def noticed() -> bool:
        one.send("n2", b"to the first incarnation")
        return one.dropped > before

    wait_until(noticed, one)
    for _ in range(100):
        one.send("n2", b"to the first incarnation")

    def bind_same_name(bound: "zmq.Socket[bytes]") -> str:
        bound.bind(address)
        return address

    monkeypatch.setattr(transport_module, "bind_any_name", bind_same_name)
    second_incarnation = made()
    got: list[bytes] = []

    def arrived() -> bool:
        one.send("n2", b"to the second incarnation")
        got.extend(payload for _, payload in second_incarnation.receive(1000))
        return len(got) >= 3

    wait_until(arrived, second_incarnation)
    got += drain(second_incarnation)
    assert set(got) == {b"to the second incarnation"}


def test_a_full_queue_drops_and_never_blocks(made: Callable[..., Transport]) -> None:
    one, idle = made(10), made(10)
    connect(one, idle)
    before = one.dropped
    for _ in range(400):
        one.send("n2", b"x" * 100_000)
    assert one.dropped > before
    assert len(drain(idle)) > 0


# --- peers ----------------------------------------------------------------------------------------------------------


def test_a_peer_whose_address_changes_gets_a_new_connection(made: Callable[[], Transport]) -> None:
    one, old, new = made(), made(), made()
    connect(one, old)
    drain(old)
    connect(one, new)
    drain(new)
    for _ in range(10):
        one.send("n2", b"to the new one")
    got = [payload for _, payload in take(new)]
    while len(got) < 10:
        got += [payload for _, payload in take(new)]
    assert got == [b"to the new one"] * 10
    assert drain(old) == []


def test_the_same_address_again_changes_nothing(made: Callable[[], Transport]) -> None:
    one, two = made(), made()
    connect(one, two)
    drain(two)
    for number in range(20):
        one.connect({"n2": two.address})
        one.send("n2", str(number).encode())  # over a new connection the first messages would be dropped
    got: list[bytes] = []
    while len(got) < 20:
        got += [payload for _, payload in take(two)]
    assert got == [str(number).encode() for number in range(20)]


# --- strangers ------------------------------------------------------------------------------------------------------


def wait_for_end(stranger: socket.socket, node: Transport) -> None:
    """Wait until the node has closed the stranger's connection."""
    stranger.setblocking(False)

    def ended() -> bool:
        try:
            return stranger.recv(4096) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    wait_until(ended, node)


NOISE = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\0NULL" + b"\0" * 48 + b"\x04\xff" + b"\xff" * 100


@pytest.mark.parametrize(
    ("data", "counted"),
    [
        (b"\xff" * 200, True),
        (NOISE, True),
        (NOISE[:20], True),
        (b"", True),
        # libzmq takes bytes that do not begin with 0xff for its first protocol, which has no handshake that could fail.
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n" + b" " * 64, False),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x5a" * 100, False),
        (b"\0" * 200, False),
        (b"\x01\0\x06\0hello", False),  # a valid message of that protocol: an anonymous peer, and a frame
    ],
    ids=["ones", "greeting and noise", "half a greeting", "nothing", "http", "tls", "zeros", "zmtp 1"],
)
def test_a_stranger_is_counted_and_the_node_goes_on(
    made: Callable[[], Transport], client: Callable[[str], "zmq.Socket[bytes]"], data: bytes, counted: bool
) -> None:
    node = made()
    with bare_connection(node.address) as stranger:
        with suppress(OSError):  # the node may close the connection before all bytes are sent
            stranger.sendall(data)
            stranger.shutdown(socket.SHUT_WR)
        if counted:
            wait_until(lambda: node.bad_handshakes >= 1, node)
        wait_for_end(stranger, node)
    client(node.address).send(b"still there?")
    got: list[bytes] = []
    while b"still there?" not in got:  # other messages may come from the stranger; the codec would refuse them
        got += [payload for _, payload in take(node)]


def test_a_stranger_that_sends_nothing_is_disconnected(made: Callable[[], Transport]) -> None:
    node = made()
    with bare_connection(node.address) as stranger:
        wait_until(lambda: node.bad_handshakes >= 1, node)  # after the time limit of the handshake
        wait_for_end(stranger, node)


def test_a_frame_above_all_limits_closes_its_connection_and_no_other(
    made: Callable[[], Transport], client: Callable[[str], "zmq.Socket[bytes]"]
) -> None:
    node = made()
    hostile, other = client(node.address), client(node.address)
    hostile.send(b"x" * (16 * 1024 * 1024 + 1))
    other.send(b"hello")
    assert [payload for _, payload in take(node)] == [b"hello"]
    hostile.send(b"small")  # libzmq has made a new connection
    assert [payload for _, payload in take(node)] == [b"small"]


# --- the loop -------------------------------------------------------------------------------------------------------


def test_a_watched_pipe_ends_the_wait(made: Callable[[], Transport]) -> None:
    node, wake_up = made(), WakeUpPipe()
    node.watch(wake_up.reader)
    try:
        assert node.poll(0) == []
        os.write(wake_up.writer, b"x")
        assert node.poll(WAIT_S) == [wake_up.reader]
        os.read(wake_up.reader, 1)
        assert node.poll(0) == []
        assert not os.get_blocking(wake_up.writer)  # a signal handler must not wait
    finally:
        os.close(wake_up.reader)
        os.close(wake_up.writer)


def test_a_message_ends_the_wait(made: Callable[[], Transport], client: Callable[[str], "zmq.Socket[bytes]"]) -> None:
    node = made()
    client(node.address).send(b"hello")
    began = time.monotonic()
    got: list[bytes] = []
    while not got:  # a new connection ends a wait, too
        node.poll(WAIT_S)
        got += [payload for _, payload in node.receive(9)]
    assert time.monotonic() - began < WAIT_S / 2
    assert got == [b"hello"]


def test_a_message_whose_signal_another_call_has_consumed_ends_the_wait(
    made: Callable[[], Transport], client: Callable[[str], "zmq.Socket[bytes]"]
) -> None:
    """libzmq signals a descriptor once. A send may consume the signal, and a turn may end before all messages are received."""
    node = made()
    dealer = client(node.address)
    dealer.send(b"first")
    ((route, _),) = take(node)
    assert list(node.receive(9)) == []  # all messages are received
    node.send_back(route, b"answer")
    dealer.send(b"second")
    end = time.monotonic() + WAIT_S
    while not int(node._router.getsockopt(zmq.EVENTS)) & int(zmq.POLLIN):
        assert time.monotonic() < end
    assert not select.select([int(node._router.getsockopt(zmq.FD))], [], [], 0)[0]  # the signal is gone
    began = time.monotonic()
    node.poll(WAIT_S)
    assert time.monotonic() - began < WAIT_S / 2
    assert [payload for _, payload in node.receive(9)] == [b"second"]
    for number in range(3):
        dealer.send(str(number).encode())
    began = time.monotonic()
    got: list[bytes] = []
    while len(got) < 3:
        node.poll(WAIT_S)
        got += [payload for _, payload in node.receive(1)]
    assert got == [b"0", b"1", b"2"]
    assert time.monotonic() - began < WAIT_S / 2


def test_a_poller_returns_a_socket_again_while_messages_are_left_in_it() -> None:
    context = zmq.Context()
    sink = tuned(context.socket(zmq.PULL))
    address = bind_any_port(sink)
    source = tuned(context.socket(zmq.PUSH))
    source.connect(address)
    poller = Poller()
    try:
        poller.register(sink)
        for number in range(3):
            source.send(str(number).encode())
        got: list[bytes] = []
        while len(got) < 3:
            assert poller.poll(int(WAIT_S * 1000)) == [sink]
            got += [frame for (frame,) in islice(receive_all(sink), 1)]
        assert got == [b"0", b"1", b"2"]
        list(receive_all(sink))
        poller.poll(0)
        assert poller.poll(0) == []
        poller.unregister(sink)
        source.send(b"unseen")
        assert poller.poll(50) == []
    finally:
        context.destroy(linger=0)


def test_a_wait_of_less_than_a_millisecond_does_not_spin(made: Callable[[], Transport]) -> None:
    node = made()
    began = time.monotonic()
    node.poll(0.0002)
    assert time.monotonic() - began >= 0.0002
