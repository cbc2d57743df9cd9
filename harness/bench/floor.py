"""The floor of a put or a read: the same messages and the same fdatasync calls, without any logic.

A leader takes in all waiting frames, sends them to its followers as one message, overwrites a file that was grown in advance,
and syncs it. Each follower does the same and acknowledges. With a majority, the leader answers each frame. A frame of reads is
not sent on: the leader sends a round of empty messages instead, and nothing is written. The nodes do not open the frames. Run
as a module, this file is one such node.
"""

import argparse
import json
import os
import struct
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import zmq

from cluster.spawning import READY_S, ReadyPipe, spawn
from harness.bench.load import Figures, Load, figures
from node.quorum import majority
from node.transport import Poller, Route, Transport, receive_all, send_now, tuned

#: The size of the file that is overwritten.
_GROWN_BYTES: Final = 16 * 1024 * 1024
#: What a client's frame, a command and an answer take beside the values, about.
_FRAME_OVERHEAD_BYTES: Final = 100
_COMMAND_OVERHEAD_BYTES: Final = 20
_ANSWER_BYTES: Final = 6
#: The size of a batch, as for a leader of Multi-Paxos.
_BATCH_BYTES: Final = 1024 * 1024
#: How many batches may be in flight.
_IN_FLIGHT_MAX: Final = 4
#: Standard input. It closes when the launcher ends, and then a node of the floor ends too.
_LAUNCHER: Final = 0
#: The head of a frame: whether it holds puts, and the size of its answer in bytes.
_HEAD: Final = struct.Struct(">?I")


class _File:
    """A file whose blocks are overwritten and synced."""

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
    """Write and acknowledge batches until the launcher ends."""
    while _LAUNCHER not in transport.poll(60.0):
        acks: list[Route] = []
        data = b""
        for route, payload in transport.receive(512):
            data += payload
            acks.append(route)
        if data:
            file.write(data)
        for route in acks:
            transport.send_back(route, b"ack")


def _lead(transport: Transport, file: _File, followers: dict[str, str]) -> None:
    """Send batches and answer frames until the launcher ends.

    Acknowledgements come back on the sockets on which the batches went out.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    sockets = []
    for address in followers.values():
        socket = tuned(context.socket(zmq.DEALER))
        socket.connect(address)
        transport.watch(socket.getsockopt(zmq.FD))  # type: ignore[arg-type]
        sockets.append(socket)
    needed = majority(len(followers) + 1) - 1
    in_flight: deque[list[Any]] = deque()  # each batch: its acknowledgements and its frames
    waiting: dict[bool, deque[tuple[Route, bytes]]] = {False: deque(), True: deque()}
    counts = [0] * len(sockets)  # batches that each follower has acknowledged
    first = 0  # the number of the first batch in flight
    due = False
    while _LAUNCHER not in transport.poll(0.0 if due else 0.001 if in_flight else 60.0):
        for index, socket in enumerate(sockets):
            while True:
                try:
                    socket.recv(zmq.NOBLOCK)
                except zmq.Again:
                    break
                position = counts[index] - first
                counts[index] += 1
                if position >= 0:
                    in_flight[position][0] += 1
        for route, payload in transport.receive(512):
            waiting[_HEAD.unpack_from(payload)[0]].append((route, payload))
        for is_put, frames in waiting.items():
            while frames and len(in_flight) < _IN_FLIGHT_MAX:
                batch = _batch(frames)
                data = b"".join(payload for _, payload in batch) if is_put else b""
                for socket in sockets:
                    socket.send(data, zmq.NOBLOCK)
                in_flight.append([0, batch])
                if is_put:
                    file.write(data)
        while in_flight and in_flight[0][0] >= needed:
            for route, payload in in_flight.popleft()[1]:
                is_put, answer_bytes = _HEAD.unpack_from(payload)
                transport.send_back(route, bytes([is_put]) + bytes(answer_bytes))
            first += 1
        due = len(in_flight) < _IN_FLIGHT_MAX and any(waiting.values())


def _batch(frames: deque[tuple[Route, bytes]]) -> list[tuple[Route, bytes]]:
    """Remove and return the first frames, up to the size of a batch."""
    batch: list[tuple[Route, bytes]] = []
    size = 0
    while frames and size < _BATCH_BYTES:
        batch.append(frames.popleft())
        size += len(batch[-1][1])
    return batch


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--followers")
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--parent", type=int)
    arguments = parser.parse_args()
    transport, file = Transport(), _File(arguments.file)
    transport.watch(_LAUNCHER)
    os.write(arguments.ready_fd, json.dumps({"address": transport.address}).encode() + b"\n")
    if arguments.followers is None:
        _follow(transport, file)
    else:
        _lead(transport, file, json.loads(arguments.followers))
    transport.close()


@contextmanager
def _nodes(count: int) -> Iterator[str]:
    """Run nodes of the floor during the block, and yield the leader's address."""
    processes = []
    with tempfile.TemporaryDirectory(prefix="consensus-floor-") as folder:

        def start(name: str, *arguments: str) -> ReadyPipe:
            command = [sys.executable, "-P", "-m", "harness.bench.floor", "--file", f"{folder}/{name}", *arguments]
            popen, pipe = spawn(command, Path(folder) / "log")
            processes.append(popen)
            return pipe

        def address(pipe: ReadyPipe) -> str:
            return pipe.wait("a node of the floor", time.monotonic() + READY_S).address

        try:
            started = [start(f"f{number}") for number in range(1, count)]
            followers = {f"f{number}": address(pipe) for number, pipe in enumerate(started, 1)}
            yield address(start("leader", "--followers", json.dumps(followers)))
        finally:
            for popen in processes:
                popen.kill()
                popen.communicate()


def floor(nodes: int, load: Load) -> Figures:
    """Measure a load on nodes of the floor.

    Each connection sends a frame of puts, a frame of reads, or one of each, and waits for the answers.
    """
    frames = _frames(load)
    with _nodes(nodes) as leader:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        poller = Poller()
        sent: dict[zmq.Socket[bytes], dict[bool, float]] = {}
        for _ in range(load.shape.connections):
            socket = tuned(context.socket(zmq.DEALER))
            socket.connect(leader)
            poller.register(socket)
            sent[socket] = dict.fromkeys(frames, time.monotonic())
            for frame, _ in frames.values():
                socket.send(frame)
        latencies: list[float] = []
        start = time.monotonic() + load.seconds / 5
        while time.monotonic() < start + load.seconds:
            for socket in poller.poll(200):
                for (answer,) in receive_all(socket):
                    is_put = bool(answer[0])
                    frame, commands = frames[is_put]
                    now = time.monotonic()
                    if now >= start:
                        latencies += [now - sent[socket][is_put]] * commands
                    sent[socket][is_put] = now
                    send_now(socket, frame)
        for socket in sent:
            socket.close()
        return figures(latencies, time.monotonic() - start)


def _frames(load: Load) -> dict[bool, tuple[bytes, int]]:
    """Return the frames that a connection sends, each with its number of commands: puts under True, reads under False."""
    reads = round(load.shape.each * load.reads)
    frames = {}
    for is_put, commands in ((True, load.shape.each - reads), (False, reads)):
        if commands:
            in_frame, in_answer = (load.value_bytes, 0) if is_put else (0, load.value_bytes)
            body = bytes(_FRAME_OVERHEAD_BYTES + commands * (_COMMAND_OVERHEAD_BYTES + in_frame))
            frames[is_put] = (_HEAD.pack(is_put, commands * (_ANSWER_BYTES + in_answer)) + body, commands)
    return frames


if __name__ == "__main__":
    _main()
