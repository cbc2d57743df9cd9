"""A digest of what a disk holds, by which a trace and its validation compare disks."""

from collections.abc import Mapping
from hashlib import sha256

from node.contract import Stored
from node.log_contract import Record
from node.wire import pack


def digest(
    variables: Mapping[str, Mapping[str, Stored]],
    records: Mapping[int, Record],
    parts: Mapping[tuple[int, int], bytes],
) -> str:
    """Return a digest of a disk's contents: 16 hex digits.

    Args:
        variables: the keys and values of each variable.
        records: the records of the log, by slot.
        parts: the parts of snapshots.
    """
    held = pack([[name, [list(item) for item in sorted(of.items())]] for name, of in sorted(variables.items()) if of])
    found = sha256(held)
    for record in sorted(records.values()):
        found.update(repr(tuple(record)).encode())
    for key, data in sorted(parts.items()):
        found.update(repr((key, data)).encode())
    return found.hexdigest()[:16]
