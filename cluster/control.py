"""The control socket: how one process of this machine steers another, such as the supervisor or the proxy.

Theory of operation
-------------------
A `ControlServer` listens on a free loopback port. A `ControlClient` makes a connection for each request and closes it after
the one reply. So any thread may ask at any time, a request that waits for a condition holds up no other, and a reply cannot be
mistaken for that of another request.

A request is two frames: the token, and a packed map of verb, arguments and deadline. A reply is one packed map: the result, or
the error.

The server never blocks. Its owner polls `socket`, takes what has arrived from `requests`, and replies with `answer` or `refuse`,
at once or later; `serve` does it at once. An owner that waits for nothing else calls `wait` instead of polling.

Rules
-----
1. A request without the token is counted and not answered, and nothing of it is decoded. The token is random, and only files
   that their owner alone may read, or pipes, hold it: no other user of the machine can steer the process.
2. A request that comes after its deadline is not begun: its client has given up. Both ends read one monotonic clock.
3. `serve` lets no request end the process: what a verb raises goes back to the client.
4. An error carries the names of the exception's classes, its message and, for refusals, its kind. The client raises the first of
   these classes that it knows.
"""

import contextlib
import hmac
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import zmq

from cluster import errors
from cluster.errors import CommandRefused, ConsensusError
from node.contract import BadInput
from node.transport import bind_any_port, tuned
from node.wire import Malformed, Packer, pack_unchecked, unpack_unchecked

#: How often a client that waits for a reply checks that the server is still alive, in milliseconds.
_CHECK_ALIVE_MS: Final = 100

#: Does what a verb stands for. Its keyword arguments are those of the request; its result is plain data.
Verb = Callable[..., Any]


class ControlRequest(NamedTuple):
    """A request that has the token and is in time. `caller` is for `ControlServer.answer`."""

    caller: bytes
    verb: str
    arguments: dict[str, Any]


class ControlServer:
    """The end that serves requests. It belongs to one thread.

    `socket` is for a poller, `address` is where clients connect. `unauthorized` counts requests without the token, or without the
    form of a request; `late` counts those that came after their deadline.
    """

    def __init__(
        self,
        token: str,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        log: str = "the log of the process",
    ) -> None:
        """Listen on a free port.

        Args:
            token: what each request must carry.
            context: where the socket is made; None: a context of its own, which `close` ends.
            log: where people find the traceback of an internal error, as the error names it to the client.
        """
        self._owns_context = context is None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context() if context is None else context
        self.socket = tuned(self._context.socket(zmq.ROUTER))
        self.address = bind_any_port(self.socket)
        self.unauthorized = self.late = 0
        self._token, self._log = token.encode(), log

    def wait(self, wait_s: float) -> None:
        """Return when a request has arrived, or after `wait_s` seconds."""
        self.socket.poll(int(wait_s * 1000))

    def requests(self) -> Iterator[ControlRequest]:
        """Yield the requests that have arrived. Never waits. A `node.transport.Poller` needs `touched(socket)` after replies."""
        while True:
            try:
                caller, *frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            match self._authentic(frames):
                case {"verb": str(verb), "arguments": dict(arguments), "deadline": float(deadline)}:
                    if time.monotonic() > deadline:
                        self.late += 1
                    else:
                        yield ControlRequest(caller, verb, arguments)
                case _:
                    self.unauthorized += 1

    def _authentic(self, frames: list[bytes]) -> Any:
        if len(frames) != 2 or not hmac.compare_digest(frames[0], self._token):
            return None
        try:
            return unpack_unchecked(frames[1])
        except Malformed:
            return None

    def serve(self, request: ControlRequest, verbs: Mapping[str, Verb]) -> None:
        """Do what a request asks, and reply with the result or the error."""
        try:
            verb = verbs.get(request.verb)
            if verb is None:
                raise BadInput(f"there is no request {request.verb!r}: there are {', '.join(verbs)}")
            self.answer(request.caller, verb(**request.arguments))
        except (ConsensusError, BadInput) as error:
            self.refuse(request.caller, error)
        except OSError as error:
            self.refuse(
                request.caller, ConsensusError(f"{request.verb!r} failed, since the machine denies something: {error}")
            )
        except Exception as error:  # noqa: BLE001 - rule 3
            traceback.print_exc()
            text = f"{request.verb!r} failed because of an internal error: {error!r}. The traceback is in {self._log}"
            self.refuse(request.caller, ConsensusError(text))

    def answer(self, caller: bytes, result: object) -> None:
        """Reply with a result, which is plain data. A caller that has gone misses the reply."""
        self._reply(caller, {"result": result})

    def refuse(self, caller: bytes, error: Exception) -> None:
        """Reply with an error, which the caller's `ask` raises."""
        kind = error.kind if isinstance(error, CommandRefused) else ""
        message = str(error).encode(errors="backslashreplace").decode()  # a path may hold bytes that are no Unicode
        self._reply(caller, {"error": _class_names(type(error)), "message": message, "kind": kind})

    def _reply(self, caller: bytes, reply: dict[str, object]) -> None:
        with contextlib.suppress(zmq.Again):  # the caller does not read: it gives up at its own deadline
            self.socket.send_multipart([caller, pack_unchecked(reply)], zmq.NOBLOCK)

    def close(self) -> None:
        """Stop listening."""
        self.socket.close()
        if self._owns_context:
            self._context.destroy(linger=0)


class ControlClient:
    """The end that asks. Any thread may use it."""

    def __init__(
        self,
        address: str,
        token: str,
        check_alive: Callable[[], None],
        no_reply: Callable[[str, float], Exception],
        own_errors: Iterable[type[Exception]] = (),
    ) -> None:
        """Describe a server.

        Args:
            address: where it listens.
            token: the server's token.
            check_alive: raises if the server can reply no more. Called every 100 ms while a request waits.
            no_reply: makes the exception to raise if no reply came to this verb within so many seconds.
            own_errors: the classes of exceptions that the server's verbs raise, beyond those of `cluster.errors`. Each takes a
                message.
        """
        self._address, self._token = address, token.encode()
        self._check_alive, self._no_reply = check_alive, no_reply
        self._kept: list[zmq.Socket[bytes]] | None = None
        self._errors = {**_ERRORS, **{error.__name__: error for error in own_errors}}

    def ask(self, verb: str, timeout_s: float, /, **arguments: Any) -> Any:
        """Have the server do something, and wait for its reply.

        Args:
            verb: what to do.
            timeout_s: how long to wait, in seconds. A request that the server has not begun by then will not be begun.
            arguments: plain data.

        Returns:
            The result of the verb. Tuples come back as lists.

        Raises:
            BadValue: the arguments cannot be sent. Nothing was sent.
            Exception: what the verb raised, as its own class or the nearest one that is known here; or what `check_alive`
                raises, or `no_reply` returns.
        """
        deadline = time.monotonic() + timeout_s
        request = Packer().pack({"verb": verb, "arguments": arguments, "deadline": deadline})
        socket = self._socket()
        try:
            socket.send_multipart([self._token, request])
            while not socket.poll(_CHECK_ALIVE_MS):
                self._check_alive()
                if time.monotonic() > deadline:
                    raise self._no_reply(verb, timeout_s)
            reply = unpack_unchecked(socket.recv())
        except BaseException:
            socket.close()  # a late reply to this request must not be taken for that to the next
            raise
        if self._kept is None:
            socket.close()
        else:
            self._kept.append(socket)
        if "error" in reply:
            raise self._error(reply["error"], reply["message"], reply["kind"])
        return reply["result"]

    def keep_connections(self) -> None:
        """Use connections again, which take longer than most requests, until `close`. For the process that calls this."""
        self._kept = []

    def close(self) -> None:
        """Close the connections that are kept, once no request is under way."""
        kept, self._kept = self._kept, None
        for socket in kept or ():
            socket.close()

    def _socket(self) -> "zmq.Socket[bytes]":
        if self._kept:
            with contextlib.suppress(IndexError):  # another thread was quicker
                return self._kept.pop()
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()  # of this process, which may be a forked one
        socket = tuned(context.socket(zmq.DEALER))
        socket.connect(self._address)
        return socket

    def _error(self, names: list[str], message: str, kind: str) -> Exception:
        cls = next((self._errors[name] for name in names if name in self._errors), ConsensusError)
        return cls(kind, message) if issubclass(cls, CommandRefused) else cls(message)


#: Every exception that either end knows, by its name.
_ERRORS: Final[dict[str, type[Exception]]] = {
    BadInput.__name__: BadInput,
    **{
        name: found
        for name, found in vars(errors).items()
        if isinstance(found, type) and issubclass(found, ConsensusError)
    },
}


def _class_names(cls: type[Exception]) -> list[str]:
    """Return the names of an exception's classes, the nearest first. That it is a BadInput counts more than what else it is."""
    bases = [base.__name__ for base in cls.__mro__[1:] if issubclass(base, ConsensusError | BadInput)]
    return [cls.__name__, *sorted(bases, key=lambda name: name != BadInput.__name__)]
