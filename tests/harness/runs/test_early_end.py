"""A run for `shrink` ends early if two answers contradict each other, and only then."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cluster.clients.outcomes import Ok
from harness.runs.workload_clients import WorkloadClients
from harness.workloads.planned_call import PlannedCall


def calls_made(f: str) -> int:
    """Let one client make up to five calls on one key, each with another answer. Returns how many it has made."""
    made: list[Ok] = []

    def begin(*_: object) -> Any:
        made.append(Ok(len(made)))
        return SimpleNamespace(outcome=made[-1])

    nothing: Callable[..., None] = lambda *_: None  # noqa: E731
    clients = SimpleNamespace(
        clients=1,
        time_s=0.0,
        pause_s=lambda _client: 0.0,
        next_call=lambda _client, _now_s: PlannedCall(f, "x"),
        begin=begin,
        ended=nothing,
    )
    run = SimpleNamespace(nodes=("n1",), poll=nothing, machine=SimpleNamespace(rest=nothing))
    WorkloadClients(cast(Any, run), cast(Any, clients), lambda: len(made) < 5, stop_early=True).work()
    return len(made)


@pytest.mark.parametrize(("f", "ends_early"), [("query", True), ("get", False), ("put", False)])
def test_only_answers_of_what_is_set_once_contradict_each_other(f: str, ends_early: bool) -> None:
    assert (calls_made(f) == 2) is ends_early
