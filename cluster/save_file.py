"""A save: one file with the whole state of a cluster after one slot of its log.

```
consensus-save 1                       the kind of the file, and the version of its format
{"cluster": "5f0c…", "slot": 118, …}   the header: one line of JSON, see `SaveHeader`
…                                      the state, `state_bytes` bytes as `ReplicatedState.packed` makes them
…                                      32 bytes: the SHA-256 of everything before
```

Rules
-----
1. A save is written aside (`.NAME.unfinished`), synced, and then gets its name. So a file that has the name is whole.
2. A file is not overwritten.
3. `read_save` checks the whole file before it returns anything. Damage is an error with a sentence, and nothing is guessed.
"""

import fcntl
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from cluster.durable_files import DurableFiles
from cluster.errors import Mistake
from node.contract import BadInput, NodeId

FORMAT: Final = 1
_KIND: Final = b"consensus-save "
_DIGEST_BYTES: Final = hashlib.sha256().digest_size
_HEADER_BYTES_MAX: Final = 1024 * 1024


class BadSave(BadInput):
    """A file cannot be restored: it is no save, or is damaged. The message says which, and what to do."""


@dataclass(frozen=True, slots=True)
class SaveHeader:
    """What a save says about itself."""

    cluster: str
    """The id of the cluster that was saved."""
    algorithm: str
    machines: tuple[str, ...]
    """The machines that the log drives, as in the spec; empty for the standard ones."""
    slot: int
    """The slot after which the state is."""
    voters: tuple[NodeId, ...]
    learners: tuple[NodeId, ...]
    removed: tuple[NodeId, ...]
    saved_ms: int
    """When it was saved, in milliseconds since 1970."""
    state_bytes: int


class Save(NamedTuple):
    """A save as it was read, or as it is to be written."""

    header: SaveHeader
    state: bytes


def write_save(path: Path, save: Save, files: DurableFiles) -> None:
    """Write a save. It is durable when this returns.

    Raises:
        Mistake: the file exists, or another process is saving to it.
        BadInput: the file cannot be written. Nothing of it is left.
    """
    check_new_file(path)
    content = _KIND + str(FORMAT).encode() + b"\n" + json.dumps(asdict(save.header)).encode() + b"\n" + save.state
    aside = path.with_name(f".{path.name}.unfinished")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Mistake(
                f"another process is saving to {path} now: choose another name. Nothing was written"
            ) from None
        try:
            files.write(aside, content + hashlib.sha256(content).digest())
            files.publish(aside, path)
        except BaseException as error:
            aside.unlink(missing_ok=True)
            if isinstance(error, FileExistsError):
                raise _exists(path) from error
            if isinstance(error, OSError):
                raise BadInput(f"{path} cannot be written: {error.strerror}. Nothing of it is left") from error
            raise
    finally:
        os.close(descriptor)


def check_new_file(path: Path) -> None:
    """Check that a save may be written there, before the work begins.

    Raises:
        Mistake: there is something of that name.
        BadInput: the folder for it is missing.
    """
    if os.path.lexists(path):
        raise _exists(path)
    if not path.parent.is_dir():
        raise BadInput(f"{path} cannot be written: there is no folder {path.parent}")


def _exists(path: Path) -> Mistake:
    return Mistake(f"{path} exists, and a save overwrites nothing: choose another name. Nothing was written")


def read_save(path: Path) -> Save:
    """Read a save and check it.

    Raises:
        BadSave: the file cannot be read, is no save, or is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadSave(f"{path} cannot be read: {error.strerror}") from error
    if not content.startswith(_KIND):
        what = "is empty" if not content else "does not begin as a save does"
        raise BadSave(f"{path} {what}: name a file that `consensus save` has written")
    first, _, rest = content.partition(b"\n")
    number = first.removeprefix(_KIND).decode(errors="replace")
    if number != str(FORMAT):
        raise BadSave(
            f"{path} has the format {number[:20]!r}, and this version reads format {FORMAT}: its first line is damaged, or "
            "another version of consensus has saved it"
        )
    line, _, rest = rest.partition(b"\n")
    damaged = (
        f"{path} is damaged: its content does not match its checksum. Restore another save, or another copy of this one"
    )
    try:
        table: dict[str, Any] = json.loads(line[:_HEADER_BYTES_MAX])
        state_bytes = int(table["state_bytes"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadSave(damaged) from error
    missing = state_bytes + _DIGEST_BYTES - len(rest)
    if missing > 0:
        raise BadSave(
            f"{path} is cut short: {missing:,} of {len(content) + missing:,} bytes are missing at its end. Copy it again, or "
            "restore another save"
        )
    if hashlib.sha256(content[:-_DIGEST_BYTES]).digest() != content[-_DIGEST_BYTES:] or missing < 0:
        raise BadSave(damaged)
    return Save(_header(table), rest[:-_DIGEST_BYTES])


def _header(table: dict[str, Any]) -> SaveHeader:
    lists: dict[str, Any] = {key: tuple(entry) if isinstance(entry, list) else entry for key, entry in table.items()}
    return SaveHeader(**lists)
