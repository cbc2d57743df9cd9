"""The network of nodes that speak Maelstrom's protocol: it reads what nodes write, and decides what becomes of each message.

Theory of operation
-------------------
A node's messages are lines on its standard output. A thread of the harness reads them and gives each to the same switchboard and
rule engine that the proxy of our own nodes has (`harness/network`). So cuts, losses, delays, holds, copies and triggers work by
the same rules, and the record of messages has the same form. A message that is to be delivered is written to the receiver's
standard input, or handed to the clients or to a service.

Rules
-----
1. A node gets nothing before it has answered `init`, and a later incarnation gets nothing that was written to an earlier one.
2. What a node has written in whole before it ended has left it, and is delivered.
3. Links between a node and itself, or a service, have no faults: rules name links between nodes, and between nodes and clients.
4. A line that is no message is dropped, noted with its reason, and never counts as an answer.
5. A message may name a client as its sender, as nodes do that pass a request on to their leader. Its link begins at the node that
   has written it.
"""

import contextlib
import os
import selectors
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoReply
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

from cluster.control import ControlRequest
from harness.network.errors import NetworkError, ProxyGone
from harness.network.in_transit import InTransit
from harness.network.rule_installer import RuleInstaller
from harness.network.rules import BadRule
from harness.network.switchboard import Ports, Switchboard
from harness.records.links import CLIENT, DELIVERED, Link
from harness.records.messages import JsonMessage, MessageRecorder
from harness.systems.maelstrom.channel import Channel
from harness.systems.maelstrom.protocol import Body, JsonLine, Misread, parse
from node.contract import NodeId
from node.wire import Envelope, Malformed

#: How long the thread waits for something to happen, in seconds.
_WAIT_S: Final = 0.5
#: How much longer than a request itself may wait its reply may take, in seconds.
_GRACE_S: Final = 10.0


class Listener(NamedTuple):
    """The functions that the router calls where it cannot decide itself. It calls them in its own thread, or in a sender's."""

    to_client: Callable[[NodeId, JsonLine], None]
    """A message to a client, with the node that has written it."""
    to_service: Callable[[JsonLine], Body | None]
    """A message to a service. Returns the body of the reply, if it replies."""
    services: tuple[str, ...]
    """The names of the services."""
    misread: Callable[[NodeId, bytes, str], None]
    """A line that is no message, with the reason."""
    wrote: Callable[[NodeId, bytes], None]
    """What a node has written to its standard error."""
    started: Callable[[NodeId, JsonLine], bool]
    """A message to a client from a node that is starting. Returns whether it belonged to the start."""


class Router(RuleInstaller):
    """The network of one run, from `start` to `close`. Rules are installed as `RuleInstaller` describes."""

    def __init__(
        self,
        nodes: tuple[NodeId, ...],
        record: Path | None,
        seed: int,
        listener: Listener,
        switchboard: type[Switchboard] = Switchboard,
    ) -> None:
        super().__init__(nodes)
        self._handed_over: Counter[Link] = Counter()
        self._listener = listener
        self._recorder = MessageRecorder(record)
        self._lock = threading.RLock()
        self._switchboard = switchboard(nodes, _decode, None, self._recorder, Random(seed), self)
        self._channels: dict[NodeId, Channel] = {}
        self._incarnations: dict[NodeId, int] = dict.fromkeys(nodes, 0)
        self._services_say: deque[JsonLine] = deque()
        self._replies: dict[bytes, Future[Any]] = {}
        self._requests = 0
        self._selector = selectors.DefaultSelector()
        self._awake, self._wake = os.pipe()
        os.set_blocking(self._awake, False)
        os.set_blocking(self._wake, False)
        self._selector.register(self._awake, selectors.EVENT_READ, None)
        self._stopping = False
        self._broke: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="router", daemon=True)

    # --- its life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread, and write the record in full. A second call does nothing.

        Raises an AssertionError if other messages have been handed over than the record has: no judge could trust it.
        """
        if self._stopping:
            return
        counted = {} if self._broke is not None else self.links()
        self._stopping = True
        self._poke()
        if self._thread.ident is not None:
            self._thread.join()
        for channel in self._channels.values():
            channel.close()
        self._selector.close()
        os.close(self._awake)
        os.close(self._wake)
        self._recorder.close()
        if self._broke is None:
            delivered = Counter({link: sum(counts[fate] for fate in DELIVERED) for link, counts in counted.items()})
            assert delivered == self._handed_over, f"{delivered} were counted, and {self._handed_over} handed over"

    @property
    def record_is_cut_short(self) -> bool:
        """Whether the whole record could not be written, for instance because the disk was full."""
        return bool(self._recorder.lost)

    def _poke(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it is awake
            os.write(self._wake, b".")

    def _run(self) -> None:
        try:
            while not self._stopping:
                with self._lock:
                    wait_s = self._switchboard.wait_s(_WAIT_S)
                    for node, channel in self._channels.items():
                        self._watch(node, channel)
                if not (ready := self._selector.select(wait_s)) and self._recorder.behind:
                    with self._lock:
                        self._recorder.flush()
                with self._lock:
                    for key, _ in ready:
                        if key.data is None:
                            os.read(self._awake, 4096)
                        else:
                            self._serve(*key.data)
                    self._switchboard.do_due_work()
        except BaseException as error:  # noqa: BLE001 - a mistake of the harness, which the next request raises
            self._broke = error

    def _watch(self, node: NodeId, channel: Channel) -> None:
        """Have the selector wait for what can happen on a channel now."""
        for pipe, events in (
            (channel.stdout, 0 if channel.has_ended(channel.stdout) else selectors.EVENT_READ),
            (channel.stderr, 0 if channel.has_ended(channel.stderr) else selectors.EVENT_READ),
            (channel.stdin, selectors.EVENT_WRITE if channel.is_behind else 0),
        ):
            if pipe.closed:
                continue
            registered = self._selector.get_map().get(pipe)
            if events and registered is None:
                self._selector.register(pipe, events, (node, channel))
            elif not events and registered is not None:
                self._selector.unregister(pipe)

    def _serve(self, node: NodeId, channel: Channel) -> None:
        if self._channels.get(node) is not channel:
            return  # it has ended since
        if channel.is_behind:
            channel.write_out()
        if text := channel.text():
            self._listener.wrote(node, text)
        for line in channel.lines():
            self.from_node(node, line)

    # --- nodes ------------------------------------------------------------------------------------------------------

    def starts(self, node: NodeId, channel: Channel) -> None:
        """Take over the pipes of a process that has started. It gets only what `tell` sends, until `opens`."""
        with self._lock:
            assert node not in self._channels, "its last incarnation has not ended"
            self._channels[node] = channel
            self._incarnations[node] += 1
        self._poke()

    def opens(self, node: NodeId) -> None:
        """Deliver messages to a node from now on."""
        with self._lock:
            if node in self._channels:
                self._channels[node].is_open = True

    def ends(self, node: NodeId) -> None:
        """Take in what a node has written before it ended, and close its pipes."""
        with self._lock:
            channel = self._channels.get(node)
            if channel is None:
                return
            channel.is_open = False
            while text := channel.text():
                self._listener.wrote(node, text)
            while not channel.has_ended(channel.stdout) and (lines := list(channel.lines())):
                for line in lines:
                    self.from_node(node, line)
            del self._channels[node]
            for pipe in (channel.stdin, channel.stdout, channel.stderr):
                if self._selector.get_map().get(pipe) is not None:
                    self._selector.unregister(pipe)
            channel.close()

    def closed_its_output(self, node: NodeId) -> bool:
        """Return whether a node that runs has closed its standard output, so that it can never answer."""
        with self._lock:
            channel = self._channels.get(node)
            return channel is not None and channel.has_ended(channel.stdout)

    def tell(self, node: NodeId, line: JsonLine) -> None:
        """Send a node a message of its start, past all rules."""
        with self._lock:
            channel = self._channels.get(node)
            if channel is None:
                return
            message = InTransit((CLIENT, node), line.to_bytes(), _envelope(line, 0))
            channel.send(message.payload)
            self._recorder.note(message, "passed", None, time.monotonic_ns())
        self._poke()

    # --- messages ---------------------------------------------------------------------------------------------------

    def from_client(self, line: JsonLine) -> None:
        """Take in a message of a client to a node."""
        with self._lock:
            self._switchboard.arrive((CLIENT, line.dest), line.to_bytes(), envelope=_envelope(line, 0))
        self._poke()

    def from_node(self, node: NodeId, line: bytes) -> None:
        """Take in a line that a node has written."""
        if not line.strip():
            return
        try:
            message = parse(line)
        except Misread as error:
            self._listener.misread(node, line, str(error))
            return
        channel = self._channels[node]
        is_to_client = message.dest not in self.nodes and message.dest not in self._listener.services
        if is_to_client and not channel.is_open and self._listener.started(node, message):
            self._recorder.note(
                InTransit((node, CLIENT), line, _envelope(message, self._incarnations[node])),
                "passed",
                None,
                time.monotonic_ns(),
            )
            return
        if is_to_client and not message.dest.startswith("c"):
            known = ", ".join((*self.nodes, *self._listener.services))
            self._listener.misread(
                node, line, f"there is no node {message.dest!r}; there are {known}, and clients c1, c2, ..."
            )
            return
        link = (node, CLIENT if is_to_client else message.dest)
        self._switchboard.arrive(link, line, envelope=_envelope(message, self._incarnations[node]))
        while self._services_say:
            reply = self._services_say.popleft()
            self._switchboard.arrive((reply.src, reply.dest), reply.to_bytes(), envelope=_envelope(reply, 0))

    # --- switchboard.ProxySockets -----------------------------------------------------------------------------------

    def send(self, message: InTransit) -> bool:
        """Deliver a message. Returns False if it cannot be."""
        is_delivered = self._hand_over(message)
        if self._is_counted(message.link):
            self._handed_over[message.link] += is_delivered
        return is_delivered

    def _is_counted(self, link: Link) -> bool:
        """Whether the switchboard counts the messages of a link: not those of a node to itself, or of a service."""
        return link[0] != link[1] and {*link} <= {CLIENT, *self.nodes}

    def _hand_over(self, message: InTransit) -> bool:
        sender, receiver = message.link
        if receiver in self.nodes:
            channel = self._channels.get(receiver)
            return channel is not None and channel.is_open and channel.send(message.payload)
        try:
            line = parse(message.payload)  # again, since a rule may have corrupted it
        except Misread:
            return False
        if receiver == CLIENT:
            self._listener.to_client(sender, line)
        elif (body := self._listener.to_service(line)) is not None:
            self._services_say.append(JsonLine(receiver, sender, body))
        return True

    def node_up(self, node: NodeId, address: str) -> None:
        raise BadRule("the nodes are connected by their pipes")

    def node_down(self, node: NodeId) -> None:
        raise BadRule("the nodes are connected by their pipes")

    def node_moves(self, node: NodeId) -> Ports:
        raise BadRule("the nodes are connected by their pipes")

    def node_joins(self, node: NodeId) -> Ports:
        raise BadRule("no node can join")

    def node_leaves(self, node: NodeId) -> None:
        raise BadRule("no node can leave")

    def connected(self, node: NodeId) -> int:
        return len(self.nodes)

    def answer(self, caller: bytes, result: object) -> None:
        self._replies.pop(caller).set_result(result)

    def refuse(self, caller: bytes, error: Exception) -> None:
        self._replies.pop(caller).set_exception(error)

    # --- requests ---------------------------------------------------------------------------------------------------

    def request(self, verb: str, timeout_s: float = 0.0, /, **arguments: object) -> Any:
        """Carry out a request of a fault, as `harness.network.network.Network.request` does."""
        if self._broke is not None:
            raise ProxyGone(f"the router has failed: {self._broke!r}") from self._broke
        if self._stopping:
            raise ProxyGone("the network is closed")
        reply: Future[Any] = Future()
        with self._lock:
            self._requests += 1
            caller = str(self._requests).encode()
            self._replies[caller] = reply
            self._switchboard.serve(ControlRequest(caller, verb, arguments))
        self._poke()
        try:
            result = reply.result(timeout_s + _GRACE_S)
        except NoReply:
            raise NetworkError(f"the router has not answered {verb!r} in time") from None
        return result

    def trouble(self) -> str | None:
        return None if self._broke is None else f"the router has failed, so no message passes: {self._broke!r}"

    @property
    def has_repeated(self) -> bool:
        """Whether a rule has repeated messages."""
        return any(counts["duplicated"] for counts in self.links().values())

    def flush(self) -> int:
        """Write the record to its file up to now. Returns how many lines it has."""
        return int(self.request("flush"))


def _decode(payload: bytes) -> Envelope:
    try:
        return _envelope(parse(payload), 0)
    except Misread as error:
        raise Malformed(str(error)) from None


def _envelope(line: JsonLine, incarnation: int) -> Envelope:
    """Return a message as the record and the rules know it. A body's `key` is what the message is about."""
    key = line.body.get("key")
    variable = str(key) if isinstance(key, str | int) else ""
    about: Mapping[str, Any] = line.body
    if line.src.startswith("c") or line.dest.startswith("c"):
        about = {**about, "client": line.src if line.src.startswith("c") else line.dest}
    return Envelope(line.src, incarnation, variable, JsonMessage(line.type, about))
