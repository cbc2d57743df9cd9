"""A client for variables, which are set once: `propose` and `query`, at one node or at any.

Theory of operation
-------------------
The client sends a call to a node, and sends it again until a reply comes or the call's time is up. That is safe: a variable is
set once, so proposing a value twice changes nothing more, and a query changes nothing at all. A call that names no node goes
on to the next node when the last one has not replied for a while; the first reply counts. That while follows the replies seen
(`patience.py`): where they are slow, a node that works is no reason to make another one a rival of it.

The outcome is definite, `Ok` or `NotDone`, or it is `NotKnown`. Only a reply makes it definite: a timeout never does.

Calls can overlap: `begin_propose` and `begin_query` return at once with a `VariableCall`, and `wait` collects its outcome.
Threads may share a client (`cluster/clients/sharing.py`); a forked child process may not.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cluster.clients.connections import Connections
from cluster.clients.outcomes import NotDone, NotKnown, Ok, Outcome, value_of
from cluster.clients.patience import Patience
from cluster.clients.sharing import ThreadSharing
from cluster.errors import NoSuchNode
from node.client_messages import STATUS_VARIABLES_MAX, ProposeRequest, QueryRequest, Reply, StatusReply, StatusRequest
from node.contract import BadInput, NodeId, Value
from node.settings import NAME
from node.transport import Poller
from node.tuning import SHIPPED, Tuning
from node.wire import BadValue, Codec, Envelope, Malformed, decode_value, encode_value, unpack

#: How long a call may take by default, in seconds.
TIMEOUT_S: Final = 5.0
_STEP_S: Final = 1.0


@dataclass(eq=False)
class VariableCall:
    """A call under way. `outcome` is None until `Client.wait` or `Client.poll` has found one.

    `nodes` are the nodes that it may be sent to, in this order. `value` is the encoded value to propose, or None for a query.
    `timeout_s` is how long it may take in seconds, `deadline` when that is over by the monotonic clock. `number` is unique
    among the client's calls.
    """

    variable: str
    nodes: tuple[NodeId, ...]
    value: Value | None
    timeout_s: float
    deadline: float
    number: int
    outcome: Outcome | None = None
    sends: int = 0
    send_at: float = 0.0
    refusals: int = 0


class Client:
    """Proposes and queries variables at the nodes of one cluster. Use it as a context manager, or `close` it."""

    def __init__(
        self,
        cluster: str,
        addresses: Callable[[], Mapping[NodeId, str]],
        name: str | None = None,
        on_outcome: Callable[[VariableCall], None] | None = None,
        tuning: Tuning = SHIPPED,
    ) -> None:
        """Make a client.

        Args:
            cluster: the cluster's id.
            addresses: returns where each node is found now. Called at every send, since a node that restarts may move.
            name: what records call this client. The client makes it unique, since requests are named after it.
            on_outcome: called with each call as soon as its outcome is known.
            tuning: the settings of the cluster.
        """
        # Request numbers start at 1 with each client, so its name must never be used again.
        self.id = f"{name or 'client'}-{uuid.uuid4().hex[:12]}"
        self._addresses = addresses
        self._on_outcome = on_outcome
        self._tuning, self._patience = tuning, Patience(tuning)
        self._codec = Codec(cluster, ())
        self._poller = Poller()
        self._sharing = ThreadSharing()
        self._poller.register(self._sharing.wake_up)
        self._connections = Connections(self._poller, monitors=False)
        self._calls: dict[int, VariableCall] = {}
        self._statuses: dict[int, dict[str, Any]] = {}
        self._status_requests: list[tuple[NodeId, str, bytes]] = []  # which have not left yet
        self._number = 0

    # --- calls that wait --------------------------------------------------------------------------------------------

    def propose(self, variable: str, value: object, at: NodeId | None = None, timeout_s: float = TIMEOUT_S) -> Any:
        """Try to have a value decided, and wait for the decided value.

        Args:
            variable: the variable's name: 1 to 64 of a-z, A-Z, 0-9, '.', '_' and '-'.
            value: int, bool, float, string, bytes, list, map or tuple, nested as you like, up to 256 KiB encoded.
            at: the node to send to; None: any, and another one if that does not reply.
            timeout_s: how long to wait, in seconds.

        Returns:
            The variable's decided value: the proposed one, or one that was decided earlier.

        Raises:
            BadValue: the name or the value cannot be sent. Nothing was sent.
            NoSuchNode: there is no node `at`.
            Refused: it was definitely not done.
            Unknown: no reply came in time. The value may be decided, or may still become so.
        """
        return value_of(self.wait(self.begin_propose(variable, value, at, timeout_s)))

    def query(self, variable: str, at: NodeId | None = None, timeout_s: float = TIMEOUT_S) -> Any:
        """Return the variable's decided value, or None if none had been decided. Arguments and errors are those of `propose`."""
        return value_of(self.wait(self.begin_query(variable, at, timeout_s)), read=True)

    def status(
        self, nodes: Iterable[NodeId], timeout_s: float = 1.0, variables: int = STATUS_VARIABLES_MAX
    ) -> dict[NodeId, dict[str, Any]]:
        """Ask nodes for their status, all at once.

        Args:
            nodes: the nodes' names.
            timeout_s: how long to wait, in seconds.
            variables: how many variables a status may name at most.

        Returns:
            The status of each node that has replied in time: see `node.runtime.Runtime.status`.
        """
        self._sharing.process.check()
        requests = {}
        deadline = time.monotonic() + timeout_s
        with self._sharing.mutex:
            addresses = self._addresses()
            for node in nodes:
                if node not in addresses:
                    continue  # it has left the cluster since the caller has named it
                self._number += 1
                requests[self._number] = node
                request = self._codec.encode(Envelope(self.id, 0, "", StatusRequest(self._number, variables)))
                self._status_requests.append((node, addresses[node], request))
        self._sharing.until(
            lambda: requests.keys() <= self._statuses.keys() or time.monotonic() > deadline,
            lambda: self._step(min(deadline, self._due())),
        )
        with self._sharing.mutex:
            return {node: self._statuses.pop(number) for number, node in requests.items() if number in self._statuses}

    # --- calls that overlap -----------------------------------------------------------------------------------------

    def begin_propose(
        self, variable: str, value: object, at: NodeId | None = None, timeout_s: float = TIMEOUT_S
    ) -> VariableCall:
        """Begin what `propose` does, without waiting. Raises BadValue, BadInput and NoSuchNode."""
        return self._begin(variable, encode_value(value), at, timeout_s)

    def begin_query(self, variable: str, at: NodeId | None = None, timeout_s: float = TIMEOUT_S) -> VariableCall:
        """Begin what `query` does, without waiting. Raises BadValue, BadInput and NoSuchNode."""
        return self._begin(variable, None, at, timeout_s)

    def wait(self, call: VariableCall) -> Outcome:
        """Return the outcome of a call, at its deadline at the latest."""
        self._sharing.until(lambda: call.outcome is not None, lambda: self._step(self._due()))
        assert call.outcome is not None
        return call.outcome

    def poll(self) -> None:
        """Send what is due and take in what has arrived, without waiting."""
        if self._calls:  # else nothing is to be sent, and what arrives is late
            self._sharing.try_driving(lambda: self._step(0.0))

    def close(self) -> None:
        """Close the sockets. A call under way is unknown, without a callback. In a forked child process this does nothing."""
        if self._sharing.process.is_here:
            with self._sharing.mutex:
                for call in self._calls.values():
                    call.outcome = NotKnown("the client was closed before the reply came")
                self._calls.clear()
            self._sharing.close(self._close_sockets)

    def _close_sockets(self) -> None:
        self._connections.close()
        if self._sharing.wake_up >= 0:
            self._poller.unregister(self._sharing.wake_up)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- sending ----------------------------------------------------------------------------------------------------

    def _begin(self, variable: str, value: Value | None, at: NodeId | None, timeout_s: float) -> VariableCall:
        check_call(variable)
        if not 0 < timeout_s < float("inf"):
            raise BadInput(f"the timeout is {timeout_s} seconds: give a number above 0")
        self._sharing.process.check()
        nodes = tuple(self._addresses())
        if at is not None:
            if at not in nodes:
                raise NoSuchNode(f"there is no node {at!r}: there are {', '.join(nodes)}")
            nodes = (at,)
        now = time.monotonic()
        with self._sharing.mutex:
            self._number += 1
            call = VariableCall(variable, nodes, value, timeout_s, now + timeout_s, self._number, send_at=now)
            self._calls[call.number] = call
        self._sharing.try_driving(self._send_due)
        return call

    def _due(self) -> float:
        """Return when the next call is to be sent or ends; infinity if there is none."""
        with self._sharing.mutex:
            return min((each.send_at for each in self._calls.values()), default=float("inf"))

    def _step(self, until: float) -> None:
        """Send what is due, wait for messages until a time of the monotonic clock, and take in all that have arrived."""
        self._send_due()
        self._receive_until(min(until, time.monotonic() + _STEP_S))

    def _send_due(self) -> None:
        """Send the calls that are due, and end those whose time is up. The driving thread calls this."""
        with self._sharing.mutex:
            requests, self._status_requests = self._status_requests, []
            for node, address, request in requests:
                self._connections.send(node, address, request)
            self._send_calls()

    def _send_calls(self) -> None:
        now = time.monotonic()
        for call in list(self._calls.values()):
            if now >= call.deadline:
                asked = ", ".join(call.nodes[: call.sends])
                self._finish(call, NotKnown(f"no answer from {asked} within {call.timeout_s:g} s"))
            elif now >= call.send_at:
                left_ms = max(int((call.deadline - time.monotonic()) * 1000), 1)
                message = (
                    QueryRequest(call.number, left_ms)
                    if call.value is None
                    else ProposeRequest(call.number, left_ms, call.value)
                )
                self._send(call.nodes[call.sends % len(call.nodes)], Envelope(self.id, 0, call.variable, message))
                call.sends += 1
                tuning = self._tuning
                least_ms = tuning.client_same_node_ms if len(call.nodes) == 1 else tuning.client_next_node_ms
                call.send_at = min(now + self._patience.at_least(least_ms), call.deadline)

    def _send(self, node: NodeId, envelope: Envelope) -> None:
        address = self._addresses().get(node)
        if address is not None:  # else it has left the cluster since the call began
            self._connections.send(node, address, self._codec.encode(envelope))

    # --- receiving --------------------------------------------------------------------------------------------------

    def _receive_until(self, until: float) -> None:
        """Wait for messages, at most until a time of the monotonic clock, and take in all that have arrived."""
        wait_s = max(until - time.monotonic(), 0.0)
        ready = self._poller.poll(int(wait_s * 1000 + 0.999))
        with self._sharing.mutex:
            for source in ready:
                if source == self._sharing.wake_up:
                    self._sharing.woken()
                    continue
                while (received := self._connections.receive(source)) is not None:
                    node, frame = received
                    assert frame is not None, "these connections have no monitors"
                    self._take_in(node, frame)

    def _take_in(self, node: NodeId, frame: bytes) -> None:
        try:
            message = self._codec.decode(frame).message
            match message:
                case StatusReply(number, status):
                    self._statuses[number] = unpack(status)
                case Reply(number, _, str(reason)) if number in self._calls:
                    self._refused(self._calls[number], node, reason)
                case Reply(number, value) if number in self._calls:
                    call = self._calls[number]
                    self._patience.replied(time.monotonic() - call.deadline + call.timeout_s)
                    self._finish(call, Ok(None if value is None else decode_value(value), node))
        except Malformed:
            pass  # damaged on its way; the call is sent again

    def _refused(self, call: VariableCall, node: NodeId, reason: str) -> None:
        """End the call if each of its sends was refused: one without a reply may have been done, and the reply lost."""
        call.refusals += 1
        if call.refusals == call.sends:
            self._finish(call, NotDone("refused", f"{node}: {reason}"))

    def _finish(self, call: VariableCall, outcome: Outcome) -> None:
        call.outcome = outcome
        del self._calls[call.number]
        if self._on_outcome is not None:
            self._on_outcome(call)


def check_call(variable: str) -> None:
    """Check the name of a variable. Raises BadValue if no variable can have it."""
    if not isinstance(variable, str) or not NAME.fullmatch(variable):
        raise BadValue(f"{variable!r:.200} is not a name: use 1 to 64 of a-z, A-Z, 0-9, '.', '_' and '-'")


def check_proposal(variable: str, value: object) -> None:
    """Check what a proposal would send. Raises BadValue if no variable can have this name, or the value cannot be sent."""
    check_call(variable)
    encode_value(value)
