"""The faults of disks, by name: see `harness.faults.catalogue` for how they are used.

Those that act while a node runs need the disk that can do it: `Experiment(...,
vfs=harness.faults.power_loss_vfs.SPEC)`. Those at rest
need nothing. Generated plans draw them only if they are named. Two are never drawn, for they break what every algorithm here
takes for granted, that a node which comes back has its own disk: an old copy, and a flipped bit, which in the very last
commit looks like a commit that a crash has torn.

The observers: the kernel (the node's wait status; 74 is "the disk has failed"), the disk itself, which writes a receipt in
the node's process, and the files, read again.
"""

import shutil
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Final

from cluster.errors import BootFailed, FaultFailed
from cluster.processes import NODE_COMMAND, PROOF_S, READY_S, ProcessState, spawn
from harness.faults import power_loss_vfs as powerloss
from harness.faults.catalogue import ArgumentDrawer, BadFault, DrawnArguments, FaultBudget, fault
from harness.faults.injector import ActiveFault, EndsOnHeal, OpenReceipt
from harness.faults.power_cut import Tail, receipts, settle
from harness.faults.process_faults import bring_back, resolve
from harness.faults.target import Target
from node.contract import NodeId
from node.storage.disk import FILE_NAME, inspect

#: `node.__main__.EXIT_DISK`, as the kernel tells it.
_EXIT_DISK: Final = 74
_LOOK_EVERY_S: Final = 0.01


def no_draw(_rng: Random, _scene: FaultBudget) -> DrawnArguments | None:
    """Not for generated plans."""
    return None


def draws(**arguments: Callable[[Random], object]) -> ArgumentDrawer:
    """A node that can be spared, and each argument as its function draws it."""

    def draw(rng: Random, scene: FaultBudget) -> DrawnArguments | None:
        if not scene.free or scene.spare < 1:
            return None
        node = rng.choice(scene.free)
        drawn = {name: choose(rng) for name, choose in arguments.items()}
        return DrawnArguments({"node": node, **drawn}, frozenset({node}), frozenset({node}))

    return draw


class DiskFault(EndsOnHeal):
    """A fault of one node's disk that is in force."""

    def __init__(self, end: Callable[[], None], has_bitten: Callable[[], bool]) -> None:
        super().__init__(end)
        self.has_bitten = has_bitten


def one_node(experiment: Target, rng: Random, node: NodeId | None) -> NodeId:
    """This node, or one at random."""
    (chosen,) = resolve(experiment, rng, None if node is None else [node])
    return chosen


def _directory(experiment: Target, node: NodeId) -> Path:
    return experiment.spec.settings.directory(node)


# --- while the node runs ----------------------------------------------------------------------------------------------


def _told(experiment: Target, rng: Random, node: NodeId | None, name: str, text: str, *, fatal: bool) -> ActiveFault:
    """Tell the node's disk by a small file to fail. `fatal`: the node must then stop with the status of a failed disk."""
    if experiment.spec.settings.vfs != powerloss.SPEC:
        raise BadFault(f"{name} needs a disk that can do it: run the experiment with vfs={powerloss.SPEC!r}")
    chosen, faults = one_node(experiment, rng, node), experiment.faults
    give_back = faults.claim([chosen])
    paper = faults.begin(name, nodes_down=[chosen], told=text)
    file = _directory(experiment, chosen) / name
    file.write_text(text)

    def has_bitten() -> bool:
        process = faults.cluster.process(chosen)
        lines = receipts(_directory(experiment, chosen))
        paper.evidence["disk"] = [line for line in lines if line["fault"] == name and line["time"] >= paper.began_ns][
            -3:
        ]
        paper.evidence["ended"] = process.ended if process.look() is ProcessState.DOWN else "still up"
        return bool(paper.evidence["disk"]) and (not fatal or f"status {_EXIT_DISK}" in paper.evidence["ended"])

    def end() -> None:
        try:
            paper.bit = has_bitten()
            file.unlink(missing_ok=True)
            bring_back(faults, [chosen])
            paper.end()
        finally:
            give_back()

    return DiskFault(end, has_bitten)


@fault("fail-write", "disk", draw=draws(nth=lambda rng: rng.randint(1, 20)), weight=0)
def fail_write(experiment: Target, rng: Random, *, node: NodeId | None = None, nth: int = 1) -> ActiveFault:
    """The n-th write from now fails with EIO; started again when it heals."""
    return _told(experiment, rng, node, powerloss.FAIL_WRITE, str(nth), fatal=True)


@fault("fail-sync", "disk", draw=draws(nth=lambda rng: rng.randint(1, 8)), weight=0)
def fail_sync(experiment: Target, rng: Random, *, node: NodeId | None = None, nth: int = 1) -> ActiveFault:
    """The n-th sync from now fails with EIO and loses what it was for; started again when it heals."""
    return _told(experiment, rng, node, powerloss.FAIL_SYNC, str(nth), fatal=True)


@fault("disk-full", "disk", draw=draws(free_bytes=lambda rng: rng.randint(0, 50_000)), weight=0)
def disk_full(experiment: Target, rng: Random, *, node: NodeId | None = None, free_bytes: int = 0) -> ActiveFault:
    """Writes fail with ENOSPC when so many bytes have been written; started again, with room, when it heals."""
    return _told(experiment, rng, node, powerloss.DISK_FULL, str(free_bytes), fatal=True)


@fault("slow-sync", "disk", draw=draws(seconds=lambda rng: round(rng.uniform(0.01, 0.2), 3)), weight=0)
def slow_sync(experiment: Target, rng: Random, *, node: NodeId | None = None, seconds: float = 0.2) -> ActiveFault:
    """Every sync takes this much longer."""
    return _told(experiment, rng, node, powerloss.SLOW_SYNC, str(seconds), fatal=False)


@fault("power-cut", "disk", draw=draws(tail=lambda rng: str(rng.choice(list(Tail)))), weight=0)
def power_cut(experiment: Target, rng: Random, *, node: NodeId | None = None, tail: str = "none") -> ActiveFault:
    """SIGKILL that loses what was not synced, or leaves this tail of it: none, all, prefix, torn, reordered."""
    if tail not in set(Tail):
        raise BadFault(f"power-cut: there is no tail {tail!r}; there are {', '.join(Tail)}")

    def damage(chosen: NodeId, paper: OpenReceipt) -> None:
        paper.evidence["files"] = settle(_directory(experiment, chosen), Tail(tail), rng)

    return _at_rest(experiment, rng, node, "power-cut", damage, lambda _: None, start=False)


# --- at rest ----------------------------------------------------------------------------------------------------------


def _at_rest(
    experiment: Target,
    rng: Random,
    node: NodeId | None,
    name: str,
    damage: Callable[[NodeId, OpenReceipt], None],
    repair: Callable[[NodeId], None],
    *,
    start: bool = True,
) -> ActiveFault:
    """Kill a node, damage its disk, and have it start on that, if `start`. It may refuse; then it is repaired at the heal.

    A node that starts stays up, on what it has: whether it should have is for the judges to say.
    """
    chosen, faults = one_node(experiment, rng, node), experiment.faults
    give_back = faults.claim([chosen])
    paper = faults.begin(name, nodes_down=[chosen])

    def end() -> None:
        try:
            if faults.cluster.state(chosen) is ProcessState.DOWN:
                repair(chosen)
                bring_back(faults, [chosen])
            paper.end()
        finally:
            give_back()

    try:
        with faults.lock:
            (proof,) = faults.cluster.kill(chosen)
            paper.evidence.update(proof)
            paper.bit = True
            damage(chosen, paper)
            if start:
                try:
                    faults.cluster.restart(chosen)
                    paper.evidence["then"] = "it started"
                except BootFailed as error:
                    paper.evidence["then"] = str(error)
    except BaseException:
        end()
        raise
    return EndsOnHeal(end)


@fault("flip-bit", "disk", draw=no_draw, weight=0)
def flip_bit(experiment: Target, rng: Random, *, node: NodeId | None = None) -> ActiveFault:
    """Killed, one bit of what is on its disk flipped, started; flipped back when it heals, if it refused to start."""
    flipped: list[tuple[Path, int, int]] = []

    def damage(chosen: NodeId, paper: OpenReceipt) -> None:
        files = [path for path in sorted(_directory(experiment, chosen).glob(f"{FILE_NAME}*")) if path.stat().st_size]
        path = rng.choice([path for path in files if path.suffix in (".db", ".db-wal")])
        data = path.read_bytes()
        position = rng.choice([at for at, byte in enumerate(data) if byte])  # where something is stored
        mask = 1 << rng.randrange(8)
        flipped.append((path, position, mask))
        _flip(path, position, mask)
        paper.evidence.update(file=path.name, position=position, was=data[position], now=path.read_bytes()[position])
        paper.bit = sha256(path.read_bytes()).digest() != sha256(data).digest()

    def repair(_chosen: NodeId) -> None:
        _flip(*flipped[0])

    return _at_rest(experiment, rng, node, "flip-bit", damage, repair)


def _flip(path: Path, position: int, mask: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ mask]))


@fault("delete-directory", "disk", draw=draws(), weight=0)
def delete_directory(experiment: Target, rng: Random, *, node: NodeId | None = None) -> ActiveFault:
    """Killed, its directory gone, started; put back when it heals, if it refused to start."""

    aside = _aside(experiment)

    def damage(chosen: NodeId, paper: OpenReceipt) -> None:
        directory = _directory(experiment, chosen)
        directory.rename(aside)
        paper.bit = not directory.exists()

    def repair(chosen: NodeId) -> None:
        directory = _directory(experiment, chosen)
        shutil.rmtree(directory, ignore_errors=True)
        aside.rename(directory)

    return _at_rest(experiment, rng, node, "delete-directory", damage, repair)


def _aside(experiment: Target) -> Path:
    """A name that is free, for a directory that is put away."""
    folder = experiment.folder / "aside"
    folder.mkdir(exist_ok=True)
    return folder / str(len(list(folder.iterdir())) + 1)


@fault("restore-old-copy", "disk", draw=no_draw, weight=0)
def restore_old_copy(
    experiment: Target, rng: Random, *, node: NodeId | None = None, most_s: float = 5.0
) -> ActiveFault:
    """Killed and started, and once it has committed something more, put back as it was; nothing heals that."""
    chosen, faults = one_node(experiment, rng, node), experiment.faults
    give_back = faults.claim([chosen])
    paper = faults.begin("restore-old-copy", nodes_down=[chosen])
    directory, copy = _directory(experiment, chosen), _aside(experiment)
    try:
        with faults.lock:
            faults.cluster.kill(chosen)
            shutil.copytree(directory, copy)
            faults.cluster.restart(chosen)
        paper.evidence["commits_forgotten"] = _wait_commit(experiment, chosen, most_s)
        with faults.lock:
            faults.cluster.kill(chosen)
            newest = inspect(directory).incarnation
            shutil.rmtree(directory)
            copy.rename(directory)
            oldest = inspect(directory).incarnation
            faults.cluster.restart(chosen)
        paper.evidence["boots_on_disk"] = [newest, oldest]
        paper.bit = oldest < newest
    finally:
        bring_back(faults, [chosen])
        paper.end()
        give_back()
    return EndsOnHeal(lambda: None)


def _wait_commit(experiment: Target, node: NodeId, most_s: float) -> int:
    """How many commits the node has made since it booted, once there are any."""
    until = time.monotonic() + most_s
    while True:
        commits = int(experiment.faults.cluster.status().get(node, {}).get("commits", 0))
        if commits or time.monotonic() > until:
            return commits
        time.sleep(_LOOK_EVERY_S)


@fault("second-process", "disk", draw=draws(), weight=0)
def second_process(experiment: Target, rng: Random, *, node: NodeId | None = None) -> ActiveFault:
    """Another process is started on the directory of a node that runs: it must be refused, and the node must not notice."""
    chosen, faults = one_node(experiment, rng, node), experiment.faults
    paper = faults.begin("second-process")
    command = [*NODE_COMMAND, "--spec", str(experiment.spec.path), "--id", chosen, "--must-exist"]
    popen, pipe = spawn(command, experiment.folder / "logs" / f"{chosen}-second.log")
    try:
        pipe.wait(f"a second {chosen}", time.monotonic() + READY_S)
        paper.evidence["then"] = "both ran"
    except BootFailed as error:
        paper.evidence["then"] = str(error)
    finally:
        if "both" in str(paper.evidence.get("then", "both")):
            popen.kill()
        status = popen.wait(PROOF_S)
        if popen.stdin is not None:
            popen.stdin.close()
        paper.evidence["wait_status"] = status
        paper.evidence["the_first"] = str(faults.cluster.state(chosen))
        paper.bit = True
        paper.end()
    if paper.evidence["the_first"] != ProcessState.UP:
        raise FaultFailed(
            f"{chosen} is {paper.evidence['the_first']} after a second process was started on its directory"
        )
    return EndsOnHeal(lambda: None)
