"""Deletes what a cluster has made in its folder, and nothing else.

Rules
-----
1. Only a folder with the cluster's mark is wiped, and no copy of one.
2. Everything is looked at before anything is deleted. If one thing lies in the place of what the cluster makes and is not that,
   nothing is deleted.
3. Every file is reached by its name below an open folder, and no link is followed. So nothing outside is deleted, even if another
   process puts a link there meanwhile.
4. The mark goes last, so a wipe that was interrupted can be repeated.
"""

import contextlib
import os
import stat
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Final

from cluster.errors import Mistake
from cluster.folder_mark import FILE_NAMES, FOLDER_NAMES, MARK_NAME, SPEC_NAME, check_no_copy, read_mark
from cluster.spec import open_spec
from node.algorithms import UnknownAlgorithm
from node.contract import NodeId
from node.settings import NODE_NAME, BadSpec
from node.storage.disk_contents import FILE_NAME

_MARK_ASIDE: Final = f"{MARK_NAME}.new"
_SUPERVISOR_ASIDE: Final = "supervisor.new"
_FILES: Final = (*FILE_NAMES, _SUPERVISOR_ASIDE, _MARK_ASIDE)


class ForeignFiles(Mistake):
    """A cluster's folder has something that the cluster has not made, in the place of what it makes. Nothing was deleted."""


def wipe(root: Path, disk_files: Container[str] = ()) -> list[str]:
    """Delete a cluster, with everything that it has decided. The caller holds the folder's lock.

    Args:
        root: the folder.
        disk_files: the names of files that a special disk of the floor above makes in the directories of nodes.

    Returns:
        The names of what stays in the folder: the runs, and what others have put there.

    Raises:
        ForeignFiles: something is in the way. The message names it.
        CopiedFolder: the folder is a copy.
        BadSpec: the mark or the spec cannot be read.
        OSError: a file cannot be deleted. What was deleted before it is gone.
    """
    check_no_copy(root)
    mark = read_mark(root)
    if mark is None:
        raise ForeignFiles(
            f"{root} has no {MARK_NAME}, so it is not known what in it a cluster has made. If an earlier version has made it, "
            "start and end it once with `consensus up -d` and `consensus down`, or delete the folder by hand. Nothing was deleted"
        )
    with _open_folder(str(root), None) as top:
        foreign = list(_foreign(top, _known_nodes(root, top), disk_files))
        if foreign:
            few = ", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else "")
            raise ForeignFiles(
                f"{root} has what its cluster has not made: {few}. Move it elsewhere, and try again. Nothing was deleted"
            )
        for name in FOLDER_NAMES:
            _remove_folder(top, name)
        for name in (*sorted(_FILES, key=lambda name: name == SPEC_NAME), MARK_NAME):
            top.remove(name)
        return sorted(entry.name for entry in top.entries())


def _known_nodes(root: Path, top: "_Folder") -> frozenset[NodeId]:
    """Return every node of which the cluster has noted that it exists or existed."""
    known: set[NodeId] = set()
    with contextlib.suppress(BadSpec, UnknownAlgorithm):  # a broken spec keeps nobody from deleting its cluster
        known.update(open_spec(root).nodes)
    for name in ("booted", "launched"):
        with contextlib.suppress(OSError), top.open(name) as folder:
            known.update(entry.name for entry in folder.entries() if NODE_NAME.fullmatch(entry.name))
    return frozenset(known)


def _foreign(top: "_Folder", known: frozenset[NodeId], disk_files: Container[str]) -> Iterator[str]:
    """Yield the path of everything in the place of what the cluster makes that is not that."""
    for entry in top.entries():
        if entry.name in (*_FILES, MARK_NAME) and not _is_file(entry):
            yield entry.name
        if entry.name in FOLDER_NAMES:
            if not entry.is_dir(follow_symlinks=False):
                yield entry.name
                continue
            with top.open(entry.name) as folder:
                yield from (f"{entry.name}/{path}" for path in _foreign_below(folder, entry.name, known, disk_files))


def _foreign_below(folder: "_Folder", name: str, known: frozenset[NodeId], disk_files: Container[str]) -> Iterator[str]:
    for entry in folder.entries():
        if name == "running":
            node, _, kind = entry.name.partition(".")
            fifo = stat.S_ISFIFO(entry.stat(follow_symlinks=False).st_mode)
            fits = node in known and (fifo if kind == "control" else kind in ("json", "new") and _is_file(entry))
        elif name == "nodes":
            fits = entry.name in known and entry.is_dir(follow_symlinks=False)
        else:
            names = {f"{node}.log" for node in (*known, "proxy")} if name == "logs" else known
            fits = entry.name in names and _is_file(entry)
        if not fits:
            yield entry.name
        elif name == "nodes":
            with folder.open(entry.name) as disk:
                for file in disk.entries():
                    of_disk = file.name.startswith(FILE_NAME) or file.name in disk_files
                    if not (of_disk and _is_file(file)):
                        yield f"{entry.name}/{file.name}"


def _is_file(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False)


def _remove_folder(parent: "_Folder", name: str) -> None:
    """Remove a folder with the files in it, and with the folders in it that hold only files."""
    try:
        folder = parent.open(name)
    except FileNotFoundError:
        return
    with folder:
        for entry in folder.entries():
            if entry.is_dir(follow_symlinks=False):
                _remove_folder(folder, entry.name)
            else:
                folder.remove(entry.name)
    os.rmdir(name, dir_fd=parent.descriptor)


class _Folder:
    """An open folder, whose entries are reached by its descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def entries(self) -> list[os.DirEntry[str]]:
        with os.scandir(self.descriptor) as found:
            return sorted(found, key=lambda entry: entry.name)

    def open(self, name: str) -> "_Folder":
        return _open_folder(name, self.descriptor)

    def remove(self, name: str) -> None:
        """Remove a file, or a link itself, unless there is none."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def __enter__(self) -> "_Folder":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)


def _open_folder(name: str, parent: int | None) -> _Folder:
    """Open a folder. Below a parent, a link is an error."""
    flags = os.O_RDONLY | os.O_DIRECTORY | (os.O_NOFOLLOW if parent is not None else 0)
    return _Folder(os.open(name, flags, dir_fd=parent))
