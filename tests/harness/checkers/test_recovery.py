"""The judge of nodes that refuse to start again."""

from harness.checkers.evidence import DISK_DAMAGED, UNNOTICED, RefusedStart, RunEvidence
from harness.checkers.recovery import recovery, recovery_verdict
from harness.checkers.verdict import VerdictStatus
from harness.records.receipts import Receipt
from node.algorithms.paxos import Paxos

REFUSAL = RefusedStart("n2", 3_000_000_000, "n2 cannot start: RuntimeError")


def run(*receipts: Receipt, refusals: tuple[RefusedStart, ...] = (REFUSAL,)) -> RunEvidence:
    return RunEvidence(("n1", "n2", "n3"), Paxos, receipts=receipts, refusals=refusals)


def test_a_node_that_refuses_its_own_disk_has_broken_a_promise() -> None:
    verdict = recovery(run(Receipt("kill", 1, 2, True, ("n2",))))
    assert verdict.status is VerdictStatus.INVALID
    assert "n2 refused to start again on its own disk" in verdict.evidence
    assert "RuntimeError" in verdict.evidence


def test_to_refuse_a_disk_that_a_fault_has_damaged_is_right() -> None:
    """And it leaves the verdict over all as it is: the run has tested what it would have tested."""
    damaged = Receipt("flip-bit", 1, 2, True, ("n2",), evidence={DISK_DAMAGED: ["n2"]})
    assert recovery(run(damaged)).status is VerdictStatus.VALID
    of_another = Receipt("flip-bit", 1, 2, True, ("n1",), evidence={DISK_DAMAGED: ["n1"]})
    assert recovery(run(of_another)).status is VerdictStatus.INVALID


def test_a_loss_on_which_a_node_had_relied_must_be_noticed() -> None:
    lost = Receipt("damage-last-commit", 1, 2, True, ("n2",), evidence={DISK_DAMAGED: ["n2"], UNNOTICED: ["n2"]})
    verdict = recovery_verdict(run(lost, refusals=()))["recovery"]
    assert verdict.status is VerdictStatus.INVALID
    assert "n2 started again as if its disk were whole" in verdict.evidence


def test_a_run_without_refusals_has_no_such_verdict() -> None:
    assert recovery_verdict(run(refusals=())) == {}
