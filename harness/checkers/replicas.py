"""What the replicas of a log must have in common, and what each command may have done: from the log itself.

The log that the disks amount to is applied anew (`chosen_log.py`), and what comes of it is compared with what the replicas
said of themselves, with the snapshots that they have made, and with what clients were told. So a replica that has applied
something else, or a client that was told of something else, shows even if no later answer does.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from harness.checkers.evidence import RunEvidence
from harness.checkers.verdict import Verdict, checker, count, invalid, unknown, valid
from harness.records.jsonable import shown
from node.contract import Value
from node.wire import decode_value, encode_value


@checker
def agreement(run: RunEvidence) -> Verdict:
    """Whether the replicas' logs and states are equal at equal slots."""
    found = list(run.log.contradictions())
    hashes = run.log.applied.hashes
    compared: dict[str, int] = {}
    for who, slot, chain in _hashes(run):
        first = hashes.setdefault(slot, chain)
        compared[who] = slot
        if first != chain:
            found.append(f"{who} has the hash {chain:08x} after slot {slot}, and it must be {first:08x}")
    if found:
        return invalid(*found)
    if len(compared) < 2:
        return unknown("fewer than two replicas told the hash of their state")
    last = run.log.applied.last
    return valid(f"{', '.join(compared)} have the log's own hash, up to slot {max(compared.values())} of {last}")


def _hashes(run: RunEvidence) -> Iterator[tuple[str, int, int]]:
    """Who had which hash after which slot."""
    for node, replica in run.replicas.items():
        for slot, chain in replica.get("marks", {}).items():
            yield node, int(slot), chain
        yield node, replica["applied"], replica["chain"]
    for node in run.disks:
        slot = run.log.snapshot_slot(node)
        if slot:
            yield f"the snapshot of {node}", slot, run.log.snapshot_state(node).chain


@checker
def effects(run: RunEvidence) -> Verdict:
    """Whether each command took effect once if it was acknowledged, never if it was refused, and at most once in any case.

    Values are written once each, so a change tells whose it is. A version is the number of a change, so what a client was told
    of its own can be compared with the log's.
    """
    applied = run.log.applied
    changes = {change.version: change for change in applied.changes}
    times = Counter((change.key, change.value) for change in applied.changes if change.value is not None)
    found = [
        f"{shown(_plain(value))} took effect {number} times for {key}"
        for (key, value), number in times.items()
        if number > 1 and value is not None
    ]
    tried = 0
    for operation in run.calls:
        value = _written(operation.f, operation.invoke.value)
        if value is None:
            continue
        version = operation.answer
        what = f"{operation.f} of {shown(value)} for {operation.key}"
        key = operation.key, encode_value(value)
        if operation.outcome == "fail" and times[key]:
            found.append(f"{what} was refused ({operation.completion and operation.completion.error}), and took effect")
        if operation.outcome != "ok" or not isinstance(version, int) or version <= applied.version:
            continue
        tried += 1
        change = changes.get(version)
        if change is None:
            found.append(f"{what} was answered with version {version}, and the log leads to no such change")
        elif (change.key, change.value) != key:
            is_ = f"{shown(_plain(change.value))} for {change.key}"
            found.append(f"{what} was answered with version {version}, which in the log is {is_}")
    if found:
        return invalid(*found)
    if not tried:
        return unknown("no change was acknowledged")
    again = sum(number - 1 for number in applied.frames.values())
    return valid(
        f"each of {count(tried, 'acknowledged change')} took effect once, as it was answered; "
        f"{count(again, 'frame')} that came again did nothing"
    )


def _written(f: str, value: Any) -> Any:
    """The value that a call writes; None if it writes none."""
    match f, value:
        case (("put" | "write"), value):
            return value
        case "cas", [_, value]:
            return value
    return None


def _plain(value: bytes | None) -> Any:
    return None if value is None else decode_value(Value(value))
