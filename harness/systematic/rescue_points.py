"""Ends a process before every step of a save, a restore or a recovery, and checks what is left.

Theory of operation
-------------------
The three operations work on files alone, so no cluster runs. They go through `DurableFiles`, which names each of their steps. For
N = 1, 2, … a child of this process does the operation and is killed before its N-th step, until it has no N-th step.

Rules
-----
1. After each kill either the old state is there, untouched, or the new one, whole. The old folder of a recovery is always there.
2. Then the operation is repeated. It succeeds where the old state is there, and is refused where the new one is. It leaves
   nothing aside.
3. A kill loses nothing that was written, but a power cut does. So at each step that moves something to its place, all of that
   must have been synced since its last change.
"""

import os
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from cluster.durable_files import DurableFiles
from cluster.errors import Mistake
from cluster.recovering import recover
from cluster.restoring import restore
from cluster.save_file import Save, SaveHeader, read_save, write_save
from cluster.spec import Spec, create, open_spec
from node.algorithms import DEFAULT_LOG, load_algorithm
from node.contract import NodeId
from node.log_contract import LogAlgorithm, Record
from node.machines import DEFAULT
from node.machines.kv import KvMachine
from node.offline import replica_on_disk
from node.replication.configuration import Configuration
from node.replication.state import CLUSTER, Frame, ReplicatedState
from node.storage.disk import Disk, inspect
from node.wire import pack_unchecked

NODES: Final = ("n1", "n2", "n3")
SURVIVOR: Final = "n3"
#: The slots of the log that is saved or recovered: those to the first are in a snapshot, those to the second known as chosen.
_SNAPSHOT_SLOT, _CHOSEN_SLOT, _LAST_SLOT = 4, 6, 9
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the folders in it have random names
_LAST_STEPS: Final = 5
_SAVED_MS: Final = 1_700_000_000_000


class RescueOperation(StrEnum):
    """What is done when the process is killed."""

    SAVE = "save"
    RESTORE = "restore"
    RECOVER = "recover"


@dataclass(frozen=True, slots=True)
class RescueTrial:
    """One kill. `trouble` is what was wrong then, if anything."""

    number: int
    what: str
    trouble: str | None


@dataclass(frozen=True, slots=True)
class RescueWalk:
    """The result of a whole walk. `unsynced` is what was moved to its place before it was durable."""

    operation: RescueOperation
    trials: tuple[RescueTrial, ...]
    unsynced: tuple[str, ...]
    took_s: float

    @property
    def troubles(self) -> list[str]:
        """Everything that was wrong, as lines."""
        found = [
            f"killed before step {each.number} ({each.what}): {each.trouble}" for each in self.trials if each.trouble
        ]
        return [*found, *self.unsynced]

    def to_json(self) -> dict[str, Any]:
        """Return the walk as plain data for programs."""
        return {
            "operation": self.operation,
            "steps": len(self.trials),
            "violations": self.troubles,
            "took_s": round(self.took_s, 1),
            "trials": [{"number": each.number, "where": each.what, "evidence": each.trouble} for each in self.trials],
        }

    def text(self) -> str:
        """Return the counts, and everything that was wrong, as text for people."""
        good = sum(trial.trouble is None for trial in self.trials)
        lines = [
            f"{self.operation}: old or new, and repeated, after {good} / {len(self.trials)} kills, one before each step"
        ]
        return "\n".join([*lines, *(f"  {trouble}" for trouble in self.troubles)])


def walk_rescue(
    operation: RescueOperation,
    algorithm: str = DEFAULT_LOG,
    files: type[DurableFiles] = DurableFiles,
    every: int = 1,
    progress: Callable[[RescueTrial], None] = lambda _trial: None,
) -> RescueWalk:
    """Kill an operation before each of its steps, and check what is left.

    Args:
        operation: what to walk.
        algorithm: an algorithm that keeps a log.
        files: the class that carries the steps out; a test may break it.
        every: kill before one step in this many, and before each of the last ones, which put the new state in its place.
        progress: called with each trial.
    """
    began = time.monotonic()
    trials: list[RescueTrial] = []
    with tempfile.TemporaryDirectory(prefix="consensus-rescue-", dir=_in_memory()) as folder:
        whole = _Rescue(Path(folder) / "whole", operation, algorithm, files)
        watching = _watching(files)
        whole.act(watching)
        for number, what in enumerate(watching.steps, 1):
            if number % every and number <= len(watching.steps) - _LAST_STEPS:
                continue
            rescue = _Rescue(Path(folder) / f"kill-{number}", operation, algorithm, files)
            before = rescue.fingerprint()
            how = _in_a_child(rescue.act, _killed(files, number))
            trouble = (
                rescue.check(before) if how == -signal.SIGKILL else f"the child was to be killed, and ended with {how}"
            )
            trials.append(RescueTrial(number, what, trouble))
            progress(trials[-1])
            shutil.rmtree(rescue.folder)
    return RescueWalk(operation, tuple(trials), tuple(watching.unsynced), time.monotonic() - began)


def _in_memory() -> str | None:
    """Return a folder whose files are in memory: a kill does to them what it does on a disk. None if there is none."""
    return str(_SHARED_MEMORY) if os.access(_SHARED_MEMORY, os.W_OK) else None


# --- one operation --------------------------------------------------------------------------------------------------


class _Rescue:
    """One operation, with what it works on in a folder of its own."""

    def __init__(self, folder: Path, operation: RescueOperation, algorithm: str, files: type[DurableFiles]) -> None:
        self.files = files
        self.folder, self.operation, self.algorithm = folder, operation, algorithm
        self.file, self.root, self.place = folder / "a.save", folder / "cluster", folder / "new"
        folder.mkdir()
        if operation is RescueOperation.RESTORE:
            write_save(self.file, sample_save(algorithm), DurableFiles())
        elif operation is RescueOperation.RECOVER:
            old_cluster(self.root, algorithm)

    def act(self, files: DurableFiles) -> None:
        """Do the operation."""
        match self.operation:
            case RescueOperation.SAVE:
                write_save(self.file, sample_save(self.algorithm), files)
            case RescueOperation.RESTORE:
                restore(self.file, self.place, nodes=2, files=files)
            case RescueOperation.RECOVER:
                recover(self.root, SURVIVOR, nodes=2, accept_loss=True, files=files)

    def fingerprint(self) -> str:
        """Return a hash of the old state: of the save that is restored, or of the folder from which a cluster is recovered."""
        match self.operation:
            case RescueOperation.SAVE:
                return ""
            case RescueOperation.RESTORE:
                return _hash_of(self.file)
        return _hash_of(self._old_folder())

    def _old_folder(self) -> Path:
        kept = [path for path in self.folder.glob("cluster-lost-*") if _is_old(path)]
        return kept[0] if kept else self.root

    def check(self, before: str) -> str | None:
        """Check what is left after a kill, repeat the operation, and check again. Returns what is wrong, or None."""
        if before != self.fingerprint():
            return "the old state has changed"
        try:
            done = self._is_done()
            try:
                self.act(self.files())
                refused = False
            except Mistake:
                refused = True
            if refused != done:
                return f"the new state was {'whole' if done else 'absent'}, and the repeat was {'refused' if refused else 'done'}"
            if not self._is_done():
                return "the new state is absent after the repeat"
        except Exception as error:  # noqa: BLE001 - whatever it is, the operation does not survive this kill
            return f"{type(error).__name__}: {error}"
        if before != self.fingerprint():
            return "the repeat has changed the old state"
        # What a refused repeat has not looked at, the next operation in the same place deletes.
        left = [] if refused else [path.name for path in self.folder.glob(".*")]
        return f"the repeat has left {', '.join(left)}" if left else None

    def _is_done(self) -> bool:
        """Return whether the new state is there. Raises if it is there and not whole."""
        match self.operation:
            case RescueOperation.SAVE:
                if not self.file.exists():
                    return False
                assert read_save(self.file).state == sample_save(self.algorithm).state
            case RescueOperation.RESTORE:
                if not self.place.exists():
                    return False
                _check_new_cluster(self.place, _CHOSEN_SLOT)
            case RescueOperation.RECOVER:
                if _is_old(self.root):
                    return False
                _check_new_cluster(self.root, _LAST_SLOT)
        return True


def sample_save(algorithm: str) -> Save:
    """Return the save that is written and restored."""
    state = _state_after(_CHOSEN_SLOT).packed()
    return Save(SaveHeader("0" * 32, algorithm, (), _CHOSEN_SLOT, NODES, (), (), _SAVED_MS, len(state)), state)


def old_cluster(root: Path, algorithm: str = DEFAULT_LOG) -> Spec:
    """Make the folder of a cluster that has lost all disks but one. That has a snapshot, chosen slots and accepted ones."""
    spec = create(root, nodes=NODES, algorithm=algorithm)
    settings = spec.settings
    disk = Disk(settings.directory(SURVIVOR), cluster=settings.cluster, node=SURVIVOR, made_for=settings.made_for)
    kind = load_algorithm(algorithm)
    assert issubclass(kind, LogAlgorithm)
    kind.store_state(disk.variable(""), disk.log, _SNAPSHOT_SLOT, [_state_after(_SNAPSHOT_SLOT).packed()])
    for slot in range(_SNAPSHOT_SLOT + 1, _LAST_SLOT + 1):
        disk.log.put(Record(slot, 1, NODES[0], _batch(slot)))
    disk.variable("")["commit"] = _CHOSEN_SLOT
    disk.commit()
    disk.close()
    for node in NODES:
        spec.mark_booted(node, 1)
    return spec


def _is_old(root: Path) -> bool:
    return len(open_spec(root).nodes) == len(NODES)


def _batch(slot: int) -> bytes:
    """Return the batch of a slot: each slot after the first puts a key that is named after it."""
    machine, command = (CLUSTER, ["form", list(NODES)]) if slot == 1 else ("kv", ["put", f"key {slot}", b"x" * slot])
    frame: Frame = (0, 0, 0, machine, pack_unchecked([command]))
    return pack_unchecked((0, (frame,)))


def _state_after(slot: int) -> ReplicatedState:
    state = ReplicatedState(DEFAULT, Configuration(NODES))
    for each in range(1, slot + 1):
        state.apply(each, _batch(each))
    return state


def _check_new_cluster(root: Path, last: int) -> None:
    """Check that a new cluster is whole: each of its nodes has a disk with every key up to that of slot `last`."""
    spec = open_spec(root)
    expected = {f"key {slot}": b"x" * slot for slot in range(2, last + 1)}
    for node in spec.nodes:
        values = stored_values(spec, node)
        assert values == expected, f"{node} holds {sorted(values)}"
        assert spec.has_booted(node), f"{node} could start without its disk"


def stored_values(spec: Spec, node: NodeId) -> dict[str, bytes]:
    """Return the values that the disk of a node knows as chosen, by key."""
    contents = inspect(spec.settings.directory(node))
    assert contents.cluster == spec.settings.cluster
    kind = load_algorithm(spec.settings.algorithm)
    replica = replica_on_disk(kind, node, spec.nodes, contents.variables[""], contents.log)
    assert isinstance(replica, LogAlgorithm)
    kv = replica.state.machines["kv"]
    assert isinstance(kv, KvMachine)
    return {key: value for key, (value, _) in kv.entries.items()}


def _hash_of(path: Path) -> str:
    """Return a hash of a file, or of all files below a folder and their names, without the lock."""
    found = sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file() and file.name != "lock":
            found.update(str(file.relative_to(path)).encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


# --- steps ----------------------------------------------------------------------------------------------------------


def _killed(files: type[DurableFiles], number: int) -> DurableFiles:
    """Return files whose process is killed before its step `number`."""

    class Killed(files):  # type: ignore[misc, valid-type]
        taken = 0

        def step(self, what: str, moves: Path | None = None) -> None:
            self.taken += 1
            if self.taken == number:
                os.kill(os.getpid(), signal.SIGKILL)

    return Killed()


def _watching(files: type[DurableFiles]) -> Any:
    """Return files that note every step (`steps`), and what is moved before it is durable (`unsynced`)."""

    class Watched(files):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            self.steps: list[str] = []
            self.unsynced: list[str] = []
            self.synced: dict[int, int] = {}  # by inode: when the file had changed last, at its last sync

        def step(self, what: str, moves: Path | None = None) -> None:
            self.steps.append(what)
            for path in [] if moves is None else [moves, *sorted(moves.rglob("*"))]:
                if self.synced.get(path.stat().st_ino) != path.stat().st_mtime_ns and path.name != "lock":
                    self.unsynced.append(f"{path.name} was not durable before {what!r}")

        def sync_descriptor(self, descriptor: int) -> None:
            super().sync_descriptor(descriptor)
            status = os.fstat(descriptor)
            self.synced[status.st_ino] = status.st_mtime_ns

    return Watched()


def _in_a_child(act: Callable[[DurableFiles], None], files: DurableFiles) -> int:
    """Do something in a child of this process. Returns its exit status, negative for a signal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork with threads: the child uses none of their locks
        child = os.fork()
    if child == 0:
        status = 1
        try:
            act(files)
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
