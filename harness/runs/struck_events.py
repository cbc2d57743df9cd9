"""The messages at which the faults of a run struck: a plan whose faults wait for such messages strikes the same roles again.

A fault that strikes the one node which sends, say, `append_entries` strikes the leader, whichever node that is in another run.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from harness.records.links import CLIENT
from harness.records.receipts import Receipt
from harness.runs.plan import PlanStep, When
from harness.runs.suite import PlanResult
from node.contract import NodeId

#: The messages of so many nanoseconds before a fault say which role its node had.
_BEFORE_NS: Final = 1_500_000_000
#: A node has the role of a message's end if it is that end of so large a share of the messages of that type.
_SHARE_LEAST: Final = 0.9


def tied_steps(result: PlanResult) -> list[list[PlanStep]]:
    """Return the steps of a run's plan, each fault of one process tied to a message at which it struck.

    Returns:
        Candidates, the best one first: nodes by their roles, then by their names. None, if the run's messages show nothing.
    """
    evidence = result.evidence
    if evidence is None or result.plan.system is None or not evidence.messages:
        return []
    receipts = sorted(evidence.receipts, key=lambda receipt: receipt.began_ns)
    by_role, by_name = list[PlanStep](), list[PlanStep]()
    struck = {id(outcome.step): outcome.began_s for outcome in result.steps}
    for step in sorted(result.plan.steps, key=lambda step: struck.get(id(step)) or step.at_s):
        receipt = _receipt_of(step, receipts)
        event = None if receipt is None else _event(evidence.messages, receipt)
        if receipt is None or event is None:
            by_role.append(step)
            by_name.append(step)
            continue
        message, end, is_role, to_client = event
        (node,) = receipt.nodes_down
        receiver = CLIENT if to_client else None
        ends = (node, receiver) if end == "sender" else (None, node)
        named = replace(step, when=When(1, message, *ends))
        by_name.append(named)
        of_role = replace(step, when=When(1, message, None, receiver), arguments={**step.arguments, "nodes": [end]})
        by_role.append(of_role if is_role else named)
    untied = list(result.plan.steps)
    return [
        steps for number, steps in enumerate((by_role, by_name)) if steps != untied and (not number or steps != by_role)
    ]


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


def _event(lines: Sequence[Mapping[str, Any]], receipt: Receipt) -> tuple[str, str, bool, bool] | None:
    """Return a message by which a node that was struck is known: its type, the node's end of it, whether the node alone has that
    end, and whether it goes to clients; None if the node took part in no message."""
    (node,) = receipt.nodes_down
    every, of_node = Counter[tuple[str, str, bool]](), Counter[tuple[str, str, bool]]()
    for line in lines:
        if "of" in line or not receipt.began_ns - _BEFORE_NS < line["time"] <= receipt.began_ns:
            continue
        for kind, end in _ends(line):
            every[kind] += 1
            of_node[kind] += end == node
    shares = {kind: (of_node[kind] / every[kind], of_node[kind]) for kind in every if of_node[kind] > 1}
    if not shares:
        return None
    message, end, to_client = best = max(shares, key=lambda kind: (shares[kind][0] >= _SHARE_LEAST, *shares[kind]))
    return message, end, shares[best][0] >= _SHARE_LEAST or end == "receiver", to_client


def _ends(line: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str, bool], NodeId]]:
    """Yield the ends of a message that are nodes, each with what a step could wait for."""
    if line["from"] == CLIENT:
        return
    to_client = line["to"] == CLIENT
    yield (line["type"], "sender", to_client), line["from"]
    if not to_client:
        yield (line["type"], "receiver", False), line["to"]
