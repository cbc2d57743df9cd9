"""A disk that a node may lose: if its directory is missing, the node boots as if it were new."""

from typing import Any

from node.storage.disk import Disk


class ForgivingDisk(Disk):
    """A disk that need not exist at boot, and may be an old copy. It ignores the option `last_seen` of the node's launcher."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "last_seen": None})
