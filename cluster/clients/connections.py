"""The sockets of a client of a replicated log, for whoever watches them: a poller, or an event loop."""

from typing import Any, Protocol

import zmq

from node.contract import NodeId
from node.transport import Poller, receive_now, send_now, tuned


class Watcher(Protocol):
    """Who watches sockets for something to read: a `Poller`, or an event loop."""

    def register(self, socket: Any) -> None:
        """Watch a socket."""

    def unregister(self, socket: Any) -> None:
        """Watch it no more."""

    def touched(self, socket: Any) -> None:
        """Something was sent on it, which may have taken in what the watcher waits to be told."""


class Connections:
    """A client's sockets: one to each node that it has talked to, and a monitor that tells when one closes.

    A poller that many clients share has no monitors, unless they are asked for: descriptors are scarce, and a silent leader
    is left anyway.
    """

    def __init__(self, poller: Watcher, *, monitors: bool) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._sockets: dict[NodeId, tuple[str, zmq.Socket[bytes], zmq.Socket[bytes] | None]] = {}
        self._of: dict[zmq.Socket[bytes], NodeId] = {}
        self._poller = poller
        self._monitors = monitors

    def send(self, node: NodeId, address: str, data: bytes) -> None:
        """Send, or lose it: it is sent again. A node that has restarted may have moved."""
        known = self._sockets.get(node)
        if known is None or known[0] != address:
            if known is not None:
                self._close(node)
            socket = tuned(self._context.socket(zmq.DEALER))
            monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED) if self._monitors else None
            socket.connect(address)
            known = self._sockets[node] = (address, socket, monitor)
            for source in (socket, monitor):
                if source is not None:
                    self._of[source] = node
                    self._poller.register(source)
        self._poller.touched(known[1])
        try:  # noqa: SIM105 - for every message, and `suppress` takes longer than sending
            send_now(known[1], data)
        except zmq.Again:
            pass

    def take(self, source: zmq.Socket[bytes]) -> tuple[NodeId, bytes | None] | None:
        """The first that a socket holds, if anything: a frame, or None for a connection that has closed, and whose it is."""
        node = self._of.get(source)
        if node is None:
            return None
        try:
            frames = receive_now(source)
        except zmq.Again:
            return None
        return node, None if source is self._sockets[node][2] else frames[-1]

    def owns(self, source: Any) -> bool:
        """Whether the socket is one of these."""
        return source in self._of

    def _close(self, node: NodeId) -> None:
        _, socket, monitor = self._sockets.pop(node)
        for source in (socket, monitor):
            if source is not None:
                self._poller.unregister(source)
                del self._of[source]
        if monitor is not None:
            socket.disable_monitor()
            monitor.close()
        socket.close()

    def close(self) -> None:
        """Close every socket."""
        for node in list(self._sockets):
            self._close(node)


def shared_poller() -> Poller:
    """For many clients in one loop."""
    return Poller()
