"""Changes of a cluster's nodes: who owed an answer meanwhile, and whether the log holds what was said of them."""

from dataclasses import replace
from typing import Any

import pytest

from cluster.spec import node_names
from harness.checkers.evidence import RunEvidence
from harness.checkers.node_changes import node_changes, node_changes_verdict
from harness.checkers.verdict import VerdictStatus
from harness.records.receipts import CHANGE, INDETERMINATE, INSTALLED, REFUSED, Receipt, Timeline
from harness.runs.plan_generator import generate
from node.algorithms.multipaxos import MultiPaxos
from node.log_contract import Record
from node.storage.disk import Contents
from node.wire import pack_unchecked

THREE = ("n1", "n2", "n3")
S = 1_000_000_000


def change(kind: str, node: str, outcome: str, *, settled_s: int | None = 2, began_s: int = 1) -> Receipt:
    """A change that began at 1 s, was settled at 2 s and healed at 3 s."""
    after = [*THREE, node] if kind == "add" else [each for each in THREE if each != node]
    settled_ns = None if settled_s is None else settled_s * S
    about: dict[str, Any] = {"kind": kind, "node": node, "outcome": outcome, "before": list(THREE), "after": after}
    return Receipt("x", began_s * S, 3 * S, True, evidence={CHANGE: {**about, "settled_ns": settled_ns}})


def down(*nodes: str) -> Receipt:
    return Receipt("kill", 0, 100 * S, True, nodes_down=nodes)


@pytest.mark.parametrize(
    ("outcome", "down_nodes", "at_s", "owed"),
    [
        (INSTALLED, ("n3",), 0, True),  # two of three, and n4 is no member yet
        (INSTALLED, ("n3", "n4"), 5, False),  # two of four are no majority
        (INSTALLED, ("n3",), 5, True),
        (REFUSED, ("n3", "n4"), 5, True),  # two of three
        (INDETERMINATE, ("n3", "n4"), 5, False),  # it may be four
        (INDETERMINATE, ("n4",), 5, True),
    ],
)
def test_a_majority_is_one_of_those_who_may_vote(
    outcome: str, down_nodes: tuple[str, ...], at_s: int, owed: bool
) -> None:
    timeline = Timeline(THREE, [change("add", "n4", outcome), down(*down_nodes)])
    assert timeline.owes_answer(None, at_s * S, at_s * S + 1) is owed
    assert timeline.leader_owes_answer(None, at_s * S, at_s * S + 1) is owed
    assert timeline.voters_max == 4


def test_a_node_that_has_left_owes_nothing_and_is_not_missed() -> None:
    timeline = Timeline(THREE, [change("remove", "n3", INSTALLED), down("n3")])
    assert timeline.owes_answer("n1", 5 * S, 6 * S, steady_ns=S // 2)
    assert not timeline.leader_owes_answer("n3", 5 * S, 6 * S)
    assert not Timeline(THREE, [change("remove", "n3", INSTALLED), down("n2")]).owes_answer(None, 5 * S, 6 * S)


def run(receipt: Receipt, *commands: list[str]) -> RunEvidence:
    """A run whose disks hold these changes as chosen, one a slot."""
    disks = {}
    for node in THREE:
        disks[node] = Contents(node=node, cluster="0" * 32, incarnation=1, variables={"": {"commit": len(commands)}})
        for slot, command in enumerate(commands, 1):
            batch = pack_unchecked((0, ((0, 0, 1, "cluster", pack_unchecked([command])),)))
            disks[node].log.put(Record(slot, 1, "n1", batch))
    return RunEvidence(THREE, MultiPaxos, receipts=[receipt], disks=disks)


@pytest.mark.parametrize(
    ("outcome", "commands", "status"),
    [
        (INSTALLED, [["add", "n4"]], VerdictStatus.VALID),
        (INSTALLED, [], VerdictStatus.INVALID),
        (REFUSED, [["add", "n4"]], VerdictStatus.INVALID),
        (REFUSED, [], VerdictStatus.VALID),
        (INDETERMINATE, [["add", "n4"]], VerdictStatus.VALID),
        (INDETERMINATE, [], VerdictStatus.VALID),
    ],
)
def test_the_log_must_hold_what_the_client_was_told(
    outcome: str, commands: list[list[str]], status: VerdictStatus
) -> None:
    verdict = node_changes(run(change("add", "n4", outcome), *commands))
    assert verdict.status is status, verdict


def test_each_outcome_is_counted() -> None:
    receipts = [change("add", "n4", INSTALLED), change("add", "n5", REFUSED), change("add", "n6", REFUSED)]
    receipts.append(change("add", "n7", INDETERMINATE))
    evidence = node_changes(replace(run(receipts[0], ["add", "n4"]), receipts=receipts)).evidence
    counts = f"1 {INSTALLED}, 2 {REFUSED}, 1 {INDETERMINATE}"
    assert evidence == f"the chosen log holds what was said of 4 changes of nodes: {counts}"


def test_a_run_without_changes_has_no_such_verdict() -> None:
    assert node_changes_verdict(run(down("n3"))) == {}


def test_changes_are_drawn_for_logs_alone() -> None:
    changes = {"add-node", "remove-node", "replace-node", "leader-and-learner"}
    drawn = {step.fault for seed in range(40) for step in generate("multipaxos", node_names(5), seed).steps}
    assert changes <= drawn
    assert not changes & {step.fault for seed in range(40) for step in generate("paxos", node_names(5), seed).steps}
