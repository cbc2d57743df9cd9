"""Redis's protocol RESP 2, as much as a client of plain commands needs.

A node imports this at each start, so it imports nothing of this project.
"""

import socket
from typing import Any, Final

#: The name under which the sentinels know the master.
MASTER: Final = "main"


class RedisError(Exception):
    """Redis has answered with an error. Its first word says which, such as READONLY."""

    @property
    def code(self) -> str:
        """The first word."""
        return str(self).partition(" ")[0]


class Resp:
    """One connection. Every method raises OSError if it breaks or its time is up; it cannot be used any more then."""

    def __init__(self, address: str, timeout_s: float) -> None:
        """Connect to "host:port". `timeout_s` is for the connection and for each answer."""
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout_s)
        self._file = self._socket.makefile("rb")

    def send(self, *words: str) -> None:
        """Send a command."""
        parts = [word.encode() for word in words]
        self._socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))

    def receive(self) -> Any:
        """Wait for an answer: a text, a number, a list, or None. Raises RedisError."""
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the connection was closed")
        kind, rest = line[:1], line[1:-2]
        match kind:
            case b"+":
                return rest.decode()
            case b"-":
                raise RedisError(rest.decode())
            case b":":
                return int(rest)
            case b"$":
                return None if rest == b"-1" else self._read(int(rest)).decode()
            case b"*":
                return None if rest == b"-1" else [self.receive() for _ in range(int(rest))]
        raise ConnectionError(f"{line!r} is no answer of Redis")

    def ask(self, *words: str) -> Any:
        """Send a command, and wait for its answer. Raises RedisError."""
        self.send(*words)
        return self.receive()

    def _read(self, size: int) -> bytes:
        data = self._file.read(size + 2)
        if len(data) < size + 2:
            raise ConnectionError("the connection was closed")
        return data[:-2]

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._socket.close()
