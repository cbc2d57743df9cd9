"""The messages at which the faults of a run struck: a plan whose faults wait for such messages strikes the same roles again.

A fault that strikes the one node which sends, say, `append_entries` strikes the leader, whichever node that is in another run.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from harness.records.links import CLIENT
from harness.records.receipts import Receipt
from harness.runs.plan import PlanStep, When
from harness.runs.suite import PlanResult
from node.contract import NodeId

#: The messages of so many nanoseconds before a fault say which role its node had.
_BEFORE_NS: Final = 1_500_000_000
#: A node has the role of a message's end if it is that end of so large a share of the messages of that type.
_SHARE_LEAST: Final = 0.9


class _End(NamedTuple):
    """An end of the messages of a type: "sender" or "receiver"."""

    message: str
    end: str
    to_client: bool


def tied_steps(result: PlanResult) -> list[PlanStep] | None:
    """Return the steps of a run's plan, each fault of one process tied to a message at which it struck; None if none can be."""
    evidence = result.evidence
    if evidence is None or result.plan.system is None or not evidence.messages:
        return None
    receipts = sorted(evidence.receipts, key=lambda receipt: receipt.began_ns)
    began = {id(outcome.step): outcome.began_s for outcome in result.steps}
    found = list[PlanStep]()
    for step in sorted(result.plan.steps, key=lambda step: began.get(id(step)) or step.at_s):
        receipt = _receipt_of(step, receipts)
        event = None if receipt is None else _event(evidence.messages, receipt)
        if event is None:
            found.append(step)
            continue
        when = When(1, event.message, None, CLIENT if event.to_client else None)
        found.append(replace(step, when=when, arguments={**step.arguments, "nodes": [event.end]}))
    return found if any(step.when is None for step in result.plan.steps if step not in found) else None


def _receipt_of(step: PlanStep, receipts: list[Receipt]) -> Receipt | None:
    """Take out of the list the receipt of a step that strikes one process at a time; None if it is none of those."""
    nodes = step.arguments.get("nodes")
    if step.when is not None or not isinstance(nodes, list) or len(nodes) != 1:
        return None
    for receipt in receipts:
        if receipt.fault == step.fault and list(receipt.nodes_down) == nodes:
            receipts.remove(receipt)
            return receipt
    return None


def _event(lines: Sequence[Mapping[str, Any]], receipt: Receipt) -> _End | None:
    """Return a message type and its end, sender or receiver, that tell which role the struck node had.

    None if the node took part in no message. Types that only one node sends are preferred,
    then types that go to other nodes than the clients.
    """
    (node,) = receipt.nodes_down
    every, of_node = Counter[_End](), Counter[_End]()
    for line in lines:
        if "of" in line or not receipt.began_ns - _BEFORE_NS < line["time"] <= receipt.began_ns:
            continue
        for end, who in _ends(line):
            every[end] += 1
            of_node[end] += who == node

    def rank(end: _End) -> tuple[bool, bool, float, int]:
        share = of_node[end] / every[end]
        return share >= _SHARE_LEAST, not end.to_client, share, of_node[end]

    return max((end for end in every if of_node[end] > 1), key=rank, default=None)


def _ends(line: Mapping[str, Any]) -> Iterator[tuple[_End, NodeId]]:
    """Yield the ends of a message that are nodes, and which node each is."""
    if line["from"] == CLIENT:
        return
    to_client = line["to"] == CLIENT
    yield _End(line["type"], "sender", to_client), line["from"]
    if not to_client:
        yield _End(line["type"], "receiver", False), line["to"]
