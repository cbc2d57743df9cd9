"""The floor of a put: the same message pattern and the same fdatasync calls, with no logic between.

A leader takes in all that waits, sends it on to its followers as one message, overwrites a file grown in advance and syncs
it; each follower does the same and acknowledges; with a majority the leader answers each frame. What a frame says is
nobody's business: it is counted, not opened. Run as a module, this file is one such node.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import zmq

from cluster.processes import READY_S, spawn
from harness.bench.load import Figures, Shape, figures
from node.quorum import majority
from node.transport import Route, Transport, tuned

_GROWN_BYTES: Final = 16 * 1024 * 1024
_FRAME_OVERHEAD_BYTES: Final = 100
_COMMAND_OVERHEAD_BYTES: Final = 20
_ANSWER_BYTES: Final = 6


class _File:
    """Blocks that are overwritten, and synced."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.pwrite(self._descriptor, bytes(_GROWN_BYTES), 0)
        os.fsync(self._descriptor)
        self._at = 0

    def write(self, data: bytes) -> None:
        if self._at + len(data) > _GROWN_BYTES:
            self._at = 0
        os.pwrite(self._descriptor, data, self._at)
        os.fdatasync(self._descriptor)
        self._at += len(data)


def _follow(transport: Transport, file: _File) -> None:
    while True:
        transport.poll(60.0)
        acks: list[Route] = []
        data = b""
        for route, payload in transport.receive(512):
            data += payload
            acks.append(route)
        if acks:
            file.write(data)
        for route in acks:
            transport.send_back(route, b"ack")


def _lead(transport: Transport, file: _File, followers: dict[str, str]) -> None:
    """Acknowledgements come back on the sockets that the batches went out on."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    sockets = []
    for address in followers.values():
        socket = tuned(context.socket(zmq.DEALER))
        socket.connect(address)
        transport.watch(socket.getsockopt(zmq.FD))  # type: ignore[arg-type]
        sockets.append(socket)
    needed = majority(len(followers) + 1) - 1
    under_way: deque[list[Any]] = deque()  # [acks, frames]
    counts = [0] * len(sockets)
    first = 0
    while True:
        transport.poll(0.001 if under_way else 60.0)
        for index, socket in enumerate(sockets):
            while True:
                try:
                    socket.recv(zmq.NOBLOCK)
                except zmq.Again:
                    break
                position = counts[index] - first
                counts[index] += 1
                if position >= 0:
                    under_way[position][0] += 1
        frames = list(transport.receive(512)) if len(under_way) < 4 else []
        if frames:
            data = b"".join(payload for _, payload in frames)
            for socket in sockets:
                socket.send(data, zmq.NOBLOCK)
            under_way.append([0, frames])
            file.write(data)
        while under_way and under_way[0][0] >= needed:
            for route, payload in under_way.popleft()[1]:
                commands = int.from_bytes(payload[:2], "big")
                transport.send_back(route, bytes(_ANSWER_BYTES * commands))
            first += 1


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--followers")
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--parent", type=int)
    arguments = parser.parse_args()
    transport, file = Transport(), _File(arguments.file)
    os.write(arguments.ready_fd, json.dumps({"address": transport.address}).encode() + b"\n")
    if arguments.followers is None:
        _follow(transport, file)
    else:
        _lead(transport, file, json.loads(arguments.followers))


@contextmanager
def _nodes(count: int) -> Iterator[str]:
    """Floor nodes; yields the leader's address."""
    processes = []
    with tempfile.TemporaryDirectory(prefix="consensus-floor-") as folder:

        def start(name: str, *arguments: str) -> str:
            command = [sys.executable, "-m", "harness.bench.floor", "--file", f"{folder}/{name}", *arguments]
            popen, pipe = spawn(command, Path(folder) / "log")
            processes.append(popen)
            return pipe.wait(name, time.monotonic() + READY_S).address

        try:
            followers = {f"f{number}": start(f"f{number}") for number in range(1, count)}
            yield start("leader", "--followers", json.dumps(followers))
        finally:
            for popen in processes:
                popen.kill()
                popen.communicate()


def floor(nodes: int, shape: Shape, seconds: float, value_bytes: int) -> Figures:
    """Drive floor nodes in the shape: each connection sends a frame of its commands and waits for the answer."""
    with _nodes(nodes) as leader:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        poller = zmq.Poller()
        size = _FRAME_OVERHEAD_BYTES + shape.each * (value_bytes + _COMMAND_OVERHEAD_BYTES)
        frame = shape.each.to_bytes(2, "big") + bytes(size)
        sent: dict[zmq.Socket[bytes], float] = {}
        for _ in range(shape.connections):
            socket = tuned(context.socket(zmq.DEALER))
            socket.connect(leader)
            poller.register(socket, zmq.POLLIN)
            sent[socket] = time.monotonic()
            socket.send(frame)
        latencies: list[float] = []
        start = time.monotonic() + seconds / 5
        while (now := time.monotonic()) < start + seconds:
            for socket, _ in poller.poll(200):
                socket.recv()
                now = time.monotonic()
                if now >= start:
                    latencies += [now - sent[socket]] * shape.each
                sent[socket] = now
                socket.send(frame)
        for socket in sent:
            socket.close()
        return figures(latencies, time.monotonic() - start)


if __name__ == "__main__":
    _main()
