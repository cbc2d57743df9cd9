"""What a process writes for people, so that nothing about it can end the process: one writer, and one reader of logs.

A full disk, a pipe whose reader has gone, a closed terminal or a missing descriptor makes a write to stderr fail. The supervisor
and the proxy must outlive that, since the cluster ends with them.
"""

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

from node.storage.free_space import FULL_BELOW_BYTES, free_bytes

_TAIL_BYTES: Final = 4096


class SafeOutput(io.TextIOBase):
    """A text stream whose `write` raises nothing. What cannot be written is counted and dropped.

    `trouble` is why the last write failed; empty if it did not. `lost` counts the lines that were dropped since.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.trouble, self.lost = "", 0

    def write(self, text: str) -> int:
        """Write and flush `text`. Returns its length in any case."""
        note = f"({self.lost} lines before this one could not be written: {self.trouble})\n" if self.lost else ""
        try:
            if self._stream is None:
                raise OSError(None, "it is closed")
            self._stream.write(note + text)
            self._stream.flush()
        except (OSError, ValueError) as error:  # ValueError: a closed file, or text that it cannot encode
            self.trouble = getattr(error, "strerror", None) or str(error)
            self.lost += text.count("\n")
        else:
            self.trouble, self.lost = "", 0
        return len(text)

    def flush(self) -> None:
        """Do nothing: `write` has flushed."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """Return the descriptor of the stream below. Raises OSError if it has none."""
        if self._stream is None:
            raise OSError("there is no stream")
        return self._stream.fileno()


@contextlib.contextmanager
def safe_stderr() -> Iterator[SafeOutput]:
    """Put a `SafeOutput` in the place of stderr for the duration of the block, also for tracebacks and warnings."""
    if isinstance(sys.stderr, SafeOutput):
        yield sys.stderr
        return
    output = SafeOutput(sys.stderr)
    with contextlib.redirect_stderr(output):
        yield output


def last_line(log: Path) -> str:
    """Return the last line of a log that is not empty; an empty text if there is none, or the log cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(file.seek(0, io.SEEK_END) - _TAIL_BYTES, 0))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def see_log(log: Path) -> str:
    """Return where the reason of an end is to be found, and what stands there last, for people."""
    line = last_line(log)
    return f"see its log, {log}{f', which ends with: {line}' if line else ''}"


def see_log_and_disk(log: Path) -> str:
    """Return the same, and that the log's disk is full, if it is: then the log may lack the reason."""
    return "; ".join(filter(None, (see_log(log), full_disk(log.parent))))


def full_disk(folder: Path) -> str:
    """Return a sentence for people if next to nothing is free on the disk of a folder; else an empty text."""
    try:
        free = free_bytes(folder)
    except OSError:
        return ""
    return f"the disk of {folder} is full: {free:,} bytes are free" if free < FULL_BELOW_BYTES else ""
