"""Bare sockets to a node."""

import socket


def bare_connection(address: str) -> socket.socket:
    """Connect to a node at `ipc://@NAME`, without speaking ZeroMQ's protocol."""
    name = address.removeprefix("ipc://@")
    assert name != address
    bare = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bare.setblocking(False)  # a connection for which there is no room fails at once
    bare.connect(f"\0{name}")
    bare.setblocking(True)
    return bare
