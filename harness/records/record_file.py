"""A file of lines that grows while a run goes on, and that no full disk turns into half a line or an end of the run."""

import contextlib
import os
from pathlib import Path


class RecordFile:
    """Appends whole lines to a file. After the first write that fails it writes nothing more.

    The run goes on without the rest of the file. `lost` is the reason then, for people; else it is empty. The file ends with the
    last line that was written in whole.
    """

    def __init__(self, path: Path) -> None:
        """Make the file, or empty it. Raises OSError."""
        self.path, self.lost = path, ""
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._bytes = 0

    def write(self, lines: str) -> None:
        """Append lines, each of which ends with a line break. Lone surrogates are escaped."""
        if self._descriptor < 0:
            return
        data = memoryview(lines.encode(errors="backslashreplace"))
        written = 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError as error:
            self.lost = f"{self.path} cannot be written: {error.strerror}"
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._bytes)
            self.close()
        self._bytes += written

    def close(self) -> None:
        """Close the file. A second call does nothing. What is written afterwards is dropped."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(descriptor)
