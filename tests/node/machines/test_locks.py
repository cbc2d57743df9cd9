"""Locks: lines, leases and tokens, by hand and at random."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from node.machine import BEAT_MS, Moment, Plain, Refusal
from node.machines.leases import Leases
from node.machines.locks import Claim, LocksMachine
from tests.node.machines.two_replicas import AT_RANDOM, Replicas, is_caught, refused, waits


@pytest.fixture
def locks() -> Replicas[LocksMachine]:
    return Replicas(LocksMachine)


def test_the_first_holds_it_and_the_others_follow_in_their_order(locks: Replicas[LocksMachine]) -> None:
    assert locks.do(1, "acquire", "printer", "alice", 1000) == [1, 1]
    assert locks.do(2, "acquire", "printer", "bob", 1000) == [2, 0]
    assert locks.do(3, "acquire", "printer", "carol", 1000) == [3, 0]
    assert waits(locks.ask("granted", "printer", 2))
    locks.do(1, "release", "printer", 1)
    assert locks.ask("granted", "printer", 2) == 2
    assert waits(locks.ask("granted", "printer", 3))
    assert locks.ask("holder", "printer") == ["bob", 2, 1]
    locks.do(2, "release", "printer", 2)
    locks.do(3, "release", "printer", 3)
    assert locks.ask("holder", "printer") is None


def test_who_acquires_again_keeps_its_place_and_its_token(locks: Replicas[LocksMachine]) -> None:
    locks.do(1, "acquire", "printer", "alice", 1000)
    locks.do(2, "acquire", "printer", "bob", 1000)
    locks.do(3, "acquire", "printer", "carol", 1000)
    assert locks.do(2, "acquire", "printer", "bob", 1000) == [2, 0]
    assert locks.do(1, "acquire", "printer", "alice", 1000) == [1, 1]
    assert locks.do(1, "try", "printer", "alice", 1000) == 1
    assert locks.do(1, "acquire", "printer", "another of alice's", 1000) == [4, 0]


def test_a_lease_ends_by_the_logs_time_and_can_be_renewed_until_then(locks: Replicas[LocksMachine]) -> None:
    locks.do(1, "acquire", "printer", "alice", 1000)
    locks.pass_time(900)
    locks.do(1, "renew", "printer", 1)
    locks.pass_time(999 + BEAT_MS)  # a moment may be so much later than it says
    assert locks.ask("holder", "printer") == ["alice", 1, 0]
    locks.pass_time(1)
    assert locks.ask("holder", "printer") is None
    assert refused(locks, 1, "renew", "printer", 1) == "not_held"
    assert refused(locks, 1, "release", "printer", 1) == "not_held"


def test_who_vanishes_from_the_line_holds_up_nobody(locks: Replicas[LocksMachine]) -> None:
    locks.do(1, "acquire", "printer", "alice", 5000)
    locks.do(2, "acquire", "printer", "bob, who vanishes", 1000)
    locks.do(3, "acquire", "printer", "carol", 5000)
    locks.pass_time(1000 + BEAT_MS)
    locks.do(1, "release", "printer", 1)
    assert locks.ask("granted", "printer", 3) == 2
    with pytest.raises(Refusal, match="is in no line"):
        locks.ask("granted", "printer", 2)


def test_the_lease_of_who_waited_begins_when_the_lock_is_its_own(locks: Replicas[LocksMachine]) -> None:
    locks.do(1, "acquire", "printer", "alice", 1000)
    locks.pass_time(500)
    locks.do(2, "acquire", "printer", "bob", 1000)
    locks.pass_time(500 + BEAT_MS)
    locks.pass_time(999 + BEAT_MS)
    assert locks.ask("holder", "printer") == ["bob", 2, 0]
    locks.pass_time(1)
    assert locks.ask("holder", "printer") is None


def test_a_session_that_ends_takes_its_locks_and_its_places_along(locks: Replicas[LocksMachine]) -> None:
    locks.do(1, "acquire", "printer", "alice", 1000)
    locks.do(1, "acquire", "scanner", "alice", 1000)
    locks.do(2, "acquire", "printer", "bob", 1000)
    locks.do(1, "acquire", "printer", "alice, again", 1000)
    locks.do(3, "acquire", "printer", "carol", 1000)
    locks.end_session(1)
    assert locks.ask("holder", "scanner") is None
    assert locks.ask("holder", "printer") == ["bob", 3, 1]
    assert refused(locks, 1, "release", "printer", 1) == "stale_token"


def test_bad_input_has_its_own_error(locks: Replicas[LocksMachine]) -> None:
    assert refused(locks, 1, "release", "printer", 1) == "not_held"
    locks.do(1, "acquire", "printer", "alice", 1000)
    assert refused(locks, 2, "try", "printer", "bob", 1000) == "held"
    assert refused(locks, 1, "release", "printer", 7) == "stale_token"
    assert refused(locks, 2, "release", "printer", 1) == "not_yours"
    assert refused(locks, 2, "renew", "printer", 1) == "not_yours"
    for lease_ms in (0, -1, 99, 2**40):
        assert refused(locks, 2, "acquire", "printer", "bob", lease_ms) == "bad_ttl"
    for name in ("", "x" * 201, "é" * 101):
        assert refused(locks, 2, "acquire", name, "bob", 1000) == "bad_name"
        assert refused(locks, 2, "acquire", "printer", name, 1000) == "bad_name"
    assert refused(locks, 0, "acquire", "printer", "nobody", 1000) == "no_session"
    assert refused(locks, 1, "acquire", "printer", 7, 1000) == "bad_command"
    assert refused(locks, 1, "fly") == "bad_command"
    assert locks.do(2, "give_up", "printer", "bob") is False
    assert locks.ask("holder", "printer") == ["alice", 1, 0]


SESSIONS, NAMES, OWNERS = st.integers(1, 3), st.sampled_from(["a", "b"]), st.sampled_from(["x", "y"])


class LocksAtRandom(RuleBasedStateMachine):
    """Against what anybody would say of a lock: who was told what, in which order, and until when."""

    kind: type[LocksMachine] = LocksMachine

    def __init__(self) -> None:
        super().__init__()
        self.locks = Replicas(self.kind)
        self.given: dict[str, list[tuple[int, int]]] = {}  # each lock's holders, as tickets and tokens, in their order

    @rule(session=SESSIONS, name=NAMES, owner=OWNERS, lease_ms=st.sampled_from([100, 250, 1000]), trying=st.booleans())
    def acquire(self, session: int, name: str, owner: str, lease_ms: int, trying: bool) -> None:
        before = self.locks.ask("holder", name)
        if trying and before is not None and self.holder_is(name) != (session, owner):
            assert refused(self.locks, session, "try", name, owner, lease_ms) == "held"
            return
        if trying:
            token = self.locks.do(session, "try", name, owner, lease_ms)
            assert token == self.locks.ask("holder", name)[1]
            return
        ticket, token = self.locks.do(session, "acquire", name, owner, lease_ms)
        assert (token > 0) == (self.holder_is(name) == (session, owner))
        answer = self.locks.ask("granted", name, ticket)
        assert waits(answer) if token == 0 else answer == token

    @rule(session=SESSIONS, name=NAMES, token=st.integers(1, 12), renewing=st.booleans())
    def use_token(self, session: int, name: str, token: int, renewing: bool) -> None:
        holder, session_of = self.locks.ask("holder", name), self.holder_is(name)
        expected = (
            "not_held" if holder is None
            else "stale_token" if holder[1] != token
            else "not_yours" if session_of is None or session_of[0] != session
            else None
        )  # fmt: skip
        command = (session, "renew" if renewing else "release", name, token)
        if expected is not None:
            assert refused(self.locks, *command) == expected
            return
        self.locks.do(*command)
        assert (self.holder_is(name) == session_of) or not renewing

    @rule(session=SESSIONS, name=NAMES, owner=OWNERS)
    def give_up(self, session: int, name: str, owner: str) -> None:
        was_there = (session, owner) in self.locks.one.lines.get(name, {})
        assert was_there == self.locks.do(session, "give_up", name, owner)
        assert (session, owner) not in self.locks.one.lines.get(name, {})

    @rule(milliseconds=st.sampled_from([1, 99, 100, 300, 1000]))
    def time_passes(self, milliseconds: int) -> None:
        self.locks.pass_time(milliseconds)
        assert all(claim.due_ms > self.locks.time_ms for claim in self.locks.one.claims.values())

    @rule(session=SESSIONS)
    def session_ends(self, session: int) -> None:
        self.locks.end_session(session)
        assert all(claim.session != session for claim in self.locks.one.claims.values())

    @rule()
    def a_replica_is_restored(self) -> None:
        self.locks.move()

    @invariant()
    def one_holds_it_and_tokens_rise(self) -> None:
        for name, line in self.locks.one.lines.items():
            holder, *others = line.values()
            assert holder.token > 0
            assert all(claim.token == 0 for claim in others)
            given = self.given.setdefault(name, [])
            if holder.token not in [token for _, token in given]:
                given.append((holder.ticket, holder.token))
        for given in self.given.values():  # tickets rise: nobody is overtaken
            assert given == sorted(set(given), key=lambda each: each[0])
            assert given == sorted(given, key=lambda each: each[1])
        tokens = [token for given in self.given.values() for _, token in given]
        assert len(tokens) == len(set(tokens))

    def holder_is(self, name: str) -> tuple[int, str] | None:
        return next(iter(self.locks.one.lines.get(name, {})), None)


LocksAtRandom.TestCase.settings = AT_RANDOM
TestLocksAtRandom = LocksAtRandom.TestCase


class TokensStartAnew(LocksMachine):
    """After a snapshot tokens go on from the highest that is still held."""

    def restore(self, state: Plain) -> None:
        super().restore(state)
        self.tokens = max((claim.token for claim in self.claims.values()), default=0)


class TokensOfEachLock(LocksMachine):
    """Two locks give out the same token."""

    def _grant(self, claim: Claim) -> None:
        claim.token = 1 + max((other.token for other in self.lines[claim.name].values()), default=0)


class TheNewestIsNext(LocksMachine):
    """The line is a stack."""

    def _leave(self, at: Moment, claim: Claim) -> None:
        line = self.lines[claim.name]
        self.lines[claim.name] = dict([*line.items()][:1] + [*line.items()][:0:-1])
        super()._leave(at, claim)


class SessionsEndWithoutNotice(LocksMachine):
    """A session that has ended keeps its locks until their leases end."""

    def session_ended(self, at: Moment) -> None:
        pass


class LeasesAreForgotten(LocksMachine):
    """A node that comes back from a snapshot lets leases last for ever."""

    def restore(self, state: Plain) -> None:
        super().restore(state)
        self.leases = Leases()


class AnybodyMayRelease(LocksMachine):
    """The token is enough, whoever shows it."""

    def _held(self, at: Moment, name: str, token: int) -> Claim:
        holder = self._holder(name)
        return super()._held(at if holder is None else at._replace(session=holder.session), name, token)


@pytest.mark.parametrize(
    "broken",
    [
        TokensStartAnew,
        TokensOfEachLock,
        TheNewestIsNext,
        SessionsEndWithoutNotice,
        LeasesAreForgotten,
        AnybodyMayRelease,
    ],
)
def test_a_broken_machine_is_found_out(broken: type[LocksMachine]) -> None:
    is_caught(LocksAtRandom, broken)
