"""The log of a run from its first slot: from the disks, and, where they keep a snapshot instead, from the messages.

Rules
-----
1. A slot that the disks know as chosen has the batch that stands there (`chosen_log.py`).
2. Of any other slot up to the highest that a node has announced as chosen, the Accept with the highest ballot holds the batch:
   once a batch is chosen, every Accept with a higher ballot proposes the same batch (Lamport, *Paxos Made Simple*, P2b).
   `log_rules.py` finds an algorithm that breaks this.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from harness.checkers.evidence import RunEvidence
from harness.checkers.reference.log import NO_OP, Batch
from harness.records.jsonable import from_jsonable
from node.wire import unpack_unchecked


class LogIncomplete(Exception):
    """The evidence does not hold every slot of the log. The message says which is the first one that is missing."""


def whole_log(run: RunEvidence) -> list[Batch]:
    """Return the chosen batch of every slot, from slot 1 to the last slot that is known as chosen.

    Raises:
        LogIncomplete: a slot is missing below the last one that a node or a client knows as chosen.
    """
    chosen = run.log.chosen
    announced = max((_commit(line) for line in _log_lines(run)), default=0)
    known = max((replica.get("commit", 0) for replica in run.replicas.values()), default=0)
    last = max(max(chosen, default=0), announced, known)
    proposed = _proposed(run) if any(slot not in chosen for slot in range(1, last + 1)) else {}
    batches = []
    for slot in range(1, last + 1):
        if slot in chosen:
            batch = chosen[slot]
            batches.append(Batch(*unpack_unchecked(batch)) if batch else NO_OP)
        elif slot in proposed:
            batches.append(proposed[slot])
        else:
            raise LogIncomplete(f"neither a disk nor a message holds slot {slot} of {last}")
    return batches


def _log_lines(run: RunEvidence) -> Iterator[Mapping[str, Any]]:
    """Yield the lines about Accepts and Heartbeats as they were sent."""
    return (line for line in run.messages if line["type"] in ("Accept", "Heartbeat") and "of" not in line)


def _commit(line: Mapping[str, Any]) -> int:
    commit = line["fields"].get("commit")
    return commit if isinstance(commit, int) else 0


def _proposed(run: RunEvidence) -> dict[int, Batch]:
    """Return the batch of the Accept with the highest ballot of each slot."""
    found: dict[int, tuple[tuple[int, str], Any]] = {}
    for line in _log_lines(run):
        match line["fields"]:
            case {"slot": int(slot), "ballot": [int(round_), str(owner)], "batch": batch}:
                if slot not in found or found[slot][0] < (round_, owner):
                    found[slot] = (round_, owner), batch
    return {slot: _batch(batch) for slot, (_, batch) in found.items()}


def _batch(readable: Any) -> Batch:
    """Return the batch that a record of messages shows. What does not decode as a value stands there in hex."""
    data = (
        unpack_unchecked(bytes.fromhex(readable)) if isinstance(readable, str) and readable else from_jsonable(readable)
    )
    return Batch(*data) if data else NO_OP
