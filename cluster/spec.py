"""A cluster's folder: the spec, and everything that its nodes write.

```
folder.json       the mark: whose folder this is, see cluster/folder_mark.py
cluster.toml      the spec, see node/settings.py; mode 0600, since the cluster's id keeps other users' frames out
nodes/n1/         n1's disk
logs/n1.log       n1's log of events and errors, over all its incarnations
booted/n1         n1 has run before, so its disk must exist, and not be an old copy: see node/storage/last_seen.py
launched/n4       n4 is not in the spec, and was launched in order to join
removed/n1        n1 was a member, and was removed for ever
running/n1.*      n1 outlives its launcher: its process and address, and the FIFO of its orders, see cluster/outliving.py
```

`cluster/wiping.py` deletes exactly these, so what is added here is added there.
"""

import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from cluster.folder_mark import SPEC_NAME, make_folder
from node.algorithms import A_LOG, load_algorithm
from node.contract import NodeId
from node.machines import DEFAULT, make_machines
from node.settings import BadSpec, Settings, load
from node.storage.disk import FILE_NAME, LastSeen
from node.storage.doubts import MARK_SUFFIX
from node.storage.last_seen import note_end
from node.tuning import tuning_of

__all__ = ["SPEC_NAME", "Spec", "create", "node_names", "open_spec"]


@dataclass(frozen=True, slots=True)
class Spec:
    """A cluster's folder, and the content of its spec."""

    root: Path
    settings: Settings

    @property
    def path(self) -> Path:
        """The file of the spec."""
        return self.root / SPEC_NAME

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """The nodes of the spec, in its order."""
        return self.settings.nodes

    def log(self, node: NodeId) -> Path:
        """Return the file to which `node` logs, over all its incarnations."""
        return self.root / "logs" / f"{node}.log"

    def has_booted(self, node: NodeId) -> bool:
        """Return whether `node` has run before."""
        return self.booted(node).exists()

    def booted(self, node: NodeId) -> Path:
        """Return the file that says what was last seen of the disk of `node`; it exists if `node` has run before."""
        return self.root / "booted" / node

    def known_nodes(self) -> tuple[NodeId, ...]:
        """Return the spec's nodes, then those that joined later. Removed nodes are included."""
        joined = [path.name for path in (self.root / "booted").glob("*") if path.name not in self.nodes]
        return (*self.nodes, *sorted(joined, key=lambda node: (len(node), node)))

    def present_nodes(self) -> tuple[NodeId, ...]:
        """Return the known nodes that were not removed."""
        return tuple(node for node in self.known_nodes() if not (self.root / "removed" / node).exists())

    def mark_removed(self, node: NodeId) -> None:
        """Note that `node` was removed, so that it is not launched any more."""
        (self.root / "removed").mkdir(mode=0o700, exist_ok=True)
        (self.root / "removed" / node).touch()

    def mark_launched(self, node: NodeId) -> None:
        """Note that `node`, which is not in the spec, is about to run for the first time."""
        (self.root / "launched").mkdir(mode=0o700, exist_ok=True)
        (self.root / "launched" / node).touch()

    def mark_booted(self, node: NodeId, incarnation: int) -> None:
        """Note, durably, the number of this boot of `node`, so that at the next start its disk is neither missing nor older.

        Raises:
            OSError: the disk is full, or has failed.
        """
        LastSeen(incarnation).write(self.booted(node))

    def mark_ended(self, node: NodeId) -> None:
        """Note what the process of `node`, which has ended, has left on its disk. If that fails, nothing is noted."""
        note_end(self.booted(node), self.settings.directory(node) / f"{FILE_NAME}{MARK_SUFFIX}")


def node_names(nodes: int | Sequence[NodeId]) -> tuple[NodeId, ...]:
    """Return the names of nodes: `n1`, `n2`, … for a number; a list of names as it is. Raises BadSpec for anything else."""
    if isinstance(nodes, str | bytes) or not isinstance(nodes, int | Iterable):
        raise BadSpec(f"nodes is a number, or a list of names: not {nodes!r}")
    if isinstance(nodes, int) and nodes < 1:
        raise BadSpec(f"{nodes} nodes are too few: there must be one at least")
    return tuple(f"n{number}" for number in range(1, nodes + 1)) if isinstance(nodes, int) else tuple(nodes)


def create(
    root: Path,
    *,
    nodes: int | Sequence[NodeId],
    algorithm: str,
    seed: int = 0,
    vfs: str | None = None,
    machines: Sequence[str] = (),
    settings: Mapping[str, int] = MappingProxyType({}),
) -> Spec:
    """Make a cluster's folder, with the mark and the spec of a new cluster.

    Args:
        root: the folder, which may exist, and then has nothing in the place of what a cluster makes.
        nodes: how many nodes, or their names in order.
        algorithm: the name of an algorithm of this project, or `module:Class`.
        seed: every random draw of the nodes comes from it.
        vfs: the SQLite VFS of the nodes' disks, as `module:name`; None: SQLite's own.
        machines: the machines that a log drives besides those of this project, each as `module:Class`.
        settings: sizes, counts and times that are not as shipped, by name: see `node/tuning.py`.

    Returns:
        The new spec.

    Raises:
        BadSpec: a field has a wrong value, the folder holds a cluster or something in its place, or it cannot be written.
        UnknownAlgorithm: `algorithm` cannot be found.
        UnknownMachine: a machine cannot be found, or two machines have one name.
        BadSetting: no setting has such a name, or a value is out of its range.
    """
    if isinstance(machines, str):
        raise BadSpec(f"machines is a list of names: [{machines!r}]")
    keeps_log = load_algorithm(algorithm).keeps_log
    if machines and not keeps_log:
        raise BadSpec(f"{algorithm} keeps no log that could drive {', '.join(machines)}: use {A_LOG}")
    driven = (*DEFAULT, *machines) if machines else ()
    make_machines(driven)
    tuning = tuning_of(settings)
    made = Settings(secrets.token_hex(16), algorithm, node_names(nodes), seed, root / "nodes", vfs, driven, tuning)
    fields: dict[str, object] = {
        "cluster": made.cluster,
        "algorithm": algorithm,
        "nodes": list(made.nodes),
        "seed": seed,
        "data": "nodes",
    }
    if vfs is not None:
        fields["vfs"] = vfs
    if driven:
        fields["machines"] = list(driven)
    make_folder(root, made.cluster)
    try:
        for folder in (root / "logs", root / "booted"):
            folder.mkdir(mode=0o700)
        # JSON's strings, whole numbers and lists of strings are TOML's too.
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())
        if changed := tuning.changed():
            text += f"settings = {{{', '.join(f'{name} = {value}' for name, value in changed.items())}}}\n"
        descriptor = os.open(root / SPEC_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:
            file.write(text)
    except OSError as error:
        raise BadSpec(f"{root} cannot be written: {error.strerror}. Choose another folder") from error
    return Spec(root, made)


def open_spec(root: Path) -> Spec:
    """Read the spec of a folder that `create` made. Raises BadSpec or UnknownAlgorithm."""
    settings = load(root / SPEC_NAME)
    load_algorithm(settings.algorithm)
    return Spec(root, settings)
