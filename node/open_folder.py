"""A folder that a process rests on, and that may be removed or moved while the process runs."""

import os
from pathlib import Path


class OpenFolder:
    """An open folder. The kernel tells where it is now, also after it was moved."""

    def __init__(self, folder: Path) -> None:
        """Open the folder. Raises OSError."""
        self._folder = folder
        self.descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)

    def now(self) -> Path | None:
        """Return the path of the folder now; None if it was removed."""
        try:
            where = os.readlink(f"/proc/self/fd/{self.descriptor}")
        except OSError:  # there is no /proc, or it denies the look
            where = str(self._folder)
        try:
            return Path(where) if os.path.samestat(os.stat(where), os.fstat(self.descriptor)) else None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:  # for example, a folder above it may not be read any more: that is no removal
            return self._folder

    def close(self) -> None:
        """Close the folder. A second call does nothing."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
