"""The steps by which files and folders become durable, and take the place of others at once.

Rules
-----
1. What is to appear is written aside, synced, and moved to its place by one call of the kernel. So after a crash either the old
   or the new is there, and never half of it.
2. A move is durable when the folder that holds the name is synced.
3. `step` is called before each step and after the last one. `harness/systematic/rescue_points.py` ends the process there.
"""

import ctypes
import errno
import os
from pathlib import Path
from typing import Final

_AT_FDCWD: Final = -100
_RENAME_NOREPLACE: Final = 1
_RENAME_EXCHANGE: Final = 2
_NOT_POSSIBLE: Final = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


class DurableFiles:
    """Carries the steps out. A subclass may break them off."""

    def step(self, what: str, moves: Path | None = None) -> None:
        """Take note of the step that follows. `what` names it for people; `moves` is what it moves to its place, if it does."""

    def write(self, path: Path, content: bytes) -> None:
        """Write a file that only its owner can read, in the place of an earlier one, and sync it."""
        self.step(f"write {path.name}")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            self.step(f"sync {path.name}")
            self.sync_descriptor(file.fileno())

    def sync(self, path: Path) -> None:
        """Sync a file, or the names in a folder."""
        self.step(f"sync {path.name}")
        descriptor = os.open(path, os.O_RDONLY)
        try:
            self.sync_descriptor(descriptor)
        finally:
            os.close(descriptor)

    def sync_descriptor(self, descriptor: int) -> None:
        """Make an open file or folder durable."""
        os.fsync(descriptor)

    def sync_tree(self, root: Path) -> None:
        """Sync everything below a folder, and then the folder."""
        for folder, _, names in os.walk(root, topdown=False):
            for name in sorted(names):
                self.sync(Path(folder, name))
            self.sync(Path(folder))

    def publish(self, aside: Path, path: Path) -> None:
        """Give a file that was written aside its name.

        Raises:
            FileExistsError: there is something of that name.
        """
        self.step(f"name {path.name}", aside)
        try:
            self.rename(aside, path, _RENAME_NOREPLACE)
        except OSError as error:
            if error.errno not in _NOT_POSSIBLE:
                raise
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            aside.rename(path)
        self.sync(path.parent)
        self.step("end")

    def move(self, aside: Path, path: Path) -> None:
        """Move a folder to a place that is empty: nothing is there, or a folder without anything in it."""
        self.step(f"move {aside.name} to {path.name}", aside)
        aside.rename(path)
        self.sync(path.parent)
        self.step("end")

    def replace(self, new: Path, path: Path, kept: Path) -> None:
        """Put the folder `new` in the place of the folder `path`, which is then at `kept`, where nothing is now.

        Raises:
            OSError: the file system cannot exchange folders, or something else is wrong. `path` is as it was; the new folder is
                at `new` or at `kept`.
        """
        self.step(f"move {new.name} to {kept.name}", new)
        new.rename(kept)
        self.sync(path.parent)
        self.step(f"exchange {kept.name} and {path.name}", kept)
        self.rename(kept, path, _RENAME_EXCHANGE)
        self.sync(path.parent)
        self.step("end")

    def rename(self, one: Path, other: Path, flag: int) -> None:
        """Call renameat2(2).

        Raises:
            OSError: it has failed. The error is one of `_NOT_POSSIBLE` if the file system or the C library lacks it.
        """
        try:
            call = ctypes.CDLL(None, use_errno=True).renameat2
        except AttributeError:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(one)) from None
        if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), flag) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))
