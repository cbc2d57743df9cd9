"""What a node is told about its cluster: the spec, read from TOML.

```toml
cluster = "5f0c…"            # 32 hex digits, random; frames that do not carry it are dropped
algorithm = "paxos"          # a name of ours, or module:Class
nodes = ["n1", "n2", "n3"]   # the order matters to algorithms with a leader: the first is the configured one
seed = 7                     # every random draw comes from it
data = "nodes"               # node n1 keeps its state in nodes/n1, relative to the spec's own directory
machines = ["kv"]            # optional, for algorithms with a log: what it drives; names of ours, or module:Class
limits = {window = 8}        # optional, for algorithms with a log: sizes, see `LogLimits` in node/log_contract.py
vfs = "module:name"          # optional: import the module, then use the apsw VFS of that name
```
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from node.contract import BadInput, NodeId
from node.limits import SHIPPED_LIMITS, LogLimits

NAME: Final = re.compile(r"[a-zA-Z0-9._-]{1,64}")
NODE_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,31}")
#: Words that the command line uses for something else than a node.
RESERVED_NODE_NAMES: Final = frozenset({"all", "leader", "client"})
NODES_MAX: Final = 99


class BadSpec(BadInput):
    """The spec cannot be used. The message says where, why and what is wanted."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The spec of one cluster."""

    cluster: str
    algorithm: str
    nodes: tuple[NodeId, ...]
    seed: int
    data: Path
    vfs: str | None = None
    machines: tuple[str, ...] = ()
    limits: LogLimits = SHIPPED_LIMITS

    def __post_init__(self) -> None:
        """Raises BadSpec if a field is not as it must be."""
        if not re.fullmatch(r"[0-9a-f]{32}", self.cluster):
            raise BadSpec(f"cluster is {self.cluster!r}, and 32 hex digits are wanted")
        if not self.algorithm:
            raise BadSpec("algorithm is empty: name one, such as paxos, or module:Class")
        if not 1 <= len(self.nodes) <= NODES_MAX:
            raise BadSpec(f"there are {len(self.nodes)} nodes, and 1 to {NODES_MAX} can run")
        for name in self.nodes:
            check_node_name(name)
        if len(set(self.nodes)) != len(self.nodes):
            raise BadSpec("two nodes have the same name")

    def directory(self, node: NodeId) -> Path:
        """Where `node` keeps its state."""
        return self.data / node


def check_node_name(name: str) -> None:
    """Raises BadSpec if a node cannot be called so."""
    if not isinstance(name, str) or not NODE_NAME.fullmatch(name) or name in RESERVED_NODE_NAMES:
        reserved = ", ".join(sorted(RESERVED_NODE_NAMES))
        raise BadSpec(
            f"a node cannot be called {name!r}: use a letter, then letters, digits, - or _ ({reserved} are taken)"
        )


_TYPES: Final = {
    "cluster": str,
    "algorithm": str,
    "nodes": list,
    "seed": int,
    "data": str,
    "vfs": str,
    "machines": list,
    "limits": dict,
}


def load(path: Path) -> Settings:
    """Read a spec.

    Raises:
        BadSpec: it cannot be read, is not TOML, or a field is missing, unknown or wrong.
    """
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise BadSpec(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSpec(f"{path} is not TOML: {error}") from error
    for key, value in table.items():
        wanted = _TYPES.get(key)
        if wanted is None:
            raise BadSpec(f"{path}: {key!r} is not a field; there are {', '.join(_TYPES)}")
        if type(value) is not wanted:
            raise BadSpec(f"{path}: {key} is a {type(value).__name__}, and a {wanted.__name__} is wanted")
    missing = [key for key in _TYPES if key not in table and key not in ("vfs", "machines", "limits")]
    if missing:
        raise BadSpec(f"{path}: {missing[0]} is missing")
    for key in ("nodes", "machines"):
        if not all(type(name) is str for name in table.get(key, [])):
            raise BadSpec(f"{path}: {key} must be a list of strings")
    try:
        return Settings(
            cluster=table["cluster"],
            algorithm=table["algorithm"],
            nodes=tuple(table["nodes"]),
            seed=table["seed"],
            data=path.parent / table["data"],
            vfs=table.get("vfs"),
            machines=tuple(table.get("machines", ())),
            limits=log_limits(table.get("limits", {})),
        )
    except BadSpec as error:
        raise BadSpec(f"{path}: {error}") from None


def log_limits(table: Mapping[str, object]) -> LogLimits:
    """Return the limits that a table of the spec gives; what it leaves out is as shipped.

    Raises:
        BadSpec: a name is not that of a limit, or a number is not a whole number of at least 0.
    """
    known = [field.name for field in fields(LogLimits)]
    sizes: dict[str, int] = {}
    for name, size in table.items():
        if name not in known:
            raise BadSpec(f"limits has {name!r}; there are {', '.join(known)}")
        if type(size) is not int or size < 0:
            raise BadSpec(f"the limit {name} is {size!r}, and a whole number of at least 0 is wanted")
        sizes[name] = size
    return LogLimits(**sizes)
