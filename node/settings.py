"""The spec: the settings of a cluster that each of its nodes reads from one TOML file.

```toml
cluster = "5f0c…"            # 32 hex digits, random; a node drops frames that do not carry it
algorithm = "paxos"          # a built-in algorithm, or module:Class
nodes = ["n1", "n2", "n3"]   # the order matters to algorithms with a configured leader: it is the first
seed = 7                     # every random draw of a node comes from it
data = "nodes"               # node n1 keeps its state in nodes/n1, relative to the spec's own directory
machines = ["kv"]            # optional, for algorithms with a log: the machines that it drives; built-in, or module:Class
settings = {window = 8}      # optional: sizes, counts and times that are not as shipped, see node/tuning.py
vfs = "module:name"          # optional: import the module, then use the apsw VFS of that name
```
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.contract import BadInput, NodeId
from node.tuning import SHIPPED, BadSetting, Tuning, tuning_of

NAME: Final = re.compile(r"[a-zA-Z0-9._-]{1,64}")
NODE_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,31}")
#: Names that have another meaning on the command line.
RESERVED_NODE_NAMES: Final = frozenset({"all", "leader", "client"})
NODES_MAX: Final = 99


class BadSpec(BadInput):
    """The spec cannot be used. The message names the file, the field, the reason and what is expected."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The spec of one cluster. The fields are those of the TOML file.

    `data` is the path of a directory. `vfs` is None for SQLite's own VFS. Empty `machines` stand for the default
    machines.
    """

    cluster: str
    algorithm: str
    nodes: tuple[NodeId, ...]
    seed: int
    data: Path
    vfs: str | None = None
    machines: tuple[str, ...] = ()
    tuning: Tuning = SHIPPED

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            BadSpec: a field has a value that is not allowed.
        """
        if not re.fullmatch(r"[0-9a-f]{32}", self.cluster):
            raise BadSpec(f"cluster is {self.cluster!r}, but must be 32 hex digits")
        if not self.algorithm:
            raise BadSpec("algorithm is empty: name one, such as paxos, or module:Class")
        if not 1 <= len(self.nodes) <= NODES_MAX:
            raise BadSpec(f"there are {len(self.nodes)} nodes, but a cluster has 1 to {NODES_MAX}")
        for name in self.nodes:
            check_node_name(name)
        if len(set(self.nodes)) != len(self.nodes):
            raise BadSpec("two nodes have the same name")

    @property
    def made_for(self) -> str:
        """What the nodes' directories are made for: `Disk` refuses a directory that was made for anything else."""
        return f"{self.algorithm} among {', '.join(self.nodes)}{self.tuning.replicated_text()}"

    def directory(self, node: NodeId) -> Path:
        """Return the directory in which `node` keeps its state."""
        return self.data / node


def check_node_name(name: str) -> None:
    """Check the name of a node.

    Raises:
        BadSpec: it is not a letter followed by at most 31 letters, digits, `-` or `_`, or it is a reserved word.
    """
    if not isinstance(name, str) or not NODE_NAME.fullmatch(name) or name in RESERVED_NODE_NAMES:
        reserved = ", ".join(sorted(RESERVED_NODE_NAMES))
        raise BadSpec(
            f"a node cannot be called {name!r}: use a letter, then letters, digits, - or _ ({reserved} are reserved)"
        )


_FIELD_TYPES: Final = {
    "cluster": str,
    "algorithm": str,
    "nodes": list,
    "seed": int,
    "data": str,
    "vfs": str,
    "machines": list,
    "settings": dict,
}


def load(path: Path) -> Settings:
    """Read the spec in the file `path`.

    Raises:
        BadSpec: the file cannot be read or is not TOML, or a field is missing, unknown or has a value that is not
            allowed.
    """
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise BadSpec(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSpec(f"{path} is not TOML: {error}") from error
    for key, value in table.items():
        expected = _FIELD_TYPES.get(key)
        if expected is None:
            raise BadSpec(f"{path}: {key!r} is not a field; the fields are {', '.join(_FIELD_TYPES)}")
        if type(value) is not expected:
            raise BadSpec(f"{path}: {key} has the type {type(value).__name__}, but must be {expected.__name__}")
    missing = [key for key in _FIELD_TYPES if key not in table and key not in ("vfs", "machines", "settings")]
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
            tuning=tuning_of(table.get("settings", {})),
        )
    except (BadSpec, BadSetting) as error:
        raise BadSpec(f"{path}: {error}") from None
