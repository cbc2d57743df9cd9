"""The members machine: members and views, with fixed and with random commands."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from node.machine import BEAT_MS, Moment, Plain, Refusal
from node.machines.members import Member, MembersMachine
from node.tuning import Tuning
from tests.node.machines.two_replicas import AT_RANDOM, Replicas, assert_caught, refused, waits


@pytest.fixture
def members() -> Replicas[MembersMachine]:
    return Replicas(MembersMachine)


def test_views_are_numbered_and_watched_in_order(members: Replicas[MembersMachine]) -> None:
    assert waits(members.ask("watch", 0, 100))
    assert members.do(1, "join", "alice", b"a:1", 1000) == 1
    assert members.do(2, "join", "bob", b"b:1", 500) == 2
    assert members.do(1, "heartbeat", "alice") == 2
    members.pass_time(500 + BEAT_MS)  # the true time may be so much later than the moment
    assert members.ask("view") == [3, [["alice", b"a:1"]]]
    assert members.do(1, "leave", "alice") == 4
    changes = [[1, "joined", "alice", b"a:1"], [2, "joined", "bob", b"b:1"], [3, "lost", "bob", b"b:1"]]
    assert members.ask("watch", 0, 3) == changes
    assert members.ask("watch", 2, 100) == [changes[2], [4, "left", "alice", b"a:1"]]
    assert waits(members.ask("watch", 4, 100))


def test_joining_again_changes_no_view(members: Replicas[MembersMachine]) -> None:
    members.do(1, "join", "alice", b"", 1000)
    members.pass_time(900)
    assert members.do(1, "join", "alice", b"", 2000) == 1
    members.pass_time(1999 + BEAT_MS)
    assert members.ask("view") == [1, [["alice", b""]]]
    members.pass_time(1)
    assert members.ask("view") == [2, []]


def test_the_end_of_a_session_removes_its_members(members: Replicas[MembersMachine]) -> None:
    for session, name in ((1, "b"), (2, "c"), (1, "a")):
        members.do(session, "join", name, b"", 1000)
    members.end_session(1)
    assert members.ask("view") == [5, [["c", b""]]]
    assert [change[1:3] for change in members.ask("watch", 3, 100)] == [["lost", "a"], ["lost", "b"]]


def test_a_watch_that_falls_behind_is_refused() -> None:
    members = Replicas(MembersMachine, Tuning(members_history=3))
    for number in range(5):
        members.do(1, "join", f"m{number}", b"", 1000)
    assert [change[0] for change in members.ask("watch", 2, 100)] == [3, 4, 5]
    with pytest.raises(Refusal, match="up to view 2 are no longer kept") as error:
        members.ask("watch", 1, 100)
    assert error.value.kind == "compacted"
    assert waits(members.ask("watch", 5, 100))
    with pytest.raises(Refusal, match="view 6 is not in this log's history, whose latest is 5"):
        members.ask("watch", 6, 100)


def test_bad_input_is_refused_with_a_kind_of_its_own(members: Replicas[MembersMachine]) -> None:
    members.do(1, "join", "alice", b"", 1000)
    assert refused(members, 2, "join", "alice", b"", 1000) == "already_member"
    assert refused(members, 1, "join", "alice", b"other details", 1000) == "already_member"
    assert refused(members, 2, "leave", "alice") == "not_yours"
    assert refused(members, 2, "heartbeat", "alice") == "not_yours"
    assert refused(members, 2, "leave", "bob") == "not_member"
    assert refused(members, 2, "heartbeat", "bob") == "not_member"
    assert refused(members, 2, "join", "", b"", 1000) == "bad_name"
    assert refused(members, 2, "join", "bob", b"", 1) == "bad_ttl"
    assert refused(members, 2, "join", "bob", b"x" * 1025, 1000) == "too_large"
    assert refused(members, 0, "join", "bob", b"", 1000) == "no_session"
    assert refused(members, 2, "join", "bob") == "bad_command"
    few = Replicas(MembersMachine, Tuning(members_max=1))
    few.do(1, "join", "alice", b"", 1000)
    assert refused(few, 2, "join", "bob", b"", 1000) == "full"


SESSIONS, NAMES = st.integers(1, 3), st.sampled_from("abc")


class MembersAtRandom(RuleBasedStateMachine):
    """Checks that the changes of a watch lead through every view to the present one."""

    kind: type[MembersMachine] = MembersMachine

    def __init__(self) -> None:
        super().__init__()
        self.members = Replicas(self.kind)
        self.seen = 0
        self.watched: list[str] = []
        self.due: dict[str, tuple[int, int]] = {}  # by member: its session, and the end of its lease

    @rule(session=SESSIONS, name=NAMES, lease_ms=st.sampled_from([100, 300, 1000]))
    def join(self, session: int, name: str, lease_ms: int) -> None:
        if self.due.get(name, (session,))[0] != session:
            assert refused(self.members, session, "join", name, b"", lease_ms) == "already_member"
            return
        self.members.do(session, "join", name, b"", lease_ms)
        self.due[name] = session, self.members.time_ms + BEAT_MS + lease_ms

    @rule(session=SESSIONS, name=NAMES, leaving=st.booleans())
    def leave_or_stay(self, session: int, name: str, leaving: bool) -> None:
        command = "leave" if leaving else "heartbeat"
        if self.due.get(name, (0,))[0] != session:
            assert refused(self.members, session, command, name) == ("not_yours" if name in self.due else "not_member")
            return
        self.members.do(session, command, name)
        if leaving:
            del self.due[name]
        else:
            self.due[name] = session, self.members.time_ms + BEAT_MS + self.members.one.members[name].lease_ms

    @rule(milliseconds=st.sampled_from([1, 99, 100, 300, 1000]))
    def time_passes(self, milliseconds: int) -> None:
        self.members.pass_time(milliseconds)
        self.due = {name: due for name, due in self.due.items() if due[1] > self.members.time_ms}

    @rule(session=SESSIONS)
    def session_ends(self, session: int) -> None:
        self.members.end_session(session)
        self.due = {name: due for name, due in self.due.items() if due[0] != session}

    @rule()
    def a_replica_is_restored(self) -> None:
        self.members.restore_other()

    @rule()
    def watch(self) -> None:
        changes = self.members.ask("watch", self.seen, 100)
        for view, event, name, _ in [] if waits(changes) else changes:
            assert view == self.seen + 1
            assert (name in self.watched) == (event != "joined")
            self.seen = view
            self.watched = [*self.watched, name] if event == "joined" else [one for one in self.watched if one != name]
        assert self.members.ask("view") == [self.seen, [[name, b""] for name in self.watched]]

    @invariant()
    def members_are_those_whose_lease_lasts(self) -> None:
        assert {name: (one.session, one.due_ms) for name, one in self.members.one.members.items()} == self.due


MembersAtRandom.TestCase.settings = AT_RANDOM
TestMembersAtRandom = MembersAtRandom.TestCase


class HidesLostMembers(MembersMachine):
    """A member whose lease ends leaves the view, and the number of the view does not change."""

    def _remove(self, member: Member, event: str) -> None:
        super()._remove(member, event)
        if event == "lost":
            self.view -= 1
            self.changes.pop()


class ForgetsTheNumberOfTheView(MembersMachine):
    """The number of the view is not in the snapshot."""

    def restore(self, state: Plain) -> None:
        super().restore(state)
        self.view = len(self.members)


class IgnoresTheSession(MembersMachine):
    """Any session may send commands for any member."""

    def _member_of_session(self, at: Moment, name: str) -> Member:
        member = self.members.get(name)
        return super()._member_of_session(at if member is None else at._replace(session=member.session), name)


@pytest.mark.parametrize("broken", [HidesLostMembers, ForgetsTheNumberOfTheView, IgnoresTheSession])
def test_a_broken_machine_is_caught(broken: type[MembersMachine]) -> None:
    assert_caught(MembersAtRandom, broken)
