"""The checker of locks with leases: which overlaps it reports, and which it must not."""

from typing import Any

import pytest

from harness.checkers.evidence import RunEvidence
from harness.checkers.lock_leases import exclusion
from harness.checkers.models import LockModel
from harness.checkers.verdict import VerdictStatus
from harness.records.history import Event, History
from node.algorithms.multipaxos import MultiPaxos

MS = 1_000_000
#: process, f, from ms, to ms, outcome, value, answer or error
Row = tuple[str, str, int, int, str, Any, Any]


def history(*calls: Row) -> History:
    moments = sorted(
        [(began, 1, call) for call in calls for began in [call[2]]] + [(c[3], 0, c) for c in calls], key=str
    )
    moments.sort(key=lambda moment: moment[:2])
    events = []
    for index, (at, begins, (process, f, _, _, outcome, value, answer)) in enumerate(moments):
        about: dict[str, Any] = {"process": process, "f": f, "key": "l"}
        if begins:
            events.append(Event(index, at * MS, type="invoke", value=value, **about))
        elif outcome == "ok":
            events.append(Event(index, at * MS, type="ok", value=answer, **about))
        else:
            events.append(Event(index, at * MS, type=outcome, error=answer, **about))  # type: ignore[arg-type]
    return History(events)


def acquire(process: str, began: int, ended: int, token: int) -> Row:
    return process, "acquire", began, ended, "ok", {"owner": process, "lease_s": 0.5}, token


def with_token(f: str, process: str, began: int, token: int, outcome: str = "ok", error: str | None = None) -> Row:
    return process, f, began, began + 10, outcome, {"token": token}, error


def judged(*calls: Row) -> tuple[VerdictStatus, str]:
    verdict = exclusion(RunEvidence(("n1",), MultiPaxos, history(*calls)))
    return verdict.status, verdict.evidence


A, B = acquire("a", 0, 10, 1), acquire("b", 510, 520, 2)


@pytest.mark.parametrize(
    "calls",
    [
        (A, B),  # a's lease has ended, whether a knows it or not
        (A, with_token("release", "a", 100, 1), acquire("b", 105, 130, 2)),
        (A, with_token("release", "a", 100, 1, "info", "?"), acquire("b", 120, 130, 2)),
        (A, with_token("renew", "a", 400, 1), acquire("b", 905, 920, 2)),
        (A, with_token("renew", "a", 400, 1, "info", "?"), B),
        (A, B, with_token("use", "b", 530, 2), with_token("use", "a", 550, 1, "fail", "stale_token: 2")),
        (A, B, with_token("use", "a", 525, 1), with_token("use", "b", 540, 2)),  # late, but before b used the resource
    ],
)
def test_a_lease_that_has_or_may_have_ended_excludes_no_process(calls: tuple[Row, ...]) -> None:
    assert judged(*calls)[0] is VerdictStatus.VALID, judged(*calls)


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        (
            (A, acquire("b", 100, 499, 2)),
            "a held the lock with token 1 until 0.500 s at least, but b acquired it with token 2 by 0.499",
        ),
        (
            (A, with_token("renew", "a", 400, 1), acquire("b", 700, 899, 2)),
            "a held the lock with token 1 until 0.900 s at least",
        ),
        ((acquire("a", 0, 10, 2), acquire("b", 510, 520, 1)), "with token 1, which is not higher"),
        ((A, with_token("release", "a", 100, 1), acquire("b", 200, 210, 1)), "were both given token 1"),
        ((A, B, with_token("use", "b", 525, 2, "fail", "stale_token: 3")), "although its lease had not ended"),
        (
            (A, B, with_token("use", "b", 525, 2), with_token("use", "a", 540, 1)),
            "the resource had accepted a use with a higher token",
        ),
    ],
)
def test_overlaps_low_tokens_and_wrong_uses_are_found(calls: tuple[Row, ...], expected: str) -> None:
    status, evidence = judged(*calls)
    assert status is VerdictStatus.INVALID
    assert expected in evidence


def test_one_hold_shows_nothing() -> None:
    assert judged(A)[0] is VerdictStatus.UNKNOWN


def test_the_lock_model_refuses_calls_with_leases() -> None:
    with pytest.raises(ValueError, match="has leases"):
        LockModel().argument_from("acquire", {"owner": "a", "lease_s": 0.5}, "a")
