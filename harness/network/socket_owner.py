"""Which process has the other end of a connection on this machine, from the kernel's tables. Linux only; no root is needed.

Some systems tell each other their own addresses, so all their nodes must use the same address for a node, and a port for each
directed pair is not possible. There the port says to whom a connection goes, and the kernel says from whom: the table of sockets
has the socket of the other end, and the process that has it open is a node, a child of a node, or a client.
"""

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

#: The tables of the sockets of IPv4, and of those of IPv6 that reach IPv4 addresses.
_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ESTABLISHED: Final = ("01", "04", "05", "08")  # also those whose end has begun: FIN-WAIT-1 and 2, CLOSE-WAIT


def socket_inode(port: int, other_port: int) -> str | None:
    """Return the inode of the loopback socket at `port` that is connected to `other_port`; None if there is none any more."""
    for table in _TABLES:
        with contextlib.suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                (
                    _,
                    local,
                    remote,
                    state,
                    *_,
                ) = line.split(maxsplit=4)
                if (
                    int(local.rpartition(":")[2], 16) == port
                    and int(remote.rpartition(":")[2], 16) == other_port
                    and state in _ESTABLISHED
                ):
                    inode = line.split()[9]
                    return None if inode == "0" else inode
    return None


def has_open(pid: int, inode: str) -> bool:
    """Return whether a process of this user has a socket open."""
    folder = f"/proc/{pid}/fd"
    wanted = f"socket:[{inode}]"
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                if os.readlink(f"{folder}/{name}") == wanted:
                    return True
    return False


def owner(port: int, other_port: int, groups: Mapping[str, int], others: Iterable[int] = ()) -> str | None:
    """Return which of the process groups has the socket at `port` that is connected to `other_port`.

    Args:
        port: the port of the end whose owner is wanted.
        other_port: the port at which the caller listens.
        groups: the process group of each node, by name; its first process has the same number.
        others: processes that are none of a node and are likely to have it. They are asked before the children of the nodes.

    Returns:
        The node's name; an empty text for any other process; None if the connection is gone.
    """
    inode = socket_inode(port, other_port)
    if inode is None:
        return None
    for name, group in groups.items():
        if has_open(group, inode):
            return name
    if any(has_open(pid, inode) for pid in others):
        return ""
    names = {group: name for name, group in groups.items()}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(ProcessLookupError):
                group = os.getpgid(int(entry))
                if group in names and has_open(int(entry), inode):
                    return names[group]
    return ""
