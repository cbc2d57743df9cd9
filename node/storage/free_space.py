"""How much is free on the disk of a folder, and from when on it counts as full."""

import os
from pathlib import Path
from typing import Final

#: A disk with fewer free bytes is full: a commit of SQLite, which writes several whole pages, may not fit.
FULL_BELOW_BYTES: Final = 64 * 1024


def free_bytes(folder: Path) -> int:
    """Return how many bytes a user may still write to the disk of a folder. Raises OSError if there is no such folder."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def is_full(folder: Path) -> bool:
    """Return whether next to nothing is free on the disk of a folder. Of a folder that is missing it is not known: False."""
    try:
        return free_bytes(folder) < FULL_BELOW_BYTES
    except OSError:
        return False
