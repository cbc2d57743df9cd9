"""The lock on a cluster's folder: one supervisor per folder."""

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from cluster.errors import AlreadyUp
from cluster.processes import is_alive
from node.contract import BadInput

LOCK_NAME: Final = "lock"
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
            self.descriptor = os.open(root / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
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
    """Write this process's id into the lock file, so that others can name the holder. `descriptor` may be an inherited one."""
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
    return not pid.isdigit() or is_alive(int(pid))
