"""The points of a sweep, the order in which messages are delivered, and the judgement of a point."""

from collections import Counter

import pytest

from cluster.clients.outcomes import NotDone, NotKnown, Ok, Outcome
from harness.records.links import Link
from harness.systematic.scheduler import MessageStep, next_link
from harness.systematic.sweep_points import (
    LinkEnd,
    PointAnswer,
    PointFault,
    PointOutcome,
    PointResult,
    Sweep,
    judge_point,
    points,
)

VOTE, HEARD = MessageStep("n1", "n2", "Vote", 1), MessageStep("n2", "n1", "Heard", 1)
SILENT = NotKnown("no answer")


def answer(source: str, outcome: Outcome, **more: bool) -> PointAnswer:
    return PointAnswer(source, "query", outcome, **more)


# --- the order of messages ------------------------------------------------------------------------------------------


def test_the_messages_of_rivals_advance_at_the_same_pace() -> None:
    nodes = ("n1", "n2", "n3", "n4", "n5")
    left: Counter[Link] = Counter({(rival, other): 1 for rival in ("n1", "n2") for other in nodes if other != rival})
    sent: Counter[str] = Counter()
    received: Counter[str] = Counter()
    first_sender: dict[str, str] = {"n1": "n1", "n2": "n2"}
    while left:
        link = next_link(left, nodes, sent, received)
        left -= Counter([link])
        sent[link[0]] += 1
        received[link[1]] += 1
        assert abs(sent["n1"] - sent["n2"]) <= 1
        first_sender.setdefault(link[1], link[0])
    assert Counter(first_sender.values()) == {"n1": 3, "n2": 2}  # as even as five can be split


# --- the points -----------------------------------------------------------------------------------------------------


def test_every_message_has_six_points() -> None:
    found = points([VOTE, HEARD])
    assert len(found) == len(set(found)) == 12
    assert {(1, VOTE), (2, HEARD)} == {(point.number, point.message) for point in found}
    assert {(end, fault) for end in LinkEnd for fault in PointFault} == {(point.end, point.fault) for point in found}


def test_the_fault_of_a_point_hits_one_end() -> None:
    assert {"n1", "n2"} == {point.node for point in points([VOTE], [PointFault.CUT])}
    (sender, receiver) = points([VOTE], [PointFault.CRASH])
    assert (sender.node, receiver.node) == ("n1", "n2")
    assert str(receiver) == "crash of n2 at message 1, Vote n1→n2, as its receiver"


# --- the judgement --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "outcome", "why"),
    [
        ([answer("n1", Ok("blue", "n1"), must_answer=True)], PointOutcome.SURVIVED, "1 answers"),
        ([answer("n1", Ok(None, "n1"), must_answer=True)], PointOutcome.SURVIVED, "undecided everywhere"),
        (
            [answer("n1", Ok("blue", "n1")), answer("n2", Ok("red", "n2"))],
            PointOutcome.VIOLATES,
            "n1 answered 'blue', n2 'red'",
        ),
        ([answer("n1", Ok("green", "n1"))], PointOutcome.VIOLATES, "no client had proposed"),
        (
            [answer("n1", Ok("red", "n1")), answer("n2", Ok(None, "n2"), after_decision=True)],
            PointOutcome.VIOLATES,
            "undecided after",
        ),
        ([answer("n1", Ok("red", "n1")), answer("n2", Ok(None, "n2"))], PointOutcome.SURVIVED, "1 answers"),
        ([answer("n1", SILENT, must_answer=True)], PointOutcome.BLOCKS, "no node can decide: no answer at n1 (query)"),
        (
            [answer("n1", Ok("red", "n1"), must_answer=True), answer("n2", SILENT, must_answer=True)],
            PointOutcome.BLOCKS,
            "some nodes never answer",
        ),
        ([answer("n1", NotDone("refused", "n1: too full"), must_answer=True)], PointOutcome.BLOCKS, "too full"),
        ([answer("n1", SILENT)], PointOutcome.SURVIVED, "undecided"),
        (
            [
                answer("n1", SILENT, must_answer=True),
                answer("with n2 back", Ok("red", "n2"), must_answer=True, after_return=True),
            ],
            PointOutcome.BLOCKS,
            "no node can decide: no answer at n1 (query); with n2 back it is 'red'",
        ),
        # A violation counts more than a missing answer.
        (
            [answer("n1", Ok("red", "n1")), answer("n2", Ok("blue", "n2")), answer("n3", SILENT, must_answer=True)],
            PointOutcome.VIOLATES,
            "blue",
        ),
    ],
)
def test_a_point_is_judged(answers: list[PointAnswer], outcome: PointOutcome, why: str) -> None:
    found, evidence = judge_point(answers)
    assert found is outcome
    assert why in evidence


def test_a_sweep_counts_and_reports() -> None:
    first, second, *_ = points([VOTE])
    results = (
        PointResult(first, PointOutcome.SURVIVED, "fine"),
        PointResult(second, PointOutcome.BLOCKS, "no node can decide"),
    )
    sweep = Sweep("majority", 5, (VOTE,), results, ("coherence: bad",), 1.0)
    data = sweep.to_json()
    assert (data["points"], data["survived"], data["blocks"], data["violates"]) == (2, 1, 1, 0)
    text = sweep.text()
    assert "1 / 2" in text
    assert f"{second}: no node can decide" in text
    assert "coherence: bad" in text
