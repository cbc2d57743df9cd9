"""Which process has the other end of a connection on this machine, from the kernel's tables. Linux only; no root is needed.

Some systems tell each other their own addresses, so all their nodes must use the same address for a node, and a port for each
directed pair is not possible. There the port says to whom a connection goes, and the kernel says from whom: the table of sockets
has the socket of the other end, and the process that has it open is a node, a child of a node, or a client.
"""

import contextlib
import errno
import os
import socket
import struct
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

#: The tables of the sockets of IPv4 and of IPv6, and how each writes 127.0.0.1.
_TABLES: Final = (
    (Path("/proc/net/tcp"), "0100007F"),
    (Path("/proc/net/tcp6"), "0000000000000000FFFF00000100007F"),
)
#: Numbers of netlink and of sock_diag, from linux/netlink.h and linux/sock_diag.h.
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_NLMSG_ERROR: Final = 2
_LOOPBACK: Final = 0x7F000001
_LISTENING: Final = "0A"
#: In which column of a line the inode stands.
_INODE: Final = 9
#: How many processes that had connections are asked first.
_LIKELY_MAX: Final = 64


def socket_inode(port: int, other_port: int) -> str | None:
    """Return the inode of the loopback socket at `port` that is connected to `other_port`; None if there is none any more."""
    try:
        return _ask_kernel(port, other_port)
    except OSError:  # the kernel has no such interface: its table takes it a hundred times as long to write
        return _look_into_tables(port, other_port)


def _ask_kernel(port: int, other_port: int) -> str | None:
    """Ask for one socket by sock_diag(7). Raises OSError if the kernel does not offer it."""
    nowhere = (0, 0, 0)
    ports = struct.pack("!HH", port, other_port)
    addresses = struct.pack("!4I4I", _LOOPBACK, *nowhere, _LOOPBACK, *nowhere)
    wanted = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + ports + addresses
    wanted += struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)  # any interface, any cookie
    head = struct.pack("=IHHII", 16 + len(wanted), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(1.0)
        kernel.send(head + wanted)
        answer = kernel.recv(4096)
    (kind,) = struct.unpack_from("=H", answer, 4)
    if kind == _NLMSG_ERROR:
        (number,) = struct.unpack_from("=i", answer, 16)
        if -number == errno.ENOENT:
            return None
        raise OSError(-number, os.strerror(-number))
    (found_port,) = struct.unpack_from("!H", answer, 16 + 4 + 2)
    (inode,) = struct.unpack_from("=I", answer, 16 + 4 + 48 + 16)
    return str(inode) if inode and found_port == other_port else None  # a socket that listens is found, too


def _look_into_tables(port: int, other_port: int) -> str | None:
    for table, host in _TABLES:
        with contextlib.suppress(OSError):
            _, found, after = table.read_text().partition(f"{host}:{port:04X} {host}:{other_port:04X} ")
            if found:
                inode = after.split(maxsplit=_INODE - 2)[_INODE - 3]
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


class SocketOwners:
    """Finds who has dialed. Any thread may call any method."""

    def __init__(self, launcher: int) -> None:
        """`launcher` is a process whose connections are none of a node: that of the clients."""
        self._groups: dict[int, str] = {}
        #: The processes that have had connections, the last one last.
        self._likely: dict[int, None] = {launcher: None}
        self._launcher = launcher
        self._lock = threading.Lock()

    def node_up(self, node: str, group: int) -> None:
        """Note the process group of a node. Its first process has the same number."""
        with self._lock:
            self._groups = {**{number: name for number, name in self._groups.items() if name != node}, group: node}
            self._likely[group] = None

    def owner(self, port: int, other_port: int) -> str | None:
        """Return which node has the socket at `port` that is connected to `other_port`.

        Returns:
            The node's name; an empty text if another process has it; None if the connection is gone.
        """
        inode = socket_inode(port, other_port)
        if inode is None:
            return None
        with self._lock:
            likely, groups = list(reversed(self._likely)), self._groups
        pid = next((pid for pid in likely if has_open(pid, inode)), None)
        if pid is None:
            pid = next((pid for pid in _processes_of(groups) if has_open(pid, inode)), None)
        if pid is None:
            return ""
        with self._lock:
            self._likely.pop(pid, None)
            self._likely[pid] = None
            if len(self._likely) > _LIKELY_MAX:
                del self._likely[next(each for each in self._likely if each != self._launcher)]
        return "" if pid == self._launcher else _node_of(pid, groups)


def _node_of(pid: int, groups: Mapping[int, str]) -> str:
    with contextlib.suppress(ProcessLookupError):
        return groups.get(os.getpgid(pid), "")
    return ""


def _processes_of(groups: Mapping[int, str]) -> list[int]:
    """Return the processes of the groups."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and _node_of(int(entry), groups)]


def listening_ports(group: int) -> list[int]:
    """Return the ports at which processes of a group listen."""
    inodes: dict[str, int] = {}
    for table, _ in _TABLES:
        with contextlib.suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == _LISTENING:
                    inodes[words[_INODE]] = int(words[1].rpartition(":")[2], 16)
    processes = _processes_of({group: "the group"})
    return sorted({port for inode, port in inodes.items() if any(has_open(pid, inode) for pid in processes)})
