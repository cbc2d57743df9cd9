"""The locks machine: queues, leases and tokens, with fixed and with random commands."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from node.machine import BEAT_MS, Moment, Plain, Refusal
from node.machines.leases import Leases
from node.machines.locks import Claim, LocksMachine
from tests.node.machines.two_replicas import AT_RANDOM, Replicas, assert_caught, refused, waits


@pytest.fixture
def locks() -> Replicas[LocksMachine]:
    return Replicas(LocksMachine)


def test_the_first_claim_holds_the_lock_and_the_others_follow_in_order(locks: Replicas[LocksMachine]) -> None:
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


def test_a_claim_that_is_acquired_again_keeps_its_place_and_its_token(locks: Replicas[LocksMachine]) -> None:
    locks.do(1, "acquire", "printer", "alice", 1000)
    locks.do(2, "acquire", "printer", "bob", 1000)
    locks.do(3, "acquire", "printer", "carol", 1000)
    assert locks.do(2, "acquire", "printer", "bob", 1000) == [2, 0]
    assert locks.do(1, "acquire", "printer", "alice", 1000) == [1, 1]
    assert locks.do(1, "try", "printer", "alice", 1000) == 1
    assert locks.do(1, "acquire", "printer", "another owner", 1000) == [4, 0]


def test_a_lease_ends_by_the_logs_time_and_can_be_renewed_until_then(locks: Replicas[LocksMachine]) -> None:
    locks.do(1, "acquire", "printer", "alice", 1000)
    locks.pass_time(900)
    locks.do(1, "renew", "printer", 1)
    locks.pass_time(999 + BEAT_MS)  # the true time may be so much later than the moment
    assert locks.ask("holder", "printer") == ["alice", 1, 0]
    locks.pass_time(1)
    assert locks.ask("holder", "printer") is None
    assert refused(locks, 1, "renew", "printer", 1) == "not_held"
    assert refused(locks, 1, "release", "printer", 1) == "not_held"


def test_a_waiting_client_that_vanishes_does_not_block_the_queue(locks: Replicas[LocksMachine]) -> None:
    locks.do(1, "acquire", "printer", "alice", 5000)
    locks.do(2, "acquire", "printer", "bob, who vanishes", 1000)
    locks.do(3, "acquire", "printer", "carol", 5000)
    locks.pass_time(1000 + BEAT_MS)
    locks.do(1, "release", "printer", 1)
    assert locks.ask("granted", "printer", 3) == 2
    with pytest.raises(Refusal, match="is not in the queue"):
        locks.ask("granted", "printer", 2)


def test_the_lease_of_a_waiting_claim_begins_again_when_it_gets_the_lock(locks: Replicas[LocksMachine]) -> None:
    locks.do(1, "acquire", "printer", "alice", 1000)
    locks.pass_time(500)
    locks.do(2, "acquire", "printer", "bob", 1000)
    locks.pass_time(500 + BEAT_MS)
    locks.pass_time(999 + BEAT_MS)
    assert locks.ask("holder", "printer") == ["bob", 2, 0]
    locks.pass_time(1)
    assert locks.ask("holder", "printer") is None


def test_the_end_of_a_session_removes_all_its_claims(locks: Replicas[LocksMachine]) -> None:
    locks.do(1, "acquire", "printer", "alice", 1000)
    locks.do(1, "acquire", "scanner", "alice", 1000)
    locks.do(2, "acquire", "printer", "bob", 1000)
    locks.do(1, "acquire", "printer", "alice, again", 1000)
    locks.do(3, "acquire", "printer", "carol", 1000)
    locks.end_session(1)
    assert locks.ask("holder", "scanner") is None
    assert locks.ask("holder", "printer") == ["bob", 3, 1]
    assert refused(locks, 1, "release", "printer", 1) == "stale_token"


def test_bad_input_is_refused_with_a_kind_of_its_own(locks: Replicas[LocksMachine]) -> None:
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
    assert refused(locks, 0, "acquire", "printer", "bob", 1000) == "no_session"
    assert refused(locks, 1, "acquire", "printer", 7, 1000) == "bad_command"
    assert refused(locks, 1, "fly") == "bad_command"
    assert locks.do(2, "give_up", "printer", "bob") is False
    assert locks.ask("holder", "printer") == ["alice", 1, 0]


def test_a_lock_is_resumed_by_its_token_in_another_session(locks: Replicas[LocksMachine]) -> None:
    assert locks.do(1, "acquire", "printer", "alice", 1000) == [1, 1]
    assert locks.do(2, "acquire", "printer", "bob", 1000) == [2, 0]
    assert refused(locks, 3, "resume", "printer", 7, "alice again", 1000) == "stale_token"
    assert locks.do(3, "resume", "printer", 1, "alice again", 5000) == 2
    assert locks.ask("holder", "printer") == ["alice again", 2, 1]
    assert refused(locks, 1, "renew", "printer", 1) == "stale_token"  # should the former process live on
    locks.end_session(1)
    locks.restore_other()
    locks.pass_time(3000)  # bob's claim ends, and the lease of the resumed lock does not
    assert locks.ask("holder", "printer") == ["alice again", 2, 0]
    assert locks.do(4, "resume", "printer", 1, "alice", 1000) == 3  # again, since the new token was not kept anywhere
    assert refused(locks, 4, "resume", "printer", 2, "alice", 1000) == "stale_token"
    locks.do(4, "release", "printer", 3)
    assert refused(locks, 4, "resume", "printer", 3, "alice", 1000) == "not_held"


def test_whoever_waits_and_resumes_waits_no_more(locks: Replicas[LocksMachine]) -> None:
    locks.do(1, "acquire", "printer", "alice", 1000)
    locks.do(2, "acquire", "printer", "bob", 1000)
    assert locks.do(2, "resume", "printer", 1, "bob", 1000) == 2
    assert locks.ask("holder", "printer") == ["bob", 2, 0]


SESSIONS, NAMES, OWNERS = st.integers(1, 3), st.sampled_from(["a", "b"]), st.sampled_from(["x", "y"])


class LocksAtRandom(RuleBasedStateMachine):
    """Checks the holders, their order, their tokens and their leases against what a lock promises."""

    kind: type[LocksMachine] = LocksMachine

    def __init__(self) -> None:
        super().__init__()
        self.locks = Replicas(self.kind)
        self.given: dict[str, list[tuple[int, int]]] = {}  # by lock: tickets and tokens of its holders, in order

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

    @rule(
        session=SESSIONS,
        name=NAMES,
        token=st.integers(1, 12),
        how=st.sampled_from(["renew", "release", "release", "resume"]),
    )
    def use_token(self, session: int, name: str, token: int, how: str) -> None:
        holder, session_of = self.locks.ask("holder", name), self.holder_is(name)
        if how == "resume":
            self.resume(session, name, token)
            return
        expected = (
            "not_held" if holder is None
            else "stale_token" if holder[1] != token
            else "not_yours" if session_of is None or session_of[0] != session
            else None
        )  # fmt: skip
        command = (session, how, name, token)
        if expected is not None:
            assert refused(self.locks, *command) == expected
            return
        self.locks.do(*command)
        assert (self.holder_is(name) == session_of) or how == "release"

    def resume(self, session: int, name: str, token: int) -> None:
        holder = self.locks.ask("holder", name)
        resumed = next((claim.resumed for claim in self.locks.one.queues.get(name, {}).values()), 0)
        command = (session, "resume", name, token, "x", 250)
        if holder is None or token not in (holder[1], resumed):
            assert refused(self.locks, *command) == ("not_held" if holder is None else "stale_token")
            return
        assert self.locks.do(*command) > holder[1]
        assert self.holder_is(name) == (session, "x")
        assert refused(self.locks, session, "renew", name, holder[1]) == "stale_token"

    @rule(session=SESSIONS, name=NAMES, owner=OWNERS)
    def give_up(self, session: int, name: str, owner: str) -> None:
        was_there = (session, owner) in self.locks.one.queues.get(name, {})
        assert was_there == self.locks.do(session, "give_up", name, owner)
        assert (session, owner) not in self.locks.one.queues.get(name, {})

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
        self.locks.restore_other()

    @invariant()
    def one_claim_holds_each_lock_and_tokens_rise(self) -> None:
        for name, queue in self.locks.one.queues.items():
            holder, *others = queue.values()
            assert holder.token > 0
            assert all(claim.token == 0 for claim in others)
            given = self.given.setdefault(name, [])
            if holder.token not in [token for _, token in given]:
                given.append((holder.ticket, holder.token))
        for given in self.given.values():  # tickets rise: claims get the lock in the order of the queue
            assert given == sorted(set(given))
            assert given == sorted(given, key=lambda each: each[1])
        tokens = [token for given in self.given.values() for _, token in given]
        assert len(tokens) == len(set(tokens))

    def holder_is(self, name: str) -> tuple[int, str] | None:
        return next(iter(self.locks.one.queues.get(name, {})), None)


LocksAtRandom.TestCase.settings = AT_RANDOM
TestLocksAtRandom = LocksAtRandom.TestCase


class RepeatsTokensAfterASnapshot(LocksMachine):
    """After a snapshot the tokens continue from the highest one that is still in use."""

    def restore(self, state: Plain) -> None:
        super().restore(state)
        self.tokens = max((claim.token for claim in self.claims.values()), default=0)


class CountsTokensPerLock(LocksMachine):
    """Two locks give the same token."""

    def _grant(self, claim: Claim) -> None:
        claim.token = 1 + max((other.token for other in self.queues[claim.name].values()), default=0)


class PrefersTheNewestClaim(LocksMachine):
    """The queue is a stack."""

    def _remove(self, at: Moment, claim: Claim) -> None:
        queue = self.queues[claim.name]
        self.queues[claim.name] = dict([*queue.items()][:1] + [*queue.items()][:0:-1])
        super()._remove(at, claim)


class IgnoresTheEndOfSessions(LocksMachine):
    """A session that has ended keeps its locks until their leases end."""

    def session_ended(self, at: Moment) -> None:
        pass


class ForgetsLeases(LocksMachine):
    """On a node that restores a snapshot, leases never end."""

    def restore(self, state: Plain) -> None:
        super().restore(state)
        self.leases = Leases()


class IgnoresTheSession(LocksMachine):
    """Any session that has the token may renew and release."""

    def _holding_claim(self, at: Moment, name: str, token: int) -> Claim:
        holder = self._holder(name)
        return super()._holding_claim(at if holder is None else at._replace(session=holder.session), name, token)


@pytest.mark.parametrize(
    "broken",
    [
        RepeatsTokensAfterASnapshot,
        CountsTokensPerLock,
        PrefersTheNewestClaim,
        IgnoresTheEndOfSessions,
        ForgetsLeases,
        IgnoresTheSession,
    ],
)
def test_a_broken_machine_is_caught(broken: type[LocksMachine]) -> None:
    assert_caught(LocksAtRandom, broken)
