"""Follows a file that another process writes: returns the whole lines that it has gained since the last look.

Rules
-----
1. Only whole lines are returned. A writer may be in the middle of a line, or may have been killed there.
2. A file that does not exist yet has no lines.
3. Reading never waits. Each caller decides how often to look, since each knows what it waits for.
"""

import json
from os import SEEK_END
from pathlib import Path
from typing import Any, Final

_BLOCK_BYTES: Final = 4096


class FileTail:
    """One reader's place in a growing file. It keeps no file open between two looks."""

    def __init__(self, path: Path, *, from_now: bool = False) -> None:
        """Begin at the file's start, or with `from_now` after the whole lines that it holds now."""
        self.path = path
        self._offset = _end_of_lines(path) if from_now else 0
        self._rest = b""

    def new_lines(self) -> list[str]:
        """Return the whole lines that came since the last call, without their ends. Bytes that are not UTF-8 are replaced."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole, newline, self._rest = data.rpartition(b"\n")
        if not newline:
            return []
        self._offset += len(whole) + 1
        return whole.decode("utf-8", "replace").split("\n")

    def new_objects(self) -> list[dict[str, Any]]:
        """Return the whole lines that came since the last call, each read as a JSON object."""
        return [json.loads(line) for line in self.new_lines()]

    @property
    def unfinished_line(self) -> str:
        """What stood after the last whole line at the last look; empty if the file ended with a whole line."""
        return self._rest.decode("utf-8", "replace")


def _end_of_lines(path: Path) -> int:
    """Return where the last whole line of a file ends, in bytes. Its writer may be in the middle of the next one."""
    with path.open("rb") as file:
        end = file.seek(0, SEEK_END)
        while end > 0:
            start = max(0, end - _BLOCK_BYTES)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0
