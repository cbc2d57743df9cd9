"""A client's sockets: one to each node that it has sent to. A poller or an event loop watches them."""

import resource
from typing import Any, Final, Protocol

import zmq

from node.contract import NodeId
from node.transport import Poller, receive_now, send_now, tuned

#: The most sockets that a ZeroMQ context can have (ZMQ_SOCKET_LIMIT). Its default, 1,023, is used up by a hundred clients.
_SOCKETS_MAX: Final = 65_535


class Watcher(Protocol):
    """Watches sockets for something to read: a `Poller`, or an event loop."""

    def register(self, socket: Any) -> None:
        """Begin to watch a socket."""

    def unregister(self, socket: Any) -> None:
        """Stop watching a socket."""

    def touched(self, socket: Any) -> None:
        """Note that a message was sent on the socket. That may hide an event that the watcher waits for: see `Poller`."""


class Connections:
    """A client's sockets and, if wanted, a monitor beside each, which reports when its connection closes.

    Many clients that share a poller have no monitors by default: descriptors are scarce, and a client leaves a leader that does
    not reply anyway.
    """

    def __init__(self, watcher: Watcher, *, monitors: bool) -> None:
        """Make an empty set of connections.

        Args:
            watcher: what watches the sockets.
            monitors: whether each socket has a monitor. It takes two more descriptors.
        """
        self._context = _context()
        self._sockets: dict[NodeId, tuple[str, zmq.Socket[bytes], zmq.Socket[bytes] | None]] = {}
        self._node_of: dict[zmq.Socket[bytes], NodeId] = {}  # sockets and monitors
        self._watcher = watcher
        self._monitors = monitors

    def send(self, node: NodeId, address: str, data: bytes) -> None:
        """Send to a node, and connect first if its address is new. A full queue loses the message; clients send again."""
        known = self._sockets.get(node)
        if known is None or known[0] != address:
            known = self._connect(node, address)
        self._watcher.touched(known[1])
        try:  # noqa: SIM105 - for every message, and `suppress` takes longer than sending
            send_now(known[1], data)
        except zmq.Again:
            pass

    def _connect(self, node: NodeId, address: str) -> tuple[str, zmq.Socket[bytes], zmq.Socket[bytes] | None]:
        if node in self._sockets:
            self._close(node)
        socket = tuned(self._context.socket(zmq.DEALER))
        monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED) if self._monitors else None
        socket.connect(address)
        self._sockets[node] = (address, socket, monitor)
        for source in (socket, monitor):
            if source is not None:
                self._node_of[source] = node
                self._watcher.register(source)
        return self._sockets[node]

    def receive(self, source: zmq.Socket[bytes]) -> tuple[NodeId, bytes | None] | None:
        """Take one message from a socket, without waiting.

        Returns:
            The node and its message; the node and None if its connection has closed; None if there is nothing to read, or the
            socket is not one of these.
        """
        node = self._node_of.get(source)
        if node is None:
            return None
        try:
            frames = receive_now(source)
        except zmq.Again:
            return None
        return node, None if source is self._sockets[node][2] else frames[-1]

    def owns(self, source: Any) -> bool:
        """Return whether the socket is one of these."""
        return source in self._node_of

    def _close(self, node: NodeId) -> None:
        _, socket, monitor = self._sockets.pop(node)
        for source in (socket, monitor):
            if source is not None:
                self._watcher.unregister(source)
                del self._node_of[source]
        if monitor is not None:
            socket.disable_monitor()
            monitor.close()
        socket.close()

    def close(self) -> None:
        """Close every socket."""
        for node in list(self._sockets):
            self._close(node)


def _context() -> zmq.Context[zmq.Socket[bytes]]:
    """Return the process's context, with room for as many sockets as the process may open descriptors."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    context.set(zmq.MAX_SOCKETS, _SOCKETS_MAX if soft == resource.RLIM_INFINITY else min(soft, _SOCKETS_MAX))
    return context


def shared_poller() -> Poller:
    """Return a poller for many clients in one loop."""
    return Poller()
