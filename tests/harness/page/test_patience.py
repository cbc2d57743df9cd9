"""How long a call on the page waits, by a clock that the test moves."""

from types import SimpleNamespace
from typing import Any

import pytest

from harness.page.patience import CallPatience

HOLD = {"number": 0, "fault": "hold", "arguments": {"links": "nodes", "types": ""}}
STOPPED = {"number": 1, "fault": "clock-skew", "arguments": {"node": "n1", "rate": 0}}
SLOW = {"number": 1, "fault": "clock-skew", "arguments": {"node": "n1", "rate": 0.5}}
CUT = {"number": 2, "fault": "cut", "arguments": {}}


@pytest.mark.parametrize("in_force", [[HOLD], [STOPPED], [CUT, HOLD, STOPPED]])
@pytest.mark.parametrize("began_before", [True, False])
def test_the_time_of_a_call_counts_from_when_all_was_let_go(in_force: list[dict[str, Any]], began_before: bool) -> None:
    now = [100.0]
    patience = CallPatience(lambda: now[0])
    call = SimpleNamespace(deadline=108.0)
    if not began_before:
        patience.take(in_force)
    with patience.of(call, 8.0) as waiting:
        for _ in range(100):
            patience.take(in_force)
            assert call.deadline > now[0] + 8.0
            now[0] += 20.0
        patience.take([])
        assert call.deadline == now[0] + 8.0
        now[0] += 3.0
        patience.take([CUT])
        assert call.deadline == now[0] + 5.0
        assert waiting.stood
    patience.take([HOLD])
    assert call.deadline == now[0] + 5.0  # it has ended


@pytest.mark.parametrize("in_force", [[], [CUT], [SLOW]])
def test_other_faults_give_a_call_no_more_time(in_force: list[dict[str, Any]]) -> None:
    patience = CallPatience()
    call = SimpleNamespace(deadline=8.0)
    with patience.of(call, 8.0) as waiting:
        patience.take(in_force)
    assert call.deadline == 8.0
    assert not waiting.stood
