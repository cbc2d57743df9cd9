"""A node whose disk is broken on purpose: `synchronous=NORMAL`, so a commit returns before it is durable."""

import sys
from typing import Any

import node.__main__
from node.storage.disk import Disk


class NormalSync(Disk):
    """SQLite syncs its log at checkpoints alone."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._db.execute("PRAGMA synchronous=NORMAL")


if __name__ == "__main__":
    setattr(node.__main__, "Disk", NormalSync)  # noqa: B010 - what the module has imported
    sys.exit(node.__main__.main())
