"""What is swept, in which order messages go, and how a point is weighed."""

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
    points,
    weigh,
)

VOTE, HEARD = MessageStep("n1", "n2", "Vote", 1), MessageStep("n2", "n1", "Heard", 1)
SILENT = NotKnown("no answer")


def told(who: str, outcome: Outcome, **more: bool) -> PointAnswer:
    return PointAnswer(who, "query", outcome, **more)


# --- the order of messages ------------------------------------------------------------------------------------------


def test_rivals_are_heard_at_the_same_pace() -> None:
    nodes = ("n1", "n2", "n3", "n4", "n5")
    left: Counter[Link] = Counter({(rival, other): 1 for rival in ("n1", "n2") for other in nodes if other != rival})
    sent: Counter[str] = Counter()
    heard: Counter[str] = Counter()
    first_heard: dict[str, str] = {"n1": "n1", "n2": "n2"}
    while left:
        link = next_link(left, nodes, sent, heard)
        left -= Counter([link])
        sent[link[0]] += 1
        heard[link[1]] += 1
        assert abs(sent["n1"] - sent["n2"]) <= 1
        first_heard.setdefault(link[1], link[0])
    assert Counter(first_heard.values()) == {"n1": 3, "n2": 2}  # as even as five can be split


# --- the points -----------------------------------------------------------------------------------------------------


def test_every_message_has_six_points() -> None:
    found = points([VOTE, HEARD])
    assert len(found) == len(set(found)) == 12
    assert {(1, VOTE), (2, HEARD)} == {(point.number, point.message) for point in found}
    assert {(end, fault) for end in LinkEnd for fault in PointFault} == {(point.end, point.fault) for point in found}


def test_a_point_strikes_its_end() -> None:
    assert {"n1", "n2"} == {point.node for point in points([VOTE], [PointFault.CUT])}
    (sender, receiver) = points([VOTE], [PointFault.CRASH])
    assert (sender.node, receiver.node) == ("n1", "n2")
    assert str(receiver) == "crash of n2 at message 1, Vote n1→n2, as its receiver"


# --- what came of it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "fate", "why"),
    [
        ([told("n1", Ok("blue", "n1"), owed=True)], PointOutcome.SURVIVED, "1 answers"),
        ([told("n1", Ok(None, "n1"), owed=True)], PointOutcome.SURVIVED, "undecided everywhere"),
        (
            [told("n1", Ok("blue", "n1")), told("n2", Ok("red", "n2"))],
            PointOutcome.VIOLATES,
            "n1 answered 'blue', n2 'red'",
        ),
        ([told("n1", Ok("green", "n1"))], PointOutcome.VIOLATES, "nobody had proposed"),
        (
            [told("n1", Ok("red", "n1")), told("n2", Ok(None, "n2"), late=True)],
            PointOutcome.VIOLATES,
            "undecided after",
        ),
        ([told("n1", Ok("red", "n1")), told("n2", Ok(None, "n2"))], PointOutcome.SURVIVED, "1 answers"),
        ([told("n1", SILENT, owed=True)], PointOutcome.BLOCKS, "nobody can decide: no answer at n1 (query)"),
        (
            [told("n1", Ok("red", "n1"), owed=True), told("n2", SILENT, owed=True)],
            PointOutcome.BLOCKS,
            "some are never told",
        ),
        ([told("n1", NotDone("refused", "n1: too full"), owed=True)], PointOutcome.BLOCKS, "too full"),
        ([told("n1", SILENT)], PointOutcome.SURVIVED, "undecided"),
        (
            [told("n1", SILENT, owed=True), told("with n2 back", Ok("red", "n2"), owed=True, back=True)],
            PointOutcome.BLOCKS,
            "nobody can decide: no answer at n1 (query); with n2 back it is 'red'",
        ),
        # A contradiction is worse than silence.
        (
            [told("n1", Ok("red", "n1")), told("n2", Ok("blue", "n2")), told("n3", SILENT, owed=True)],
            PointOutcome.VIOLATES,
            "blue",
        ),
    ],
)
def test_a_point_is_weighed(answers: list[PointAnswer], fate: PointOutcome, why: str) -> None:
    found, evidence = weigh(answers)
    assert found is fate
    assert why in evidence


def test_a_sweep_counts_and_tells() -> None:
    first, second, *_ = points([VOTE])
    results = (
        PointResult(first, PointOutcome.SURVIVED, "fine"),
        PointResult(second, PointOutcome.BLOCKS, "nobody can decide"),
    )
    sweep = Sweep("majority", 5, (VOTE,), results, ("coherence: bad",), 1.0)
    data = sweep.to_json()
    assert (data["points"], data["survived"], data["blocks"], data["violates"]) == (2, 1, 1, 0)
    text = sweep.text()
    assert "1 / 2" in text
    assert f"{second}: nobody can decide" in text
    assert "coherence: bad" in text
