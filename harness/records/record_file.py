"""A file of lines that grows while a run goes on, and that no full disk turns into half a line or an end of the run."""

import contextlib
import os
from pathlib import Path


class RecordFile:
    """Appends whole lines to a file. After the first write that fails, or that reaches its limit, it writes nothing more.

    The run goes on without the rest of the file. `lost` is the reason of a failure then, for people; else it is empty. `is_full`:
    the limit was reached. The file ends with the last line that was written in whole.
    """

    def __init__(self, path: Path, bytes_max: int | None = None) -> None:
        """Make the file, or empty it. `bytes_max` is its limit; None for none. Raises OSError."""
        self.path, self.lost, self.is_full = path, "", False
        self._bytes_max = bytes_max
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._bytes = 0

    def write(self, lines: str) -> None:
        """Append lines, each of which ends with a line break. Lone surrogates are escaped."""
        if self._descriptor < 0:
            return
        encoded = lines.encode(errors="backslashreplace")
        if self._bytes_max is not None and self._bytes + len(encoded) > self._bytes_max:
            self.is_full = True
            encoded = encoded[: encoded.rfind(b"\n", 0, self._bytes_max - self._bytes) + 1]
        data = memoryview(encoded)
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
        if self.is_full:
            self.close()

    def close(self) -> None:
        """Close the file. A second call does nothing. What is written afterwards is dropped."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(descriptor)
