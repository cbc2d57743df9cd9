"""Takes a save from a running cluster.

The leader packs a copy of its state, after a quorum has confirmed in a round that began after the question that it leads. So
the save holds everything that any client was answered before the save began. The copy is fetched in parts, while the cluster
serves its clients (see `node/replication/copies.py`).
"""

import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from cluster.clients.log_client import LogClient
from cluster.clients.operation import TIMEOUT_S, Operation, Steps
from cluster.durable_files import DurableFiles
from cluster.errors import CommandRefused, Unknown
from cluster.save_file import Save, SaveHeader, check_new_file, write_save
from node.replication.state import CLUSTER, configuration_of

#: Called with how many bytes are done, and how many there are.
ShowBytes: TypeAlias = Callable[[int, int], None]

_TRIES: Final = 5


class StateCopy(NamedTuple):
    """The packed state of a cluster after a slot."""

    slot: int
    packed: bytes


def ignore_bytes(_done: int, _all: int) -> None:
    """Show no progress."""


def save_cluster(
    client: LogClient,
    path: Path,
    cluster: str,
    algorithm: str,
    machines: tuple[str, ...],
    timeout_s: float = TIMEOUT_S,
    show: ShowBytes = ignore_bytes,
    files: DurableFiles | None = None,
) -> SaveHeader:
    """Save the state of a running cluster to a file.

    Args:
        client: a client of the cluster.
        path: the file, which must not exist.
        cluster: the cluster's id.
        algorithm: its algorithm.
        machines: the machines of its spec.
        timeout_s: how long each reply may take, in seconds.
        show: called as the state arrives.
        files: how files become durable.

    Returns:
        What the save says about itself.

    Raises:
        Mistake: the file exists.
        Unknown: no leader replies, or leaders change too often. Nothing was written.
        CommandRefused: two other clients are saving now. Nothing was written.
        BadInput: the file cannot be written. Nothing of it is left.
    """
    check_new_file(path)
    copy = client.do(fetch_copy(timeout_s, show))
    configuration = configuration_of(copy.packed)
    header = SaveHeader(
        cluster, algorithm, machines, copy.slot, *configuration, time.time_ns() // 1_000_000, len(copy.packed)
    )
    write_save(path, Save(header, copy.packed), files or DurableFiles())
    return header


def fetch_copy(timeout_s: float, show: ShowBytes = ignore_bytes) -> Steps[StateCopy]:
    """Fetch a copy of the state, part by part. Begins again if the leader changes. Raises Unknown and CommandRefused."""
    for _ in range(_TRIES):
        slot, size, checksum = yield _question(["save"], timeout_s)
        parts = bytearray()
        try:
            while len(parts) < size:
                parts += yield _question(["saved", slot, len(parts)], timeout_s)
                show(len(parts), size)
        except CommandRefused as error:
            if error.kind != "no_copy":
                raise
            continue  # another node leads now
        yield _question(["drop", slot], timeout_s)
        if zlib.crc32(parts) == checksum:
            return StateCopy(slot, bytes(parts))
    raise Unknown(
        f"the leader has changed {_TRIES} times while the state was fetched: nothing was saved. Try again later"
    )


def _question(question: list[Any], timeout_s: float) -> Operation[Any]:
    return Operation(CLUSTER, question, lambda answer: answer, read=True, timeout_s=timeout_s)
