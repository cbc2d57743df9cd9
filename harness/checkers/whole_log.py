"""The log of a run from its first slot to the last one that was announced: from the disks, and from messages where they lack it.

Up to the last slot that the disks know as chosen, the batch is the one of `chosen_log.py`. Above, the messages have it
(`leader_rules.py`): a node may have announced a slot that no disk knows as chosen.
"""

from harness.checkers.evidence import RunEvidence
from harness.checkers.reference.log import NO_OP, Batch
from node.wire import unpack_unchecked


class LogIncomplete(Exception):
    """The evidence does not hold every slot of the log. The message says which is the first one that is missing."""


def whole_log(run: RunEvidence) -> list[Batch]:
    """Return the chosen batch of every slot, from slot 1 to the last slot that is known as chosen.

    Raises:
        LogIncomplete: a slot is missing below the last one that a node or a client knows as chosen.
    """
    chosen = run.log.chosen
    known = max((replica.get("commit", 0) for replica in run.replicas.values()), default=0)
    last = max(max(chosen, default=0), run.log.leaders.announced, known)
    proposed = run.log.proposed if any(slot not in chosen for slot in range(1, last + 1)) else {}
    batches = []
    for slot in range(1, last + 1):
        batch = chosen.get(slot, proposed.get(slot))
        if batch is None:
            raise LogIncomplete(f"neither a disk nor a message holds slot {slot} of {last}")
        batches.append(Batch(*unpack_unchecked(batch)) if batch else NO_OP)
    return batches
