"""The pipes of one incarnation of a node: lines to its standard input and from its standard output, and text from its errors.

A channel belongs to the router (`router.py`), which calls it under its lock. Nothing blocks: what the node does not read waits
here, up to a bound, and what it writes is read when there is something. The pipes of a node that is suspended fill up, as its
sockets would.
"""

import os
from collections import deque
from collections.abc import Iterator
from typing import IO, Final

from harness.systems.maelstrom.protocol import LINE_MAX

#: How many bytes may wait for a node that does not read.
WAITING_BYTES_MAX: Final = 64 * 1024 * 1024
_READ: Final = 256 * 1024


class Channel:
    """The pipes of one incarnation."""

    def __init__(self, stdin: IO[bytes], stdout: IO[bytes], stderr: IO[bytes]) -> None:
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        for pipe in (stdin, stdout, stderr):
            os.set_blocking(pipe.fileno(), False)
        self._waiting: deque[memoryview] = deque()
        self._waiting_bytes = 0
        self._partial = b""
        self._ended: list[IO[bytes]] = []
        self.is_open = False
        """Whether the node can be sent messages: not before it has answered `init`, and not after its end."""

    # --- to the node ------------------------------------------------------------------------------------------------

    def send(self, line: bytes) -> bool:
        """Write a line, now or as soon as the node reads. Returns False if it cannot: the node has ended, or too much waits."""
        if self.stdin.closed or self._waiting_bytes + len(line) > WAITING_BYTES_MAX:
            return False
        self._waiting.append(memoryview(line + b"\n"))
        self._waiting_bytes += len(line) + 1
        return self.write_out()

    def write_out(self) -> bool:
        """Write what waits, as much as the pipe takes. Returns False if the node reads no more."""
        while self._waiting:
            try:
                written = os.write(self.stdin.fileno(), self._waiting[0])
            except BlockingIOError:
                return True
            except OSError:  # the node has ended, or has closed its standard input
                self._waiting.clear()
                self._waiting_bytes = 0
                return False
            self._waiting_bytes -= written
            if written == len(self._waiting[0]):
                self._waiting.popleft()
            else:
                self._waiting[0] = self._waiting[0][written:]
        return True

    @property
    def is_behind(self) -> bool:
        """Whether lines wait until the node reads."""
        return bool(self._waiting)

    # --- from the node ----------------------------------------------------------------------------------------------

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that have come in whole, without their line breaks. A line that is too long comes as it is."""
        data = self._read(self.stdout)
        if not data:
            return
        *whole, self._partial = (self._partial + data).split(b"\n")
        yield from whole
        if len(self._partial) > LINE_MAX:
            line, self._partial = self._partial, b""
            yield line

    def text(self) -> bytes:
        """Return what the node has written to its standard error since the last call."""
        return self._read(self.stderr)

    def has_ended(self, pipe: IO[bytes]) -> bool:
        """Return whether the end of a pipe was read: all who could write have ended, or have closed it."""
        return pipe in self._ended

    def _read(self, pipe: IO[bytes]) -> bytes:
        if pipe.closed or pipe in self._ended:
            return b""
        try:
            data = os.read(pipe.fileno(), _READ)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self._ended.append(pipe)
        return data

    def close(self) -> None:
        """Close the pipes. A second call does nothing."""
        self.is_open = False
        for pipe in (self.stdin, self.stdout, self.stderr):
            pipe.close()
