"""The clients of a workload: how long they wait for calls that are open."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from cluster.clients.outcomes import Ok
from harness.runs import workload_clients
from harness.runs.workload_clients import settle


def test_a_call_that_never_ends_does_not_hang_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload_clients, "_ENDS_S", 0.01)
    polled: list[float] = []
    first, never = SimpleNamespace(outcome=None), SimpleNamespace(outcome=None)

    def poll() -> None:
        first.outcome = Ok(1)

    run: Any = SimpleNamespace(poll=poll, machine=SimpleNamespace(rest=polled.append))
    settle(cast(Any, run), cast(Any, [first, never]))
    assert polled
    assert (first.outcome, never.outcome) == (Ok(1), None)
