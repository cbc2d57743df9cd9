"""Makes the folder of a new cluster from the state of another one. `restore` and `recover` both do this.

Rules
-----
1. The folder is made aside (`.NAME.unfinished`, in the same folder as NAME) and is complete and durable before it is moved to
   its place. What an earlier attempt has left there is deleted.
2. Each node gets a disk of its own with the state as a snapshot, and is noted as having run: it never starts without that disk.
3. The cluster gets a new id, so nodes and clients of the old cluster cannot talk to it. Its numbers rise above those of the old
   one (see `node/replication/new_cluster.py`).
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cluster.durable_files import DurableFiles
from cluster.errors import AlreadyUp, Mistake
from cluster.folder_lock import FolderLock
from cluster.folder_mark import LOCK_NAME, FolderMark
from cluster.saving import ShowBytes
from cluster.spec import Spec, create, node_names
from node.algorithms import load_algorithm
from node.contract import NodeId
from node.log_contract import LogAlgorithm
from node.machine import FloorTooLow
from node.machines import DEFAULT
from node.offline import OfflineNode
from node.replication.new_cluster import floor_at
from node.replication.state import ReplicatedState
from node.settings import BadSpec
from node.storage.disk import Disk
from node.tuning import SHIPPED, Tuning


class NewCluster(NamedTuple):
    """The settings of a cluster that is to be made. Its `machines` are those of a spec; empty for the standard ones."""

    nodes: tuple[NodeId, ...]
    algorithm: str
    machines: tuple[str, ...] = ()
    seed: int = 0
    vfs: str | None = None
    tuning: Tuning = SHIPPED


class MadeFolder(NamedTuple):
    """A cluster's folder, as it was made aside. `lock` keeps others out until its release."""

    path: Path
    lock: FolderLock


def names_of(nodes: int | Sequence[NodeId] | None, before: tuple[NodeId, ...]) -> tuple[NodeId, ...]:
    """Return the names of the new nodes. By default they are those of the voters before."""
    return before if nodes is None or nodes == len(before) else node_names(nodes)


def log_algorithm(name: str) -> type[LogAlgorithm]:
    """Return the algorithm of this name. Raises Mistake if it keeps no log."""
    algorithm = load_algorithm(name)
    if not issubclass(algorithm, LogAlgorithm):
        raise Mistake(
            f"{name} keeps no log that could be saved or recovered. What it has decided is on the disks of its nodes: end the "
            "cluster and copy its whole folder"
        )
    return algorithm


def empty_state(new: NewCluster) -> ReplicatedState:
    """Return the state of such a cluster before its first slot."""
    algorithm = log_algorithm(new.algorithm)
    return algorithm(OfflineNode(new.nodes[0], new.nodes, {}, machines=new.machines, tuning=new.tuning)).state


def raise_numbers(state: ReplicatedState, new: NewCluster, now_ms: int) -> None:
    """Make `state` the first state of the new cluster.

    Args:
        state: the state of the old one.
        new: the new one.
        now_ms: the time by this machine's clock, in milliseconds since 1970.

    Raises:
        BadSpec: the clock is behind.
    """
    try:
        state.begin_new_cluster(new.nodes, floor_at(now_ms))
    except FloorTooLow as error:
        raise BadSpec(
            f"the clock of this machine is behind: {error}. Set the clock, and repeat. Nothing was changed"
        ) from None


def make_aside(
    place: Path, new: NewCluster, state: ReplicatedState, files: DurableFiles, show: ShowBytes
) -> MadeFolder:
    """Make the folder of a new cluster beside the place that it is for. It is complete and durable when this returns.

    Args:
        place: where the folder is to be moved.
        new: the cluster.
        state: its first state.
        files: how files become durable.
        show: called with how many bytes of all disks are written.

    Raises:
        Mistake: another process makes a folder for this place.
        BadSpec, UnknownAlgorithm, UnknownMachine: as `create` does.
        DiskError, OSError: the disk is full, or has failed. Nothing is left.
    """
    aside = place.with_name(f".{place.name}.unfinished")
    try:
        lock = FolderLock(aside)
    except AlreadyUp:
        raise Mistake(f"another process makes a cluster for {place} now: wait until it has ended") from None
    try:
        for left in aside.iterdir():
            if left.name != LOCK_NAME:
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        files.step(f"make {aside.name}")
        machines = [name for name in new.machines if name not in DEFAULT]
        spec = create(
            aside,
            nodes=new.nodes,
            algorithm=new.algorithm,
            seed=new.seed,
            vfs=new.vfs,
            machines=machines,
            settings=new.tuning.changed(),
        )
        FolderMark.of(aside, spec.settings.cluster, moves_to=place).save(aside)
        packed = state.packed()
        for number, node in enumerate(new.nodes):
            files.step(f"write the disk of {node}")
            spec.mark_booted(node, _write_disk(spec, node, state.applied, packed))
            show((number + 1) * len(packed), len(new.nodes) * len(packed))
        files.sync_tree(aside)
    except BaseException:
        discard(MadeFolder(aside, lock))
        raise
    return MadeFolder(aside, lock)


def check_empty(place: Path) -> None:
    """Check that a new cluster's folder can be made there.

    Raises:
        Mistake: there is something.
    """
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        raise Mistake(f"{place} is no folder: name one that is missing or empty. Nothing was made")
    if place.is_dir() and (names := sorted(path.name for path in place.iterdir())):
        few = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise Mistake(
            f"{place} holds something already ({few}): name a folder that is missing or empty. Nothing was made"
        )


def place_new(place: Path, new: NewCluster, state: ReplicatedState, files: DurableFiles, show: ShowBytes) -> None:
    """Make the folder of a new cluster in a place that is empty. Raises as `check_empty` and `make_aside` do."""
    place.parent.mkdir(parents=True, exist_ok=True)
    made = make_aside(place, new, state, files, show)
    try:
        files.move(made.path, place)
    except BaseException as error:
        discard(made)
        if isinstance(error, OSError):
            check_empty(place)  # something was put there meanwhile
        raise
    made.lock.release()


def discard(made: MadeFolder) -> None:
    """Delete a folder that was made aside."""
    shutil.rmtree(made.path, ignore_errors=True)
    made.lock.release()


def _write_disk(spec: Spec, node: NodeId, slot: int, packed: bytes) -> int:
    """Make the disk of a node. Returns how often it has booted."""
    settings = spec.settings
    disk = Disk(
        settings.directory(node),
        cluster=settings.cluster,
        node=node,
        made_for=settings.made_for,
        tuning=settings.tuning,
    )
    try:
        size = settings.tuning.snapshot_part_bytes
        parts = [packed[start : start + size] for start in range(0, len(packed), size)]
        log_algorithm(settings.algorithm).store_state(disk.variable(""), disk.log, slot, parts)
        disk.commit()
        return disk.incarnation
    finally:
        disk.close()
