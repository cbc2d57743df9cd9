"""Every workload of a log, in memory: the shipped machines are valid by independent models, and one wrong answer is found."""

from dataclasses import replace
from typing import Any

import pytest

from harness.checkers.answers import answers
from harness.checkers.evidence import RunEvidence
from harness.checkers.lock_leases import exclusion
from harness.checkers.membership import membership
from harness.checkers.verdict import VerdictStatus
from harness.records.history import Event, History
from harness.workloads.registry import WORKLOADS
from node.algorithms.multipaxos import MultiPaxos
from tests.harness.workloads.in_memory import NODES, InMemory


def played(name: str, seed: int, time_s: float, algorithm: type[MultiPaxos] = MultiPaxos) -> RunEvidence:
    return InMemory(algorithm, seed).work(WORKLOADS[name](NODES, seed, time_s), time_s)


@pytest.fixture(scope="module")
def run() -> RunEvidence:
    return played("mixed", 1, 2.0)


@pytest.mark.parametrize("name", [name for name in WORKLOADS if name not in ("register", "cas-register")])
def test_the_shipped_machines_are_valid(name: str) -> None:
    made = played(name, 2, 2.0)
    verdict = answers(made)
    assert verdict.status is VerdictStatus.VALID, verdict
    assert {call.f for call in made.calls} >= set(WORKLOADS[name].functions)
    assert membership(made).status is not VerdictStatus.INVALID
    assert exclusion(made).status is not VerdictStatus.INVALID


@pytest.mark.parametrize(
    "f",
    ["put", "get", "delete", "range", "version", "watch", "join", "heartbeat", "view", "views", "add", "mine", "owners", "renew",
     "propose"],
)  # fmt: skip
def test_one_wrong_answer_is_found(run: RunEvidence, f: str) -> None:
    events = list(run.history.events)
    index, event = next(
        (index, event) for index, event in reversed(list(enumerate(events))) if event.f == f and event.type == "ok"
    )
    events[index] = wrong(event)
    verdict = answers(replace(run, history=History(events)))
    assert verdict.status is VerdictStatus.INVALID, (event, verdict)
    assert f in verdict.evidence


def wrong(event: Event) -> Event:
    """Return an answer that differs in one respect."""
    if event.f == "renew":
        return replace(event, type="fail", error="not_yours: x")
    value: Any = event.value
    match value:
        case bool():
            value = not value
        case int():
            value = value + 1000
        case {"seen": int(seen), "changes": changes}:
            value = {"seen": seen, "changes": [*changes, [seen, "w", "x"]]}
        case [int(number), dict(named)]:
            value = [number, {**named, "nobody": None}]
        case list():
            value = [*value, ["zz", "x", 1] if event.f == "range" else [1000, {}]]
        case _:
            value = "another"
    return replace(event, value=value)
