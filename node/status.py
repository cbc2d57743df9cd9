"""A node's status as plain data, for the wire and for people.

`docs/reference/formats.md` lists the fields.
"""

from collections.abc import Mapping
from typing import Any, Final
from zlib import crc32

from node.authors import status_of
from node.client_messages import STATUS_VARIABLES_MAX
from node.contract import Algorithm, Value
from node.log_contract import LogAlgorithm
from node.turn import NodeCore
from node.wire import BadValue, Malformed, decode_value, pack

BYTES_MAX: Final = 1024 * 1024
SHOWN_BYTES_MAX: Final = 4096


def packed_status(core: NodeCore, facts: Mapping[str, object], most: int = STATUS_VARIABLES_MAX) -> bytes:
    """Return a node's status, packed, with as many of its variables as fit.

    Args:
        core: the node.
        facts: the fields that describe its process.
        most: how many variables are wanted at most.
    """
    most = min(max(most, 0), STATUS_VARIABLES_MAX)
    while len(packed := pack(node_status(core, facts, most))) > BYTES_MAX and most > 0:
        most //= 2
    return packed


def node_status(core: NodeCore, facts: Mapping[str, object], most: int) -> dict[str, object]:
    """Return the status of a node and of up to `most` of its variables, as plain data."""
    return {
        "node": core.node,
        **facts,
        "latest": core.latest,
        "variable_count": len(core.instances),
        "variables": {
            variable: {name: shown(item) for name, item in status_fields(instance).items()}
            for variable, instance in core.latest_instances(most).items()
        },
        "stale": core.stale,
    }


def status_fields(instance: Algorithm) -> dict[str, object]:
    """Return one replica's status, and a log's progress, by the field names that people see.

    Fields that are empty or None are left out, except `decided`, which is None while the replica knows no decision.

    Raises:
        ContractBroken: the algorithm's `status` returned something else than a `Status`.
    """
    status = status_of(instance)
    fields: dict[str, object] = {}
    if status.role:
        fields["role"] = status.role
    if status.ballot is not None:
        fields["ballot"] = status.ballot
    if status.accepted_ballot is not None:
        fields["accepted ballot"] = status.accepted_ballot
    if status.leads:
        fields["leads"] = True
    fields["decided"] = status.decided
    fields |= status.details
    if isinstance(instance, LogAlgorithm):
        state, configuration, progress = instance.state, instance.state.configuration, instance.progress()
        fields |= {
            "voters": configuration.voters,
            "learners": configuration.learners,
            "removed": configuration.removed,
            "hears": instance.hears(),
            "sessions": len(state.sessions),
            "holds": {what: count for each in state.machines.values() for what, count in each.figures().items()},
            "log time ms": state.time_ms,
            "commit": progress.commit,
            "applied": progress.applied,
            "chain": progress.chain,
            "marks": dict(progress.marks),
            "log first": progress.first_slot,
            "snapshot": progress.snapshot_slot,
        }
    fields["waiting"] = status.waiting
    return fields


def shown(item: object) -> Any:
    """Return an item of a status as data that `pack` takes. Values are decoded for people, unless they are too large."""
    match item:
        case bytes() if len(item) > SHOWN_BYTES_MAX:
            return f"{len(item):,} bytes, {crc32(item):08x}"  # two values of one size are told apart
        case bytes():
            try:
                return decode_value(Value(item))
            except Malformed:
                return item.hex()
        case Mapping():
            return {str(key): shown(entry) for key, entry in item.items()}
        case None | bool() | int() | float() | str():
            try:
                pack(item)
            except BadValue:  # a member of an enumeration, or NaN
                return str(item).encode(errors="replace").decode()
            return item
        case tuple() | list() | set() | frozenset():
            return [shown(entry) for entry in item]
    return str(item)
