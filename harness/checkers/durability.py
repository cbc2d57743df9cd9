"""Durability: what a client was told is on the disks that must have it.

Who owes how many copies
------------------------
An algorithm that goes on while a minority is down must have what it has acknowledged on a **quorum's** disks: with fewer
copies the loss of some minority would lose it, and no later quorum need know of it. That is owed from the moment of the
answer on, and copies never become fewer, so it can be asked of the disks after the run.

A single leader promises less: its own disk alone holds the value, and that is the article's objection to it. `Leader` and
what is derived from it, `Failover`, owe **one** copy.

What counts as a copy: the value stands anywhere in what the node keeps of that variable, as a vote, as what it has accepted
or as decided, or its algorithm says that it is decided. So no algorithm need have told everybody of the decision. A node
whose disk was taken away or set back by a fault (its receipt's evidence has `disk_lost`) is one copy less that is owed.
"""

from collections.abc import Mapping
from typing import Final

from harness.checkers.evidence import Run, count
from harness.checkers.verdict import Verdict, checker, invalid, unknown, valid
from harness.disks import decided_on_disk
from harness.jsonable import canonical
from node.algorithms.leader import Leader
from node.contract import Algorithm, Stored
from node.quorum import majority
from node.wire import encode_value

#: In a receipt's evidence: the nodes whose disks no longer hold all that they had.
DISK_LOST: Final = "disk_lost"


def copies_owed(algorithm: type[Algorithm], members: int) -> int:
    """On how many disks an acknowledged value must be."""
    return 1 if issubclass(algorithm, Leader) else majority(members)


@checker
def durability(run: Run) -> Verdict:
    """Whether each value that a client was told is on enough disks."""
    lost = {node for receipt in run.receipts for node in receipt.evidence.get(DISK_LOST, ())}
    owed = max(copies_owed(run.algorithm, len(run.members)) - len(lost), 0)
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
            where = ", ".join(holders) or "none"
            found.append(
                f"{run.told(operation)} for {operation.key}, and of {len(run.disks)} disks only {where} "
                f"{'has' if len(holders) < 2 else 'have'} it: {owed} must"
            )
    if found:
        return invalid(*found)
    if not checked:
        return unknown("no decided value was acknowledged")
    if set(run.disks) != set(run.members):
        return unknown(f"of {len(run.members)} disks {len(run.disks)} were read")
    return valid(f"each of {count(len(checked), 'acknowledged value')} is on {owed} disks or more")


def _holds(stored: Mapping[str, Stored], value: bytes) -> bool:
    return any(_within(item, value) for item in stored.values())


def _within(item: Stored, value: bytes) -> bool:
    return any(_within(entry, value) for entry in item) if isinstance(item, tuple) else item == value
