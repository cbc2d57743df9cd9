"""etcd on this machine, as a peer, driven by the client that drives it fastest.

That client is h2load (Debian's nghttp2-client), a load generator in C. etcd's calls are gRPC, and a gRPC call is an HTTP/2
request with a body of a few bytes around the message. A client in Python would be the bottleneck, and would make our log look
faster beside it than it is.
"""

import base64
import http.client
import itertools
import json
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any, Final, NamedTuple

from harness.bench.load import Figures, Load, Shape, figures
from harness.bench.peers import Peer, PeerMissing, free_ports, need_program

#: How long etcd may take to serve, in seconds.
_READY_S: Final = 20.0
#: How long a trial of one member takes, in seconds. It is no longer than the measurement.
_TRIAL_S: Final = 0.5
#: How long to wait for the answer of a put before the next member is tried, in seconds: that one may know a leader by then.
_PUT_TIMEOUT_S: Final = 0.5
#: How long to wait before a put is tried again, in seconds.
_AGAIN_S: Final = 0.01
#: The size of the smallest answer. A gRPC error has the HTTP status 200 too, and no body.
_ANSWER_BYTES_MIN: Final = 15


class Etcd(Peer):
    """A cluster of etcd with its own defaults. It syncs before it answers."""

    def find(self) -> str:
        need_program("etcd", "etcd-server")
        need_program("h2load", "nghttp2-client")
        output = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True).stdout
        return "etcd " + output.splitlines()[0].rpartition(" ")[2]

    def start(self) -> None:
        ports = free_ports(2 * self.nodes)
        self._clients = [f"http://127.0.0.1:{port}" for port in ports[: self.nodes]]
        peers = [f"http://127.0.0.1:{port}" for port in ports[self.nodes :]]
        initial = ",".join(f"e{number}={peer}" for number, peer in enumerate(peers))
        self._commands = [
            [
                "etcd", "--name", f"e{number}", "--data-dir", str(self.folder / f"e{number}"),
                "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
                "--initial-advertise-peer-urls", peer, "--initial-cluster", initial,
                "--initial-cluster-state", "new", "--log-level", "error", "--quota-backend-bytes", str(8 * 2**30),
            ]
            for number, (client, peer) in enumerate(zip(self._clients, peers, strict=True))
        ]  # fmt: skip
        self.processes += [self._launch(number) for number in range(self.nodes)]
        deadline = time.monotonic() + _READY_S
        while not self._serves():
            if time.monotonic() > deadline:
                raise PeerMissing(f"etcd did not serve within {_READY_S:g} s")
            time.sleep(0.2)

    def measure(self, load: Load) -> Figures | None:
        """Measure the member at which etcd is fastest, the leader or another. A short trial of each member shows which."""
        put = _framed(_field(1, b"key") + _field(2, bytes(load.value_bytes)))
        calls = [("Put", put, 1 - load.reads), ("Range", _framed(_field(1, b"key")), load.reads)]
        parts = [(call, body, share) for call, body, share in calls if share]
        if len(parts) > load.shape.connections:
            return None  # h2load repeats one call on each connection
        trial_s = min(_TRIAL_S, load.seconds)
        self._run([("Put", put, 1.0)], Shape(1, 1), trial_s, self._clients[0])  # so that there is a value to read
        trials = {client: self._run(parts, load.shape, trial_s, client).figures.per_s for client in self._clients}
        before = self._version()
        found, puts = self._run(parts, load.shape, load.seconds, max(trials, key=lambda client: trials[client]))
        counted = self._version() - before
        if found.done == 0 or found.failed or counted < puts:
            raise PeerMissing(
                f"h2load did not drive etcd: {found.done} done, {found.failed} failed; etcd counted {counted} of {puts} puts"
            )
        return found

    def _launch(self, number: int) -> subprocess.Popen[bytes]:
        with open(self.folder / f"e{number}.log", "ab") as log:
            # A process group of its own, so that Ctrl-C in a terminal reaches only this process, which then ends etcd.
            return subprocess.Popen(self._commands[number], stdout=log, stderr=log, process_group=0)

    # --- single calls, in JSON --------------------------------------------------------------------------------------

    def _request(self, number: int, path: str, content: dict[str, str], timeout_s: float = _READY_S) -> Any:
        """Send one request to a member, and return its answer.

        Raises:
            OSError, HTTPException: the member did not answer.
        """
        request = urllib.request.Request(f"{self._clients[number]}/v3/{path}", json.dumps(content).encode())  # noqa: S310 - ours
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
            return json.load(answer)

    def _version(self) -> int:
        """Return how often the key was put, as etcd counts: h2load does not read the answers."""
        return int(self._request(0, "kv/range", {"key": base64.b64encode(b"key").decode()})["kvs"][0]["version"])

    def failover_s(self, how: str) -> float:
        """Kill or suspend the leader, and return the seconds until another member acknowledges a put.

        The leader is then started again or resumed. All members serve when this returns.

        Args:
            how: "kill" for SIGKILL; anything else for SIGSTOP.

        Raises:
            PeerMissing: no other member acknowledged a put in time.
        """
        statuses = [self._request(number, "maintenance/status", {}) for number in range(self.nodes)]
        leader = next(number for number, each in enumerate(statuses) if each["leader"] == each["header"]["member_id"])
        others = itertools.cycle(number for number in range(self.nodes) if number != leader)
        began = time.monotonic()
        self.processes[leader].send_signal(signal.SIGKILL if how == "kill" else signal.SIGSTOP)
        while not self._acknowledges_put(next(others)):
            if time.monotonic() - began > _READY_S:
                raise PeerMissing(f"etcd did not serve within {_READY_S:g} s after the fault of its leader")
        took_s = time.monotonic() - began
        if how == "kill":
            self.processes[leader].wait()
            self.processes[leader] = self._launch(leader)
        else:
            self.processes[leader].send_signal(signal.SIGCONT)
        while not self._acknowledges_put(leader):
            time.sleep(_AGAIN_S)
        return took_s

    def _acknowledges_put(self, number: int) -> bool:
        """Return whether a member acknowledges a put in time."""
        try:
            put = {"key": base64.b64encode(b"key").decode(), "value": base64.b64encode(b"1").decode()}
            self._request(number, "kv/put", put, _PUT_TIMEOUT_S)
        except (OSError, http.client.HTTPException):  # the member is down, slow, or has no leader
            time.sleep(_AGAIN_S)
            return False
        return True

    # --- h2load -----------------------------------------------------------------------------------------------------

    def _serves(self) -> bool:
        command = _command(self._put_file(_framed(_field(1, b"first"))), Shape(1, 1), self._clients[-1], "Put")
        output = subprocess.run([*command, "-n", "1"], capture_output=True, text=True, check=False).stdout
        return _answered(output) == 1

    def _put_file(self, body: bytes, name: str = "first") -> Path:
        path = self.folder / f"{name}.grpc"
        path.write_bytes(body)
        return path

    def _run(self, parts: list[tuple[str, bytes, float]], shape: Shape, seconds: float, client: str) -> "_H2LoadRun":
        """Run h2load once for each part of a load, at the same time.

        Args:
            parts: each a call, its body, and its share of the connections.
            shape: the shape of the whole load.
            seconds: how long to measure.
            client: the address of the member.
        """
        running = []
        try:
            for call, body, share in parts:
                connections = max(round(shape.connections * share), 1)
                part = Shape(connections * shape.each, connections)
                log = self.folder / f"{call}.times"
                log.unlink(missing_ok=True)
                command = [*_command(self._put_file(body, call), part, client, call), "-D", f"{seconds * 1000:.0f}ms"]
                command += [f"--warm-up-time={seconds * 200:.0f}ms", "--log-file", str(log)]
                running.append((subprocess.Popen(command, stdout=subprocess.PIPE, text=True), log))
            answered = [_answered(process.communicate()[0]) for process, _ in running]
        finally:
            for process, _ in running:
                process.kill()
                process.wait()
        # Each line of a log has three columns: when the call began, the status, and how long it took, in microseconds.
        rows = [line.split() for _, log in running for line in log.read_text().splitlines()]
        latencies_s = [int(row[2]) / 1e6 for row in rows if row[1] == "200"]
        puts = sum(count for (call, _, _), count in zip(parts, answered, strict=True) if call == "Put")
        return _H2LoadRun(figures(latencies_s, seconds, len(rows) - sum(answered)), puts)


class _H2LoadRun(NamedTuple):
    figures: Figures
    """The figures of all calls."""
    puts: int
    """How many puts were answered, by the output of h2load."""


def _command(body: Path, shape: Shape, client: str, call: str) -> list[str]:
    return [
        "h2load", "-c", str(shape.connections), "-m", str(shape.each), "-d", str(body),
        "-H", "content-type: application/grpc", "-H", "te: trailers", f"{client}/etcdserverpb.KV/{call}",
    ]  # fmt: skip


def _answered(output: str) -> int:
    """Return how many calls were answered, by the output of h2load; 0 if the answers are too small to be answers."""
    done, data = re.search(r"(\d+) succeeded", output), re.search(r"\((\d+)\) data", output)
    if done is None or data is None or int(data[1]) < int(done[1]) * _ANSWER_BYTES_MIN:
        return 0
    return int(done[1])


def _framed(message: bytes) -> bytes:
    """Return a message as gRPC sends it: not compressed, after its length."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def _field(number: int, data: bytes) -> bytes:
    """Return a field of a protobuf message.

    In etcdserverpb, fields 1 and 2 of a Put are its key and value, and field 1 of a Range is its key.
    """
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    encoded = b""
    while number > 127:
        encoded += bytes([number & 127 | 128])
        number >>= 7
    return encoded + bytes([number])
