"""Reads from a node's disk what is decided there, for judges and for people.

Theory of operation
-------------------
Only the algorithm knows how it lays out its state. So this module starts an instance of the algorithm over a copy of what
the disk holds, as at a boot, and reads the instance's `status().decided`.

Rules
-----
1. The instance runs on an offline node (`node/offline.py`).
2. The decided values of a log are those of its machine of variables that are set once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from harness.records.jsonable import shown
from node.contract import Algorithm, NodeId, Stored, Value
from node.log_contract import LogAlgorithm
from node.machines.once import OnceMachine
from node.offline import replica_on_disk
from node.status import status_fields, status_of
from node.storage.disk import Contents
from node.wire import Malformed, decode_value


def decided_on_disk(algorithm: type[Algorithm], members: Sequence[NodeId], contents: Contents) -> dict[str, Any]:
    """Return the decided values on a disk, decoded, by variable. A variable that is undecided there is left out."""
    if algorithm.keeps_log:
        replica = replica_on_disk(algorithm, contents.node, members, contents.variables.get("", {}), contents.log)
        once = replica.state.machines.get("once") if isinstance(replica, LogAlgorithm) else None
        values = once.values if isinstance(once, OnceMachine) else {}
        return {variable: plain_value(value) for variable, value in values.items()}
    decided = {}
    for variable, stored in contents.variables.items():
        value = status_of(replica_on_disk(algorithm, contents.node, members, stored)).decided
        if value is not None:
            decided[variable] = plain_value(value)
    return decided


def log_on_disk(algorithm: type[Algorithm], members: Sequence[NodeId], contents: Contents) -> dict[str, Any]:
    """Summarize the log on a disk: its slots, the slot up to which it knows them as chosen, and the state after that slot.

    A disk may lag behind in what it knows as chosen. Nothing is lost by that, since a quorum's disks hold the slots.
    """
    replica = replica_on_disk(algorithm, contents.node, members, contents.variables.get("", {}), contents.log)
    status = status_fields(replica)
    return {
        "first_slot": contents.log.first,
        "last_slot": max(contents.log.records, default=contents.log.first - 1),
        "snapshot_of_slot": status.get("snapshot", 0),
        "known_as_chosen_to": status.get("applied", 0),
        **{key: status[key] for key in ("voters", "learners", "removed", "holds") if key in status},
    }


def plain_value(value: Any) -> Any:
    """Decode an encoded value to what its client proposed. Anything that does not decode is returned as it is."""
    if not isinstance(value, bytes):
        return value
    try:
        return decode_value(Value(value))
    except Malformed:
        return value


def dump(contents: Contents, log: Mapping[str, Any] | None = None) -> str:
    """Return the whole disk as text, one key per line. `log` is what `log_on_disk` returned, for a disk that holds a log."""
    lines = [f"node {contents.node} of cluster {contents.cluster[:8]}, booted {contents.incarnation} times"]
    for variable, stored in contents.variables.items():
        lines.append(f"{variable or 'the replica'}:")
        lines += [f"  {key} = {shown(plain_stored(item), 200)}" for key, item in stored.items()]
    if log is not None:
        lines.append("the log:")
        lines += [f"  {key} = {shown(item, 200)}" for key, item in log.items()]
    return "\n".join(lines) + "\n"


def plain_stored(stored: Stored) -> Any:
    """Return what the disk holds under one key, with the values in it decoded."""
    return tuple(plain_stored(item) for item in stored) if isinstance(stored, tuple) else plain_value(stored)
