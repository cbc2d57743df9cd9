"""Conflicting operations on real processes while nodes are killed and suspended at random; then what clients saw is judged."""

import os
import threading
import time
from random import Random

import pytest

from cluster import Cluster
from cluster.log_client import LogClient
from cluster.pipeline import Call, Ok
from cluster.processes import State
from tests.end_to_end.test_log import wait_equal
from tests.log_world import World

SECONDS = float(os.environ.get("LOG_STORM_SECONDS", "6"))
KEYS = 3


class Writer(threading.Thread):
    """One client's operations, with when each began and ended."""

    def __init__(self, client: LogClient, name: str, seed: int, stop: threading.Event) -> None:
        super().__init__(name=name)
        self.client, self.rng, self.stop = client, Random(f"{seed}/{name}"), stop
        self.seen: list[tuple[float, float, str, str, bytes, Call]] = []

    def run(self) -> None:
        number = 0
        with self.client:
            while not self.stop.is_set():
                begun = []
                for _ in range(self.rng.randrange(1, 5)):
                    number += 1
                    key, value = f"k{self.rng.randrange(KEYS)}", f"{self.name}/{number}".encode()
                    kind = self.rng.choice(["put", "put", "get"])
                    command = ["put", key, value] if kind == "put" else ["get", key]
                    call = self.client.begin("kv", command, read=kind == "get", timeout_s=3.0)
                    begun.append((time.monotonic(), kind, key, value, call))
                self.client.wait([call for *_, call in begun])
                ended = time.monotonic()
                time.sleep(SECONDS / 600)  # so that all changes are still in the history at the end
                self.seen += [(began, ended, kind, key, value, call) for began, kind, key, value, call in begun]


@pytest.mark.parametrize("seed", range(2))
def test_a_storm(seed: int) -> None:
    rng, stop = Random(seed), threading.Event()
    with Cluster(nodes=3, algorithm="multipaxos", seed=seed) as cluster:
        writers = [Writer(cluster.log_client(), f"c{number}", seed, stop) for number in range(3)]
        for writer in writers:
            writer.start()
        end, faults = time.monotonic() + SECONDS, 0
        try:
            while time.monotonic() < end:
                victim = rng.choice(cluster.nodes)
                faults += 1
                if rng.random() < 0.6:
                    cluster.kill(victim)
                    time.sleep(rng.uniform(0.0, 0.5))
                    cluster.restart(victim)
                else:
                    cluster.suspend(victim)
                    time.sleep(rng.uniform(0.1, 1.2))
                    cluster.resume(victim)
        finally:
            for node in cluster.nodes:
                if cluster.state(node) is State.SUSPENDED:
                    cluster.resume(node)
            stop.set()
            for writer in writers:
                writer.join()
        wait_equal(cluster)
        with cluster.log_client() as client:
            changes, after = [], 0
            while page := client.call("kv", ["watch", "", after, 1_000], read=True, wait_ms=100, timeout_s=30.0):
                changes += page
                after = page[-1][0]
    judge(writers, [(version, key, value) for version, key, value in changes])
    assert faults > 3
    assert sum(isinstance(call.outcome, Ok) for writer in writers for *_, call in writer.seen) > 50


def judge(writers: list[Writer], changes: list[tuple[int, str, bytes]]) -> None:
    """As `World.check_history`, on what clients of real processes saw."""
    written = {version: (key, value) for version, key, value in changes}
    values = [value for _, _, value in changes]
    assert len(values) == len(set(values)), "a write took effect twice"
    by_key: dict[str, list[tuple[float, float, bool, int, str]]] = {}
    for began, ended, kind, key, value, call in (each for writer in writers for each in writer.seen):
        if not isinstance(call.outcome, Ok):
            continue
        result = call.outcome.value
        version = result if kind == "put" else result[1] if result is not None else 0
        shown = value if kind == "put" else result[0] if result is not None else None
        if version:
            assert written.get(version) == (key, shown), f"{kind} {key}: version {version} is {written.get(version)}"
        by_key.setdefault(key, []).append((began, ended, kind == "put", version, f"{kind} {key} {result}"))
    for seen in by_key.values():
        World._check_key(sorted(seen))
