"""The checkers of a replicated log's replicas: equal states at equal slots, and each command's effect at most once.

Both apply the chosen log again (`chosen_log.py`) and compare the result with the replicas' own statuses, with their snapshots,
and with the answers that clients received. So they find a replica that applied something else, or a client that received
a wrong answer, even if no later answer shows it. What comes of the log, and what the snapshots hold, is also compared with the
machines of `reference/` (`reference/states.py`): so it shows that all replicas are wrong in the same way.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from harness.checkers.evidence import RunEvidence
from harness.checkers.verdict import Found, Verdict, checker, invalid, unknown, valid
from harness.records.jsonable import shown, wording
from node.contract import Value
from node.wire import decode_value, encode_value
from node.wording import count


@checker
def agreement(run: RunEvidence) -> Verdict:
    """Check that the logs and states of all replicas are equal at equal slots, and are those of the reference.

    Unknown if fewer than two replicas or snapshots have a hash to compare.
    """
    compared: dict[str, int] = {}
    with Found() as found:
        found.extend(run.log.contradictions())
        hashes = run.log.applied.hashes
        for source, slot, chain in _state_hashes(run):
            first = hashes.setdefault(slot, chain)
            compared[source] = slot
            if first != chain:
                found.append(f"{source} has the hash {chain:08x} after slot {slot} instead of {first:08x}")
        found.extend(run.log.differences())
    if found:
        return invalid(*found)
    if len(compared) < 2:
        return unknown("fewer than two replicas reported the hash of their state")
    last = run.log.applied.last
    return valid(
        f"the states of {', '.join(compared)} have the hash of the chosen log, up to slot {max(compared.values())} of {last}"
    )


class _StateHash(NamedTuple):
    source: str
    """The replica, or its snapshot."""
    slot: int
    chain: int
    """The hash of the state after this slot."""


def _state_hashes(run: RunEvidence) -> Iterator[_StateHash]:
    for node, replica in run.replicas.items():
        for slot, chain in replica.get("marks", {}).items():
            yield _StateHash(node, int(slot), chain)
        yield _StateHash(node, replica["applied"], replica["chain"])
    for node in run.disks:
        snapshot_slot = run.log.snapshot_slot(node)
        if snapshot_slot:
            yield _StateHash(f"the snapshot of {node}", snapshot_slot, run.log.snapshot_state(node).chain)


@checker
def effects(run: RunEvidence) -> Verdict:
    """Check that each acknowledged command took effect once, each refused one never, and any other at most once.

    The workloads write each value once, so a change names its command. A version is the number of a change, so the version in
    a client's answer names the change too. Unknown if no change was acknowledged.
    """
    applied = run.log.applied
    changes = {change.version: change for change in applied.changes}
    times = Counter((change.key, change.value) for change in applied.changes if change.value is not None)
    tried = 0
    with Found() as found:
        found.extend(
            f"{_packed_text(value)} took effect {number} times for {key}"
            for (key, value), number in times.items()
            if number > 1 and value is not None
        )
        for operation in run.calls:
            value = _written_value(operation.f, operation.invoke.value)
            if value is None:
                continue
            version = operation.answer
            what = f"{operation.f} of {shown(value)} for {operation.key}"
            key = operation.key, encode_value(value)
            if operation.outcome == "fail" and times[key]:
                found.append(
                    f"{what} was refused ({operation.completion and operation.completion.error}), and took effect"
                )
            if operation.outcome != "ok" or not isinstance(version, int) or version <= applied.version:
                continue
            tried += 1
            change = changes.get(version)
            if change is None:
                found.append(f"{what} was answered with version {version}, and the log has no change with this version")
            elif (change.key, change.value) != key:
                logged = f"{_packed_text(change.value)} for {change.key}"
                found.append(f"{what} was answered with version {version}, which in the log is {logged}")
    if found:
        return invalid(*found)
    if not tried:
        return unknown("no change was acknowledged")
    repeated = sum(number - 1 for number in applied.frames.values())
    return valid(
        f"each of {count(tried, 'acknowledged change')} took effect once, with the version that the client received; "
        f"{count(repeated, 'repeated frame')} had no effect"
    )


def _written_value(f: str, value: Any) -> Any:
    """Return the value that a call writes; None if it writes none."""
    match f, value:
        case (("put" | "write"), value):
            return value
        case "cas", [_, value]:
            return value
    return None


@wording
def _packed_text(value: bytes | None) -> str:
    return shown(None if value is None else decode_value(Value(value)))
