"""What a node's launcher has last seen of the node's disk: `LastSeen`. With it, an old copy of the disk is told from the disk.

Theory of operation
-------------------
Old data are whole, and every checksum of them fits. So only something beside the disk can tell that they are old. The launcher
keeps it in a file outside of the node's directory, `booted/n1`:

1. When the node reports that it is ready, the launcher notes the number of this boot, durably. The node has made that number
   durable before its report. So a disk that says less is an old copy.
2. When the process has ended, the launcher notes in addition what the last commit has left in `state.db-mark`
   (`node/storage/doubts.py`). A disk that says the same number of boots and has another mark is a copy that was made while
   the node ran. Neither mark is synced, so that holds until the machine is restarted.

A disk that says more is taken: its node has booted and was killed before it could report.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Self

#: A file of one size is overwritten in place, so that it also works on a full disk.
_BYTES: Final = 256


class LastSeen(NamedTuple):
    """The content of the file."""

    incarnation: int = 0
    """The number of the last boot that the launcher knows; 0 if an earlier version has made the file, which is then empty."""
    mark: str = ""
    """The mark of the last commit before the process ended, in hex digits; empty while it runs, or if no launcher saw its end."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file. Raises OSError, and ValueError if it is damaged."""
        content = path.read_bytes()
        if not content:
            return cls()
        try:
            fields = json.loads(content)
            return cls(int(fields["incarnation"]), str(fields["mark"]))
        except (KeyError, TypeError) as error:
            raise ValueError(str(error)) from error

    def write(self, path: Path) -> None:
        """Write the file, which is durable when this returns. Raises OSError."""
        new = not path.exists()
        with open(path, "wb" if new else "r+b", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(json.dumps(self._asdict()).encode().ljust(_BYTES - 1) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if new:
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def note_end(path: Path, mark: Path) -> None:
    """Add to the file at `path` what the file `mark` holds. If one of them cannot be read or written, nothing is noted."""
    with suppress(OSError, ValueError):
        LastSeen.read(path)._replace(mark=mark.read_bytes().hex()).write(path)
