"""The judge of calls after the heal."""

import pytest

from harness.checkers.answers_again import answers_again
from harness.checkers.evidence import RunEvidence, Stall
from harness.checkers.liveness import liveness
from harness.checkers.verdict import VerdictStatus
from harness.records.history import Event, History
from node.algorithms.multipaxos import MultiPaxos

S = 1_000_000_000


def run(
    timeout_s: float | None, error: str = "refused: no reply in time", *stalls: Stall, took_s: float = 5.0
) -> RunEvidence:
    history = History(
        [
            Event(0, S, "c1.1", "invoke", "get", "x", timeout_s=timeout_s),
            Event(1, S + int(took_s * S), "c1.1", "fail", "get", "x", error=error),
        ]
    )
    return RunEvidence(("n1", "n2", "n3"), MultiPaxos, history=history, stalls=stalls)


@pytest.mark.parametrize(("timeout_s", "status"), [(5.0, VerdictStatus.INVALID), (None, VerdictStatus.VALID)])
def test_a_client_that_stays_at_one_node_is_owed_no_answer(timeout_s: float | None, status: VerdictStatus) -> None:
    assert liveness(run(timeout_s), 0, 5.0).status is status


@pytest.mark.parametrize(("process", "status"), [("c1.1", VerdictStatus.VALID), ("api1.0", VerdictStatus.INVALID)])
def test_a_client_that_loses_messages_by_itself_is_owed_no_answer_and_steps_of_the_api_must_end(
    process: str, status: VerdictStatus
) -> None:
    unknown = History([Event(0, S, process, "invoke", "join", "x"), Event(1, 6 * S, process, "info", "join", "x")])
    assert liveness(RunEvidence(("n1", "n2", "n3"), MultiPaxos, unknown), 0, 5.0).status is status


@pytest.mark.parametrize(
    ("error", "status"),
    [("not_sent: no leader was found", VerdictStatus.UNKNOWN), ("refused: n1: too much waits", VerdictStatus.INVALID)],
)
def test_a_stall_excuses_a_call_that_could_not_be_sent_and_no_other_refusal(error: str, status: VerdictStatus) -> None:
    stall = Stall(2 * S, 2 * S + S // 4)
    assert liveness(run(5.0, error, stall), 0, 5.0).status is status
    assert liveness(run(5.0, error), 0, 5.0).status is VerdictStatus.INVALID


def test_a_stall_excuses_a_refusal_that_comes_too_late() -> None:
    lapsed, stall = "not_member: its lease has ended", Stall(2 * S, 2 * S + S // 4)
    assert liveness(run(5.0, lapsed, stall, took_s=5.1), 0, 5.0).status is VerdictStatus.UNKNOWN
    assert liveness(run(5.0, lapsed, took_s=4.9), 0, 5.0).status is VerdictStatus.VALID  # it is an answer
    assert liveness(run(5.0, lapsed, took_s=5.1), 0, 5.0).status is VerdictStatus.INVALID


def test_a_call_whose_client_has_failed_is_blamed_on_neither_the_system_nor_the_machine() -> None:
    stall = Stall(2 * S, 2 * S + S // 4)
    verdict = answers_again(run(5.0, "the client MyClient raised KeyError: 'x' at mine.py:7", stall), 0, 5.0)
    assert verdict.status is VerdictStatus.UNKNOWN
    assert "the client MyClient raised KeyError: 'x' at mine.py:7" in verdict.evidence
    assert answers_again(run(5.0, "timed out"), 0, 5.0).evidence.startswith(
        "get for x at any node had no answer within 5 s"
    )
    assert "stalled" in answers_again(run(5.0, "timed out", stall), 0, 5.0).evidence
