"""Ports for nodes that cannot choose one by themselves and report it: each stays the node's own over all its restarts.

A port is taken from below those that the kernel gives to connections, so that no connection takes it while its node is down. A
name in the kernel's abstract namespace reserves it among all runs on this machine, and goes with the process that holds it.
"""

import os
import socket
from pathlib import Path
from random import Random
from typing import Final

_EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LEAST: Final = 10_240
_TRIES: Final = 2_000


class NoPort(OSError):
    """No port is free."""


class ReservedPorts:
    """Ports of one run, from their reservation to `close`."""

    def __init__(self) -> None:
        self._names: list[socket.socket] = []
        self._rng = Random(os.urandom(8))  # which port it is makes no difference to a run
        self._most = _first_ephemeral()

    def reserve(self) -> int:
        """Return a port at which nothing listens, and that no other run gets until `close`. Raises NoPort."""
        for _ in range(_TRIES):
            port = self._rng.randrange(_LEAST, self._most)
            name = socket.socket(socket.AF_UNIX)
            try:
                name.bind(f"\0consensus-lab/port/{port}")
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
            except OSError:
                name.close()
                continue
            self._names.append(name)
            return port
        raise NoPort(f"no port from {_LEAST} to {self._most - 1} is free on 127.0.0.1")

    def close(self) -> None:
        """Let other runs have the ports."""
        while self._names:
            self._names.pop().close()


def _first_ephemeral() -> int:
    try:
        first = int(_EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        first = 32_768
    return first if first > _LEAST + _TRIES else 32_768
