"""The lock on a cluster's folder: one supervisor per folder. And the claim to a cluster's id: one supervisor per cluster.

A folder that was copied and adopted has a lock of its own and the same id. So the id is claimed, too: by a Unix socket in the
abstract namespace, which the kernel removes with its process. Its name is a hash of the id: every user of the machine can list
such names, and the id keeps other users' frames out.
"""

import contextlib
import fcntl
import os
import socket
import struct
import time
from hashlib import sha256
from pathlib import Path
from typing import Final

from cluster.errors import AlreadyUp
from cluster.folder_mark import LOCK_NAME
from cluster.processes import is_alive
from node.contract import BadInput

_TRY_EVERY_S: Final = 0.005
_ENDING_S: Final = 5.0


class FolderLock:
    """Held by the process that starts or serves a cluster. The kernel releases it when the last holder ends, however it ends."""

    def __init__(self, root: Path) -> None:
        """Lock a cluster's folder, and make it if it is missing.

        Raises:
            AlreadyUp: another process holds the lock. The message names it.
            BadInput: the folder cannot be written.
        """
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.descriptor = os.open(root / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise BadInput(f"{root} cannot be written: {error.strerror}. Choose another folder") from error
        # A holder that was killed, or has just ended, may keep the lock for the moment in which its last threads end.
        deadline = time.monotonic() + _ENDING_S
        while not _try_lock(self.descriptor):
            if _holder_is_alive(self.descriptor) or time.monotonic() > deadline:
                holder = _holder(self.descriptor)
                os.close(self.descriptor)
                raise AlreadyUp(
                    f"a cluster is up or starting in {root} already ({holder}): use it, or stop it with `consensus down`"
                )
            time.sleep(_TRY_EVERY_S)
        sign_lock(self.descriptor)

    def release(self) -> None:
        """Close the descriptor. A child that inherited it still holds the lock."""
        os.close(self.descriptor)


def sign_lock(descriptor: int) -> None:
    """Write this process's id into the lock file, so that others can name the holder. `descriptor` may be an inherited one.

    A full disk leaves the holder without a name. The lock holds all the same.
    """
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)


def lock_holder(root: Path) -> str:
    """Return the holder of the folder's lock, for people, such as "process 42"; empty if it is free."""
    try:
        descriptor = os.open(root / LOCK_NAME, os.O_RDWR)
    except OSError:
        return ""
    try:
        return "" if _try_lock(descriptor) else _holder(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _holder(descriptor: int) -> str:
    return f"process {os.pread(descriptor, 32, 0).decode() or 'unknown'}"


def _holder_is_alive(descriptor: int) -> bool:
    pid = os.pread(descriptor, 32, 0).decode()
    return pid.isdigit() and is_alive(int(pid))  # without a name: it is about to sign, or cannot


def claim_cluster(cluster: str) -> socket.socket:
    """Claim a cluster's id for this process, until the socket that is returned is closed.

    Raises:
        AlreadyUp: another process has claimed it: it serves the same cluster from another folder.
    """
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    name = f"\0consensus-lab/{sha256(cluster.encode()).hexdigest()[:32]}"
    deadline = time.monotonic() + _ENDING_S
    while not _try_bind(claim, name):
        holder = _listener(name)
        if (
            holder and is_alive(holder)
        ) or time.monotonic() > deadline:  # one that has just ended keeps it for a moment
            claim.close()
            raise AlreadyUp(
                f"the same cluster is up already, in another folder (process {holder or 'unknown'}): stop it there with "
                "`consensus down`. `consensus ps --all` lists what is up"
            )
        time.sleep(_TRY_EVERY_S)
    claim.listen()
    return claim


def _try_bind(claim: socket.socket, name: str) -> bool:
    try:
        claim.bind(name)
    except OSError:
        return False
    return True


def _listener(name: str) -> int:
    """Return the process that listens on a socket; 0 if none does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(name)
            pid, _, _ = struct.unpack(
                "3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            )
        except OSError:
            return 0
        return int(pid)
