"""PySyncObj on this machine, as a peer: with its journal on, driven from the process of its leader.

PySyncObj is a library without a client of its own, so the leader's own process drives it fastest: no call crosses a socket
before it is replicated, and connections make no difference. It is measured with its defaults, with a shorter period between
its messages, and without batches; the best figures count. Run as a module, this file is one such node.
"""

import argparse
import dataclasses
import json
import os
import sys
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Final

from cluster.spawning import READY_S, ReadyPipe, spawn
from harness.bench.load import Figures, Load, Shape, figures
from harness.bench.peers import Peer, PeerMissing, free_ports, need_module

#: The settings to measure.
_SETTINGS: Final[tuple[dict[str, Any], ...]] = ({}, {"appendEntriesPeriod": 0.005}, {"appendEntriesUseBatch": False})
#: How long the nodes may take to elect a leader, in seconds.
_LEADER_S: Final = 20.0
#: How long a load may take beyond twice its time, in seconds.
_TIMEOUT_S: Final = 60.0


class PySyncObj(Peer):
    """A cluster of PySyncObj nodes that replicate a dictionary."""

    # `strace -f -e trace=fsync,fdatasync,msync,sync_file_range` on its nodes under load shows none of them: the journal is a
    # memory map that is flushed when the node stops in an orderly way.
    not_durable: ClassVar[str | None] = "every put: the journal is never synced while it runs"

    def find(self) -> str:
        need_module("pysyncobj", "peers")
        return f"PySyncObj {metadata.version('pysyncobj')}"

    def start(self) -> None:
        """Do nothing: each measurement boots nodes of its own."""

    def measure(self, load: Load) -> Figures | None:
        if load.reads:
            return None  # it reads the node's own dictionary, which is not linearizable
        found = [self._measure(load, number) for number in range(len(_SETTINGS))]
        return max(found, key=lambda each: each.per_s)

    def _measure(self, load: Load, settings: int) -> Figures:
        addresses = [f"127.0.0.1:{port}" for port in free_ports(self.nodes)]
        result = self.folder / "result.json"
        result.unlink(missing_ok=True)
        try:
            for number, address in enumerate(addresses):
                command = [sys.executable, "-m", "harness.bench.pysyncobj", "--settings", str(settings)]
                command += ["--address", address, "--partners", *(each for each in addresses if each != address)]
                command += ["--journal", str(self.folder / f"{settings}-{number}"), "--result", str(result)]
                command += ["--load", json.dumps(dataclasses.asdict(load))]
                popen, pipe = spawn(command, self.folder / "log")
                self.processes.append(popen)
                pipe.wait("a node of PySyncObj", time.monotonic() + READY_S)
            deadline = time.monotonic() + _LEADER_S + 2 * load.seconds
            while not result.exists():
                if time.monotonic() > deadline:
                    raise PeerMissing(
                        f"PySyncObj did not finish the load. The end of its log: {(self.folder / 'log').read_text()[-500:]}"
                    )
                time.sleep(0.05)
        finally:
            self.end_processes()
        content = json.loads(result.read_text())
        return figures(content["latencies_s"], content["seconds"], content["failed"])


class _Driver:
    """Keeps puts in flight in the leader's own process. PySyncObj calls back in its single thread."""

    def __init__(self, store: Any, load: Load) -> None:
        self._store, self._load, self._value = store, load, bytes(load.value_bytes)
        self._start = time.monotonic() + load.seconds / 5
        self.ended = threading.Event()
        self.latencies_s: list[float] = []
        self.failed = self._number = 0

    def put(self) -> None:
        """Begin one put. When it is done, the next begins."""
        began = time.monotonic()
        self._number += 1
        self._store.set(f"key-{self._number % 10_000}", self._value, callback=lambda _, error: self._done(began, error))

    def _done(self, began: float, error: object) -> None:
        now = time.monotonic()
        if now > self._start + self._load.seconds:
            self.ended.set()
            return
        if error:
            self.failed += 1
        elif now >= self._start:
            self.latencies_s.append(now - began)
        self.put()


def _end_with_parent() -> None:
    """End this process when its parent closes the other end of stdin, or ends."""
    sys.stdin.buffer.read()
    os._exit(0)


def _main() -> None:
    from pysyncobj import SyncObj, SyncObjConf  # noqa: PLC0415 - an optional extra
    from pysyncobj.batteries import ReplDict  # noqa: PLC0415

    parser = argparse.ArgumentParser()
    for name in ("--settings", "--address", "--journal", "--result", "--load", "--ready-fd", "--parent"):
        parser.add_argument(name, required=True)
    parser.add_argument("--partners", nargs="*", required=True)
    arguments = parser.parse_args()
    content = json.loads(arguments.load)
    load = Load(**(content | {"shape": Shape(**content["shape"])}))
    store = ReplDict()
    settings = SyncObjConf(
        journalFile=arguments.journal, fullDumpFile=f"{arguments.journal}.dump", **_SETTINGS[int(arguments.settings)]
    )
    node = SyncObj(arguments.address, arguments.partners, settings, consumers=[store])
    ReadyPipe.write(int(arguments.ready_fd), {"address": arguments.address})
    parent = threading.Thread(target=_end_with_parent, daemon=True)
    parent.start()
    while not (node.isReady() and node._getLeader() == node.selfNode):
        time.sleep(0.01)
    driver = _Driver(store, load)
    for _ in range(load.shape.in_flight):
        driver.put()
    driver.ended.wait(_TIMEOUT_S + 2 * load.seconds)
    result = Path(arguments.result)
    unfinished = result.with_suffix(f".{os.getpid()}")
    unfinished.write_text(
        json.dumps({"latencies_s": driver.latencies_s, "seconds": load.seconds, "failed": driver.failed})
    )
    unfinished.rename(result)
    parent.join()


if __name__ == "__main__":
    _main()
