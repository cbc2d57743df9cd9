"""The mark in a cluster's folder, `folder.json`: which cluster made the folder, and which folder it is.

A copy of a folder has the same cluster's id and the same disks. If both took part, a node would vote twice. So the mark holds
the folder's device and inode, which a copy does not share, and every command that finds a copy refuses it.

Rules
-----
1. `make_folder` marks a folder before anything else is made in it. It refuses a folder with anything that is not its own.
2. A folder that was moved keeps its inode and stays the cluster's folder. Some file systems get another device number with each
   mount, so at the same path the same inode is enough.
3. A folder that comes back from a backup, or from another file system, has another inode. Only `adopt_folder` makes it the
   cluster's folder.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from cluster.errors import Mistake
from node.settings import BadSpec

MARK_NAME: Final = "folder.json"
#: What a cluster makes in its folder, besides the mark. `cluster/spec.py` describes each.
SPEC_NAME: Final = "cluster.toml"
LOCK_NAME: Final = "lock"
SUPERVISOR_NAME: Final = "supervisor.json"
SUPERVISOR_LOG_NAME: Final = "supervisor.log"
FOLDER_NAMES: Final = ("nodes", "logs", "booted", "launched", "removed", "running")
FILE_NAMES: Final = (SPEC_NAME, LOCK_NAME, SUPERVISOR_NAME, SUPERVISOR_LOG_NAME)
#: What may be in a folder before a cluster is made in it: the runs of other commands, the lock of the process that makes the
#: cluster, a mark that is being written, and what some file systems have in their top folder.
_HARMLESS: Final = frozenset({"runs", LOCK_NAME, f"{MARK_NAME}.new", "lost+found"})


class CopiedFolder(Mistake):
    """The folder is a copy of a cluster's folder. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class FolderMark:
    """The content of `folder.json`. `path` is where the folder was when the mark was written."""

    cluster: str
    device: int
    inode: int
    path: str

    @classmethod
    def of(cls, root: Path, cluster: str, moves_to: Path | None = None) -> Self:
        """Return the mark of the folder `root` as the folder of the cluster with this id.

        Args:
            root: the folder.
            cluster: the cluster's id.
            moves_to: where the folder is moved next, if it is made aside.
        """
        status = root.stat()
        return cls(cluster, status.st_dev, status.st_ino, str((moves_to or root).absolute()))

    def is_of(self, root: Path) -> bool:
        """Return whether `root` is the folder that was marked, perhaps moved, and not a copy of it."""
        now = self.of(root, self.cluster)
        return self.inode == now.inode and (self.device == now.device or self.path == now.path)

    def save(self, root: Path) -> None:
        """Write the mark into `root`, aside first, so that no reader sees half of it. It is durable when this returns."""
        aside = root / f"{MARK_NAME}.new"
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(root / MARK_NAME)


def read_mark(root: Path) -> FolderMark | None:
    """Return the mark of a folder; None if it has none.

    Raises:
        BadSpec: the mark cannot be read.
    """
    path = root / MARK_NAME
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        return FolderMark(str(content["cluster"]), int(content["device"]), int(content["inode"]), str(content["path"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BadSpec(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadSpec(
            f"{path} is damaged, and says which cluster this folder belongs to. If this is the cluster's own folder and no copy, "
            "delete the file; the next `consensus up` writes it again"
        ) from error


def make_folder(root: Path, cluster: str) -> None:
    """Make the folder of the new cluster with the id `cluster`, and mark it. Everything that makes a cluster calls this first.

    Raises:
        BadSpec: the folder holds another cluster, or something in the place of what a cluster makes; or it cannot be written.
            Nothing was changed.
    """
    taken = [name for name in (*FILE_NAMES, *FOLDER_NAMES, MARK_NAME) if os.path.lexists(root / name)]
    taken = [name for name in taken if name not in _HARMLESS]
    if SPEC_NAME in taken:
        raise BadSpec(f"{root} holds a cluster already: start that one, or choose another folder")
    if MARK_NAME in taken:
        raise BadSpec(
            f"{root} holds what is left of a cluster: `consensus down --wipe` deletes it. Or choose another folder"
        )
    if taken:
        raise BadSpec(
            f"{root} holds {', '.join(taken)} already, and no cluster: choose a folder that has nothing else in it"
        )
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        FolderMark.of(root, cluster).save(root)
    except OSError as error:
        raise BadSpec(f"{root} cannot be written: {error.strerror}. Choose another folder") from error


def check_free(root: Path) -> None:
    """Check that a folder is fit for a cluster that people start by hand: it is one, or has nothing but runs, or is missing.

    Raises:
        BadSpec: it holds anything else, or cannot be read. Nothing was changed.
    """
    try:
        names = set(os.listdir(root))
    except (FileNotFoundError, NotADirectoryError):  # the process that makes it reports the latter
        return
    except OSError as error:
        raise BadSpec(f"{root} cannot be used: {error.strerror}. Choose another folder") from error
    others = sorted(names - _HARMLESS)
    if others and not names & {MARK_NAME, SPEC_NAME}:
        few = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise BadSpec(
            f"{root} holds other things ({few}). A cluster needs a folder of its own, since `consensus down --wipe` deletes it: "
            f"for example --dir {root / '.consensus'}"
        )


def check_no_copy(root: Path) -> None:
    """Check that a folder is no copy of a cluster's folder. A folder that is missing or has no mark passes.

    Raises:
        CopiedFolder: it is a copy. The message names the original, and what to do.
        BadSpec: the mark cannot be read.
    """
    mark = read_mark(root)
    if mark is None or mark.is_of(root):
        return
    where = "another folder that has its place now" if mark.path == str(root.absolute()) else mark.path
    raise CopiedFolder(
        f"{root} is a copy of a cluster's folder ({where}), and not that cluster: a command here would reach the original. "
        "To make a new cluster with the same content, use `consensus save FILE` there and `consensus restore FILE --into DIR`. "
        "If the original is gone and this folder comes from a backup, `consensus up --adopt` makes it the cluster's folder"
    )


def refresh_mark(root: Path, cluster: str) -> None:
    """Write the mark again where the folder was moved since, or was made by an earlier version, which wrote no mark.

    Raises:
        CopiedFolder: the folder is a copy.
        BadSpec: the mark cannot be read, or belongs to another cluster than the spec.
    """
    check_no_copy(root)
    mark = read_mark(root)
    if mark is not None and mark.cluster != cluster:
        raise BadSpec(
            f"{root / MARK_NAME} belongs to cluster {mark.cluster[:8]}, and {SPEC_NAME} beside it to cluster {cluster[:8]}: "
            "restore the spec"
        )
    now = FolderMark.of(root, cluster)
    if mark != now:
        now.save(root)


def adopt_folder(root: Path, cluster: str) -> None:
    """Make a copy the folder of its cluster. The caller holds the folder's lock and the claim to the cluster's id.

    Raises:
        CopiedFolder: the original is still there.
        BadSpec: the mark cannot be read.
    """
    mark = read_mark(root)
    original = Path(mark.path) if mark is not None else root
    # At the original's own path stands no original: what is there is the folder that is adopted, from a backup.
    elsewhere = original.is_dir() and not original.samefile(root)
    if mark is not None and not mark.is_of(root) and elsewhere and read_mark(original) == mark:
        raise CopiedFolder(
            f"the original of {root} is still there, in {original}: the same cluster must not exist twice. Delete the original, "
            "or make a new cluster with `consensus save FILE` there and `consensus restore FILE --into DIR`"
        )
    (root / SUPERVISOR_NAME).unlink(missing_ok=True)  # a copy of the original's: it names the original's supervisor
    FolderMark.of(root, cluster).save(root)
