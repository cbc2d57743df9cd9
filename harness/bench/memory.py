"""Memory and disk of the nodes under very many puts over a bounded number of keys, in very many sessions.

On each connection one session follows another, and none is closed, so the log's state holds all of them at the end. When 40 %
of the puts are done, a follower is killed and its disk is wiped, and a node with a new name takes its place while the load
continues. At the end the benchmark recovers the whole state at one slot, with machines, sessions and members, from every
disk, and compares the hashes.
"""

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from cluster.cluster import Cluster
from cluster.membership import leader_of, replace_node
from cluster.processes import memory_bytes
from harness.bench.load import Figures, LoadGenerator, Shape
from harness.bench.tracked import Background, Tracked, in_background
from node.algorithms import DEFAULT_LOG, load_algorithm
from node.contract import NodeId
from node.log_contract import LogAlgorithm
from node.offline import replica_on_disk
from node.storage.disk import inspect

_SHAPE: Final = Shape(256, 16)
_MB: Final = 1e6
#: How long the nodes may take to replace a node or to reach the same slot, in seconds.
_WAIT_S: Final = 120.0
_CHECK_INTERVAL_S: Final = 0.1
#: About how many samples the row has, besides one at the end.
_SAMPLES: Final = 20
#: The share of the load after which the follower is replaced.
_REPLACE_AT: Final = 0.4


def memory(
    nodes: int = 3,
    sessions: int = 10_000,
    keys: int = 100_000,
    puts: int = 1_000_000,
    value_bytes: int = 100,
    seconds: float = float("inf"),
    progress: Callable[[str], None] = lambda _: None,
    algorithm: str = DEFAULT_LOG,
) -> dict[str, Any]:
    """Measure the memory and the disk of each node.

    Args:
        nodes: how many nodes the cluster has.
        sessions: how many sessions make the puts.
        keys: how many keys there are, about.
        puts: how many puts to begin.
        value_bytes: the size of a value.
        seconds: after this time no further put begins. The row's `puts` is the number of puts that began.
        progress: called with a line for people.
        algorithm: the log.

    Returns:
        The row of figures. Sizes are in millions of bytes, and times in seconds.

    Raises:
        TimeoutError: the nodes did not reach the same slot.
    """
    tracked = Tracked(_SHAPE, keys, value_bytes, most=puts)
    with Cluster(nodes=nodes, algorithm=algorithm) as cluster:
        figures, sampler, replaced = _load_and_replace(cluster, tracked, puts, sessions, seconds, progress)
        took_s = sampler.elapsed_s()
        slot, chains, open_sessions = _wait_for_equal_slots(cluster)
        sampler.take_sample(keep=True)
        progress("reading all keys and the disks")
        with cluster.log_client() as client:
            found = tracked.read_back(client)
        hashes = {node: state_hash(cluster, node, slot) for node in cluster.nodes}
    return {
        "nodes": nodes,
        "value_bytes": value_bytes,
        "puts": tracked.count,
        "puts_per_s": figures.per_s,
        "seconds": took_s,
        "unknown": figures.failed,
        "keys": found.keys,
        "sessions": open_sessions,
        "lost": found.lost,
        "twice": found.twice,
        "put_mb": tracked.count * value_bytes / _MB,
        "memory_mb_max": sampler.most["memory_mb"],
        "disk_mb_max": sampler.most["disk_mb"],
        "samples": sampler.samples,
        "replaced": replaced,
        "slot": slot,
        "hashes": hashes,
        "agree": len(set(hashes.values())) == len(set(chains.values())) == 1 and len(hashes) == nodes,
    }


class _LoadResult(NamedTuple):
    figures: Figures
    sampler: "_Sampler"
    replaced: dict[str, Any]
    """The row's figures of the replacement."""


def _load_and_replace(
    cluster: Cluster, tracked: Tracked, puts: int, sessions: int, seconds: float, progress: Callable[[str], None]
) -> _LoadResult:
    """Run the load with its samples, and replace a follower in the middle of it."""
    addresses = dict(cluster.client_addresses())
    generator = LoadGenerator(
        cluster.spec.settings.cluster,
        lambda: addresses,
        _SHAPE,
        tracked.begin,
        each_client=-(-puts // sessions),
        on_ok=lambda call, _: tracked.acknowledge(call),
    )
    sampler = _Sampler(cluster, generator, puts, seconds, progress)
    with in_background(generator) as load, sampler.sampling():
        while load.running and sampler.share() < _REPLACE_AT:
            time.sleep(_CHECK_INTERVAL_S)
        replaced = _replace_a_follower(cluster, generator, progress)
        addresses = dict(cluster.client_addresses())
        while load.running:
            time.sleep(_CHECK_INTERVAL_S)
            if sampler.share() >= 1:
                generator.stop()
        figures = load.result()
    return _LoadResult(figures, sampler, replaced)


class _Sampler:
    """Samples the nodes' memory and disks while the load runs. It only reads, so it can run beside any other work."""

    def __init__(
        self, cluster: Cluster, generator: LoadGenerator, puts: int, seconds: float, progress: Callable[[str], None]
    ) -> None:
        self._cluster, self._generator, self._puts, self._seconds = cluster, generator, puts, seconds
        self._progress = progress
        self._began = time.monotonic()
        self._due = 0.0
        self._ended = False
        self.samples: list[dict[str, Any]] = []
        self.most = {"memory_mb": 0.0, "disk_mb": 0.0}  # over all samples, of which only some are kept

    def elapsed_s(self) -> float:
        """Return the seconds since the load began."""
        return time.monotonic() - self._began

    def share(self) -> float:
        """Return the share of the load that is done, by puts or by time."""
        return max(self._generator.done / self._puts, self.elapsed_s() / self._seconds)

    @contextlib.contextmanager
    def sampling(self) -> Iterator[None]:
        """Take samples during the block."""
        sampling = Background(self._take_samples)
        try:
            yield
        finally:
            self._ended = True
            sampling.result()

    def _take_samples(self) -> None:
        while not self._ended:
            self.take_sample(keep=self.share() >= self._due)
            time.sleep(_CHECK_INTERVAL_S)

    def take_sample(self, keep: bool) -> None:
        """Take one sample, and keep it in the row if `keep`."""
        processes = list(self._cluster.processes.items())
        sample: dict[str, Any] = {
            "at_s": self.elapsed_s(),
            "puts": self._generator.done,
            "memory_mb": {node: memory_bytes(process.pid) / _MB for node, process in processes if process.pid},
            "disk_mb": {node: bytes_in(self._cluster.spec.settings.data / node) / _MB for node, _ in processes},
        }
        self.most = {what: max([size, *sample[what].values()]) for what, size in self.most.items()}
        if keep:
            self._due = self.share() + 1 / _SAMPLES
            self.samples.append(sample)
            size = max(sample["memory_mb"].values(), default=0.0)
            self._progress(f"{sample['puts']:,} of {self._puts:,} puts; a node takes {size:.0f} MB")


def bytes_in(folder: Path) -> int:
    """Return the bytes that a node's files take, SQLite's log included. They may be removed meanwhile: one node is wiped."""
    total = 0
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_blocks * 512
    return total


def _replace_a_follower(cluster: Cluster, generator: LoadGenerator, progress: Callable[[str], None]) -> dict[str, Any]:
    """Kill a follower, wipe its disk, and replace it by a new node. Return the row's figures of that."""
    leader = leader_of(cluster)
    old = next(node for node in cluster.nodes if node != leader)
    new = f"n{len(cluster.nodes) + 1}"
    progress(f"{old} is killed and wiped; {new} takes its place")
    puts, began = generator.done, time.monotonic()
    cluster.kill(old)
    shutil.rmtree(cluster.spec.settings.data / old)
    replace_node(cluster, old, new, _WAIT_S)
    took_s = time.monotonic() - began
    progress(f"{new} votes after {took_s:.1f} s")
    return {"node": old, "by": new, "took_s": took_s, "puts_meanwhile": generator.done - puts}


class _EqualSlots(NamedTuple):
    slot: int
    """The slot that every node has applied."""
    chains: dict[NodeId, int]
    """The hash of each node's state at this slot, by its status."""
    sessions: int
    """How many sessions the state has."""


def _wait_for_equal_slots(cluster: Cluster) -> _EqualSlots:
    """Wait until all nodes have applied the same slot. Raise TimeoutError if they do not."""
    deadline = time.monotonic() + _WAIT_S
    while True:
        states = {node: status["variables"][""] for node, status in cluster.status().items()}
        slots = {state["applied"] for state in states.values()}
        if len(states) == len(cluster.nodes) and len(slots) == 1:
            chains = {node: int(state["chain"]) for node, state in states.items()}
            return _EqualSlots(int(slots.pop()), chains, max(int(state["sessions"]) for state in states.values()))
        if time.monotonic() > deadline:
            raise TimeoutError(f"the nodes stand at different slots after {_WAIT_S:g} s: {sorted(slots)}")
        time.sleep(_CHECK_INTERVAL_S)


def state_hash(cluster: Cluster, node: NodeId, slot: int) -> str:
    """Return the hash of the whole state at `slot`, recovered from the disk of `node`, which must have applied the slot."""
    contents = inspect(cluster.spec.settings.data / node)
    known = contents.variables[""] | {"commit": slot}
    algorithm = load_algorithm(cluster.spec.settings.algorithm)
    replica = replica_on_disk(algorithm, node, cluster.spec.nodes, known, contents.log)
    assert isinstance(replica, LogAlgorithm)
    assert replica.state.applied == slot, (replica.state.applied, slot)
    return hashlib.sha256(replica.state.snapshot()).hexdigest()
