"""How long a call of the API may last."""

import pytest

from harness.checkers.evidence import RunEvidence, Stall
from harness.checkers.late_returns import late_returns
from harness.checkers.verdict import VerdictStatus
from harness.records.history import Event, History
from node.algorithms.multipaxos import MultiPaxos

S = 1_000_000_000


def judged(process: str, seconds: int, timeout_s: float | None, *stalls: Stall) -> VerdictStatus:
    events = [
        Event(0, 0, process, "invoke", "put", "k", "blue", timeout_s=timeout_s),
        Event(1, seconds * S, process, "ok", "put", "k", 1),
    ]
    return late_returns(RunEvidence(("n1",), MultiPaxos, History(events), stalls=stalls)).status


@pytest.mark.parametrize(
    ("process", "seconds", "timeout_s", "expected"),
    [
        ("api2.0", 10, 4.0, VerdictStatus.INVALID),
        ("api2.0", 5, 4.0, VerdictStatus.VALID),  # a little later: the machine is slow
        ("api2.0", 10, None, VerdictStatus.UNKNOWN),  # it takes several operations, or waits
        ("c2.0", 10, 4.0, VerdictStatus.UNKNOWN),  # its outcome is noted when the harness looks
    ],
)
def test_a_call_of_the_api_returns_when_its_time_is_up(
    process: str, seconds: int, timeout_s: float | None, expected: VerdictStatus
) -> None:
    assert expected is judged(process, seconds, timeout_s)


def test_the_stalls_of_the_machine_count() -> None:
    assert VerdictStatus.VALID is judged("api2.0", 10, 4.0, Stall(2 * S, 7 * S))
    assert VerdictStatus.INVALID is judged("api2.0", 10, 4.0, Stall(20 * S, 27 * S))
