"""Two copies of a machine, which are driven as by two replicas of a log: each command, moment and end of a session goes to both.

After each step both copies must have given the same answer and must be in equal states. A refused command must have changed
nothing. `restore_other` replaces one copy by a new one from the snapshot of the first, as in a node that restarts.
"""

from typing import Any, Generic, TypeVar

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from node.machine import Machine, Moment, NotYet, Refusal
from node.tuning import SHIPPED, Tuning
from node.wire import pack_unchecked, unpack_unchecked

M = TypeVar("M", bound=Machine)


class Replicas(Generic[M]):
    def __init__(self, machine: type[M], tuning: Tuning = SHIPPED) -> None:
        self.kind, self.tuning = machine, tuning
        self.one, self.other = machine.made_with(tuning), machine.made_with(tuning)
        self.slot = self.time_ms = 0
        self.state = pack_unchecked(self.one.snapshot())  # of both, after the latest step

    def do(self, session: int, *command: Any) -> Any:
        """Apply a command to both copies. Returns the result, or raises the machine's refusal."""
        before = self.state
        results = [self._apply(machine, session, command) for machine in (self.one, self.other)]
        self.assert_equal(*results)
        if isinstance(results[0], Refusal):
            assert before == self.state, f"{command} was refused and has changed the state"
            raise results[0]
        return results[0]

    def _apply(self, machine: Machine, session: int, command: tuple[Any, ...]) -> Any:
        self.slot += machine is self.one
        try:
            return machine.apply(Moment(self.slot, self.time_ms, session), [*command])
        except Refusal as refused:
            return refused

    def ask(self, *question: Any) -> Any:
        """Ask both copies. Returns the answer or a `NotYet`, or raises the machine's refusal."""
        before = self.state
        answers = [self._query(machine, question) for machine in (self.one, self.other)]
        self.assert_equal(*answers)
        assert before == self.state, f"{question} has changed the state"
        if isinstance(answers[0], Refusal):
            raise answers[0]
        return answers[0]

    @staticmethod
    def _query(machine: Machine, question: tuple[Any, ...]) -> Any:
        try:
            return machine.query([*question])
        except Refusal as refused:
            return refused

    def pass_time(self, milliseconds: int) -> None:
        """Advance the log's time, and expire as `node.replication.state` does."""
        self.time_ms += milliseconds
        self.slot += 1
        assert self.one.due_ms() == self.other.due_ms()
        for machine in (self.one, self.other):
            due_ms = machine.due_ms()
            if due_ms is not None and due_ms <= self.time_ms:
                machine.expire(Moment(self.slot, self.time_ms, 0))
            due_ms = machine.due_ms()
            assert due_ms is None or due_ms > self.time_ms
        self.assert_equal()

    def end_session(self, session: int) -> None:
        self.slot += 1
        for machine in (self.one, self.other):
            machine.session_ended(Moment(self.slot, self.time_ms, session))
        self.assert_equal()

    def restore_other(self) -> None:
        """Replace the second copy by a new one that is restored from a snapshot of the first."""
        self.other = self.kind.made_with(self.tuning)
        self.other.restore(unpack_unchecked(pack_unchecked(self.one.snapshot())))
        self.assert_equal()

    def assert_equal(self, one: Any = None, other: Any = None) -> None:
        assert self._comparable(one) == self._comparable(other)
        self.state = pack_unchecked(self.one.snapshot())
        assert self.state == pack_unchecked(self.other.snapshot())

    @staticmethod
    def _comparable(answer: Any) -> Any:
        match answer:
            case Refusal(kind=kind):
                return "refused", kind, str(answer)
            case NotYet():
                return "not yet"
        return pack_unchecked(answer)


def refused(replicas: Replicas[M], session: int, *command: Any) -> str:
    """Apply a command that must be refused. Returns the kind of the refusal."""
    try:
        replicas.do(session, *command)
    except Refusal as error:
        return error.kind
    raise AssertionError(f"{command} was not refused")


def waits(answer: Any) -> bool:
    return isinstance(answer, NotYet)


AT_RANDOM = settings(max_examples=30, stateful_step_count=40, deadline=None)


def assert_caught(rules: type[RuleBasedStateMachine], broken: type[Machine]) -> None:
    """Assert that a broken machine fails the random test `rules`, which the shipped machine passes."""
    judged = type(broken.__name__, (rules,), {"kind": broken})
    # The search ends with the first failure. What it draws depends on the modules that are loaded, since Hypothesis also draws
    # the constants of their code. So it may go on for long enough to find each of these breaks, whatever is loaded.
    search = settings(
        max_examples=3_000,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(judged, settings=search)
