"""`restore`: makes a new cluster from a save."""

import time
from pathlib import Path

from cluster.durable_files import DurableFiles
from cluster.new_folder import NewCluster, check_empty, empty_state, names_of, place_new, raise_numbers
from cluster.save_file import BadSave, SaveHeader, read_save
from cluster.saving import ShowBytes, ignore_bytes
from cluster.spec import Spec, open_spec
from node.contract import BadInput
from node.machines import UnknownMachine


def restore(
    file: Path | str,
    into: Path | str,
    nodes: int | None = None,
    show: ShowBytes = ignore_bytes,
    files: DurableFiles | None = None,
    now_ms: int | None = None,
) -> Spec:
    """Make the folder of a new cluster from a save. Start it with `Cluster(spec=...)` or with `consensus --dir DIR up`.

    The new cluster has an id of its own, and no session, lock, member or task owner of the old one. Versions, fencing tokens and
    all other numbers are above those of the old cluster: see `node/replication/new_cluster.py`.

    Args:
        file: the save.
        into: the new cluster's folder: missing or empty.
        nodes: how many nodes the new cluster has; None: as many as had a vote, under the same names.
        show: called as the disks are written, with bytes.
        files: how files become durable.
        now_ms: the time, in milliseconds since 1970; None: that of this machine.

    Returns:
        The spec of the new cluster.

    Raises:
        BadSave: the file cannot be read, is no save, or is damaged. Nothing was made.
        Mistake: `into` holds something. Nothing was made.
        BadInput: the clock of this machine is behind that of the save, or the save's algorithm or a machine cannot be found.
        DiskError, OSError: the disk is full, or has failed. Nothing is left.
    """
    file, place, files = Path(file), Path(into).absolute(), files or DurableFiles()
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    header, packed = read_save(file)
    check_empty(place)
    if now_ms < header.saved_ms:
        raise BadInput(
            f"{file} was saved at {when(header)}, and the clock of this machine is behind that: the numbers of the new cluster "
            "would not be above those of the old one. Set the clock, and repeat"
        )
    new = NewCluster(names_of(nodes, header.voters), header.algorithm, header.machines)
    state = empty_state(new)
    try:
        state.restore(packed)
    except UnknownMachine:
        raise
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise BadSave(
            f"{file} is whole, and this version cannot read the state in it ({type(error).__name__}: {error}): restore it with "
            "the version that has saved it"
        ) from error
    raise_numbers(state, new, now_ms)
    place_new(place, new, state, files, show)
    return open_spec(place)


def when(header: SaveHeader) -> str:
    """Return the time at which a save was made, for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(header.saved_ms / 1000))
