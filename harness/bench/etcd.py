"""etcd on this machine, as a peer, driven by what drives it fastest.

That is h2load (Debian's nghttp2-client), a load generator in C: etcd's puts are gRPC calls, and a gRPC call is an HTTP/2
request with a body of a few bytes around the message. A client in Python would be the bottleneck and flatter us.
"""

import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cluster.errors import ConsensusError
from harness.bench.load import Figures, Shape

_READY_S: Final = 20.0


class PeerMissing(ConsensusError):
    """What is to be compared with is not installed."""


class Etcd:
    """A cluster of etcd with its own defaults, in a temporary folder on the same disk as ours would be."""

    def __init__(self, nodes: int) -> None:
        for program, package in (("etcd", "etcd-server"), ("h2load", "nghttp2-client")):
            if shutil.which(program) is None:
                raise PeerMissing(f"{program} is not installed: apt-get install {package}, or leave the comparison out")
        said = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True).stdout
        self.version = "etcd " + said.splitlines()[0].rpartition(" ")[2]
        self._nodes = nodes
        self._folder = Path(tempfile.mkdtemp(prefix="consensus-etcd-"))
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Etcd":
        ports = free_ports(2 * self._nodes)
        self._clients = [f"http://127.0.0.1:{port}" for port in ports[: self._nodes]]
        peers = [f"http://127.0.0.1:{port}" for port in ports[self._nodes :]]
        initial = ",".join(f"e{number}={peer}" for number, peer in enumerate(peers))
        for number, (client, peer) in enumerate(zip(self._clients, peers, strict=True)):
            with open(self._folder / f"e{number}.log", "wb") as log:
                command = [
                    "etcd", "--name", f"e{number}", "--data-dir", str(self._folder / f"e{number}"),
                    "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
                    "--initial-advertise-peer-urls", peer, "--initial-cluster", initial,
                    "--initial-cluster-state", "new", "--log-level", "error", "--quota-backend-bytes", str(8 * 2**30),
                ]  # fmt: skip
                self._processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        deadline = time.monotonic() + _READY_S
        while self._load(Shape(1, 1), 1, 1) is None:
            if time.monotonic() > deadline:
                self.__exit__()
                raise PeerMissing(f"etcd did not serve within {_READY_S:g} s")
            time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def measure(self, shape: Shape, seconds: float, value_bytes: int) -> Figures:
        """Puts at the leader's client port or another, whichever is faster."""
        count = max(int(seconds * (300 if shape.in_flight == 1 else 2_500)), 100)
        best: Figures | None = None
        for client in range(self._nodes):
            self._load(shape, count // 5, value_bytes, client)
            found = self._load(shape, count, value_bytes, client)
            if found is not None and (best is None or found.per_s > best.per_s):
                best = found
        if best is None:
            raise PeerMissing("h2load could not drive etcd")
        return best

    def _load(self, shape: Shape, count: int, value_bytes: int, client: int = 0) -> Figures | None:
        body = self._folder / "put.grpc"
        body.write_bytes(_put_request(b"key", bytes(value_bytes)))
        command = [
            "h2load", "-n", str(max(count, shape.connections)), "-c", str(shape.connections), "-m", str(shape.each),
            "-d", str(body), "-H", "content-type: application/grpc", "-H", "te: trailers",
            f"{self._clients[client]}/etcdserverpb.KV/Put",
        ]  # fmt: skip
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        rate = re.search(r"finished in .*?, ([\d.]+) req/s", said)
        done = re.search(r"(\d+) succeeded", said)
        mean = re.search(r"time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)\s", said)
        if rate is None or done is None or int(done[1]) == 0:
            return None
        mean_ms = float(mean[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[mean[2]] if mean else 0.0
        return Figures(float(rate[1]), mean_ms, 0.0, int(done[1]), 0)


def free_ports(count: int) -> Sequence[int]:
    """Ports that were free a moment ago: etcd has to be told its ports beforehand."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _put_request(key: bytes, value: bytes) -> bytes:
    """etcdserverpb.PutRequest (fields 1 and 2 are key and value) in a gRPC frame."""
    message = b"\x0a" + _varint(len(key)) + key + b"\x12" + _varint(len(value)) + value
    return b"\0" + len(message).to_bytes(4, "big") + message


def _varint(number: int) -> bytes:
    encoded = b""
    while number > 127:
        encoded += bytes([number & 127 | 128])
        number >>= 7
    return encoded + bytes([number])
