"""A client: `propose` and `query`, at one node or at any.

Theory of operation
-------------------
A call is sent to a node and sent again until it is answered or its time is up. That is safe: a value is set once, so
proposing it twice changes nothing, and a query changes nothing at all. A call that names no node goes on to the next
one whenever the last has been silent for a while; the first answer counts.

The outcome is definite, `Ok` or `Refused`, or it is `Unknown`. Only an answer makes it definite: a timeout never does.

Calls can overlap: `begin_propose` and `begin_query` return at once with a `Call`, and `wait` collects its outcome. A
client is for one thread; several threads have a client each.
"""

import contextlib
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import zmq

from cluster.errors import NoSuchNode, Refused, Unknown
from node.contract import BadInput, Message, NodeId
from node.settings import NAME
from node.transport import tuned
from node.wire import (
    BadValue,
    Codec,
    Envelope,
    Malformed,
    ProposeRequest,
    QueryRequest,
    Reply,
    StatusReply,
    StatusRequest,
    decode_value,
    encode_value,
    unpack,
)

TIMEOUT_S: Final = 5.0
_NEXT_NODE_S: Final = 0.5
_SEND_AGAIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Ok:
    """The call was answered: `value` is the decided value, or None for undecided."""

    value: Any
    node: NodeId


@dataclass(frozen=True, slots=True)
class NotDone:
    """The call was refused: definitely not done."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotKnown:
    """Nobody answered in time. The call may have been done, or may still be."""

    reason: str


Outcome = Ok | NotDone | NotKnown


@dataclass(eq=False)
class Call:
    """A call under way. `outcome` is None until `Client.wait` or `Client.poll` has found one."""

    variable: str
    nodes: tuple[NodeId, ...]  # where it may be sent, in this order
    make: Callable[["Call"], Message]  # the message to send, with the time that is left
    timeout_s: float
    deadline: float
    outcome: Outcome | None = None
    number: int = 0
    sent: int = 0
    send_again: float = 0.0
    refusals: int = 0


class Client:
    """Talks to the nodes of one cluster. Use it as a context manager, or `close` it."""

    def __init__(
        self,
        cluster: str,
        addresses: Callable[[], Mapping[NodeId, str]],
        name: str | None = None,
        on_outcome: Callable[[Call], None] | None = None,
    ) -> None:
        """Make a client.

        Args:
            cluster: the cluster's id.
            addresses: where each node is found now; asked at every send, since a node that restarts may move.
            name: what records call this client; made unique, since requests are named after it.
            on_outcome: called with each call as soon as its outcome is known.
        """
        # Request numbers start at 1 with each client, so its name must never be used again.
        self.id = f"{name or 'client'}-{uuid.uuid4().hex[:12]}"
        self._addresses = addresses
        self._on_outcome = on_outcome
        self._codec = Codec(cluster, ())
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._sockets: dict[NodeId, tuple[str, zmq.Socket[bytes]]] = {}
        self._poller = zmq.Poller()
        self._calls: dict[int, Call] = {}
        self._statuses: dict[int, dict[str, Any]] = {}
        self._number = 0

    # --- calls that wait --------------------------------------------------------------------------------------------

    def propose(self, variable: str, value: object, at: NodeId | None = None, timeout_s: float = TIMEOUT_S) -> Any:
        """Try to have `value` decided, and return the value that is: yours, or an earlier one.

        Raises:
            BadValue: the value cannot be carried. Nothing was sent.
            Refused: it was definitely not done.
            Unknown: no answer came within `timeout_s` seconds; it may be decided, or become so.
        """
        return _value(self.wait(self.begin_propose(variable, value, at, timeout_s)))

    def query(self, variable: str, at: NodeId | None = None, timeout_s: float = TIMEOUT_S) -> Any:
        """The decided value, or None if nothing had been decided. Raises Refused and Unknown as `propose` does."""
        return _value(self.wait(self.begin_query(variable, at, timeout_s)))

    def status(self, nodes: Iterable[NodeId], timeout_s: float = 1.0) -> dict[NodeId, dict[str, Any]]:
        """How the nodes say they are, asked all at once. A node that does not answer in time is left out."""
        asked = {}
        for node in nodes:
            self._number += 1
            asked[self._number] = node
            self._send(node, "", StatusRequest(self._number))
        deadline = time.monotonic() + timeout_s
        while not asked.keys() <= self._statuses.keys() and time.monotonic() < deadline:
            self._take_in(deadline)
        return {node: self._statuses.pop(number) for number, node in asked.items() if number in self._statuses}

    # --- calls that overlap -----------------------------------------------------------------------------------------

    def begin_propose(
        self, variable: str, value: object, at: NodeId | None = None, timeout_s: float = TIMEOUT_S
    ) -> Call:
        """As `propose`, without waiting."""
        packed = encode_value(value)

        def make(call: Call) -> Message:
            return ProposeRequest(call.number, _left_ms(call), packed)

        return self._begin(variable, at, timeout_s, make)

    def begin_query(self, variable: str, at: NodeId | None = None, timeout_s: float = TIMEOUT_S) -> Call:
        """As `query`, without waiting."""

        def make(call: Call) -> Message:
            return QueryRequest(call.number, _left_ms(call))

        return self._begin(variable, at, timeout_s, make)

    def wait(self, call: Call) -> Outcome:
        """The outcome of `call`, at its deadline at the latest."""
        while call.outcome is None:
            self._send_due()
            self._take_in(min((each.send_again for each in self._calls.values()), default=call.deadline))
        return call.outcome

    def poll(self) -> None:
        """Take in what has arrived, without waiting."""
        self._send_due()
        self._take_in(0.0)

    def close(self) -> None:
        """Close the sockets. Calls under way stay unknown."""
        for _, socket in self._sockets.values():
            socket.close()
        self._sockets.clear()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _begin(self, variable: str, at: NodeId | None, timeout_s: float, make: Callable[[Call], Message]) -> Call:
        check_call(variable)
        if not 0 < timeout_s < float("inf"):
            raise BadInput(f"the timeout is {timeout_s} seconds: give a number above 0")
        nodes = tuple(self._addresses())
        if at is not None:
            if at not in nodes:
                raise NoSuchNode(f"there is no node {at!r}: there are {', '.join(nodes)}")
            nodes = (at,)
        now = time.monotonic()
        self._number += 1
        call = Call(variable, nodes, make, timeout_s, now + timeout_s, number=self._number, send_again=now)
        self._calls[call.number] = call
        self._send_due()
        return call

    def _send_due(self) -> None:
        """Send what is to be sent again, and close what is out of time."""
        now = time.monotonic()
        for call in list(self._calls.values()):
            if now >= call.deadline:
                asked = ", ".join(call.nodes[: call.sent])
                self._finish(call, NotKnown(f"no answer from {asked} within {call.timeout_s:g} s"))
            elif now >= call.send_again:
                self._send(call.nodes[call.sent % len(call.nodes)], call.variable, call.make(call))
                call.sent += 1
                pause = _SEND_AGAIN_S if len(call.nodes) == 1 else _NEXT_NODE_S
                call.send_again = min(now + pause, call.deadline)

    def _send(self, node: NodeId, variable: str, message: Message) -> None:
        address = self._addresses()[node]
        known, socket = self._sockets.get(node, ("", None))
        if socket is None or known != address:
            if socket is not None:
                self._poller.unregister(socket)
                socket.close()
            socket = tuned(self._context.socket(zmq.DEALER))
            socket.connect(address)
            self._poller.register(socket, zmq.POLLIN)
            self._sockets[node] = (address, socket)
        with contextlib.suppress(zmq.Again):  # a full queue loses it; it is sent again
            socket.send(self._codec.encode(Envelope(self.id, 0, variable, message)), zmq.NOBLOCK)

    def _take_in(self, until: float) -> None:
        wait_s = max(until - time.monotonic(), 0.0)
        ready = dict(self._poller.poll(int(wait_s * 1000 + 0.999)))
        for node, (_, socket) in list(self._sockets.items()):
            while socket in ready:
                try:
                    frame = socket.recv(zmq.NOBLOCK)
                except zmq.Again:
                    break
                self._receive(node, frame)

    def _receive(self, node: NodeId, frame: bytes) -> None:
        try:
            message = self._codec.decode(frame).message
            match message:
                case StatusReply(number, status):
                    self._statuses[number] = unpack(status)
                case Reply(number, _, str(reason)) if number in self._calls:
                    self._refused(self._calls[number], node, reason)
                case Reply(number, value) if number in self._calls:
                    self._finish(self._calls[number], Ok(None if value is None else decode_value(value), node))
        except Malformed:
            pass  # damaged on the way; the call is sent again

    def _refused(self, call: Call, node: NodeId, reason: str) -> None:
        """Definite only if each send was refused: one that is not answered may have been done, and its answer lost."""
        call.refusals += 1
        if call.refusals == call.sent:
            self._finish(call, NotDone(f"{node}: {reason}"))

    def _finish(self, call: Call, outcome: Outcome) -> None:
        call.outcome = outcome
        del self._calls[call.number]
        if self._on_outcome is not None:
            self._on_outcome(call)


def check_call(variable: str, value: object = None) -> None:
    """Raise BadValue if nothing of that name can be asked for, or such a value cannot be carried. None is not looked at."""
    if not isinstance(variable, str) or not NAME.fullmatch(variable):
        raise BadValue(f"{variable!r:.200} is no name: use 1 to 64 of a-z, A-Z, 0-9, '.', '_' and '-'")
    if value is not None:
        encode_value(value)


def _left_ms(call: Call) -> int:
    return max(int((call.deadline - time.monotonic()) * 1000), 1)


def _value(outcome: Outcome) -> Any:
    match outcome:
        case Ok(value):
            return value
        case NotDone(reason):
            raise Refused(reason)
        case NotKnown(reason):
            raise Unknown(f"{reason}: it may have been done, or may still be")
