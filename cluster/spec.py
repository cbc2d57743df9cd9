"""A cluster's folder: the spec and everything that its nodes leave behind.

```
cluster.toml      the spec, see node/settings.py; mode 0600, since the cluster's id keeps strangers out
nodes/n1/         n1's disk
logs/n1.log       what n1 said
booted/n1         n1 has run before, so its disk must be there
removed/n1        n1 was a member and was removed for ever
```
"""

import json
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from node.algorithms import load_algorithm
from node.contract import NodeId
from node.machines import DEFAULT, make_machines
from node.settings import BadSpec, Settings, load

SPEC_NAME = "cluster.toml"


@dataclass(frozen=True, slots=True)
class Spec:
    """A cluster's folder and what stands in its spec."""

    root: Path
    settings: Settings

    @property
    def path(self) -> Path:
        """The spec's file."""
        return self.root / SPEC_NAME

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """The nodes, in the spec's order."""
        return self.settings.nodes

    def log(self, node: NodeId) -> Path:
        """What `node` said, over all its lives."""
        return self.root / "logs" / f"{node}.log"

    def has_booted(self, node: NodeId) -> bool:
        """Whether `node` has run before."""
        return (self.root / "booted" / node).exists()

    def known_nodes(self) -> tuple[NodeId, ...]:
        """The spec's nodes and those that joined later, also those that were removed."""
        joined = [path.name for path in (self.root / "booted").glob("*") if path.name not in self.nodes]
        return (*self.nodes, *sorted(joined, key=lambda node: (len(node), node)))

    def present_nodes(self) -> tuple[NodeId, ...]:
        """Those of them that were not removed."""
        return tuple(node for node in self.known_nodes() if not (self.root / "removed" / node).exists())

    def mark_removed(self, node: NodeId) -> None:
        """From now on `node` is not launched with the others."""
        (self.root / "removed").mkdir(mode=0o700, exist_ok=True)
        (self.root / "removed" / node).touch()

    def mark_booted(self, node: NodeId) -> None:
        """From now on a missing disk of `node` is an error."""
        (self.root / "booted" / node).touch()


def node_names(nodes: int | Sequence[NodeId]) -> tuple[NodeId, ...]:
    """`n1`, `n2`, … for a number; a list of names stays as it is."""
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
) -> Spec:
    """Make a cluster's folder. `machines` are what a log drives besides ours, each as module:Class.

    Raises:
        BadSpec: a field is not as it must be, or the folder cannot be written.
        UnknownAlgorithm: `algorithm` cannot be found.
        UnknownMachine: one of `machines` cannot be found, or is called as another one is.
    """
    if isinstance(machines, str):
        raise BadSpec(f"machines is a list of names: [{machines!r}]")
    keeps_log = load_algorithm(algorithm).keeps_log
    if machines and not keeps_log:
        raise BadSpec(f"{algorithm} keeps no log that could drive {', '.join(machines)}: use multipaxos")
    driven = (*DEFAULT, *machines) if machines else ()
    make_machines(driven)
    settings = Settings(secrets.token_hex(16), algorithm, node_names(nodes), seed, root / "nodes", vfs, driven)
    fields: dict[str, object] = {
        "cluster": settings.cluster,
        "algorithm": algorithm,
        "nodes": list(settings.nodes),
        "seed": seed,
        "data": "nodes",
    }
    if vfs is not None:
        fields["vfs"] = vfs
    if driven:
        fields["machines"] = list(driven)
    try:
        for folder in (root, root / "logs", root / "booted"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # JSON's strings, whole numbers and lists of strings are TOML's too.
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())
        descriptor = os.open(root / SPEC_NAME, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w") as file:
            file.write(text)
    except OSError as error:
        raise BadSpec(f"{root} cannot be written: {error.strerror}. Choose another folder") from error
    return Spec(root, settings)


def open_spec(root: Path) -> Spec:
    """Read the spec of a folder that `create` made. Raises BadSpec or UnknownAlgorithm."""
    settings = load(root / SPEC_NAME)
    load_algorithm(settings.algorithm)
    return Spec(root, settings)
