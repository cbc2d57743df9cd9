"""One node of Redis with Sentinel: a server and a sentinel that live together. A program, which redis.toml starts.

It writes the configuration of both at the first start; later starts find what Redis and Sentinel have made of it. It ends when
one of the two ends, and prints "in sync" when both know all others.
"""

import argparse
import contextlib
import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from harness.systems.commands.shipped.resp import MASTER, RedisError, Resp

_LOOK_S = 0.1
_ANSWER_S = 1.0


class _Peer(NamedTuple):
    """Where others reach a node."""

    name: str
    client: str
    sentinel: str


def _id_of(peer: _Peer) -> str:
    """Return the id of a node's sentinel."""
    return hashlib.sha1(repr(peer).encode(), usedforsecurity=False).hexdigest()


def write_files(folder: Path, arguments: argparse.Namespace, peers: list[_Peer]) -> tuple[Path, Path]:
    """Write the configuration of the server and of the sentinel, unless they are there. Returns their files."""
    server, sentinel = folder / "redis.conf", folder / "sentinel.conf"
    me = next(peer for peer in peers if peer.name == arguments.id)
    if not server.exists():
        lines = [
            f"port {arguments.client_port}",
            "bind 127.0.0.1",
            f"dir {folder}",
            "appendonly yes",  # with Redis's own default of a sync each second
            'save ""',
            "repl-diskless-sync-delay 0",
            "replica-announce-ip 127.0.0.1",
            f"replica-announce-port {me.client}",
            *([] if me == peers[0] else [f"replicaof 127.0.0.1 {peers[0].client}"]),
        ]
        server.write_text("\n".join(lines) + "\n")
    if not sentinel.exists():
        lines = [
            f"port {arguments.sentinel_port}",
            "bind 127.0.0.1",
            f"dir {folder}",
            f"sentinel monitor {MASTER} 127.0.0.1 {peers[0].client} {len(peers) // 2 + 1}",
            f"sentinel down-after-milliseconds {MASTER} {arguments.down_after_ms}",
            f"sentinel failover-timeout {MASTER} {3 * arguments.down_after_ms}",
            # What a sentinel finds out within some ten seconds, and then writes here itself.
            f"sentinel myid {_id_of(me)}",
            *(f"sentinel known-replica {MASTER} 127.0.0.1 {peer.client}" for peer in peers[1:]),
            *(
                f"sentinel known-sentinel {MASTER} 127.0.0.1 {peer.sentinel} {_id_of(peer)}"
                for peer in peers
                if peer != me
            ),
            "sentinel announce-ip 127.0.0.1",
            f"sentinel announce-port {me.sentinel}",
        ]
        sentinel.write_text("\n".join(lines) + "\n")
    return server, sentinel


def is_in_sync(arguments: argparse.Namespace, nodes: int) -> bool:
    """Return whether the sentinel knows all others and every replica, and the server's replication is up."""
    try:
        with contextlib.closing(Resp(f"127.0.0.1:{arguments.sentinel_port}", _ANSWER_S)) as sentinel:
            others = len(sentinel.ask("SENTINEL", "SENTINELS", MASTER))
            replicas = len(sentinel.ask("SENTINEL", "REPLICAS", MASTER))
        with contextlib.closing(Resp(f"127.0.0.1:{arguments.client_port}", _ANSWER_S)) as server:
            info = server.ask("INFO", "replication")
    except (OSError, RedisError):
        return False
    is_up = "master_link_status:up" in info or f"connected_slaves:{nodes - 1}" in info
    return others == replicas == nodes - 1 and is_up


def main() -> int:
    """Run both until one ends, or until SIGTERM."""
    parser = argparse.ArgumentParser(description="A node of Redis with Sentinel.")
    for name in ("--id", "--folder", "--peers"):
        parser.add_argument(name, required=True)
    for name in ("--client-port", "--sentinel-port"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--down-after-ms", type=int, default=1000)
    arguments = parser.parse_args()
    peers = [_Peer(*entry.split("/")) for entry in arguments.peers.split(",")]
    server, sentinel = write_files(Path(arguments.folder), arguments, peers)
    both = [
        subprocess.Popen(["redis-server", str(server)]),
        subprocess.Popen(["redis-server", str(sentinel), "--sentinel"]),
    ]
    asked_to_end = False

    def end(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked_to_end
        asked_to_end = True
        for process in both:
            process.terminate()

    signal.signal(signal.SIGTERM, end)
    in_sync = False
    while all(process.poll() is None for process in both):
        if not in_sync and is_in_sync(arguments, len(peers)):
            in_sync = True
            print("in sync", flush=True)
        time.sleep(_LOOK_S)
    for process in both:
        process.terminate()
    statuses = [process.wait() for process in both]
    return 0 if asked_to_end else next((status for status in statuses if status), 1)


if __name__ == "__main__":
    sys.exit(main())
