"""The faults of disks. `harness.faults.catalogue` says how they are used.

Faults that act while a node runs need a disk that can fail: `Experiment(..., vfs=harness.faults.power_loss_vfs.SPEC)`.
Faults that act while the node is down need nothing. Generated plans draw those after which the disk is what it was: it is slow,
fails or loses power. The others damage the disk, and are drawn only if they are named; "restore-old-copy", "flip-bit" and
"damage-last-commit" not even then, unless the run is beyond what is tolerated. Except that plans of a log without other faults of
disks draw "damage-last-commit": a log bears it (`harness/runs/plan_generator.py`).

A node whose last commit does not check may be in doubt when it is up again, until the other nodes have said what the
commit held (`node/storage/doubts.py`). So the excuse of such a fault lasts until the doubt is over.

The observers are the kernel (the node's wait status; 74 means that its disk has failed), the disk itself, which writes
a receipt in the node's process, and the files, when they are read again.

A disk that fails ends its node in order, with status 74. So only a fault that changes what a node reads excuses an error of
the node's own.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Final, TypeAlias

from cluster.errors import BootFailed, FaultFailed
from cluster.processes import NODE_COMMAND, PROOF_S, ProcessState
from cluster.spawning import READY_S, spawn
from harness.checkers.evidence import COMMIT_LOST, DISK_DAMAGED, DISK_LOST, UNNOTICED
from harness.faults import power_loss_vfs
from harness.faults.active import ActiveFault, EndsOnHeal, ReceiptBuilder, WatchedFault
from harness.faults.catalogue import ArgumentDrawer, BadFault, DrawnArguments, FaultBudget, fault, find_fault
from harness.faults.excuses import Disturbance, Excuse, Kind
from harness.faults.last_commit import Reliance, damage_last_commit
from harness.faults.link_faults import expand_links
from harness.faults.power_cut import Tail, lose_unsynced, read_disk_receipts
from harness.faults.target import Target, bring_up, choose_node, own_cluster
from node.contract import NodeId
from node.launcher import EXIT_DISK
from node.storage.disk import FILE_NAME, inspect
from node.storage.doubts import DoubtRecord

_DOWN: Final = Excuse(Kind.DOWN, "its node ends, at a moment that only the node's disk knows, until the heal")
_CUT: Final = Excuse(Kind.DOWN, "its node ends, until the heal and the end of the doubt that a torn commit may leave")
_DOUBTED: Final = Excuse(Kind.DOWN, "its node has lost what the others must tell it again, until that is done")
_DAMAGED: Final = Excuse(
    Kind.DOWN, "its node may refuse to start on what it finds", fails="a node may read anything from a damaged disk"
)
_TAKEN: Final = Excuse(Kind.DOWN, "its node may refuse to start on what it finds")
#: `node.__main__.EXIT_DISK`, the wait status of a node whose disk has failed.
_LOOK_EVERY_S: Final = 0.01
#: In the evidence of a receipt: the disk has failed, and its node went on.
WENT_ON: Final = "went on"
#: How long a heal waits for the end of a doubt. With all nodes up it takes some hundredths of a second.
_DOUBT_S: Final = 5.0


def never_draw(_rng: Random, _budget: FaultBudget) -> DrawnArguments | None:
    """Draw nothing: the fault is not for generated plans."""
    return None


def draw_node_and(**arguments: Callable[[Random], object]) -> ArgumentDrawer:
    """Return a function that draws a node within the budget, and each argument by its own function."""

    def draw(rng: Random, budget: FaultBudget) -> DrawnArguments | None:
        if not budget.free or budget.spare < 1:
            return None
        node = rng.choice(budget.free)
        drawn = {name: choose(rng) for name, choose in arguments.items()}
        return DrawnArguments({"node": node, **drawn}, frozenset({node}), frozenset({node}))

    return draw


def _directory(experiment: Target, node: NodeId) -> Path:
    return own_cluster(experiment).spec.settings.directory(node)


def _need_disk_that_can_fail(experiment: Target, name: str) -> None:
    """Raise BadFault if the nodes do not run on the disk of `harness.faults.power_loss_vfs`."""
    if own_cluster(experiment).spec.settings.vfs != power_loss_vfs.SPEC:
        raise BadFault(
            f"{name} needs a disk that can fail: by hand start with `consensus up --prepare disk`; in Python give the experiment "
            f"vfs={power_loss_vfs.SPEC!r}"
        )


# --- while the node runs ----------------------------------------------------------------------------------------------


def steer_disk(
    experiment: Target,
    rng: Random,
    node: NodeId | None,
    name: str,
    setting: str,
    *,
    late_s: float | None = None,
    hangs: bool = False,
    fault_name: str = "",
) -> WatchedFault:
    """Make the disk of a node fail, by a small file that its VFS reads.

    Args:
        experiment: the target of the fault.
        rng: draws the node if `node` is None.
        node: the node whose disk fails.
        name: the name of the file, and of the fault, if it has no other.
        setting: the content of the file.
        late_s: how late messages of the node and to it are at most, if it goes on. If None, the node must stop with the status
            of a failed disk. Otherwise the fault has not bitten.
        hangs: whether the disk does nothing, and its node goes on at the heal.
        fault_name: the name of the fault, if it is another one.

    A fault of which the disk has seen nothing, since the node wrote nothing, leaves no receipt.

    Raises:
        BadFault: the nodes do not run on the disk of `harness.faults.power_loss_vfs`.
    """
    _need_disk_that_can_fail(experiment, name)
    chosen, faults = choose_node(experiment, rng, node), experiment.faults
    fault_name = fault_name or name
    end_claim = faults.claim(fault_name, [chosen])
    if late_s is None:
        receipt = faults.begin(fault_name, nodes_down=[chosen], setting=setting)
    else:
        links = [link for link in expand_links("all", experiment.nodes) if chosen in link]
        receipt = faults.begin(fault_name, links_disturbed=links, disturbance=Disturbance(late_s), setting=setting)
    file = _directory(experiment, chosen) / name
    file.write_text(setting)

    def has_bitten() -> bool:
        process = faults.cluster.process(chosen)
        lines = read_disk_receipts(_directory(experiment, chosen))
        since = [line for line in lines if line["fault"] == name and line["time"] >= receipt.began_ns]
        receipt.evidence["disk"] = since[-3:]
        receipt.evidence["ended"] = process.ended if process.look() is ProcessState.DOWN else "still up"
        return bool(receipt.evidence["disk"]) and (
            late_s is not None or hangs or f"status {EXIT_DISK}" in receipt.evidence["ended"]
        )

    def end() -> None:
        try:
            until = time.monotonic() + PROOF_S  # a node whose disk has just failed is about to end
            while not has_bitten() and receipt.evidence["disk"] and time.monotonic() < until:
                time.sleep(_LOOK_EVERY_S)
            receipt.bit = has_bitten()
            if receipt.evidence["disk"] and not receipt.bit and faults.cluster.state(chosen) is ProcessState.UP:
                receipt.evidence[WENT_ON] = True
            file.unlink(missing_ok=True)
            bring_up(faults, [chosen])
            receipt.end()
            if not receipt.evidence["disk"]:
                faults.forget(receipt)
        finally:
            end_claim()

    return WatchedFault(end, has_bitten)


@fault("fail-write", "disk", _DOWN, draw=draw_node_and(nth=lambda rng: rng.randint(1, 20)))
def fail_write(experiment: Target, rng: Random, *, node: NodeId | None = None, nth: int = 1) -> ActiveFault:
    """Let the nth write from now fail with EIO, which stops the node.

    The heal restarts the node.

    Args:
        experiment: the target of the fault.
        rng: draws the node if `node` is None.
        node: the node whose disk fails.
        nth: the number of the write, from 1.

    Observers: the disk's receipt, and the kernel, whose wait status of the node must be 74.
    """
    return steer_disk(experiment, rng, node, power_loss_vfs.FAIL_WRITE, str(nth))


@fault("fail-sync", "disk", _DOWN, draw=draw_node_and(nth=lambda rng: rng.randint(1, 8)))
def fail_sync(experiment: Target, rng: Random, *, node: NodeId | None = None, nth: int = 1) -> ActiveFault:
    """Let the nth sync from now fail with EIO and lose its writes, which stops the node.

    The heal restarts the node. The arguments are those of `fail_write`; `nth` counts syncs.

    Observers: the disk's receipt, and the kernel, whose wait status of the node must be 74.
    """
    return steer_disk(experiment, rng, node, power_loss_vfs.FAIL_SYNC, str(nth))


@fault("disk-full", "disk", _DOWN, draw=draw_node_and(free_bytes=lambda rng: rng.randint(0, 50_000)))
def disk_full(experiment: Target, rng: Random, *, node: NodeId | None = None, free_bytes: int = 0) -> ActiveFault:
    """Let writes fail with ENOSPC after some bytes, which stops the node.

    The heal restarts the node, with space. `free_bytes` is how many bytes can still be written. The other arguments are
    those of `fail_write`.

    Observers: the disk's receipt, and the kernel, whose wait status of the node must be 74.
    """
    return steer_disk(experiment, rng, node, power_loss_vfs.DISK_FULL, str(free_bytes))


@fault(
    "slow-sync",
    "disk",
    Excuse(
        Kind.LATE,
        "a message waits for the turn before it and for its own, of two syncs each at most",
        ("seconds",),
        times=4,
    ),
    draw=draw_node_and(seconds=lambda rng: round(rng.uniform(0.01, 0.2), 3)),
)
def slow_sync(experiment: Target, rng: Random, *, node: NodeId | None = None, seconds: float = 0.2) -> ActiveFault:
    """Let every sync take longer, by `seconds`.

    Observer: the disk's receipt.
    """
    late_s = find_fault("slow-sync").excuse.disturbance({"seconds": seconds}).late_s
    return steer_disk(experiment, rng, node, power_loss_vfs.SLOW_SYNC, str(seconds), late_s=late_s)


@fault("power-cut", "disk", _CUT, draw=draw_node_and(tail=lambda rng: str(rng.choice(list(Tail)))))
def power_cut(experiment: Target, rng: Random, *, node: NodeId | None = None, tail: str = "none") -> ActiveFault:
    """Kill a node as a power cut does: unsynced writes are lost, except for a tail of them.

    The heal restarts the node.

    Args:
        experiment: the target of the fault.
        rng: draws the node if `node` is None, and the writes that survive.
        node: the node to kill.
        tail: which of the unsynced writes survive: none, all, prefix, torn or reordered (see
            `harness.faults.power_cut.Tail`).

    Observer: the kernel; the wait status is that of SIGKILL. The evidence lists how much each file has lost.

    Raises:
        BadFault: the nodes do not run on the disk of `harness.faults.power_loss_vfs`, which alone knows what is unsynced.
    """
    if tail not in set(Tail):
        raise BadFault(f"power-cut: there is no tail {tail!r}; the tails are {', '.join(Tail)}")

    _need_disk_that_can_fail(experiment, "power-cut")

    def damage(chosen: NodeId, receipt: ReceiptBuilder) -> Repair:
        receipt.evidence["files"] = lose_unsynced(_directory(experiment, chosen), Tail(tail), rng)
        return lambda: None

    return _damage_while_down(experiment, rng, node, "power-cut", damage, start=False)


# --- while the node is down -------------------------------------------------------------------------------------------

#: Undoes a damage.
Repair: TypeAlias = Callable[[], None]


def _damage_while_down(
    experiment: Target,
    rng: Random,
    node: NodeId | None,
    name: str,
    damage: Callable[[NodeId, ReceiptBuilder], Repair],
    *,
    start: bool = True,
    started: Callable[[NodeId, ReceiptBuilder], None] = lambda _node, _receipt: None,
    first: Callable[[NodeId], None] = lambda _node: None,
) -> ActiveFault:
    """Kill a node and damage its disk. The heal repairs the disk if the node is down, and starts the node.

    A node that starts on the damaged disk stays up. The judges decide whether it should have started.

    Args:
        experiment: the target of the fault.
        rng: draws the node if `node` is None.
        node: the node to kill.
        name: the name of the fault.
        damage: damages the disk of the node, and puts evidence and `bit` into the receipt. Returns what undoes the damage.
        start: start the node on the damaged disk, before the heal. It may refuse to start.
        started: called when it has started, to add evidence to the receipt.
        first: called before the node is killed.

    Raises:
        WrongState: the node is down already. Nothing was changed.
    """
    chosen, faults = choose_node(experiment, rng, node), experiment.faults
    end_claim = faults.claim(name, [chosen])
    receipt = faults.begin(name, nodes_down=[chosen])
    repairs: list[Repair] = []

    def end() -> None:
        try:
            if faults.cluster.state(chosen) is ProcessState.DOWN:
                for repair in repairs:  # none, if there was no damage
                    repair()
                bring_up(faults, [chosen])
            if _doubt_is_over(_directory(experiment, chosen)):
                receipt.end()
            else:
                receipt.evidence["doubt"] = "at the heal the node was in doubt, so it is excused to the end of the run"
        finally:
            end_claim()

    try:
        with faults.lock:
            first(chosen)
            (proof,) = faults.cluster.kill(chosen)
            receipt.evidence.update(proof, **({DISK_DAMAGED: [chosen]} if start else {}))
            receipt.bit = True
            repairs.append(damage(chosen, receipt))
            if start:
                try:
                    faults.cluster.restart(chosen)
                    receipt.evidence["then"] = "it started"
                    started(chosen, receipt)
                except BootFailed as error:
                    receipt.evidence["then"] = str(error)
    except BaseException:
        end()
        raise
    return EndsOnHeal(end)


@fault("flip-bit", "disk", _DAMAGED, draw=never_draw, weight=0)
def flip_bit(experiment: Target, rng: Random, *, node: NodeId | None = None) -> ActiveFault:
    """Kill a node, flip one bit on its disk, and start it.

    If the node refuses to start, the heal flips the bit back and starts it. `rng` draws the bit, and the node if `node`
    is None.

    Observer: the file, which is read again and has another hash.
    """

    def damage(chosen: NodeId, receipt: ReceiptBuilder) -> Repair:
        files = [path for path in sorted(_directory(experiment, chosen).glob(f"{FILE_NAME}*")) if path.stat().st_size]
        path = rng.choice([path for path in files if path.suffix in (".db", ".db-wal")])
        data = path.read_bytes()
        position = rng.choice([at for at, byte in enumerate(data) if byte])  # in a part of the file that is in use
        mask = 1 << rng.randrange(8)
        _flip(path, position, mask)
        receipt.evidence.update(file=path.name, position=position, was=data[position], now=path.read_bytes()[position])
        receipt.bit = sha256(path.read_bytes()).digest() != sha256(data).digest()
        return lambda: _flip(path, position, mask)

    return _damage_while_down(experiment, rng, node, "flip-bit", damage)


def _doubt_is_over(directory: Path) -> bool:
    """Wait until the disk of a node that is up is not in doubt, at most `_DOUBT_S` seconds. Returns whether it is not."""
    until = time.monotonic() + _DOUBT_S
    while DoubtRecord(directory).present:
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True


@fault("damage-last-commit", "disk", _DOUBTED, draw=never_draw, weight=0)
def damage_last_commit_of_node(experiment: Target, rng: Random, *, node: NodeId | None = None) -> ActiveFault:
    """Kill a node, flip one bit in the last frame of its write-ahead log, and start it.

    The commit was durable, and others may rely on it. A log starts, and votes only after enough others have said what the
    commit can have held. Any other algorithm refuses to start, and the heal flips the bit back and starts it.

    Observer: the file, which is read again and has another byte. If the node had certainly relied on the commit, and starts, it
    must have noted a doubt: `UNNOTICED` names it if it has not.
    """
    relied = Reliance(own_cluster(experiment))

    def damage(chosen: NodeId, receipt: ReceiptBuilder) -> Repair:
        relied.look_again(chosen)
        bit = damage_last_commit(_directory(experiment, chosen), rng)
        receipt.evidence[COMMIT_LOST] = [chosen]
        receipt.evidence.update(file=bit.file.name, position=bit.position, was=bit.was, now=bit.now)
        receipt.bit = bit.file.read_bytes()[bit.position] == bit.now != bit.was
        return lambda: _set_byte(bit.file, bit.position, bit.was)

    def started(chosen: NodeId, receipt: ReceiptBuilder) -> None:
        if receipt.evidence.setdefault("relied on", relied.is_certain) and relied.doubts_of(chosen) <= relied.doubts:
            receipt.evidence[UNNOTICED] = [chosen]

    return _damage_while_down(experiment, rng, node, "damage-last-commit", damage, started=started, first=relied.look)


def _set_byte(path: Path, position: int, byte: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        file.write(bytes([byte]))


def _flip(path: Path, position: int, mask: int) -> None:
    _set_byte(path, position, path.read_bytes()[position] ^ mask)


@fault("delete-directory", "disk", _TAKEN, draw=draw_node_and(), weight=0)
def delete_directory(experiment: Target, rng: Random, *, node: NodeId | None = None) -> ActiveFault:
    """Kill a node, remove its directory, and start it.

    If the node refuses to start, the heal puts the directory back and starts it. `rng` draws the node if `node` is
    None.

    Observer: the file system, in which the directory no longer exists.
    """

    def damage(chosen: NodeId, receipt: ReceiptBuilder) -> Repair:
        directory, removed = _directory(experiment, chosen), _path_for_removed(experiment)
        directory.rename(removed)
        receipt.bit = not directory.exists()
        return lambda: _put_back(removed, directory)

    return _damage_while_down(experiment, rng, node, "delete-directory", damage)


@fault("lose-node", "disk", _TAKEN, draw=never_draw, weight=0)
def lose_node(experiment: Target, rng: Random, *, node: NodeId | None = None) -> ActiveFault:
    """Kill a node and take its disk away, for good: the heal brings neither back.

    `rng` draws the node if `node` is None. Plans draw it beyond what is tolerated only.

    Observers: the kernel, by the wait status, and the file system, in which the directory no longer exists.
    """
    chosen, faults = choose_node(experiment, rng, node), experiment.faults
    end_claim = faults.claim("lose-node", [chosen])
    try:
        with faults.lock:
            receipt = faults.begin("lose-node", nodes_down=[chosen])
            (proof,) = faults.cluster.kill(chosen)
            directory = _directory(experiment, chosen)
            directory.rename(_path_for_removed(experiment))
            receipt.evidence.update(proof, **{DISK_LOST: [chosen]})
            receipt.bit = not directory.exists()
    except BaseException:
        end_claim()
        raise
    return EndsOnHeal(end_claim)  # without an end of the receipt: the node is away to the end of the run


def _path_for_removed(experiment: Target) -> Path:
    """Return an unused path in the run's folder, for a directory that is moved there. No other fault gets the same."""
    folder = experiment.folder / "aside"
    folder.mkdir(exist_ok=True)
    return Path(tempfile.mkdtemp(dir=folder)) / "disk"


@fault("restore-old-copy", "disk", _TAKEN, draw=never_draw, weight=0)
def restore_old_copy(
    experiment: Target, rng: Random, *, node: NodeId | None = None, most_s: float = 5.0
) -> ActiveFault:
    """Replace a node's directory by an old copy, after the node has committed more, and start the node.

    The node is killed, copied and started. After its next commit it is killed again and started on the copy. If it refuses to
    start, the heal puts the newest directory back and starts it.

    Args:
        experiment: the target of the fault.
        rng: draws the node if `node` is None.
        node: the node whose directory is restored.
        most_s: how long to wait for a commit, in seconds.

    Observer: the node's disk, whose incarnation is lower than before.
    """

    def damage(chosen: NodeId, receipt: ReceiptBuilder) -> Repair:
        directory, copy = _directory(experiment, chosen), _path_for_removed(experiment)
        shutil.copytree(directory, copy)
        experiment.faults.cluster.restart(chosen)
        receipt.evidence["commits_forgotten"] = _wait_for_commits(experiment, chosen, most_s)
        experiment.faults.cluster.kill(chosen)
        newest, removed = inspect(directory).incarnation, _path_for_removed(experiment)
        directory.rename(removed)
        copy.rename(directory)
        oldest = inspect(directory).incarnation
        receipt.evidence["boots_on_disk"] = [newest, oldest]
        receipt.bit = oldest < newest
        return lambda: _put_back(removed, directory)

    return _damage_while_down(experiment, rng, node, "restore-old-copy", damage)


def _put_back(removed: Path, directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    removed.rename(directory)


def _wait_for_commits(experiment: Target, node: NodeId, most_s: float) -> int:
    """Wait until the node has committed since its boot: at most `most_s` seconds, and not when the run ends.

    Returns:
        The number of its commits.
    """
    until = time.monotonic() + most_s
    while True:
        commits = int(experiment.faults.cluster.status().get(node, {}).get("commits", 0))
        if commits or time.monotonic() > until or experiment.faults.ending.is_set():
            return commits
        time.sleep(_LOOK_EVERY_S)


@fault(
    "second-process",
    "disk",
    Excuse(Kind.NOTHING, "the second process is refused, and the first goes on"),
    draw=draw_node_and(),
    weight=0,
)
def second_process(experiment: Target, rng: Random, *, node: NodeId | None = None) -> ActiveFault:
    """Start a second process on the directory of a node that runs.

    The second process must be refused, and the node must stay up. `rng` draws the node if `node` is None.

    Observers: the pipe on which the second process reports whether it is ready, and the kernel, which gives its wait
    status.

    Raises:
        WrongState: the node does not run, so a process that is started would be its only one. Nothing was started.
        FaultFailed: the first process is no longer up.
    """
    chosen, faults = choose_node(experiment, rng, node), experiment.faults
    end_claim = faults.claim("second-process", [chosen], {ProcessState.UP})
    try:
        return _start_second(experiment, chosen)
    finally:
        end_claim()


def _start_second(experiment: Target, chosen: NodeId) -> ActiveFault:
    faults = experiment.faults
    receipt = faults.begin("second-process")
    command = [
        *NODE_COMMAND,
        "--spec",
        str(own_cluster(experiment).spec.path),
        "--id",
        chosen,
        "--booted",
        str(own_cluster(experiment).spec.booted(chosen)),
    ]
    popen, pipe = spawn(command, experiment.folder / "logs" / f"{chosen}-second.log")
    try:
        pipe.wait(f"a second {chosen}", time.monotonic() + READY_S)
        receipt.evidence["then"] = "both ran"
    except BootFailed as error:
        receipt.evidence["then"] = str(error)
    finally:
        if "both" in str(receipt.evidence.get("then", "both")):
            popen.kill()
        status = popen.wait(PROOF_S)
        if popen.stdin is not None:
            popen.stdin.close()
        receipt.evidence["wait_status"] = status
        receipt.evidence["the_first"] = str(faults.cluster.state(chosen))
        receipt.bit = True
        receipt.end()
    if receipt.evidence["the_first"] != ProcessState.UP:
        raise FaultFailed(
            f"{chosen} is {receipt.evidence['the_first']} after a second process was started on its directory"
        )
    return EndsOnHeal(lambda: None)
