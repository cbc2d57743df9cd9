"""What the judges say of keepers that are sure for too long, and of acquires that were given up."""

from typing import Any

import pytest

from harness.checkers.evidence import RunEvidence
from harness.checkers.keepers import left_behind, sure_for_too_long
from harness.checkers.liveness import liveness
from harness.checkers.verdict import VerdictStatus
from harness.records.history import GIVEN_UP, Event, History
from node.algorithms.multipaxos import MultiPaxos

MS = 1_000_000


def run(*events: tuple[Any, ...]) -> RunEvidence:
    """Return the evidence of events: process, type, f, value, and what else an event has."""
    history = [
        Event(index, index * MS, process, kind, f, "l", value, **(more[0] if more else {}))
        for index, (process, kind, f, value, *more) in enumerate(events)
    ]
    return RunEvidence(("n1",), MultiPaxos, History(history))


@pytest.mark.parametrize(("left_ms", "times"), [(250, 0), (0, 0), (None, 0), (-1, 1)])
def test_a_keeper_is_not_sure_for_longer_than_a_lease_after_its_last_request(left_ms: int | None, times: int) -> None:
    asked = run(("api2.0", "invoke", "holds", {"token": 3}), ("api2.0", "ok", "holds", left_ms))
    assert times == len(list(sure_for_too_long(asked, "holds")))
    assert list(sure_for_too_long(asked, "stays")) == []


HELD = (("c1.1", "invoke", "acquire", {"owner": "a"}), ("c1.1", "ok", "acquire", 7))
GONE = (
    ("api1.0", "invoke", "acquire", {"owner": "b"}),
    ("api1.0", "info", "acquire", None, {"error": GIVEN_UP}),
)


def holder(answer: Any) -> tuple[tuple[Any, ...], ...]:
    return ("c2.1", "invoke", "holder", None), ("c2.1", "ok", "holder", answer)


@pytest.mark.parametrize(
    ("events", "times"),
    [
        ((*HELD, *GONE, *holder(["a", 7, 0])), 0),
        ((*HELD, *GONE, *holder(None)), 0),
        ((*HELD, *GONE, *holder(["a", 7, 1])), 1),  # it still waits
        ((*HELD, *GONE, *holder(["b", 8, 0])), 1),  # it holds the lock
        ((*HELD, *GONE[:1], *holder(["a", 7, 1]), *GONE[1:]), 0),  # it was not given up yet
        ((*HELD, *GONE, ("c3.1", "invoke", "acquire", {"owner": "c"}), *holder(["a", 7, 1])), 0),  # another one waits
    ],
)
def test_an_acquire_that_was_given_up_leaves_no_place(events: tuple[tuple[Any, ...], ...], times: int) -> None:
    assert times == len(list(left_behind(run(*events))))


@pytest.mark.parametrize(("error", "status"), [(GIVEN_UP, VerdictStatus.VALID), ("no reply", VerdictStatus.INVALID)])
def test_a_call_that_is_given_up_is_owed_no_answer(error: str, status: VerdictStatus) -> None:
    given_up = run(*GONE[:1], ("api1.0", "info", "acquire", None, {"error": error}))
    assert liveness(given_up, 0, 5.0).status is status
