"""ZeroMQ frames in, frames out. Knows no algorithm and no message.

Rules
-----
1. One ROUTER takes in what anybody sends; a DEALER per peer sends out. Each directed pair is a connection of its own, so
   a one-way cut is possible, and so is a proxy on each: the node only knows the addresses that it was told.
2. Nothing blocks. A send that finds no connection or a full queue is dropped and counted; algorithms retransmit.
   IMMEDIATE makes a message to a dead peer fail at once instead of waiting for its next incarnation.
3. A reply goes back along the frames that came before the request's last, so proxies may stand between.
4. Sockets choose their own identities: names travel inside the frames, where they can be checked.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Final

import zmq

from node.contract import NodeId

_QUEUE_MAX: Final = 10_000  # messages; a ROUTER at its limit loses replies, so this is above what one turn can owe
_LAST_WORDS_MS: Final = 100
_ROUTE_FRAMES_MAX: Final = 8
#: A backstop for memory: libzmq closes a connection that announces more. Smaller oversized frames are counted by the codec.
_MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
_HANDSHAKE_FAILURES: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)

Route = tuple[bytes, ...]


def tuned(socket: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
    """The socket, with libzmq's defaults that hurt replaced. For every socket of this project."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.HANDSHAKE_IVL, 2_000)  # ms
    socket.setsockopt(zmq.RECONNECT_IVL, 10)  # ms
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 200)  # ms
    socket.setsockopt(zmq.MAXMSGSIZE, _MESSAGE_BYTES_MAX)
    socket.setsockopt(zmq.SNDHWM, _QUEUE_MAX)
    socket.setsockopt(zmq.RCVHWM, _QUEUE_MAX)
    return socket


def bind_any_port(socket: zmq.Socket[bytes]) -> str:
    """Bind to a free loopback port, chosen by the kernel, and return the address."""
    socket.bind("tcp://127.0.0.1:0")
    address = socket.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(address, bytes)
    return address.rstrip(b"\0").decode()


class Transport:
    """The sockets of one node, and the pipes that wake its loop."""

    _lost: tuple[NodeId, ...] = ()

    def __init__(self) -> None:
        self.dropped = 0
        self.bad_handshakes = 0
        self._context = zmq.Context()
        self._router = tuned(self._context.socket(zmq.ROUTER))
        self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)  # a reply that cannot leave is an error, not a silence
        self.address = bind_any_port(self._router)
        self._monitor = self._router.get_monitor_socket(_HANDSHAKE_FAILURES)
        self._peers: dict[NodeId, tuple[str, zmq.Socket[bytes]]] = {}
        self._peer_monitors: dict[zmq.Socket[bytes], NodeId] = {}
        self._poller = zmq.Poller()
        self._poller.register(self._router, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)

    def watch(self, descriptor: int) -> None:
        """Have `poll` return also when this pipe can be read."""
        self._poller.register(descriptor, zmq.POLLIN)

    def unwatch(self, descriptor: int) -> None:
        """Undo `watch`."""
        self._poller.unregister(descriptor)

    def connect(self, addresses: Mapping[NodeId, str]) -> None:
        """Use these addresses from now on; a peer whose address has changed is connected anew."""
        for peer, address in addresses.items():
            known, old = self._peers.get(peer, ("", None))
            if known == address:
                continue
            if old is not None:
                self._forget(peer, old)
            socket = tuned(self._context.socket(zmq.DEALER))
            socket.setsockopt(zmq.IMMEDIATE, 1)
            monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
            self._peer_monitors[monitor] = peer
            self._poller.register(monitor, zmq.POLLIN)
            socket.connect(address)
            self._peers[peer] = (address, socket)

    def _forget(self, peer: NodeId, socket: zmq.Socket[bytes]) -> None:
        for monitor in [monitor for monitor, of in self._peer_monitors.items() if of == peer]:
            self._poller.unregister(monitor)
            del self._peer_monitors[monitor]
            monitor.close()
        socket.disable_monitor()
        socket.close()

    def lost(self) -> tuple[NodeId, ...]:
        """The peers whose connection has closed since the last call. A hint: they may be there again already."""
        lost, self._lost = self._lost, ()
        return lost

    def poll(self, wait_s: float) -> list[int]:
        """Wait until something arrives, at most `wait_s` seconds. Returns the watched pipes that can be read."""
        # Rounded up: rounded down, a timer due within the millisecond would spin the loop until its time came.
        ready = self._poller.poll(int(wait_s * 1000 + 0.999))
        pipes = []
        for source, _ in ready:
            if isinstance(source, int):
                pipes.append(source)
            elif source is self._monitor:
                self._monitor.recv_multipart()
                self.bad_handshakes += 1
            elif source in self._peer_monitors:
                source.recv_multipart()
                self._lost = (*self._lost, self._peer_monitors[source])
        return pipes

    def receive(self, most: int) -> Iterator[tuple[Route, bytes]]:
        """What is waiting, up to `most` messages: the way back, and the payload."""
        for _ in range(most):
            try:
                *route, payload = self._router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if len(route) > _ROUTE_FRAMES_MAX:
                route, payload = route[:1], b""  # nobody of ours sends this; an empty payload is malformed
            yield tuple(route), payload

    def send(self, to: NodeId, payload: bytes) -> None:
        """Send to a peer, or drop and count."""
        entry = self._peers.get(to)
        if entry is None:
            self.dropped += 1
            return
        try:
            entry[1].send(payload, zmq.NOBLOCK)
        except zmq.Again:
            self.dropped += 1

    def send_back(self, route: Route, payload: bytes) -> None:
        """Send a reply the way its request came, or drop and count if whoever asked has gone."""
        try:
            self._router.send_multipart([*route, payload], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            self.dropped += 1

    def close(self) -> None:
        """Close every socket, once the last words are out or it is clear that nobody takes them."""
        self._router.disable_monitor()
        for _, socket in self._peers.values():
            socket.disable_monitor()
        self._context.destroy(linger=_LAST_WORDS_MS)


class WakeUpPipe:
    """A pipe that a signal handler writes to, so that `poll` returns."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.writer, False)
