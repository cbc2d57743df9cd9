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

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from harness.records.jsonable import shown
from node.authors import describe_failure, status_of
from node.contract import Algorithm, NodeId, Stored, Value
from node.log_contract import LogAlgorithm, Record
from node.machine import Machine
from node.machines.assignment import AssignmentMachine
from node.machines.kv import KvMachine
from node.machines.locks import LocksMachine
from node.machines.members import MembersMachine
from node.machines.once import OnceMachine
from node.offline import replica_on_disk, unconfirmed
from node.status import status_fields
from node.storage.disk import Contents
from node.wire import Malformed, decode_value, unpack_unchecked
from node.wording import count

#: How many values of one machine are shown to people.
_SHOWN_MAX: Final = 100


def decided_on_disk(algorithm: type[Algorithm], members: Sequence[NodeId], contents: Contents) -> dict[str, Any]:
    """Return the decided values on a disk, decoded, by variable. A variable that is undecided there is left out."""
    if algorithm.keeps_log:
        stored = contents.variables.get("", {})
        replica = replica_on_disk(algorithm, contents.node, members, stored, contents.log, tuning=contents.tuning)
        once = replica.state.machines.get("once") if isinstance(replica, LogAlgorithm) else None
        values = once.values if isinstance(once, OnceMachine) else {}
        return {variable: plain_value(value) for variable, value in values.items()}
    decided = {}
    for variable, stored in contents.variables.items():
        value = status_of(replica_on_disk(algorithm, contents.node, members, stored)).decided
        if value is not None:
            decided[variable] = plain_value(value)
    return decided


def status_failures(algorithm: type[Algorithm], members: Sequence[NodeId], contents: Contents) -> list[str]:
    """Return a line for the first variable on a disk of which the algorithm's `status` fails; nothing if it never does.

    A log is left out: its status is asked for while it runs.
    """
    for variable, stored in {} if algorithm.keeps_log else contents.variables.items():
        try:
            replica = replica_on_disk(algorithm, contents.node, members, stored)
        except Exception:  # noqa: BLE001, S112 - a fault may have damaged what the disk holds, which is no author's mistake
            continue
        try:
            status_of(replica)
        except Exception as error:  # noqa: BLE001 - the author's code may raise anything
            return [f"the status of {contents.node} for {variable} cannot be read: {describe_failure(error)}"]
    return []


def log_on_disk(
    algorithm: type[Algorithm], members: Sequence[NodeId], contents: Contents, machines: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return what the log on a disk holds, as plain data.

    Args:
        algorithm: the cluster's algorithm, which keeps a log.
        members: the nodes of the spec.
        contents: the disk.
        machines: the machines of the spec; empty for the standard ones.

    Returns:
        Its slots, the slot up to which it knows them as chosen, the state after that slot (`values`, by machine), and the
        records above it, which it has accepted and does not know as chosen (`accepted`). A disk may lag behind in what it knows
        as chosen. Nothing is lost by that while a quorum's disks hold the slots.
    """
    stored = contents.variables.get("", {})
    replica = replica_on_disk(algorithm, contents.node, members, stored, contents.log, machines, contents.tuning)
    assert isinstance(replica, LogAlgorithm)
    status = status_fields(replica)
    return {
        "first_slot": contents.log.first,
        "last_slot": max(contents.log.records, default=contents.log.first - 1),
        "snapshot_of_slot": status.get("snapshot", 0),
        "known_as_chosen_to": status.get("applied", 0),
        **{key: status[key] for key in ("voters", "learners", "removed", "holds") if key in status},
        "values": {name: _values(machine) for name, machine in replica.state.machines.items()},
        "accepted": [_accepted(record) for record in unconfirmed(replica, contents.log)],
    }


def _values(machine: Machine) -> Any:
    """Return what a machine holds: of ours the values by their names, of others the snapshot."""
    match machine:
        case KvMachine():
            return {key: [plain_value(value), version] for key, (value, version) in machine.entries.items()}
        case OnceMachine():
            return {name: plain_value(value) for name, value in machine.values.items()}
        case LocksMachine():
            return {name: next(iter(queue.values())).owner for name, queue in machine.queues.items()}
        case MembersMachine():
            return list(machine.members)
        case AssignmentMachine():
            return dict(machine.owners)
    return machine.snapshot()


def _accepted(record: Record) -> dict[str, Any]:
    """Return an accepted record: its slot, its ballot and its commands, each with its machine."""
    frames = unpack_unchecked(record.batch)[1] if record.batch else ()
    commands = [[frame[3], *_plain_command(command)] for frame in frames for command in unpack_unchecked(frame[4])]
    return {"slot": record.slot, "ballot": [record.round, record.owner], "commands": commands}


def _plain_command(command: Any) -> list[Any]:
    return [plain_value(item) for item in command] if isinstance(command, list) else [command]


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
    lines = [f"node {contents.node} of cluster {contents.cluster[:8]}, booted {count(contents.incarnation, 'time')}"]
    if not contents.whole:
        lines.append("its last commit is torn or damaged, and lost")
    for variable, stored in contents.variables.items():
        lines.append(f"{variable or 'the replica'}:")
        lines += [f"  {key} = {shown(plain_stored(item), 200)}" for key, item in stored.items()]
    if log is not None:
        lines.append("the log:")
        lines += [f"  {key} = {shown(item, 200)}" for key, item in log.items() if key not in ("values", "accepted")]
        for machine, values in log["values"].items():
            if values:
                lines.append(f"known as chosen, in {machine}:")
                lines += _first(values.items() if isinstance(values, Mapping) else enumerate(values, 1))
        if log["accepted"]:
            lines.append("accepted, and not known as chosen:")
            for record in log["accepted"]:
                round_, owner = record["ballot"]
                commands = "; ".join(" ".join(shown(item, 100) for item in each) for each in record["commands"])
                lines.append(f"  slot {record['slot']}, ballot {round_}.{owner}: {commands or 'nothing'}")
    return "\n".join(lines) + "\n"


def _first(items: Iterable[tuple[Any, Any]]) -> list[str]:
    """Return the first items as lines, and how many there are besides."""
    every = list(items)
    lines = [f"  {name} = {shown(value, 200)}" for name, value in every[:_SHOWN_MAX]]
    return lines if len(every) <= _SHOWN_MAX else [*lines, f"  and {len(every) - _SHOWN_MAX:,} more: see -o json"]


def plain_stored(stored: Stored) -> Any:
    """Return what the disk holds under one key, with the values in it decoded."""
    return tuple(plain_stored(item) for item in stored) if isinstance(stored, tuple) else plain_value(stored)
