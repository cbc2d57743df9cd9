"""The judge of nodes that are asked to lead after the heal."""

from harness.checkers.evidence import RunEvidence, Stall
from harness.checkers.leading import HandOver, leading, leading_verdict
from harness.checkers.verdict import VerdictStatus
from node.algorithms.multipaxos import MultiPaxos

VOTERS = ("n1", "n2", "n3")
S = 1_000_000_000
LED = HandOver("n1", S, S + S // 2, ("n2", "n3"), VOTERS)


def run(*stalls: Stall) -> RunEvidence:
    return RunEvidence(VOTERS, MultiPaxos, stalls=stalls)


def test_a_node_that_does_not_lead_when_asked_is_found() -> None:
    verdict = leading(run(), [LED, HandOver("n2", S, None, last="refused")])
    assert verdict.status is VerdictStatus.INVALID
    assert "n2 did not lead" in verdict.evidence
    assert "refused" in verdict.evidence


def test_a_leader_that_is_deaf_to_one_voter_is_found() -> None:
    verdict = leading(run(), [HandOver("n2", S, None, ("n1",), VOTERS)])
    assert "n2 did not hear n3" in verdict.evidence


def test_a_machine_that_stalled_is_no_fault_of_a_node() -> None:
    assert leading(run(Stall(2 * S, 3 * S)), [HandOver("n2", S, None)]).status is VerdictStatus.UNKNOWN


def test_all_voters_that_lead_are_valid_and_nobody_asked_gives_no_verdict() -> None:
    assert leading(run(), [LED]).status is VerdictStatus.VALID
    assert leading_verdict(run(), []) == {}
