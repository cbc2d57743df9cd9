"""The mark in the environment of every process of a cluster, by which `cluster.left_running` finds it.

The mark holds the cluster's id, which must stay secret. Only the same user can read a process's environment; every user can read
its command line.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

VARIABLE: Final = "CONSENSUS_LAB_PROCESS"
SUPERVISOR: Final = "supervisor"
PROXY: Final = "proxy"


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """What a process is: its role ("supervisor", "proxy", or a node's name), and the folder and id of its cluster.

    `device` and `inode` are those of the folder when the process was started.
    """

    role: str
    cluster: str
    folder: str
    device: int
    inode: int

    @classmethod
    def of(cls, role: str, cluster: str, root: Path) -> Self:
        """Return the mark of a process of the cluster in `root`."""
        status = root.stat()
        return cls(role, cluster, str(root.absolute()), status.st_dev, status.st_ino)

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Return the mark that stands in an environment; None if the text is none."""
        try:
            content = json.loads(text)
            return cls(*(kind(content[name]) for name, kind in _FIELDS.items()))
        except (ValueError, KeyError, TypeError):
            return None

    def environment(self) -> Mapping[str, str]:
        """Return this process's environment with the mark in it, for a child."""
        return {**os.environ, VARIABLE: json.dumps(asdict(self))}


_FIELDS: Final = {"role": str, "cluster": str, "folder": str, "device": int, "inode": int}
