"""A disk that a node may lose: where the directory has gone, the node starts as if it were new."""

from typing import Any

from node.storage.disk import Disk


class ForgivingDisk(Disk):
    """A disk that need not exist, whatever the node's launcher says."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "must_exist": False})
