"""What a run on real processes has met: its features, as texts without names of nodes, values or times.

| feature | example |
|---|---|
| a fault has hit a node in a role and phase | `kill hits the acceptor of Accept` |
| two messages in a row at one node | `sends Accept after it gets Promise` |
| a message's fate | `Accept is dropped` |
| how many messages of a type there were, as a power of two | `Prepare: 32` |
| a call's outcome | `put is unknown` |
| a mark of the algorithm's author, see `Node.sometimes` | `mark: a leader steps down with writes in flight` |
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from harness.records.history import History
from harness.records.links import DELIVERED
from harness.runs.campaigns.grid import Hits
from node.contract import NodeId

_MARK: Final = re.compile(r"^\S+ \S+ INFO sometimes: (.+)$", re.MULTILINE)
#: What the feature of a mark begins with.
MARK: Final = "mark: "
_OUTCOMES: Final = {"ok": "answered", "fail": "refused", "info": "unknown"}


def features_of(
    members: Sequence[NodeId], lines: Iterable[Mapping[str, Any]], hits: Hits, history: History, logs: Path
) -> frozenset[str]:
    """Return the features of one run.

    Args:
        members: the nodes.
        lines: the record of messages.
        hits: what the faults have hit.
        history: the calls.
        logs: the folder of the nodes' logs.
    """
    found = {
        f"{fault} hits the {cell.role} of {cell.phase}" if cell.phase else f"{fault} hits an idle node"
        for fault, cell in hits
    }
    found.update(_of_messages(members, lines))
    for operation in history.operations:
        found.add(f"{operation.f} is {_OUTCOMES[operation.outcome]}")
    found.update(f"{MARK}{mark}" for mark in marks_met(logs))
    return frozenset(found)


def marks_met(logs: Path) -> set[str]:
    """Return the marks of `Node.sometimes` that the nodes have reached, from their logs."""
    return {mark for path in logs.glob("*.log") for mark in _MARK.findall(path.read_text(errors="replace"))}


def _of_messages(members: Sequence[NodeId], lines: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    numbers: Counter[str] = Counter()
    last = dict.fromkeys(members, "boots")
    pairs: set[tuple[str, str]] = set()
    fates: set[tuple[str, str]] = set()
    for line in lines:
        kind, sender, receiver, fate = line["type"], line["from"], line["to"], line["fate"]
        if sender not in last or receiver not in last:
            continue
        fates.add((kind, fate))
        if "of" not in line:
            numbers[kind] += 1
            pairs.add((f"sends {kind}", last[sender]))
            last[sender] = f"sends {kind}"
        if fate in DELIVERED:
            pairs.add((f"gets {kind}", last[receiver]))
            last[receiver] = f"gets {kind}"
    yield from (f"{after} after it {before}" for after, before in pairs)
    yield from (f"{kind} is {fate}" for kind, fate in fates)
    yield from (f"{kind}: {1 << (number.bit_length() - 1)}" for kind, number in numbers.items())
