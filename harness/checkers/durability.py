"""Durability: what a client was told is on the disks that must have it.

Who owes how many copies
------------------------
An algorithm that goes on while a minority is down must have what it has acknowledged on a **quorum's** disks: with fewer
copies the loss of some minority would lose it, and no later quorum need know of it. That is owed from the moment of the
answer on, and copies never become fewer, so it can be asked of the disks after the run.

A single leader promises less: its own disk alone holds the value, and that is the article's objection to it. `Leader` and
what is derived from it, `Failover`, owe **one** copy.

Of an algorithm that keeps a log, the command must stand in the chosen slot on those disks, or a snapshot for it.

What counts as a copy elsewhere: the value stands anywhere in what the node keeps of that variable, as a vote, as what it
has accepted or as decided, or its algorithm says that it is decided. So no algorithm need have told everybody of the
decision. A node whose disk was taken away or set back by a fault (its receipt's evidence has `disk_lost`) is one copy less
that is owed.
"""

from collections.abc import Mapping
from typing import Final

from harness.checkers.chosen_log import Token, keeps_log
from harness.checkers.evidence import RunEvidence
from harness.checkers.verdict import Verdict, checker, count, invalid, unknown, valid
from harness.records.disks import decided_on_disk
from harness.records.history import RecordedCall
from harness.records.jsonable import canonical, shown
from node.algorithms.leader import Leader
from node.contract import Algorithm, Stored, Value
from node.quorum import majority
from node.wire import decode_value, encode_value

#: In a receipt's evidence: the nodes whose disks no longer hold all that they had.
DISK_LOST: Final = "disk_lost"


def copies_owed(algorithm: type[Algorithm], members: int) -> int:
    """On how many disks an acknowledged value must be."""
    return 1 if issubclass(algorithm, Leader) else majority(members)


@checker
def durability(run: RunEvidence) -> Verdict:
    """Whether each value that a client was told is on enough disks."""
    lost = {node for receipt in run.receipts for node in receipt.evidence.get(DISK_LOST, ())}
    owed = max(copies_owed(run.algorithm, len(run.members)) - len(lost), 0)
    if keeps_log(run.algorithm):
        return _of_log(run, owed, lost)
    decided = {node: decided_on_disk(run.algorithm, run.members, contents) for node, contents in run.disks.items()}
    found = []
    checked = set()
    for operation in run.operations:
        if operation.answer is None or (operation.key, canonical(operation.answer)) in checked:
            continue
        checked.add((operation.key, canonical(operation.answer)))
        holders = [
            node
            for node, contents in run.disks.items()
            if node not in lost
            and (
                _holds(contents.variables.get(operation.key, {}), encode_value(operation.answer))
                or canonical(decided[node].get(operation.key)) == canonical(operation.answer)
            )
        ]
        if len(holders) < owed:
            where = f"only {', '.join(holders)}" if holders else "none"
            found.append(
                f"{run.told(operation)} for {operation.key}, and of {len(run.disks)} disks {where} "
                f"{'has' if len(holders) < 2 else 'have'} it: {owed} must"
            )
    return _verdict(run, found, len(checked), owed)


def _of_log(run: RunEvidence, owed: int, lost: set[str]) -> Verdict:
    """The same for an algorithm that keeps a log."""
    found = []
    checked: set[Token] = set()
    for operation in run.calls:
        token = _acknowledged(operation)
        if token is None or token in checked:
            continue
        checked.add(token)
        version = operation.answer if operation.f in ("put", "write", "cas") else None
        if isinstance(version, int) and version <= run.log.applied.version:
            continue  # only the oldest snapshot tells of it, and not by its value
        if token[0] == "locks" and run.log.applied.first > 1 and token not in run.log.slots_of:
            continue  # the same
        holders = [node for node in run.log.holders(token) if node not in lost]
        if len(holders) < owed:
            slots = ", ".join(map(str, run.log.slots_of.get(token, ()))) or "none"
            found.append(
                f"{operation.f} of {shown(decode_value(Value(token[2])))} for {operation.key} was acknowledged at "
                f"{run.at(operation.completion or operation.invoke)}, and of {len(run.disks)} disks "
                f"{', '.join(holders) or 'none'} hold it (chosen slots: {slots}): {owed} must"
            )
    return _verdict(run, found, len(checked), owed)


def _acknowledged(operation: RecordedCall) -> Token | None:
    """The command whose effect a client was told of; None for anything that set nothing."""
    if operation.outcome != "ok":
        return None
    match operation.f, operation.invoke.value:
        case "put" | "write", value:
            return "kv", operation.key, encode_value(value)
        case "cas", [_, value]:
            return "kv", operation.key, encode_value(value)
        case "acquire", {"owner": str(owner)}:
            return "locks", operation.key, encode_value(owner)
        case "propose" | "query", _ if operation.answer is not None:
            return "once", operation.key, encode_value(operation.answer)
    return None


def _verdict(run: RunEvidence, found: list[str], checked: int, owed: int) -> Verdict:
    if found:
        return invalid(*found)
    if not checked:
        return unknown("no value was acknowledged")
    if set(run.disks) != set(run.members):
        return unknown(f"of {len(run.members)} disks {len(run.disks)} were read")
    return valid(f"each of {count(checked, 'acknowledged value')} is on {count(owed, 'disk')} or more")


def _holds(stored: Mapping[str, Stored], value: bytes) -> bool:
    return any(_within(item, value) for item in stored.values())


def _within(item: Stored, value: bytes) -> bool:
    return any(_within(entry, value) for entry in item) if isinstance(item, tuple) else item == value
