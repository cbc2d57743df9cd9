"""The proxy's control socket: both ends of it.

A request is a packed map on a connection of its own, which is closed after the one reply; so any thread may ask at any
time, one that waits for a condition keeps nobody else waiting, and no reply can be taken for another's. Every request
carries the cluster's id, which is random and stands in files that only their owner may read: what comes without it is
not answered.
"""

import contextlib
import hmac
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import zmq

from cluster.errors import ConsensusError
from node.transport import bind_any_port, tuned
from node.wire import Malformed, pack, unpack

#: How often somebody who waits for a reply checks that there is still somebody to give one.
_LOOK_MS: Final = 100
#: How much longer than the other end's own deadline a reply may take.
_GRACE_S: Final = 10.0

Caller = bytes


class NetworkError(ConsensusError):
    """The network could not do what was asked. The message says why, and what to do."""


class ProxyGone(NetworkError):
    """The proxy has ended or does not answer, so no message passes any more: the run shows nothing from here on."""


class ControlPort:
    """The proxy's end."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], token: str) -> None:
        self.socket = tuned(context.socket(zmq.ROUTER))
        self.address = bind_any_port(self.socket)
        self.strangers = 0
        self._token = token.encode()

    def requests(self) -> Iterator[tuple[Caller, dict[str, Any]]]:
        """Those that wait, and for each whom to answer."""
        while True:
            try:
                caller, *rest = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            request = self._authentic(rest)
            if request is None:
                self.strangers += 1
            else:
                yield caller, request

    def _authentic(self, frames: list[bytes]) -> dict[str, Any] | None:
        try:
            request = unpack(frames[0]) if len(frames) == 1 else None
        except Malformed:
            return None
        match request:
            case {"token": str(token), "do": str()} if hmac.compare_digest(token.encode(), self._token):
                return request
        return None

    def answer(self, caller: Caller, result: object) -> None:
        """Reply. A caller that has gone misses it."""
        self._send(caller, {"result": result})

    def refuse(self, caller: Caller, reason: str) -> None:
        """Reply that nothing was done."""
        self._send(caller, {"error": reason})

    def _send(self, caller: Caller, reply: dict[str, object]) -> None:
        with contextlib.suppress(zmq.Again):  # it asked and does not read: its own deadline tells it
            self.socket.send_multipart([caller, pack(reply)], zmq.NOBLOCK)


class ControlClient:
    """The launcher's end. `check_alive` raises ProxyGone if there is nobody left to answer."""

    def __init__(self, address: str, token: str, check_alive: Callable[[], None]) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._address, self._token, self._check_alive = address, token, check_alive

    def ask(self, do: str, timeout_s: float, fields: Mapping[str, object]) -> Any:
        """Send a request, wait for its reply, and return the result. `timeout_s` is what the request itself may take.

        Raises:
            NetworkError: the proxy refused; nothing was changed.
            ProxyGone: no reply came.
        """
        deadline = time.monotonic() + timeout_s + _GRACE_S
        with tuned(self._context.socket(zmq.DEALER)) as socket:
            socket.connect(self._address)
            socket.send(pack({"token": self._token, "do": do, **fields}))
            while not socket.poll(_LOOK_MS):
                self._check_alive()
                if time.monotonic() > deadline:
                    raise ProxyGone(
                        f"the proxy has not answered {do!r} for {timeout_s + _GRACE_S:.0f} s: is it suspended?"
                    )
            reply = unpack(socket.recv())
        if "error" in reply:
            raise NetworkError(reply["error"])
        return reply["result"]

    def close(self) -> None:
        """Ask no more."""
        self._context.destroy(linger=0)
