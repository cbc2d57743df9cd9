"""`recover`: makes a new cluster from what one disk holds, when a quorum of the disks is lost for ever.

Theory of operation
-------------------
A value is chosen when a quorum has accepted it. One disk cannot tell which of its values that holds for: it knows a first part of
the log as chosen, it has accepted values above that, and it may lack what others chose above. So a recovery may lose something
that a client was answered, and it needs the user's word (`accept_loss`).

The values above the known part are taken as chosen, each slot by itself, and a slot without a value is empty, as in phase 1 of
Paxos with one promise. That loses least. A value that was accepted may have been acknowledged, and then leaving it out would
lose it. If it was not, its client does not know its outcome, and done is one of the two.

Rules
-----
1. The old folder is kept as it is, beside the new one. Nothing of it is deleted.
2. The new cluster has another id. An old node that comes back cannot talk to it.
3. The new folder takes the old one's place in one step (`DurableFiles.replace`).
"""

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cluster.durable_files import DurableFiles
from cluster.errors import AlreadyUp, Mistake, NoSuchNode, NotUp
from cluster.folder_lock import FolderLock
from cluster.folder_mark import SPEC_NAME, check_no_copy, read_mark
from cluster.left_running import cluster_processes
from cluster.new_folder import (
    NewCluster,
    check_empty,
    discard,
    log_algorithm,
    make_aside,
    names_of,
    place_new,
    raise_numbers,
)
from cluster.saving import ShowBytes, ignore_bytes
from cluster.spec import Spec, open_spec
from node.contract import NodeId
from node.log_contract import LogAlgorithm, LogBroken, Record
from node.offline import replica_on_disk, unconfirmed
from node.quorum import Ballot, majority
from node.replication.state import ReplicatedState, commands_in
from node.storage.disk import DiskError, DiskForeign, DiskMissing, inspect


class Survivor(NamedTuple):
    """What the disk of one node holds."""

    node: NodeId
    replica: LogAlgorithm
    """A replica that has booted from a copy of the disk, and has applied what the disk knows as chosen."""
    chosen: int
    """The slot up to which the disk knows every slot as chosen."""
    accepted: list[Record]
    """The records above `chosen`, in order. Whether they are chosen is not known."""
    records: Mapping[int, Record]
    """Every record that the disk still has, by slot."""
    whole: bool
    """Whether the disk's last commit checks. If not, what it held is lost."""

    @property
    def last(self) -> int:
        """The highest slot of which the disk holds anything."""
        return self.accepted[-1].slot if self.accepted else self.chosen

    @property
    def newest(self) -> Ballot:
        """The ballot of the newest record; of the promise if there is no record."""
        ballots = (Ballot(record.round, record.owner) for record in self.records.values())
        return max(ballots, default=self.replica.promised)

    @property
    def rank(self) -> tuple[Ballot, int, int]:
        """What tells which of two disks holds the later state: the newest ballot, then the last slot, then what is known."""
        return self.newest, self.last, self.chosen

    def extent(self) -> str:
        """Return what the disk holds, for people."""
        return (
            f"slots to {self.last:,}, those to {self.chosen:,} known as chosen, the newest of ballot "
            f"{self.newest.round}.{self.newest.node}"
        )


class Survey(NamedTuple):
    """What is left of a cluster: the disks that can be read, and why the others cannot, by node."""

    survivors: dict[NodeId, Survivor]
    lost: dict[NodeId, str]


class Examination(NamedTuple):
    """What a recovery would use, and in sentences what it would keep and what it may lose."""

    found: Survey
    source: Survivor
    lines: list[str]


class Recovery(NamedTuple):
    """What a recovery has done. `kept` is where the old folder is now."""

    spec: Spec
    kept: Path
    slot: int


def read_survivor(spec: Spec, node: NodeId) -> Survivor:
    """Read what the disk of `node` holds. The disk is only read.

    Raises:
        DiskError: the disk is missing, damaged or of another cluster.
        LogBroken: a record that the disk knows as chosen is missing.
    """
    contents = inspect(spec.settings.directory(node), without_the_last=True)
    if contents.cluster != spec.settings.cluster:
        raise DiskForeign(
            f"{spec.settings.directory(node)} belongs to cluster {contents.cluster[:8]}, and the spec to "
            f"{spec.settings.cluster[:8]}: restore the directory or the spec"
        )
    replica = replica_on_disk(
        log_algorithm(spec.settings.algorithm),
        node,
        spec.nodes,
        contents.variables.get("", {}),
        contents.log,
        spec.settings.machines,
        spec.settings.tuning,
    )
    assert isinstance(replica, LogAlgorithm)
    accepted, records = unconfirmed(replica, contents.log), contents.log.records
    return Survivor(node, replica, replica.state.applied, accepted, records, contents.whole)


def survey(spec: Spec) -> Survey:
    """Read the disks of all nodes of a cluster that were not removed. Raises Mistake if the cluster keeps no log."""
    log_algorithm(spec.settings.algorithm)
    found = Survey({}, {})
    for node in spec.present_nodes():
        try:
            found.survivors[node] = read_survivor(spec, node)
        except DiskMissing:
            found.lost[node] = f"there is no disk in {spec.settings.directory(node)}"
        except (DiskError, LogBroken) as error:
            found.lost[node] = str(error)
    return found


def open_ended(root: Path) -> tuple[Spec, FolderLock]:
    """Open the folder of a cluster that has ended, and lock it.

    Raises:
        NotUp: there is no cluster.
        AlreadyUp: it is up, or a process of it still runs.
        CopiedFolder: the folder is a copy.
    """
    if not (root / SPEC_NAME).exists():
        raise NotUp(f"there is no cluster in {root}: name its folder with --dir")
    check_no_copy(root)
    lock = FolderLock(root)
    try:
        spec = open_spec(root)
        _check_ended(spec)
    except BaseException:
        lock.release()
        raise
    return spec, lock


def _check_ended(spec: Spec) -> None:
    """Raise AlreadyUp if a process of the cluster runs. The lock shows neither what a program has launched nor what is left."""
    running = [one for one in cluster_processes() if one.mark.cluster == spec.settings.cluster]
    if running:
        names = ", ".join(f"{one.mark.role} (process {one.process.pid})" for one in running)
        raise AlreadyUp(
            f"processes of the cluster in {spec.root} still run: {names}. `consensus down` ends them, or the end of the program "
            "that has launched them. Nothing was changed"
        )


def source_of(found: Survey, node: NodeId) -> Survivor:
    """Return the survivor from which a cluster is to be recovered.

    Raises:
        NoSuchNode: there is no such node.
        Mistake: its disk cannot be read, or another disk holds a later state.
    """
    if node in found.lost:
        others = ", ".join(found.survivors) or "no node"
        raise Mistake(
            f"{node} has no disk that can be read ({found.lost[node]}). These have: {others}. Nothing was changed"
        )
    if node not in found.survivors:
        raise NoSuchNode(f"there is no node {node!r}: there are {', '.join((*found.survivors, *found.lost))}")
    source = found.survivors[node]
    best = max(found.survivors.values(), key=lambda survivor: survivor.rank)
    if best.rank > source.rank and _lacks(source, best):
        raise Mistake(
            f"{best.node} holds a later state than {node}: {best.extent()}, and {node} {source.extent()}. Use --from "
            f"{best.node}, or move its directory away. Nothing was changed"
        )
    return source


def _lacks(source: Survivor, other: Survivor) -> bool:
    """Return whether `other` holds a command, above the slots that `source` knows as chosen, that `source` lacks."""
    for slot in range(source.chosen + 1, other.last + 1):
        record, own = other.records.get(slot), source.records.get(slot)
        if record is None and slot <= other.chosen:
            return True  # it is in the snapshot
        if record is not None and commands_in(record.batch) and (own is None or own.batch != record.batch):
            return True
    return False


def examine(root: Path | str, node: NodeId) -> Examination:
    """Find out what a recovery from the disk of `node` would do. Changes nothing, and raises as `recover` does."""
    spec, lock = open_ended(Path(root).resolve())
    try:
        found = survey(spec)
        source = source_of(found, node)
        return Examination(found, source, what_may_be_lost(found, source))
    finally:
        lock.release()


def what_may_be_lost(found: Survey, source: Survivor) -> list[str]:
    """Return in sentences what a recovery from `source` keeps, and what it may lose."""
    voters = source.replica.state.configuration.voters
    readable = [voter for voter in voters if voter in found.survivors]
    lines = [f"{node}: {reason}" for node, reason in found.lost.items()]
    lines += [
        f"{each.node}: its disk holds {each.extent()}{_about_the_last(each)}" for each in found.survivors.values()
    ]
    lines.append(
        f"{source.node} knows the slots to {source.chosen:,} as chosen. They are kept."
        if source.chosen
        else f"{source.node} knows no slot as chosen."
    )
    if source.accepted:
        first, last = source.accepted[0].slot, source.last
        slots = f"slot {last:,}" if first == last else f"slots {first:,} to {last:,}"
        lines += [
            f"It has accepted {slots} and does not know what was chosen there. What it has accepted is kept and counts as done, "
            "since clients may have been answered. If the cluster has chosen something else there, that is lost.",
        ]
    left_out = [each.node for each in found.survivors.values() if each is not source and _lacks(source, each)]
    if left_out:
        lines.append(f"{', '.join(left_out)} has accepted something else, under older ballots. That is left out.")
    lines += [
        f"Everything above slot {source.last:,} is lost, also what clients were answered. One disk cannot tell how much that is.",
        "Every session, lock and membership ends, and versions and fencing tokens rise.",
    ]
    if len(readable) >= majority(len(voters)):
        lines.append(
            f"{len(readable)} of the {len(voters)} voters have a disk that can be read ({', '.join(readable)}). That is a "
            "majority, which loses nothing: try `consensus up` first."
        )
    return lines


def _about_the_last(survivor: Survivor) -> str:
    return "" if survivor.whole else "; its last commit is torn or damaged, and lost"


def recover(
    root: Path | str,
    node: NodeId,
    nodes: int | None = None,
    *,
    accept_loss: bool,
    into: Path | str | None = None,
    show: ShowBytes = ignore_bytes,
    files: DurableFiles | None = None,
    now_ms: int | None = None,
) -> Recovery:
    """Make a new cluster from what the disk of one node holds, and put it in the place of the old one.

    Args:
        root: the folder of the old cluster, which must have ended.
        node: the node whose disk is used.
        nodes: how many nodes the new cluster has; None: as many as had a vote, under the same names.
        accept_loss: the user's word that what is lost may be lost.
        into: a folder for the new cluster, missing or empty; None: the place of the old one.
        show: called as the disks are written, with bytes.
        files: how files become durable.
        now_ms: the time, in milliseconds since 1970; None: that of this machine.

    Returns:
        The new cluster, and where the old folder is kept.

    Raises:
        NotUp: there is no cluster in `root`.
        AlreadyUp: the cluster is up.
        NoSuchNode: it has no such node.
        Mistake: `accept_loss` is False, or the node's disk cannot be read, or another disk holds a later state, or `into` holds
            something, or the file system cannot put one folder in the place of another. Nothing was changed.
        BadInput: the clock of this machine is behind.
        DiskError, OSError: the disk is full, or has failed. Nothing was changed.
    """
    root, files = Path(root).resolve(), files or DurableFiles()
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    spec, lock = open_ended(root)
    try:
        found = survey(spec)
        source = source_of(found, node)
        if not accept_loss:
            raise Mistake(
                "a recovery may lose what clients were answered: repeat with --accept-loss. Nothing was changed"
            )
        new = NewCluster(
            names_of(nodes, source.replica.state.configuration.voters),
            spec.settings.algorithm,
            spec.settings.machines,
            spec.settings.seed,
            spec.settings.vfs,
            spec.settings.tuning,
        )
        state = with_all_accepted(source)
        raise_numbers(state, new, now_ms)
        if into is None:
            kept = root.with_name(f"{root.name}-lost-{spec.settings.cluster[:8]}")
            if not _delete_unused(kept, spec):
                raise Mistake(
                    f"{kept} is in the way: {root} is to be kept there. Move it elsewhere. Nothing was changed"
                )
            made = make_aside(root, new, state, files, show)
            try:
                files.replace(made.path, root, kept)
            except OSError as error:
                discard(made)
                if not _delete_unused(kept, spec):
                    raise  # the exchange was made, and then the disk has failed
                raise Mistake(
                    f"the new cluster cannot take the place of {root} ({error.strerror}): name another folder with --into. "
                    "Nothing was changed"
                ) from error
            made.lock.release()
            return Recovery(open_spec(root), kept, state.applied)
        place = Path(into).absolute()
        check_empty(place)
        place_new(place, new, state, files, show)
        return Recovery(open_spec(place), root, state.applied)
    finally:
        lock.release()


def with_all_accepted(source: Survivor) -> ReplicatedState:
    """Return the state of a survivor after every record that it has accepted: see the theory above."""
    state = source.replica.state
    held = {record.slot: record.batch for record in source.accepted}
    for slot in range(source.chosen + 1, source.last + 1):
        state.apply(slot, held.get(slot, b""))
    return state


def _delete_unused(kept: Path, spec: Spec) -> bool:
    """Delete a new cluster that is still at `kept`: a recovery has ended before the exchange.

    Returns:
        False if something else is there, such as the old cluster, which has the place after the exchange.
    """
    if not os.path.lexists(kept):
        return True
    mark = read_mark(kept)
    if mark is None or mark.cluster == spec.settings.cluster:
        return False
    shutil.rmtree(kept)
    return True
