"""The judge of systems that say that they answer while a minority is down."""

from dataclasses import replace
from typing import Any

import pytest

from harness.checkers.evidence import RunEvidence
from harness.checkers.minority_down import minority_down
from harness.checkers.verdict import VerdictStatus
from harness.records.history import Event, History
from harness.records.receipts import Receipt
from harness.systems.system import NotOurs

S = 1_000_000_000
NODES = ("n1", "n2", "n3")
DOWN = Receipt("kill", 4 * S, 14 * S, True, ("n3",))
#: n1 and n2 cannot hear each other either, so no majority is left.
MORE = Receipt("partition", 4 * S, 14 * S, True, links_cut=(("n1", "n2"), ("n2", "n1")))


def run(answered_until_s: int, *receipts: Receipt, asked: tuple[str, ...] = ("n1", "n2")) -> RunEvidence:
    """Return a run of 14 seconds in which a call begins each second, and is answered half a second later up to a time."""
    events = []
    for second in range(14):
        node, process = asked[second % len(asked)], f"c{second}"
        answered = second < answered_until_s
        about: dict[str, Any] = {"process": process, "f": "get", "key": "x", "node": node}
        events.append(Event(0, second * S, type="invoke", timeout_s=2.0, **about))
        ended = Event(0, second * S + (S // 2 if answered else 2 * S), type="ok" if answered else "info", **about)
        events.append(ended)
    events = [replace(event, index=index) for index, event in enumerate(sorted(events, key=lambda event: event.time))]
    return RunEvidence(NODES, NotOurs, history=History(events), receipts=receipts)


def test_a_system_that_answers_while_a_node_is_down_keeps_its_word() -> None:
    verdict = minority_down(run(14, DOWN), 5.0)
    assert verdict.status is VerdictStatus.VALID
    assert "under 1 fault of a minority" in verdict.evidence


def test_one_that_falls_silent_has_broken_it() -> None:
    verdict = minority_down(run(5, DOWN), 5.0)
    assert verdict.status is VerdictStatus.INVALID
    assert "no call of any client was answered from 5.00 s" in verdict.evidence
    assert "within 5.0 s of these" in verdict.evidence


@pytest.mark.parametrize(
    ("evidence", "within_s"),
    [
        (run(5, DOWN, MORE), 5.0),  # no majority is connected
        (run(4, DOWN, asked=("n3",)), 5.0),  # clients ask only the node that is down
        (run(5, DOWN), 30.0),  # the run is too short to show it
        (run(14), 5.0),  # nothing was down
    ],
    ids=["no majority", "asks the dead", "too short", "no fault"],
)
def test_what_was_not_owed_is_no_violation_and_no_proof(evidence: RunEvidence, within_s: float) -> None:
    assert minority_down(evidence, within_s).status is VerdictStatus.UNKNOWN
