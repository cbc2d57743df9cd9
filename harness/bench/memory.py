"""Memory and disk of the nodes while very many puts go over a bounded number of keys, in very many sessions.

One session follows the other on each connection, and none is closed: all of them are alive in the log's state at the end. In
the middle one follower is killed, its disk is wiped, and a node with a new name takes its place while the load goes on. In
the end every disk is read, and the whole state that it leads to at one slot is hashed: machines, sessions and members.
"""

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from cluster.cluster import Cluster
from cluster.membership import leader_of, replace_node
from cluster.processes import memory_bytes
from harness.bench.load import Drive, Shape
from harness.bench.tracked import Background, Tracked, driving
from harness.records.disks import OfflineNode
from node.algorithms.multipaxos import MultiPaxos
from node.contract import NodeId
from node.storage.disk import inspect

_SHAPE: Final = Shape(256, 16)
_MB: Final = 1e6
_WAIT_S: Final = 120.0
_LOOK_EVERY_S: Final = 0.1
_SAMPLES: Final = 20  # about so many in all, and one when it ends
_REPLACE_AT: Final = 0.4  # of the puts


def memory(
    nodes: int = 3,
    sessions: int = 10_000,
    keys: int = 100_000,
    puts: int = 1_000_000,
    value_bytes: int = 100,
    seconds: float = float("inf"),
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Sizes are in millions of bytes. After `seconds` no put is begun any more; `puts` says how many there were then."""
    tracked = Tracked(_SHAPE, keys, value_bytes, most=puts)
    with Cluster(nodes=nodes, algorithm="multipaxos") as cluster:
        addresses = dict(cluster.client_addresses())
        drive = Drive(
            cluster.spec.settings.cluster,
            lambda: addresses,
            _SHAPE,
            tracked.begin,
            each_client=-(-puts // sessions),
            on_ok=lambda call, _: tracked.acknowledge(call),
        )
        sampler = _Sampler(cluster, drive, puts, seconds, progress)
        with driving(drive) as load, sampler.beside():
            while load.running and sampler.share() < _REPLACE_AT:
                time.sleep(_LOOK_EVERY_S)
            replaced = _replace_a_follower(cluster, drive, progress)
            addresses = dict(cluster.client_addresses())
            while load.running:
                time.sleep(_LOOK_EVERY_S)
                if sampler.share() >= 1:
                    drive.stop()
            figures = load.result()
        took_s = sampler.at_s()
        slot, chains, alive = _wait_equal(cluster)
        sampler.look(keep=True)
        progress("reading all back, and the disks")
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
        "sessions": alive,
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


class _Sampler:
    """Looks at the nodes' memory and disks while the load runs. It only looks, so it may run beside whatever is done."""

    def __init__(
        self, cluster: Cluster, drive: Drive, puts: int, seconds: float, progress: Callable[[str], None]
    ) -> None:
        self._cluster, self._drive, self._puts, self._seconds = cluster, drive, puts, seconds
        self._progress = progress
        self._began = time.monotonic()
        self._due = 0.0
        self._ended = False
        self.samples: list[dict[str, Any]] = []
        self.most = {"memory_mb": 0.0, "disk_mb": 0.0}  # at every look, of which only some are kept

    def at_s(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self._began

    def share(self) -> float:
        """How much of the load is done, by puts or by time."""
        return max(self._drive.done / self._puts, self.at_s() / self._seconds)

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """Look all the time during the block."""
        looking = Background(self._look_on)
        try:
            yield
        finally:
            self._ended = True
            looking.result()

    def _look_on(self) -> None:
        while not self._ended:
            self.look(keep=self.share() >= self._due)
            time.sleep(_LOOK_EVERY_S)

    def look(self, keep: bool) -> None:
        """Look once."""
        processes = list(self._cluster.processes.items())
        sample: dict[str, Any] = {
            "at_s": self.at_s(),
            "puts": self._drive.done,
            "memory_mb": {node: memory_bytes(process.pid) / _MB for node, process in processes if process.pid},
            "disk_mb": {node: _disk_bytes(self._cluster, node) / _MB for node, _ in processes},
        }
        self.most = {what: max([size, *sample[what].values()]) for what, size in self.most.items()}
        if keep:
            self._due = self.share() + 1 / _SAMPLES
            self.samples.append(sample)
            size = max(sample["memory_mb"].values(), default=0.0)
            self._progress(f"{sample['puts']:,} of {self._puts:,} puts; a node takes {size:.0f} MB")


def _disk_bytes(cluster: Cluster, node: NodeId) -> int:
    """The state and SQLite's log, as they are allocated on the disk."""
    total = 0
    for path in (cluster.spec.settings.data / node).glob("*"):
        with contextlib.suppress(FileNotFoundError):  # it is being wiped
            total += path.stat().st_blocks * 512
    return total


def _replace_a_follower(cluster: Cluster, drive: Drive, progress: Callable[[str], None]) -> dict[str, Any]:
    """Kill a follower, wipe its disk, and have a new node take its place."""
    leader = leader_of(cluster)
    old = next(node for node in cluster.nodes if node != leader)
    new = f"n{len(cluster.nodes) + 1}"
    progress(f"{old} is killed and wiped; {new} takes its place")
    puts, began = drive.done, time.monotonic()
    cluster.kill(old)
    shutil.rmtree(cluster.spec.settings.data / old)
    replace_node(cluster, old, new, _WAIT_S)
    took_s = time.monotonic() - began
    progress(f"{new} votes after {took_s:.1f} s")
    return {"node": old, "by": new, "took_s": took_s, "puts_meanwhile": drive.done - puts}


def _wait_equal(cluster: Cluster) -> tuple[int, dict[NodeId, int], int]:
    """The slot that all nodes have applied, the checksum of each one's answers up to there, and how many sessions there are.

    Raises TimeoutError if they do not come to the same slot.
    """
    deadline = time.monotonic() + _WAIT_S
    while True:
        states = {node: status["variables"][""] for node, status in cluster.status().items()}
        slots = {state["applied"] for state in states.values()}
        if len(states) == len(cluster.nodes) and len(slots) == 1:
            chains = {node: int(state["chain"]) for node, state in states.items()}
            return int(slots.pop()), chains, max(int(state["sessions"]) for state in states.values())
        if time.monotonic() > deadline:
            raise TimeoutError(f"the nodes stand at different slots after {_WAIT_S:g} s: {sorted(slots)}")
        time.sleep(_LOOK_EVERY_S)


def state_hash(cluster: Cluster, node: NodeId, slot: int) -> str:
    """The hash of all that the disk of `node` leads to at `slot`, up to which it must have applied the log."""
    contents = inspect(cluster.spec.settings.data / node)
    known = contents.variables[""] | {"commit": slot}
    replica = MultiPaxos(OfflineNode(node, cluster.spec.nodes, known, contents.log))
    replica.start()
    assert replica.state.applied == slot, (replica.state.applied, slot)
    return hashlib.sha256(replica.state.snapshot()).hexdigest()
