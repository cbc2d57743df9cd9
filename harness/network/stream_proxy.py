"""The proxy of streams, `python -m harness.network.stream_proxy --layout FILE …`: it stands on every link of a foreign system.

`StreamNetwork` (`stream_network.py`) starts and steers it. This module has the sockets; `stream_rules.py` decides what happens to
each piece of a stream.

The links
---------
A connection has a dialer and a node that listens, and carries a stream each way. So the link dialer -> node has the bytes of the
dialer, and node -> dialer those of the node, whoever has dialed. The proxy listens at a port of its own for each dialer and node;
or, if the nodes share their addresses, at one port for each node, and the kernel says who has dialed (`socket_owner.py`).

Rules
-----
1. A connection that is accepted here is dialed on when both directions let it pass. If the node does not answer, it is reset.
2. The end of a connection, and a reset, wait their turn behind the bytes before them.
3. Each stream keeps a bounded number of bytes here. Then the proxy reads no more, and the sender's kernel makes it wait.
4. A request is in force for every byte that leaves after the reply to the request. Nothing crosses a cut, not even the rest of a
   piece of which a part has left.
5. What has left is counted by the meter, which does not ask the rules.
"""

import argparse
import asyncio
import gc
import json
import logging
import os
import signal
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from cluster.control import ControlRequest, ControlServer
from cluster.safe_output import safe_stderr
from harness.network.errors import NetworkError
from harness.network.rules import BadRule, Reset, Rule
from harness.network.socket_owner import SocketOwners
from harness.network.stream_rules import Look, Piece, StreamMeter, StreamRules
from harness.network.stream_traffic import StreamTraffic
from harness.network.switchboard import all_links
from harness.records.links import CLIENT, Link
from node.contract import NodeId
from node.launcher import EXIT_CONFIG, EXIT_INTERNAL, die_with

#: How many bytes the proxy reads at once, and how many of one stream it keeps.
PIECE_BYTES: Final = 65_536
KEPT_BYTES_MAX: Final = 1_048_576
#: How long a node may take to accept a connection, in seconds.
_CONNECT_S: Final = 5.0
#: How often requests are looked for, in seconds, besides when they come: a socket of zmq wakes its reader once for many.
_TICK_S: Final = 0.02
_BACKLOG: Final = 512
_RESET: Final = struct.pack("ii", 1, 0)

log = logging.getLogger("proxy")


class Layout(NamedTuple):
    """What stands where: the file that `StreamNetwork` writes."""

    token: str
    nodes: list[NodeId]
    ports: list[str]
    """The names of each node's ports."""
    shared: bool
    """Whether all dialers of a node use the same address."""
    launcher: int
    """The process id of the harness, whose connections are those of clients."""
    seed: int
    record: str
    """The file of the record of what crosses the links."""


def reset(one: socket.socket) -> None:
    """Close a socket so that its other end sees a reset."""
    with suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    one.close()


class Stream:
    """One direction of a connection: from the socket `source` to the socket `sink`, over one link."""

    def __init__(
        self, proxy: "StreamProxy", number: int, link: Link, source: socket.socket, sink: socket.socket
    ) -> None:
        self.link, self._proxy, self._number = link, proxy, number
        self._source, self._sink = source, sink
        self._pieces: deque[tuple[Piece, memoryview]] = deque()
        self._kept = 0
        self._arrived, self._room = asyncio.Event(), asyncio.Event()
        self.back: Stream | None = None
        self._deaf = False

    def put(self, piece: Piece, data: bytes = b"") -> None:
        """Let a piece wait its turn."""
        self._pieces.append((piece, memoryview(data)))
        self._kept += len(data)
        self._arrived.set()

    def event(self, what: Any) -> Piece:
        """Return a piece that is an event of this stream, now."""
        return Piece(self.link, what, time.monotonic(), self._number)

    async def read(self) -> None:
        """Read the source until it ends."""
        loop = asyncio.get_running_loop()
        while True:
            while self._kept >= KEPT_BYTES_MAX:
                self._room.clear()
                await self._room.wait()
            try:
                data = await loop.sock_recv(self._source, PIECE_BYTES)
            except OSError:
                self.put(self.event("reset"))
                return
            self._proxy.meter.count(self.link, "arrived")
            if not data:
                self.put(self.event("close"))
                return
            piece = self.event("bytes")
            piece.size = len(data)
            self.put(piece, data)

    async def write(self) -> bool:
        """Send the pieces on, each when it may leave. Returns whether the stream has ended in order; False: by a reset."""
        while True:
            while not self._pieces:
                self._arrived.clear()
                await self._arrived.wait()
            piece, data = self._pieces[0]
            if not await self._send(piece, data):
                return False
            self._pieces.popleft()
            self._kept -= len(data)
            self._room.set()
            if piece.what == "close":
                with suppress(OSError):
                    self._sink.shutdown(socket.SHUT_WR)
                return True
            if piece.what == "reset":
                return False

    async def _send(self, piece: Piece, data: memoryview) -> bool:
        """Send a piece when it may leave. Returns False if a rule resets the connection."""
        while True:
            look = await self._proxy.wait_for(piece)
            if look.reset:
                return False
            if not data:
                self._proxy.left(piece, 0)
                return True
            sent = await self._write_some(piece, data, look)
            data = data[sent:]
            piece.size -= sent
            if not data:
                return True

    async def _write_some(self, piece: Piece, data: memoryview, look: Look) -> int:
        if self._deaf:
            return len(data)
        part = data[: look.bytes_max]
        if 0 <= (at := piece.damaged_at) < len(part):
            part = memoryview(bytes(part[:at]) + bytes([part[at] ^ 0xFF]) + bytes(part[at + 1 :]))
        try:
            sent = self._sink.send(part)
        except BlockingIOError:
            await self._proxy.writable(self._sink)
            return 0
        except OSError:
            # The receiver is gone. The sender learns it as a reset that goes back over the other link.
            self._deaf = True
            if self.back is not None:
                self.back.put(self.back.event("reset"))
            return len(data)
        piece.damaged_at -= sent
        self._proxy.left(piece, sent)
        return sent

    def forget(self) -> None:
        """Let no rule keep a piece of this stream."""
        for piece, _ in self._pieces:
            self._proxy.forget(piece)


class StreamProxy:
    """The sockets of one system's links."""

    def __init__(self, layout: Layout) -> None:
        self.rules = StreamRules(layout.seed)
        self.meter = StreamMeter(self.rules)
        self._traffic = StreamTraffic(Path(layout.record))
        self._layout = layout
        self._known = all_links(tuple(layout.nodes))
        self._targets: dict[tuple[NodeId, str], int] = {}
        self._owners = SocketOwners(layout.launcher)
        self._changed = asyncio.Event()
        self._streams = 0
        self._connections: dict[asyncio.Task[None], Link] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._control = ControlServer(layout.token, log="logs/proxy.log")
        self._waiting: list[tuple[ControlRequest, float]] = []
        self.stopping = asyncio.Event()
        self._listeners: list[socket.socket] = []

    # --- what waits for a rule --------------------------------------------------------------------------------------

    def left(self, piece: Piece, size: int) -> None:
        """Note that bytes of a piece have left."""
        now_s = time.monotonic()
        self.rules.left(piece, size, now_s)
        self.meter.left(piece.link, size, piece.arrived_s, now_s)
        if piece.link in self._known:
            self._traffic.left(piece, size, now_s)

    def forget(self, piece: Piece) -> None:
        """Forget a piece that has left, or whose connection is gone."""
        self.rules.forget(piece)
        self._traffic.forget(piece)

    async def wait_for(self, piece: Piece) -> Look:
        """Wait until a piece may leave, or its connection is to be reset."""
        if piece.link not in self._known:  # a node that talks to itself
            return Look(0.0, max(piece.size, 1))
        while True:
            now_s = time.monotonic()
            look = self.rules.look(piece, now_s)
            if look.reset or (look.wait_until_s <= now_s and look.bytes_max > 0):
                return look
            changed = self._changed
            if look.wait_until_s == float("inf"):
                self._traffic.keeps(piece, self.rules.keeper(piece.link))
            with suppress(TimeoutError):
                async with asyncio.timeout(None if look.wait_until_s == float("inf") else look.wait_until_s - now_s):
                    await changed.wait()

    async def writable(self, sink: socket.socket) -> None:
        """Wait until a socket takes more bytes, or the rules have changed."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        loop.add_writer(sink, done.set)
        try:
            waits = [asyncio.ensure_future(one.wait()) for one in (done, self._changed)]
            _, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for one in pending:
                one.cancel()
        finally:
            loop.remove_writer(sink)

    def _rules_changed(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    # --- connections ------------------------------------------------------------------------------------------------

    def listen(self) -> dict[str, Any]:
        """Bind every port. Returns where they are: for each dialer and node, and each name of a port, its number."""
        found: dict[str, dict[str, dict[str, int]]] = {}
        for dialer in ("",) if self._layout.shared else (*self._layout.nodes, CLIENT):
            for node in self._layout.nodes:
                if node != dialer:
                    found.setdefault(dialer, {})[node] = {
                        name: self._listen(dialer, node, name) for name in self._layout.ports
                    }
        return {"control": self._control.address, "ports": found}

    def _listen(self, dialer: str, node: NodeId, name: str) -> int:
        listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        listener.setblocking(False)
        self._listeners.append(listener)
        self._start(self._accept(listener, dialer, node, name))
        return int(listener.getsockname()[1])

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _accept(self, listener: socket.socket, dialer: str, node: NodeId, name: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            accepted, address = await loop.sock_accept(listener)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._start(self._meet(accepted, dialer or (address[1], listener.getsockname()[1]), (node, name)))

    async def _meet(self, accepted: socket.socket, dialer: str | tuple[int, int], target: tuple[NodeId, str]) -> None:
        """Find out who has dialed, if only the kernel knows, and serve the connection."""
        who = dialer if isinstance(dialer, str) else self._owners.owner(*dialer)
        if who is None:
            reset(accepted)
            return
        link = (who or CLIENT, target[0])
        task = self._start(self._serve(accepted, link, target))
        self._connections[task] = link
        task.add_done_callback(self._connections.pop)

    async def _serve(self, accepted: socket.socket, link: Link, target: tuple[NodeId, str]) -> None:
        """Carry one connection from its begin to its end."""
        back = (link[1], link[0])
        self._streams += 2
        self.meter.count(link, "connections")
        dialed: socket.socket | None = None
        in_order = False
        try:
            now_s = time.monotonic()
            handshake = [Piece(way, "connection", now_s, self._streams) for way in (link, back)]  # it crosses both ways
            for piece in handshake:
                try:
                    if (await self.wait_for(piece)).reset:
                        self._count_reset(piece.link)
                        return
                    self.left(piece, 0)
                finally:
                    self.forget(piece)
            dialed = await self._dial(target)
            if dialed is None:
                self.meter.count(link, "refused")
                self._traffic.refused(link)
                return
            self._traffic.connected(handshake[0], time.monotonic())
            there = Stream(self, self._streams, link, accepted, dialed)
            here = Stream(self, self._streams + 1, back, dialed, accepted)
            there.back, here.back = here, there
            in_order = await _carry(there, here)
        finally:
            for one in (accepted, dialed):
                if one is not None:
                    one.close() if in_order else reset(one)

    async def _dial(self, target: tuple[NodeId, str]) -> socket.socket | None:
        port = self._targets.get(target)
        if port is None:
            return None
        one = socket.socket()
        one.setblocking(False)
        try:
            async with asyncio.timeout(_CONNECT_S):
                await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", port))
        except (OSError, TimeoutError):
            one.close()
            return None
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return one

    def _count_reset(self, link: Link) -> None:
        for rule in self.rules.rules():
            if isinstance(rule.action, Reset) and rule.covers(link):
                self.rules.count(rule.id, link, "reset")

    # --- requests ---------------------------------------------------------------------------------------------------

    async def serve_requests(self) -> None:
        """Answer requests until `stopping`."""
        loop = asyncio.get_running_loop()
        wake = asyncio.Event()
        loop.add_reader(self._control.socket.fileno(), wake.set)
        while not self.stopping.is_set():
            for request in self._control.requests():
                self._serve_request(request)
            self._answer_waiting()
            self._traffic.do_due_work(time.monotonic())
            wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await wake.wait()
        loop.remove_reader(self._control.socket.fileno())

    def _serve_request(self, request: ControlRequest) -> None:
        try:
            if request.verb == "wait":
                self.rules.counts(request.arguments["rule"])  # raises at once if there is no such rule
                self._waiting.append((request, time.monotonic() + float(request.arguments["timeout_s"])))
            else:
                self._control.answer(request.caller, self._do(request.verb, request.arguments))
        except BadRule as error:
            self._control.refuse(request.caller, NetworkError(f"{request.verb}: {error}"))

    def _do(self, verb: str, arguments: dict[str, Any]) -> object:
        match verb, arguments:
            case "node_up", {"node": node, "ports": dict(ports), "group": int(group)}:
                self._targets |= {(node, name): port for name, port in ports.items()}
                self._owners.node_up(node, group)
            case "add", {"rule": dict(plain)}:
                self._add(Rule.from_plain(plain))
            case "remove", {"rule": str(rule)}:
                counts = self.rules.remove(rule)
                self.meter.withdrawn(rule)
                self._rules_changed()
                return _plain(counts)
            case "heal", _:
                return {rule: self._do("remove", {"rule": rule}) for rule in self.rules.names()}
            case "release", {"rule": str(rule), "most": int() | None as most}:
                released = self.rules.release(rule, most)
                self._rules_changed()
                return released
            case "counts", {"rule": str(rule)}:
                return _plain(self.rules.counts(rule))
            case "look", {"after": int(after), "most": int(most)}:
                return self._traffic.look(after, max(most, 1))
            case "release_one" | "discard_one" | "repeat", _:
                raise BadRule("TCP keeps the order of bytes, and loses and repeats none: end the fault, and they pass")
            case "links", _:
                return _plain({link: self.meter.totals.get(link, {}) for link in self._known})
            case _:
                raise BadRule(f"the proxy of streams has no request {verb!r} with the arguments {', '.join(arguments)}")
        return None

    def _add(self, rule: Rule) -> None:
        for link in sorted(rule.links or ()):
            if link not in self._known:
                raise BadRule(
                    f"there is no link {link[0]} -> {link[1]}; there are {', '.join(self._layout.nodes)} and {CLIENT}"
                )
        self.rules.add(rule)
        self.meter.claimed(rule, time.monotonic())
        if isinstance(rule.action, Reset):
            for task, (one, other) in list(self._connections.items()):
                for way in ((one, other), (other, one)):
                    if rule.covers(way):
                        self._count_reset(way)
                        task.cancel()
                        break
        self._rules_changed()

    def _answer_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for request, deadline in waiting:
            arguments = request.arguments
            only = None if arguments["links"] is None else {(one, other) for one, other in arguments["links"]}
            try:
                counts = self.rules.counts(arguments["rule"])
            except BadRule as error:  # it was removed meanwhile
                self._control.refuse(request.caller, NetworkError(f"wait: {error}"))
                continue
            seen = sum(of_link[arguments["what"]] for link, of_link in counts.items() if only is None or link in only)
            if seen >= arguments["least"] or time.monotonic() >= deadline:
                self._control.answer(request.caller, seen)
            else:
                self._waiting.append((request, deadline))

    def close(self) -> None:
        """Close every socket."""
        for task in self._tasks:
            task.cancel()
        for listener in self._listeners:
            listener.close()
        self._traffic.close()
        self._control.close()


async def _carry(there: Stream, here: Stream) -> bool:
    """Carry both streams of a connection until both have ended in order, or one is reset. Returns whether both have."""
    reading = [asyncio.ensure_future(one.read()) for one in (there, here)]
    writing = {asyncio.ensure_future(one.write()) for one in (there, here)}
    waiting = set(writing)
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not all(one.result() for one in done):
                return False
        return True
    finally:
        for one in (*reading, *writing):
            one.cancel()
        await asyncio.gather(*reading, *writing, return_exceptions=True)
        there.forget()
        here.forget()


def _plain(counts: Any) -> list[object]:
    return [[*link, dict(counter)] for link, counter in counts.items()]


async def _run(layout: Layout, report: Any) -> None:
    proxy = StreamProxy(layout)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, proxy.stopping.set)

    def look_at_launcher() -> None:
        if not os.read(sys.stdin.fileno(), 65536):
            proxy.stopping.set()

    loop.add_reader(sys.stdin.fileno(), look_at_launcher)
    try:
        report(proxy.listen())
        await proxy.serve_requests()
    finally:
        loop.remove_reader(sys.stdin.fileno())
        proxy.close()


@safe_stderr()
def main() -> int:
    """Run one proxy until SIGTERM, or until its launcher ends. Return the exit status."""
    gc.freeze()
    parser = argparse.ArgumentParser(prog="python -m harness.network.stream_proxy", description="The proxy of streams.")
    parser.add_argument("--layout", type=Path, required=True, help="the layout, a JSON file")
    parser.add_argument("--ready-fd", type=int, required=True, help="the pipe for one line of JSON: ports, or an error")
    parser.add_argument("--parent", type=int, required=True, help="the launcher's process id")
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s proxy %(levelname)s %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the launcher, which then stops the proxy
    die_with(arguments.parent)
    reported = False

    def report(line: dict[str, Any]) -> None:
        nonlocal reported
        if not reported:
            os.write(arguments.ready_fd, json.dumps(line).encode() + b"\n")
            os.close(arguments.ready_fd)
        reported = True

    try:
        asyncio.run(_run(Layout(**json.loads(arguments.layout.read_text())), report))
    except OSError as error:
        log.critical("%s", error)
        report({"error": str(error)})
        return EXIT_CONFIG
    except Exception as error:
        log.exception("the proxy failed")
        report({"error": f"{type(error).__name__}: {error}"})
        return EXIT_INTERNAL
    return 0


if __name__ == "__main__":
    sys.exit(main())
