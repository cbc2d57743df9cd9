"""ZeroMQ frames in, frames out. Knows no algorithm and no message.

Rules
-----
1. One ROUTER takes in what anybody sends; a DEALER per peer sends out. Each directed pair is a connection of its own, so
   a one-way cut is possible, and so is a proxy on each: the node only knows the addresses that it was told.
2. Nothing blocks. A send that finds no connection or a full queue is dropped and counted; algorithms retransmit.
   IMMEDIATE makes a message to a dead peer fail at once instead of waiting for its next incarnation.
3. A reply goes back along the frames that came before the request's last, so proxies may stand between.
4. Sockets choose their own identities: names travel inside the frames, where they can be checked.
5. The kernel is asked once for all sockets: see `Poller`.
"""

import os
import select
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import zmq
import zmq.backend

from node.contract import NodeId

_QUEUE_MAX: Final = 10_000  # messages; a ROUTER at its limit loses replies, so this is above what one turn can owe
#: Connections that wait to be accepted. With libzmq's 100, some of 256 clients that come at once, to a new leader say, wait
#: a second for TCP to try again. The kernel has its own limit, net.core.somaxconn.
_BACKLOG: Final = 4_096
_FEW: Final = 3
_LAST_WORDS_MS: Final = 100
_ROUTE_FRAMES_MAX: Final = 8
#: A backstop for memory: libzmq closes a connection that announces more. Smaller oversized frames are counted by the codec.
_MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
_HANDSHAKE_FAILURES: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)

# Plain numbers: arithmetic on pyzmq's enumerations takes longer than sending.
_NOW: Final = int(zmq.NOBLOCK)
_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
_CAN_READ: Final = int(zmq.POLLIN)
_EVENTS: Final = int(zmq.EVENTS)
# Without pyzmq's checks for what nobody here sends or asks, which take longer than sending.
_send: Final[Callable[..., Any]] = zmq.backend.Socket.send
_receive: Final[Callable[..., Any]] = zmq.backend.Socket.recv
_get: Final[Callable[..., Any]] = zmq.backend.Socket.get

Route = tuple[bytes, ...]


def tuned(socket: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
    """The socket, with libzmq's defaults that hurt replaced. For every socket of this project."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.HANDSHAKE_IVL, 2_000)  # ms
    socket.setsockopt(zmq.RECONNECT_IVL, 10)  # ms
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 200)  # ms
    socket.setsockopt(zmq.MAXMSGSIZE, _MESSAGE_BYTES_MAX)
    socket.setsockopt(zmq.BACKLOG, _BACKLOG)
    socket.setsockopt(zmq.SNDHWM, _QUEUE_MAX)
    socket.setsockopt(zmq.RCVHWM, _QUEUE_MAX)
    return socket


def bind_any_port(socket: zmq.Socket[bytes]) -> str:
    """Bind to a free loopback port, chosen by the kernel, and return the address."""
    socket.bind("tcp://127.0.0.1:0")
    address = socket.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(address, bytes)
    return address.rstrip(b"\0").decode()


def send_now(socket: zmq.Socket[bytes], frame: bytes) -> None:
    """Send one frame, or raise zmq.Again."""
    _send(socket, frame, _NOW)


def receive_now(socket: zmq.Socket[bytes]) -> list[bytes]:
    """The frames of a message, or of what is left of it, or raise zmq.Again."""
    frame = _receive(
        socket, _NOW, False
    )  # an object that knows whether more follow: asking for that takes as long again
    frames = [frame.bytes]
    while frame.more:
        frame = _receive(socket, _NOW, False)
        frames.append(frame.bytes)
    return frames


def _routed(router: zmq.Socket[bytes]) -> list[bytes]:
    """The same at a ROUTER, which puts a frame before each message: it says who has sent it, and more follow."""
    return [_receive(router, _NOW), *receive_now(router)]


def received(
    socket: zmq.Socket[bytes], take: Callable[[zmq.Socket[bytes]], list[bytes]] = receive_now
) -> Iterator[list[bytes]]:
    """The messages that a socket holds, each a list of frames, until nothing is left."""
    try:
        # Mostly there are few. To ask for more takes a third as long as to try in vain, and is too much for each of many.
        for _ in range(_FEW):
            yield take(socket)
            if not _get(socket, _EVENTS) & _CAN_READ:
                return
        while True:
            yield take(socket)
    except zmq.Again:
        return


class Poller:
    """Waits until one of many sockets or pipes can be read, with one question to the kernel for all of them.

    zmq.Poller asks several times for each socket. But a socket's descriptor only tells that there is news since the socket
    was found empty, and it tells it once: any call on the socket may take the news in, sending too. So a socket that was
    reported, or on which something was sent since, is asked itself before the next wait. What is reported may be nothing:
    somebody has connected, say.
    """

    def __init__(self) -> None:
        self._poll = select.poll()
        self._sources: dict[int, Any] = {}
        self._descriptors: dict[Any, int] = {}
        self._to_ask: dict[zmq.Socket[bytes], None] = {}

    def register(self, source: Any, flags: int = select.POLLIN) -> None:
        """Watch a socket, or a pipe's descriptor, for something to read."""
        descriptor = source if isinstance(source, int) else int(source.getsockopt(zmq.FD))
        self._sources[descriptor] = source
        self._descriptors[source] = descriptor
        self._poll.register(descriptor, flags)
        self.touched(source)

    def unregister(self, source: Any) -> None:
        """Watch it no more. Call it before the socket is closed."""
        descriptor = self._descriptors.pop(source)
        del self._sources[descriptor]
        self._poll.unregister(descriptor)
        self._to_ask.pop(source, None)

    def touched(self, source: Any) -> None:
        """Something was sent on a socket, or not all of what it held was received."""
        if not isinstance(source, int):
            self._to_ask[source] = None

    def read_to_its_end(self, socket: zmq.Socket[bytes]) -> None:
        """All that a socket held was received: it need not be asked, until something is sent on it."""
        self._to_ask.pop(socket, None)

    def poll(self, wait_ms: int) -> list[Any]:
        """What can be read, after at most `wait_ms` milliseconds."""
        ready: dict[Any, None] = {}
        if self._to_ask:
            ready = {socket: None for socket in self._to_ask if _get(socket, _EVENTS) & _CAN_READ}
            self._to_ask.clear()
        for descriptor, _ in self._poll.poll(0 if ready else wait_ms):
            ready[self._sources[descriptor]] = None
        for source in ready:
            self.touched(source)
        return list(ready)


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
        self._peers: dict[NodeId, tuple[str, zmq.Socket[bytes]]] = {}
        self._poller = Poller()
        self._poller.register(self._router)
        self._news = False  # of the ROUTER, in the last `poll`
        #: Each monitor, and the peer that it is about; None for the ROUTER's.
        self._monitors: dict[zmq.Socket[bytes], NodeId | None] = {}
        self._watch_monitor(self._router.get_monitor_socket(_HANDSHAKE_FAILURES), None)

    def watch(self, descriptor: int) -> None:
        """Have `poll` return also when this pipe can be read."""
        self._poller.register(descriptor)

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
            self._watch_monitor(socket.get_monitor_socket(zmq.EVENT_DISCONNECTED), peer)
            socket.connect(address)
            self._peers[peer] = (address, socket)

    def _watch_monitor(self, monitor: zmq.Socket[bytes], peer: NodeId | None) -> None:
        self._monitors[monitor] = peer
        self._poller.register(monitor)

    def _forget(self, peer: NodeId, socket: zmq.Socket[bytes]) -> None:
        for monitor in [monitor for monitor, of in self._monitors.items() if of == peer]:
            self._poller.unregister(monitor)
            del self._monitors[monitor]
            monitor.close()
        socket.disable_monitor()
        socket.close()

    def lost(self) -> tuple[NodeId, ...]:
        """The peers whose connection has closed since the last call. A hint: they may be there again already."""
        lost, self._lost = self._lost, ()
        return lost

    def poll(self, wait_s: float) -> list[int]:
        """Wait until something arrives, at most `wait_s` seconds. Returns the watched pipes that can be read.

        It may be nothing that `receive` returns: somebody has connected, say.
        """
        # Rounded up: rounded down, a timer due within the millisecond would spin the loop until its time came.
        pipes = []
        self._news = False
        for source in self._poller.poll(int(wait_s * 1000 + 0.999)):
            if source is self._router:
                self._news = True
            elif isinstance(source, int):
                pipes.append(source)
            else:
                self._take_news(source, self._monitors[source])
        return pipes

    def _take_news(self, monitor: zmq.Socket[bytes], peer: NodeId | None) -> None:
        for _ in received(monitor):
            if peer is None:
                self.bad_handshakes += 1
            else:
                self._lost = (*self._lost, peer)
        self._poller.read_to_its_end(monitor)

    def receive(self, most: int) -> Iterator[tuple[Route, bytes]]:
        """What was waiting in the last `poll`, up to `most` messages: the way back, and the payload."""
        if not self._news:
            return
        for frames in received(self._router, _routed):
            payload = frames.pop()
            if len(frames) > _ROUTE_FRAMES_MAX:
                frames, payload = frames[:1], b""  # noqa: PLW2901 - nobody of ours sends this; an empty payload is malformed
            yield tuple(frames), payload
            most -= 1
            if most == 0:
                return
        self._poller.read_to_its_end(self._router)

    def send(self, to: NodeId, payload: bytes) -> None:
        """Send to a peer, or drop and count."""
        entry = self._peers.get(to)
        if entry is None:
            self.dropped += 1
            return
        try:
            send_now(entry[1], payload)
        except zmq.Again:
            self.dropped += 1

    def send_back(self, route: Route, payload: bytes) -> None:
        """Send a reply the way its request came, or drop and count if whoever asked has gone."""
        self._poller.touched(self._router)
        try:
            for frame in route:
                _send(self._router, frame, _MORE)
            _send(self._router, payload, _NOW)
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
