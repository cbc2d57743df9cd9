"""The ZeroMQ sockets of a node: frames come in, frames go out. This module knows no algorithm and no message.

Rules
-----
1. One ROUTER receives from all peers and clients; one DEALER per peer sends. So each directed pair of nodes has a
   connection of its own, which can be cut by itself and can lead through a proxy. The node connects to the addresses
   that it is given.
2. Nothing blocks. A message without a connection, or for a queue that is full, is dropped and counted; the algorithm
   sends it again. IMMEDIATE makes a send to a dead peer fail at once. Otherwise the message would wait and reach the
   peer's next incarnation.
3. A request arrives with the frames of its route before its last frame. The reply goes back along that route, so
   proxies may stand between.
4. libzmq chooses the identities of sockets. The names of nodes travel inside the frames, where the receiver checks
   them.
5. One system call waits for all sockets: see `Poller`.
"""

import os
import secrets
import select
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import zmq
import zmq.backend

from node.contract import NodeId
from node.tuning import SHIPPED

#: Connections that wait to be accepted. With libzmq's default of 100, some of 256 clients that connect at the same time
#: (to a new leader, for example) wait a second until TCP tries again. The kernel has its own limit, net.core.somaxconn.
_BACKLOG: Final = 4_096
#: After so many messages, `receive_all` no longer asks whether another one is there before it tries to receive it.
_ASKED_MESSAGES: Final = 3
#: How long `close` waits for messages that have not left yet.
_LINGER_MS: Final = 100
_ROUTE_FRAMES_MAX: Final = 8
#: Limits memory: libzmq closes a connection that announces a larger message. The codec counts oversized frames below
#: it.
_MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
_HANDSHAKE_FAILURES: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)

# Plain integers, because arithmetic on pyzmq's enumerations takes longer than a send.
_NOBLOCK: Final = int(zmq.NOBLOCK)
_NOBLOCK_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
_CAN_READ: Final = int(zmq.POLLIN)
_CAN_SEND: Final = int(zmq.POLLOUT)
_EVENTS: Final = int(zmq.EVENTS)
# pyzmq's backend functions. The methods of zmq.Socket add checks for cases that do not occur here, which take longer
# than a send.
_send: Final[Callable[..., Any]] = zmq.backend.Socket.send
_receive: Final[Callable[..., Any]] = zmq.backend.Socket.recv
_get: Final[Callable[..., Any]] = zmq.backend.Socket.get

#: The frames before a request's last one, in order. They lead a reply back to the client, through proxies if there are
#: any.
Route = tuple[bytes, ...]


def tuned(socket: zmq.Socket[bytes], queue_max: int = SHIPPED.queue_max) -> zmq.Socket[bytes]:
    """Set the options that every socket of this project uses in place of libzmq's defaults, and return the socket.

    A ROUTER whose queue is full loses replies, so `queue_max` messages are more than one turn sends to a connection.
    """
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.HANDSHAKE_IVL, 2_000)  # ms
    socket.setsockopt(zmq.RECONNECT_IVL, 10)  # ms
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 200)  # ms
    socket.setsockopt(zmq.MAXMSGSIZE, _MESSAGE_BYTES_MAX)
    socket.setsockopt(zmq.BACKLOG, _BACKLOG)
    socket.setsockopt(zmq.SNDHWM, queue_max)
    socket.setsockopt(zmq.RCVHWM, queue_max)
    return socket


def bind_any_port(socket: zmq.Socket[bytes]) -> str:
    """Bind to a free loopback port that the kernel chooses. Returns the address, such as `tcp://127.0.0.1:4711`."""
    socket.bind("tcp://127.0.0.1:0")
    address = socket.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(address, bytes)
    return address.rstrip(b"\0").decode()


def bind_any_name(socket: zmq.Socket[bytes]) -> str:
    """Bind to a Unix socket under a random name. Returns the address, such as `ipc://@consensus-...`.

    The name is an abstract one (unix(7)): it has no file, so no path can be too long and nothing is left behind. A message over
    it takes less processor time than one over TCP, most with many connections. Neither can be reached from another machine.
    """
    address = f"ipc://@consensus-{secrets.token_hex(16)}"
    socket.bind(address)
    return address


def send_now(socket: zmq.Socket[bytes], frame: bytes) -> None:
    """Send one frame without blocking.

    Raises:
        zmq.Again: there is no connection, or the queue is full. Nothing was sent.
    """
    _send(socket, frame, _NOBLOCK)


def send_along(socket: zmq.Socket[bytes], route: Route, frame: bytes) -> None:
    """Send a message without blocking: the frames of a route, and one frame. Raises as `send_now`, or as a ROUTER does."""
    for step in route:
        _send(socket, step, _NOBLOCK_MORE)
    _send(socket, frame, _NOBLOCK)


def can_send(socket: zmq.Socket[bytes]) -> bool:
    """Return whether a message could leave now. With IMMEDIATE, no message can before the other end has accepted."""
    return bool(_get(socket, _EVENTS) & _CAN_SEND)


def receive_now(socket: zmq.Socket[bytes]) -> list[bytes]:
    """Receive one message, or the remaining frames of one, without blocking. Returns its frames.

    Raises:
        zmq.Again: no message is waiting.
    """
    # copy=False returns an object that knows whether more frames follow. Asking the socket would double the time.
    frame = _receive(socket, _NOBLOCK, False)
    frames = [frame.bytes]
    while frame.more:
        frame = _receive(socket, _NOBLOCK, False)
        frames.append(frame.bytes)
    return frames


def receive_at_router(router: zmq.Socket[bytes]) -> list[bytes]:
    """Do what `receive_now` does, at a ROUTER. It puts a frame before each message that names the connection."""
    return [_receive(router, _NOBLOCK), *receive_now(router)]


def receive_all(
    socket: zmq.Socket[bytes], receive_one: Callable[[zmq.Socket[bytes]], list[bytes]] = receive_now
) -> Iterator[list[bytes]]:
    """Yield each message that waits at a socket, as a list of frames, until none is left."""
    try:
        # Asking whether a message waits takes a third of the time of a receive that fails. Mostly few messages wait,
        # and then asking saves time. Where many wait, asking before each of them would cost more than the one failure.
        for _ in range(_ASKED_MESSAGES):
            yield receive_one(socket)
            if not _get(socket, _EVENTS) & _CAN_READ:
                return
        while True:
            yield receive_one(socket)
    except zmq.Again:
        return


class Poller:
    """Waits until one of many sockets or pipes can be read, with one system call for all of them.

    `zmq.Poller` makes several calls for each socket. This class polls the descriptors of the sockets instead. libzmq
    makes a descriptor readable once when something has happened since the socket was found empty, and any call on the
    socket, also a send, may consume that signal. So before each wait, `poll` asks a socket itself if it was returned by
    the last `poll`, or if something was sent on it since. `poll` may return a socket without a message, for example
    after a connect.
    """

    def __init__(self) -> None:
        self._poll = select.poll()
        self._sources: dict[int, Any] = {}
        self._descriptors: dict[Any, int] = {}
        #: Sockets whose signal may have been consumed. `poll` asks them before it waits.
        self._to_ask: dict[zmq.Socket[bytes], None] = {}

    def register(self, source: Any, flags: int = select.POLLIN) -> None:
        """Watch a socket, or the descriptor of a pipe. `flags` are those of `select.poll`."""
        descriptor = source if isinstance(source, int) else int(source.getsockopt(zmq.FD))
        self._sources[descriptor] = source
        self._descriptors[source] = descriptor
        self._poll.register(descriptor, flags)
        self.touched(source)

    def unregister(self, source: Any) -> None:
        """Stop watching `source`. A socket must still be open."""
        descriptor = self._descriptors.pop(source)
        del self._sources[descriptor]
        self._poll.unregister(descriptor)
        self._to_ask.pop(source, None)

    def watches(self, source: Any) -> bool:
        """Return whether `source` is registered."""
        return source in self._descriptors

    def touched(self, source: Any) -> None:
        """Note that something was sent on a socket, or that messages are left in it: the next `poll` asks the socket."""
        if not isinstance(source, int):
            self._to_ask[source] = None

    def drained(self, socket: zmq.Socket[bytes]) -> None:
        """Note that all messages of a socket were received: `poll` need not ask it until something is sent on it."""
        self._to_ask.pop(socket, None)

    def poll(self, wait_ms: int) -> list[Any]:
        """Wait at most `wait_ms` milliseconds. Returns the sockets and descriptors that can be read, or an empty list."""
        ready: dict[Any, None] = {}
        if self._to_ask:
            ready = {socket: None for socket in self._to_ask if _get(socket, _EVENTS) & _CAN_READ}
            self._to_ask.clear()
        for descriptor, _ in self._poll.poll(0 if ready else wait_ms):
            ready[self._sources[descriptor]] = None
        for source in ready:
            self.touched(source)
        return list(ready)


#: The descriptor of a pipe, or a socket, that a node's loop waits for besides its own sockets.
Watched: TypeAlias = "int | zmq.Socket[bytes]"


class Transport:
    """The sockets of one node, and the pipes that wake its loop.

    `address` is where the node receives. `dropped` counts the messages and replies that could not be sent,
    `bad_handshakes` the connections whose handshake failed.
    """

    _lost: tuple[NodeId, ...] = ()

    def __init__(self, queue_max: int = SHIPPED.queue_max) -> None:
        """Open the sockets. `queue_max` messages wait in each connection's queue; others are dropped."""
        self.dropped = 0
        self._queue_max = queue_max
        self.bad_handshakes = 0
        self._context = zmq.Context()
        self._router = tuned(self._context.socket(zmq.ROUTER), queue_max)
        # A reply that cannot be sent is an error. Without this option libzmq drops it without one.
        self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.address = bind_any_name(self._router)
        self._peers: dict[NodeId, tuple[str, zmq.Socket[bytes]]] = {}
        self._poller = Poller()
        self._poller.register(self._router)
        self._router_readable = False  # in the last `poll`
        #: Each monitor socket, with the peer whose connection it observes; None for that of the ROUTER.
        self._monitors: dict[zmq.Socket[bytes], NodeId | None] = {}
        self._watch_monitor(self._router.get_monitor_socket(_HANDSHAKE_FAILURES), None)

    def watch(self, source: Watched) -> None:
        """Make `poll` return also when `source` can be read."""
        self._poller.register(source)

    def touched(self, source: Watched) -> None:
        """Note that something was sent on a watched socket: see `Poller`."""
        self._poller.touched(source)

    def connect(self, addresses: Mapping[NodeId, str]) -> None:
        """Connect to each peer at its address. A peer whose address has changed gets a new connection.

        Args:
            addresses: by peer. Peers that are not in it keep their connections.
        """
        for peer, address in addresses.items():
            known, old = self._peers.get(peer, ("", None))
            if known == address:
                continue
            if old is not None:
                self._disconnect(peer, old)
            socket = tuned(self._context.socket(zmq.DEALER), self._queue_max)
            socket.setsockopt(zmq.IMMEDIATE, 1)
            self._watch_monitor(socket.get_monitor_socket(zmq.EVENT_DISCONNECTED), peer)
            socket.connect(address)
            self._peers[peer] = (address, socket)

    def _watch_monitor(self, monitor: zmq.Socket[bytes], peer: NodeId | None) -> None:
        self._monitors[monitor] = peer
        self._poller.register(monitor)

    def _disconnect(self, peer: NodeId, socket: zmq.Socket[bytes]) -> None:
        for monitor in [monitor for monitor, of in self._monitors.items() if of == peer]:
            self._poller.unregister(monitor)
            del self._monitors[monitor]
            monitor.close()
        socket.disable_monitor()
        socket.close()

    def lost(self) -> tuple[NodeId, ...]:
        """Return the peers whose connection has closed since the last call. A hint: they may be connected again already."""
        lost, self._lost = self._lost, ()
        return lost

    def poll(self, wait_s: float) -> list[Watched]:
        """Wait until something arrives, at most `wait_s` seconds. Returns what `watch` was called with and can be read.

        It may also return early without a message for `receive`, for example after a peer has connected.
        """
        # Milliseconds, rounded up. Rounded down, a timer that is due within a millisecond would spin the loop until
        # then.
        watched: list[Watched] = []
        self._router_readable = False
        for source in self._poller.poll(int(wait_s * 1000 + 0.999)):
            if source is self._router:
                self._router_readable = True
            elif source in self._monitors:
                self._read_monitor(source, self._monitors[source])
            else:
                watched.append(source)
        return watched

    def _read_monitor(self, monitor: zmq.Socket[bytes], peer: NodeId | None) -> None:
        for _ in receive_all(monitor):
            if peer is None:
                self.bad_handshakes += 1
            else:
                self._lost = (*self._lost, peer)
        self._poller.drained(monitor)

    def receive(self, most: int) -> Iterator[tuple[Route, bytes]]:
        """Yield the messages that wait since the last `poll`, at most `most` of them, each as its route and its payload."""
        if not self._router_readable:
            return
        for frames in receive_all(self._router, receive_at_router):
            payload = frames.pop()
            if len(frames) > _ROUTE_FRAMES_MAX:
                # No client of this project sends such a route. An empty payload is malformed, so the node counts it.
                frames, payload = frames[:1], b""  # noqa: PLW2901 - a replacement, on purpose
            yield tuple(frames), payload
            most -= 1
            if most == 0:
                return
        self._poller.drained(self._router)

    def send(self, to: NodeId, payload: bytes) -> None:
        """Send `payload` to a peer. Without a connection, or if the queue is full, the message is dropped and counted."""
        entry = self._peers.get(to)
        if entry is None:
            self.dropped += 1
            return
        try:
            send_now(entry[1], payload)
        except zmq.Again:
            self.dropped += 1

    def send_back(self, route: Route, payload: bytes) -> None:
        """Send a reply along the route of its request. If the client is gone, the reply is dropped and counted."""
        self._poller.touched(self._router)
        try:
            send_along(self._router, route, payload)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            self.dropped += 1

    def close(self) -> None:
        """Close every socket. Messages that have not left yet get at most 100 ms to leave."""
        self._router.disable_monitor()
        for _, socket in self._peers.values():
            socket.disable_monitor()
        self._context.destroy(linger=_LINGER_MS)


class WakeUpPipe:
    """A pipe that a signal handler writes to, so that `poll` returns. The writing end does not block."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.writer, False)
