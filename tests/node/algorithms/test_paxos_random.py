"""Paxos on schedules that hypothesis draws: loss, repetition, reordering, crashes, restarts and timers at any point."""

from collections import Counter
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from harness.mutants.paxos import SmallQuorum1
from node.algorithms.paxos import Paxos
from node.contract import Request, Value
from tests.node.algorithms.schedule import Schedule

NODES = st.sampled_from("abc")
VALUES = st.sampled_from([Value(b"red"), Value(b"blue"), Value(b"green")])
PLACES = st.integers(0, 30)

#: Counts of what happened in the runs: a pass in which nothing happened is no pass.
happened: Counter[str] = Counter()


class PaxosMachine(RuleBasedStateMachine):
    algorithm: ClassVar[type[Paxos]] = Paxos

    def __init__(self) -> None:
        super().__init__()
        self.net = Schedule(self.algorithm)
        self.asked_after_a_decision: list[Request] = []

    # --- clients ---

    @precondition(lambda self: self.net.running)
    @rule(at=NODES, value=VALUES)
    def propose(self, at: str, value: Value) -> None:
        if at in self.net.running:
            self.net.propose(at, value)

    @precondition(lambda self: self.net.running)
    @rule(at=NODES)
    def query(self, at: str) -> None:
        if at in self.net.running:
            decided = bool(self.net.decisions())
            query = self.net.query(at)
            if decided:
                self.asked_after_a_decision.append(query)

    # --- the network ---

    @precondition(lambda self: self.net.in_flight)
    @rule(at=PLACES, repeat=st.booleans())
    def deliver(self, at: int, repeat: bool) -> None:
        self.net.deliver_one(self.net.in_flight[at % len(self.net.in_flight)], keep=repeat)

    @precondition(lambda self: self.net.in_flight)
    @rule(to=NODES, sender=NODES)
    def deliver_a_link(self, to: str, sender: str) -> None:
        self.net.deliver(None, sender, to)

    @precondition(lambda self: self.net.in_flight)
    @rule(among=st.sampled_from(["a", "b", "c", "ab", "bc", "ac"]), times=st.integers(1, 5))
    def deliver_a_side(self, among: str, times: int) -> None:
        for _ in range(times):
            self.net.deliver(None, among, among)

    @precondition(lambda self: self.net.in_flight)
    @rule(at=PLACES)
    def lose(self, at: int) -> None:
        self.net.in_flight.pop(at % len(self.net.in_flight))

    # --- the nodes ---

    @rule(at=NODES)
    def fire(self, at: str) -> None:
        if at in self.net.running:
            self.net.fire(at)

    @rule(at=NODES)
    def crash_or_restart(self, at: str) -> None:
        if at in self.net.running:
            self.net.crash(at)
            happened["crash"] += 1
        else:
            self.net.restart(at)

    # --- what must hold ---

    @invariant()
    def there_is_one_decision(self) -> None:
        assert len(self.net.decisions()) <= 1

    @invariant()
    def it_was_proposed(self) -> None:
        assert self.net.decisions() <= self.net.proposed

    @invariant()
    def no_query_after_a_decision_is_answered_undecided(self) -> None:
        for query in self.asked_after_a_decision:
            assert self.net.answers.get(query, True) is not None

    def teardown(self) -> None:
        """Check, with every node up and no packet lost, that each client is answered and a query has what was decided."""
        for name in "abc":
            if name not in self.net.running:
                self.net.restart(name)
        before = self.net.decisions()
        self.net.wait_for_answers()
        query = self.net.query("b")
        self.net.wait_for_answers()
        decisions = self.net.decisions()
        answer = self.net.answers[query]
        # Nothing was decided when it was asked: a quorum may say so, while the acceptance of another node ends in a decision.
        assert ({answer} if answer is not None else set()) in (before, decisions)
        assert before <= decisions
        happened["decision"] += bool(decisions)
        happened["undecided"] += not decisions
        happened["ballots"] += max(int(str(self.net.disk(name).get("round", 0))) for name in "abc") > 2


BUDGET = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_agreement_holds_and_progress_follows() -> None:
    happened.clear()
    run_state_machine_as_test(PaxosMachine, settings=BUDGET)
    assert happened["decision"] > 15
    assert happened["undecided"] > 0
    assert happened["crash"] > 50
    assert happened["ballots"] > 1


def test_a_break_is_found() -> None:
    machine = type("Machine", (PaxosMachine,), {"algorithm": SmallQuorum1})
    # The draws are the same each time: with runs of this length they come to it soon.
    unshrunk = settings(
        BUDGET, max_examples=3000, stateful_step_count=50, phases=[Phase.generate], report_multiple_bugs=False
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=unshrunk)
