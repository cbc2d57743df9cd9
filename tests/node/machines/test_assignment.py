"""The assignment machine, with fixed and with random commands."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from node.machine import BEAT_MS, Moment, Plain, Refusal
from node.machines.assignment import AssignmentMachine
from node.tuning import Tuning
from tests.node.machines.two_replicas import AT_RANDOM, Replicas, assert_caught, refused, waits


@pytest.fixture
def assignment() -> Replicas[AssignmentMachine]:
    return Replicas(AssignmentMachine)


def owners(assignment: Replicas[AssignmentMachine]) -> dict[str, tuple[str, int]]:
    """Return the owner and the token of each task, as a client sees them."""
    _, shares, _ = assignment.ask("owners", 0)
    return {task: (name, token) for name, tasks in shares for task, token in tasks}


def counts(assignment: Replicas[AssignmentMachine]) -> dict[str, int]:
    _, shares, _ = assignment.ask("owners", 0)
    return {name: len(tasks) for name, tasks in shares}


def test_tasks_wait_for_members_and_get_new_owners_when_a_member_goes(assignment: Replicas[AssignmentMachine]) -> None:
    for number in range(6):
        assert assignment.do(9, "add", f"t{number}")
    assert assignment.ask("owners", 0)[1:] == [[], [f"t{number}" for number in range(6)]]
    assignment.do(1, "join", "alice", b"", 1000)
    assert counts(assignment) == {"alice": 6}
    assignment.do(2, "join", "bob", b"", 5000)
    before = owners(assignment)
    assert counts(assignment) == {"alice": 3, "bob": 3}
    assignment.pass_time(1000 + BEAT_MS)
    after = owners(assignment)
    assert counts(assignment) == {"bob": 6}
    for task, (name, token) in before.items():
        assert after[task] == ("bob", token) if name == "bob" else after[task][1] > max(t for _, t in before.values())
    assignment.do(2, "leave", "bob")
    assert owners(assignment) == {}


def test_a_question_for_tasks_waits_until_they_change(assignment: Replicas[AssignmentMachine]) -> None:
    assignment.do(1, "join", "alice", b"", 1000)
    version, tasks = assignment.ask("mine", "alice", 0)
    assert tasks == []
    assert waits(assignment.ask("mine", "alice", version))
    assignment.do(1, "add", "t")
    version, tasks = assignment.ask("mine", "alice", version)
    assert tasks == [["t", 1]]
    assignment.do(2, "join", "bob", b"", 1000)  # there is no task for bob
    assignment.do(1, "heartbeat", "alice")
    assert waits(assignment.ask("mine", "alice", version))
    everything, _, _ = assignment.ask("owners", 0)
    assert waits(assignment.ask("owners", everything))
    assignment.do(1, "remove", "t")
    assert assignment.ask("mine", "alice", version)[1] == []
    assert assignment.ask("owners", everything)[1:] == [[["alice", []], ["bob", []]], []]
    assignment.end_session(1)
    with pytest.raises(Refusal, match="is no member"):
        assignment.ask("mine", "alice", 0)
    assert assignment.ask("view")[1] == [["bob", b""]]
    assert [change[1] for change in assignment.ask("watch", 0, 9)] == ["joined", "joined", "lost"]


def test_bad_input_is_refused_with_a_kind_of_its_own(
    assignment: Replicas[AssignmentMachine],
) -> None:
    assignment.do(1, "join", "alice", b"", 1000)
    assignment.do(1, "add", "t")
    assert assignment.do(2, "add", "t") is False
    assert refused(assignment, 2, "remove", "other") == "no_task"
    assert refused(assignment, 2, "add", "") == "bad_name"
    assert refused(assignment, 2, "leave", "bob") == "not_member"
    assert refused(assignment, 2, "join", "alice", b"", 1000) == "already_member"
    assert refused(assignment, 2, "fly") == "bad_command"
    few = Replicas(AssignmentMachine, Tuning(tasks_max=1))
    few.do(1, "add", "t")
    assert refused(few, 1, "add", "u") == "full"


def test_many_tasks_are_spread_evenly() -> None:
    assignment = Replicas(AssignmentMachine)
    for number in range(200):
        assignment.do(1, "add", f"t{number}")
    for number in range(7):
        assignment.do(2, "join", f"m{number}", b"", 1000)
    assert sorted(counts(assignment).values()) == [28, 28, 28, 29, 29, 29, 29]


SESSIONS, NAMES, TASKS = st.integers(1, 3), st.sampled_from("abcd"), st.sampled_from([f"t{n}" for n in range(9)])


class AssignmentAtRandom(RuleBasedStateMachine):
    """Compares the owners of tasks before and after each change, as a client sees them."""

    kind: type[AssignmentMachine] = AssignmentMachine

    def __init__(self) -> None:
        super().__init__()
        self.assignment = Replicas(self.kind)
        self.tasks: set[str] = set()
        self.highest = 0
        self.before: dict[str, tuple[str, int]] = {}

    @rule(session=SESSIONS, name=NAMES, lease_ms=st.sampled_from([100, 300, 1000]))
    def join(self, session: int, name: str, lease_ms: int) -> None:
        try:
            self.assignment.do(session, "join", name, b"", lease_ms)
        except Refusal as error:
            assert error.kind == "already_member"  # noqa: PT017 - the join may also succeed
        self.check()

    @precondition(lambda self: self.assignment.one.shares)
    @rule(data=st.data(), leaving=st.booleans())
    def leave_or_stay(self, data: st.DataObject, leaving: bool) -> None:
        member = data.draw(st.sampled_from(list(self.assignment.one.members.members.values())))
        self.assignment.do(member.session, "leave" if leaving else "heartbeat", member.name)
        self.check()

    @rule(task=TASKS)
    def add(self, task: str) -> None:
        assert self.assignment.do(1, "add", task) == (task not in self.tasks)
        self.tasks.add(task)
        self.check()

    @rule(task=TASKS)
    def remove(self, task: str) -> None:
        if task in self.tasks:
            self.assignment.do(1, "remove", task)
            self.tasks.remove(task)
        else:
            assert refused(self.assignment, 1, "remove", task) == "no_task"
        self.check()

    @rule(milliseconds=st.sampled_from([1, 99, 100, 300, 1000]))
    def time_passes(self, milliseconds: int) -> None:
        self.assignment.pass_time(milliseconds)
        self.check()

    @rule(session=SESSIONS)
    def session_ends(self, session: int) -> None:
        self.assignment.end_session(session)
        self.check()

    @rule()
    def a_replica_is_restored(self) -> None:
        self.assignment.restore_other()

    def check(self) -> None:
        """Check one owner for each task, an even spread, as few moves as possible, and a higher token for each new owner."""
        now = owners(self.assignment)
        members = list(self.assignment.one.members.members)
        _, shares, free = self.assignment.ask("owners", 0)
        assert [name for name, _ in shares] == members
        assert sorted([*now, *free]) == sorted(self.tasks)
        assert (free == []) == (not self.tasks or bool(members))
        if members:
            held = {name: sum(owner == name for owner, _ in now.values()) for name in members}
            assert max(held.values()) - min(held.values()) <= 1
            kept = {
                name: sum(task in now and owner == name for task, (owner, _) in self.before.items()) for name in held
            }
            fewest, more = divmod(len(self.tasks), len(members))
            could_stay = sum(min(count, fewest) for count in kept.values())
            could_stay += min(more, sum(count > fewest for count in kept.values()))
            assert could_stay == sum(now[task] == before for task, before in self.before.items() if task in now)
        moved = [token for task, (owner, token) in now.items() if self.before.get(task, ("",))[0] != owner]
        assert all(token > self.highest for token in moved)
        assert all(self.before[task] == entry for task, entry in now.items() if entry[1] <= self.highest)
        self.highest = max([self.highest, *moved])
        self.before = now


AssignmentAtRandom.TestCase.settings = AT_RANDOM
TestAssignmentAtRandom = AssignmentAtRandom.TestCase


class ReassignsEverything(AssignmentMachine):
    """Spreads evenly, but each task changes its owner at each change."""

    def _rebalance(self) -> None:
        for task in list(self.owners):
            self._unassign(task)
        super()._rebalance()


class RepeatsTokens(AssignmentMachine):
    """A new owner gets the token of the former one."""

    def _assign(self, task: str, name: str) -> None:
        self.tokens -= 1
        super()._assign(task, name)


class KeepsTasksOfLostMembers(AssignmentMachine):
    """A member whose lease has ended keeps its tasks."""

    def expire(self, at: Moment) -> None:
        self.members.expire(at)


class ForgetsTheOrder(AssignmentMachine):
    """A node that restores a snapshot unassigns other tasks than the other nodes."""

    def restore(self, state: Plain) -> None:
        super().restore(state)
        for share in self.shares.values():
            share.tasks = dict(sorted(share.tasks.items()))


@pytest.mark.parametrize("broken", [ReassignsEverything, RepeatsTokens, KeepsTasksOfLostMembers, ForgetsTheOrder])
def test_a_broken_machine_is_caught(broken: type[AssignmentMachine]) -> None:
    assert_caught(AssignmentAtRandom, broken)
