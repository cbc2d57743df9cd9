"""The proxy process, `python -m harness.network.proxy --spec FILE …`: it stands on every directed link of a cluster.

`Network` starts and steers it. This module has the sockets and the loop; `switchboard.py` decides what happens to a message.

The links
---------
- i -> j, two nodes: node i has the Unix socket of this link as the address of j. What arrives there leaves through a DEALER of
  this link alone, so links neither share a queue nor wait for each other.
- client -> j: a client has this socket as the address of j. The client's identity stands before the payload, and the node echoes
  it, so that the reply finds the way back on the link j -> client.

Rules
-----
1. No operation blocks, and every queue is bounded. A message that cannot leave at once, because the receiver is not connected
   or its queue is full, is "undeliverable". It never waits for the next incarnation of a node that is down.
2. Nodes may join and leave. The links of all other nodes stay as they are.
3. A node is unreachable until `node_up` gives its address. The `node_up` of its next incarnation drops the messages that were
   queued for the last one.
4. A request on the control socket is in force for every message that the proxy reads after the reply has left.
5. The proxy forwards a message first, and writes its line in the record later, when no other work waits.
6. Nothing that it writes ends it. If the record cannot be written any more, it goes on without, and says so at its end by the
   exit status 74.
"""

import argparse
import gc
import json
import logging
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final

import zmq

from cluster.control import ControlServer
from cluster.safe_output import safe_stderr
from harness.network.in_transit import InTransit
from harness.network.rules import BadRule
from harness.network.switchboard import Ports, Switchboard
from harness.records.links import CLIENT, Link
from harness.records.messages import MessageRecorder
from node.algorithms import UnknownAlgorithm, load_algorithm
from node.client_messages import CLIENT_MESSAGES
from node.contract import Message, NodeId
from node.launcher import EXIT_CONFIG, EXIT_DISK, EXIT_INTERNAL, die_with
from node.open_folder import OpenFolder
from node.settings import BadSpec, Settings, load
from node.transport import (
    Poller,
    WakeUpPipe,
    bind_any_name,
    can_send,
    receive_all,
    receive_at_router,
    receive_now,
    send_along,
    tuned,
)
from node.wire import Codec, Envelope

#: How many messages of one link the proxy reads before it goes to the next link.
INTAKE_MAX: Final = 128
#: The longest poll, in seconds. After it the proxy looks whether its cluster's folder is still there.
_IDLE_S: Final = 1.0
#: For how many nodes that join later the proxy has room.
_MORE_NODES: Final = 8
#: How many decoded frames are kept, and how large such a frame may be, in bytes: a broadcast arrives as several copies.
_KEPT_FRAMES: Final = 64
_KEPT_FRAME_BYTES_MAX: Final = 4096
_Socket = zmq.Socket[bytes]

log = logging.getLogger("proxy")


class Proxy:
    """The sockets of one cluster's links, and the loop. It implements `switchboard.ProxySockets`."""

    def __init__(
        self, settings: Settings, messages: tuple[type[Message], ...], recorder: MessageRecorder, rng: Random
    ) -> None:
        self._nodes = settings.nodes
        self._recorder = recorder
        types = [cls.type_name() for cls in (*CLIENT_MESSAGES, *messages)]
        self._switchboard = Switchboard(
            self._nodes, _decoder(Codec(settings.cluster, messages)), types, recorder, rng, self
        )
        self._context = _context_for(len(settings.nodes))
        self._poller = Poller()
        self._sources: dict[_Socket, Link] = {}
        self._sinks: dict[Link, _Socket] = {}
        self._addresses: dict[NodeId, str] = {}  # of the nodes that are up
        self._connecting: set[_Socket] = set()
        self._stopping = False
        self._control = ControlServer(settings.cluster, self._context)
        self._poller.register(self._control.socket)
        links = [(sender, node) for node in self._nodes for sender in self._senders_to(node)]
        self.ready_line = {"control": self._control.address, **self._listen(links)}

    def _listen(self, links: list[Link]) -> Ports:
        """Bind a socket for each of these links, which begin at a node or at a client, and return the addresses."""
        ports: Ports = {"links": {node: {} for node in self._nodes}, "client": {}}
        for sender, receiver in links:
            socket = tuned(self._context.socket(zmq.ROUTER))
            self._sources[socket] = (sender, receiver)
            self._poller.register(socket)
            if sender == CLIENT:
                socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # a send to a client that has gone raises an error
                self._sinks[receiver, CLIENT] = socket
                ports["client"][receiver] = bind_any_name(socket)
            else:
                ports["links"][sender][receiver] = bind_any_name(socket)
        return ports

    def _senders_to(self, node: NodeId) -> list[str]:
        return [sender for sender in (*self._nodes, CLIENT) if sender != node]

    # --- the loop ---------------------------------------------------------------------------------------------------

    def run(self, control_pipe: int, wake_up: WakeUpPipe, folder: OpenFolder) -> None:
        """Run the loop until `stop`, until the control pipe closes because the launcher has ended, or until `folder` is gone."""
        self._poller.register(control_pipe)
        self._poller.register(wake_up.reader)
        next_look = 0.0
        while not self._stopping:
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + _IDLE_S
                if folder.now() is None:
                    log.warning("the folder of this cluster was removed, so the proxy stops")
                    return
            wait_s = 0.0 if self._recorder.behind else self._switchboard.wait_s(_IDLE_S)
            ready = self._poller.poll(math.ceil(wait_s * 1000))
            if not ready and self._recorder.behind:
                self._recorder.flush()
            for source in ready:
                if source in self._sources:
                    self._read(source, INTAKE_MAX)
                elif source is self._control.socket:
                    for request in self._control.requests():
                        self._switchboard.serve(request)
                elif source == control_pipe and not os.read(source, 65536):
                    log.warning("the launcher of this proxy has ended, so the proxy stops")
                    self.stop()
            self._note_connected()
            self._switchboard.do_due_work()

    def stop(self) -> None:
        """Make `run` return. A signal handler may call it."""
        self._stopping = True

    def close(self) -> None:
        """Write the rest of the record, and close every socket."""
        self._recorder.close()
        self._context.destroy(linger=0)

    def _note_connected(self) -> None:
        """Take note of connections that nodes have accepted. With IMMEDIATE a socket becomes writable then."""
        for socket in [socket for socket in self._connecting if can_send(socket)]:
            self._connecting.discard(socket)
            if socket not in self._sources:
                self._poller.unregister(socket)

    def _read(self, socket: _Socket, most: int) -> None:
        link = self._sources[socket]
        by_client = CLIENT in link
        receive = (
            receive_now if link[1] == CLIENT else receive_at_router
        )  # by the kind of socket: see `_listen`, `_connect`
        for *route, payload in islice(receive_all(socket, receive), most):
            self._switchboard.arrive(link, payload, tuple(route) if by_client else ())

    # --- switchboard.ProxySockets -----------------------------------------------------------------------------------

    def send(self, message: InTransit) -> bool:
        sink = self._sinks.get(message.link)
        if sink is None:
            return False
        if sink in self._sources:
            self._poller.touched(sink)
        try:
            send_along(sink, message.route, message.payload)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            return False
        return True

    def answer(self, caller: bytes, result: object) -> None:
        self._poller.touched(self._control.socket)
        self._control.answer(caller, result)

    def refuse(self, caller: bytes, error: Exception) -> None:
        self._poller.touched(self._control.socket)
        self._control.refuse(caller, error)

    def node_up(self, node: NodeId, address: str) -> None:
        self.node_down(node)
        self._addresses[node] = address
        for sender in self._senders_to(node):
            self._connect((sender, node), address)

    def _connect(self, link: Link, address: str) -> None:
        sender, node = link
        try:
            socket = tuned(self._context.socket(zmq.DEALER))
        except zmq.ZMQError as error:
            raise BadRule(f"the proxy has too few descriptors for the links of {node}: {error}") from None
        socket.setsockopt(zmq.IMMEDIATE, 1)  # the socket queues messages only while the node is connected
        try:
            socket.connect(address)
        except zmq.ZMQError as error:
            socket.close()
            raise BadRule(f"{address!r} is no address of a node: {error}") from None
        self._sinks[link] = socket
        self._connecting.add(socket)
        if sender == CLIENT:
            self._sources[socket] = (node, CLIENT)
        self._poller.register(socket)

    def node_down(self, node: NodeId) -> None:
        self._addresses.pop(node, None)
        for sender in self._senders_to(node):
            self._disconnect((sender, node))

    def _disconnect(self, link: Link) -> None:
        socket = self._sinks.get(link)
        if socket is None:
            return
        if socket in self._sources:
            self._read(socket, sys.maxsize)  # its previous incarnation has sent these messages
        del self._sinks[link]
        self._close(socket)

    def _close(self, socket: _Socket) -> None:
        self._sources.pop(socket, None)
        if self._poller.watches(socket):
            self._poller.unregister(socket)
        self._connecting.discard(socket)
        socket.close()

    def node_joins(self, node: NodeId) -> Ports:
        others = self._nodes
        self._nodes = (*others, node)
        try:
            ports = self._listen(
                [*((sender, node) for sender in (*others, CLIENT)), *((node, other) for other in others)]
            )
            for other, address in self._addresses.items():
                self._connect((node, other), address)
        except zmq.ZMQError as error:
            self.node_leaves(node)
            raise BadRule(
                f"the proxy has too few descriptors for the links of {node}: {error}. Remove a node, or restart the cluster"
            ) from None
        return ports

    def node_leaves(self, node: NodeId) -> None:
        self.node_down(node)
        self._nodes = tuple(other for other in self._nodes if other != node)
        for other in self._nodes:
            self._disconnect((node, other))
        self._sinks.pop((node, CLIENT), None)
        for socket in [socket for socket, link in self._sources.items() if node in link]:
            self._close(socket)

    def node_moves(self, node: NodeId) -> Ports:
        for socket in [socket for socket, (_, receiver) in self._sources.items() if receiver == node]:
            self._read(socket, sys.maxsize)  # as a node takes in what has arrived before it ends
            self._close(socket)
        return self._listen([(sender, node) for sender in self._senders_to(node)])

    def connected(self, node: NodeId) -> int:
        sinks = (self._sinks.get((sender, node)) for sender in self._senders_to(node))
        return sum(1 for sink in sinks if sink is not None and sink not in self._connecting)


def _decoder(codec: Codec) -> Callable[[bytes], Envelope]:
    """Return what decodes frames. The copies of a broadcast share one envelope, which nothing changes."""
    decode_once = lru_cache(_KEPT_FRAMES)(codec.decode)
    return lambda frame: decode_once(frame) if len(frame) <= _KEPT_FRAME_BYTES_MAX else codec.decode(frame)


def _context_for(nodes: int) -> zmq.Context[_Socket]:
    """Return a context with room for the sockets of `nodes` nodes, and of some that join later unless descriptors are scarce.

    A socket takes one descriptor, and up to two for its connections.

    Raises:
        BadSpec: the process may open too few descriptors.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for more in (_MORE_NODES, 0):
        sockets = 2 * (nodes + more) ** 2 + 16
        descriptors = 3 * sockets + 256  # 256 for connections of clients
        if hard == resource.RLIM_INFINITY or hard >= descriptors:
            break
    else:
        raise BadSpec(
            f"the links of {nodes} nodes take {descriptors} descriptors, and this process may open {hard}: "
            "use fewer nodes, or raise the limit (ulimit -Hn)"
        )
    if soft != resource.RLIM_INFINITY and soft < descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    context: zmq.Context[_Socket] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, sockets)
    return context


@safe_stderr()
def main() -> int:
    """Run one proxy until SIGTERM, or until its launcher ends. Return the exit status."""
    gc.freeze()  # no collection visits what was imported, neither while the proxy works nor when it ends
    parser = argparse.ArgumentParser(
        prog="python -m harness.network.proxy", description="The proxy on every link of a cluster."
    )
    parser.add_argument("--spec", type=Path, required=True, help="the cluster's spec, a TOML file")
    parser.add_argument(
        "--ready-fd", type=int, required=True, help="the pipe for one line of JSON: addresses, or an error"
    )
    parser.add_argument(
        "--parent", type=int, required=True, help="the launcher's process id: the proxy is killed when it ends"
    )
    parser.add_argument("--record", default="-", help="the file for the record of messages; - for no record")
    parser.add_argument("--record-bytes", type=int, help="how large the record may become; no limit without it")
    parser.add_argument("--seed", type=int, default=0, help="the seed of every random draw")
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s proxy %(levelname)s %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the launcher, which then stops the proxy
    die_with(arguments.parent)

    def report(line: dict[str, object]) -> None:
        if arguments.ready_fd is not None:
            os.write(arguments.ready_fd, json.dumps(line).encode() + b"\n")
            os.close(arguments.ready_fd)
            arguments.ready_fd = None

    try:
        settings = load(arguments.spec)
        messages = load_algorithm(settings.algorithm).messages
        path = None if arguments.record == "-" else Path(arguments.record)
        recorder = MessageRecorder(path, arguments.record_bytes)
        proxy = Proxy(settings, messages, recorder, Random(arguments.seed))
        wake_up = WakeUpPipe()
        signal.set_wakeup_fd(wake_up.writer)
        signal.signal(signal.SIGTERM, lambda *_: proxy.stop())
        report(proxy.ready_line)
        try:
            proxy.run(sys.stdin.fileno(), wake_up, OpenFolder(arguments.spec.parent))
        finally:
            proxy.close()  # after a failure the record is still evidence
    except (BadSpec, UnknownAlgorithm, OSError) as error:
        log.critical("%s", error)
        report({"error": str(error)})
        return EXIT_CONFIG
    except Exception as error:
        log.exception("the proxy failed")
        report({"error": f"{type(error).__name__}: {error}"})
        return EXIT_INTERNAL
    return EXIT_DISK if recorder.lost else 0


if __name__ == "__main__":
    sys.exit(main())
