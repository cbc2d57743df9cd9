"""The checker of durability: every acknowledged value is on enough disks.

How many copies an algorithm owes
---------------------------------
An algorithm that continues while a minority is down must have each acknowledged value on a **quorum's** disks. With fewer
copies, the loss of some minority would lose the value, and a later quorum need not know of it. The copies are owed from the
answer on, and they never become fewer, so this checker can count them on the disks after the run.

A single leader promises less: only its own disk holds the value, which is the article's objection to it. `Leader` and the
algorithms derived from it (`Failover`) owe **one** copy.

What counts as a copy
---------------------
For an algorithm that keeps a log, the nodes that vote at the end owe the copies. The command must stand in its chosen slot on a
disk, or a snapshot on that disk must cover
the slot.

For any other algorithm, the value must stand anywhere in what the node stored for the variable (as a vote, as accepted or as
decided), or the algorithm must say, started on that disk, that the value is decided. So the algorithm need not have sent the
decision to every node.

A node whose disk a fault took away or set back (`DISK_LOST` in the evidence of a receipt) reduces the number of copies that
are owed by one.
"""

from collections.abc import Mapping

from harness.checkers.chosen_log import CommandKey
from harness.checkers.evidence import RunEvidence
from harness.checkers.verdict import Found, Verdict, checker, invalid, unknown, valid
from harness.records.disks import decided_on_disk
from harness.records.history import RecordedCall
from harness.records.jsonable import canonical, shown, wording
from node.contract import NodeId, Stored, Value
from node.wire import decode_value, encode_value
from node.wording import count


@checker
def durability(run: RunEvidence) -> Verdict:
    """Check that each value that a client received is on enough disks.

    Unknown if no value was acknowledged, or if a disk could not be read.
    """
    if run.algorithm.keeps_log:
        voters = run.log.applied.configuration.voters
        return _check_log(run, max(run.algorithm.copies_owed(len(voters)) - len(run.lost_disks & {*voters}), 0), voters)
    owed = max(run.algorithm.copies_owed(len(run.members)) - len(run.lost_disks), 0)
    decided = {node: decided_on_disk(run.algorithm, run.members, contents) for node, contents in run.disks.items()}
    checked = set()
    with Found() as found:
        for operation in run.operations:
            if operation.answer is None or (operation.key, canonical(operation.answer)) in checked:
                continue
            checked.add((operation.key, canonical(operation.answer)))
            holders = [
                node
                for node, contents in run.disks.items()
                if node not in run.lost_disks
                and (
                    _holds(contents.variables.get(operation.key, {}), encode_value(operation.answer))
                    or canonical(decided[node].get(operation.key)) == canonical(operation.answer)
                )
            ]
            if len(holders) < owed:
                found.append(
                    f"{run.describe_answer(operation)} for {operation.key}, but the value is on {len(holders)} of "
                    f"{len(run.disks)} disks ({', '.join(holders) or 'none'}) and must be on {owed}"
                )
    return _verdict(run, found, len(checked), owed)


def _check_log(run: RunEvidence, owed: int, voters: tuple[NodeId, ...]) -> Verdict:
    """Check an algorithm that keeps a log, on the disks of the nodes that vote at the end."""
    checked: set[CommandKey] = set()
    with Found() as found:
        for operation in run.calls:
            command = _acknowledged_command(operation)
            if command is None or command in checked:
                continue
            checked.add(command)
            version = operation.answer if operation.f in ("put", "write", "cas") else None
            if isinstance(version, int) and version <= run.log.applied.version:
                continue  # the log begins after this change, and the oldest snapshot need not hold its value any more
            if command.machine not in ("kv", "once") and run.log.applied.first > 1 and command not in run.log.slots_of:
                continue  # the command may be older than the log too
            holders = [node for node in run.log.holders(command) if node in voters and node not in run.lost_disks]
            if len(holders) < owed:
                slots = ", ".join(map(str, run.log.slots_of.get(command, ()))) or "none"
                found.append(
                    f"{operation.f} of {_packed_text(command.packed)} for {operation.key} was acknowledged at "
                    f"{run.time_of(operation.completion or operation.invoke)}, but it is on {len(holders)} of {len(run.disks)} "
                    f"disks ({', '.join(holders) or 'none'}; chosen slots: {slots}) and must be on {owed}"
                )
    return _verdict(run, found, len(checked), owed)


@wording
def _packed_text(packed: bytes) -> str:
    return shown(decode_value(Value(packed))) if packed else "a name"


def _acknowledged_command(operation: RecordedCall) -> CommandKey | None:
    """Return the command whose effect a client received; None if the call was not acknowledged or sets nothing."""
    if operation.outcome != "ok":
        return None
    match operation.f, operation.invoke.value:
        case "put" | "write", value:
            return CommandKey("kv", operation.key, encode_value(value))
        case "cas", [_, value]:
            return CommandKey("kv", operation.key, encode_value(value))
        case "acquire", {"owner": str(owner)}:
            return CommandKey("locks", operation.key, encode_value(owner))
        case "join", {"group": str(group)}:
            return CommandKey(group, operation.key, b"")
        case "add", _ if operation.answer:
            return CommandKey("assignment", operation.key, b"")
        case "propose" | "query", _ if operation.answer is not None:
            return CommandKey("once", operation.key, encode_value(operation.answer))
    return None


def _verdict(run: RunEvidence, found: list[str], checked: int, owed: int) -> Verdict:
    if found:
        return invalid(*found)
    if not checked:
        return unknown("no value was acknowledged")
    if not set(run.members) <= set(run.disks):
        return unknown(f"of {len(run.members)} disks {len(run.disks)} were read")
    return valid(f"each of {count(checked, 'acknowledged value')} is on {count(owed, 'disk')} or more")


def _holds(stored: Mapping[str, Stored], value: bytes) -> bool:
    return any(_contains(item, value) for item in stored.values())


def _contains(item: Stored, value: bytes) -> bool:
    return any(_contains(entry, value) for entry in item) if isinstance(item, tuple) else item == value
