"""Multi-Paxos with a break that clients see: in its reads, time, sessions or machines, one class a break.

`harness.mutants.log` imports every class here. A cluster finds a class by its name there.
"""

import time
from collections.abc import Iterable
from typing import Any

from node.algorithms.multipaxos.leader import Leadership
from node.algorithms.multipaxos.replica import MultiPaxos
from node.contract import Request
from node.machine import NotYet
from node.machines.kv import KvMachine
from node.machines.locks import Claim, LocksMachine
from node.replication.sessions import ClientSession, Sessions
from node.replication.state import ReplicatedState
from node.replication.watches import Question, Watches
from node.wire import pack_unchecked, unpack_unchecked

# --- questions and time -----------------------------------------------------------------------------------------------


class _LocalReadLeadership(Leadership):
    def take_confirmed(self) -> list[Question]:
        questions = [question for each in self.rounds.values() for question in each]
        self.rounds.clear()
        return questions


class ReadsAreLocal(MultiPaxos):
    """A leader answers reads without asking a quorum whether it still leads."""

    leadership_class = _LocalReadLeadership


class _WallClockLeadership(Leadership):
    def tick(self) -> bool:
        self.time_ms = max(self.time_ms, int(time.time() * 1000))
        return super().tick()


class LeasesEndByTheWallClock(MultiPaxos):
    """The log's time follows the leader's wall clock, which runs also while no node leads or all nodes are suspended."""

    leadership_class = _WallClockLeadership


class _TokenlessLocksMachine(LocksMachine):
    def _grant(self, claim: Claim) -> None:
        claim.token = 1


class _TokenlessState(ReplicatedState):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.machines["locks"] = _TokenlessLocksMachine(self.tuning)


class LocksHaveNoFencingToken(MultiPaxos):
    """Every holder of a lock has the same token."""

    state_class = _TokenlessState


# --- watches --------------------------------------------------------------------------------------------------------


class _UnseeingState(ReplicatedState):
    def read(self, name: str, packed: bytes, seen: int = 0) -> bytes | NotYet:
        return super().read(name, packed)


class WatchesBeginAnew(MultiPaxos):
    """A watch that is asked again begins at the version that it asked for first, however much it has seen since."""

    state_class = _UnseeingState


class _KnowingWatches(Watches):
    def still_open(self, client: str, numbers: Iterable[int], beat: int) -> list[int]:
        super().still_open(client, numbers, beat)
        return []


class _KnowingLeadership(Leadership):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.watches = _KnowingWatches(self.node.tuning)


class LostWatchesAreNotMissed(MultiPaxos):
    """A leader tells its clients that all their watches wait, also those that it has never received."""

    leadership_class = _KnowingLeadership


class _HoardedWatches(Watches):
    def drop(self, request: Request) -> None:
        pass


class _HoardingLeadership(Leadership):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.watches = _HoardedWatches(self.node.tuning)


class WatchesAreNeverDropped(MultiPaxos):
    """A leader keeps every watch for ever: those that are answered, asked again or given up."""

    leadership_class = _HoardingLeadership


# --- sessions ---------------------------------------------------------------------------------------------------------


class _ForgetfulSessions(Sessions):
    @staticmethod
    def store_answer(session: ClientSession, sequence: int, answer: bytes) -> None:
        pass


class _ForgetfulSessionsState(ReplicatedState):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.sessions = _ForgetfulSessions(self.tuning)


class RetriesAreDoneAgain(MultiPaxos):
    """The sessions keep no answers, so a retry takes effect again."""

    state_class = _ForgetfulSessionsState


class _SessionsWithoutAnswers(Sessions):
    def snapshot(self) -> Any:
        last, each = super().snapshot()
        return [last, [(number, used, done, highest, {}, by) for number, used, done, highest, _, by in each]]


class _StateWithoutAnswers(ReplicatedState):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.sessions = _SessionsWithoutAnswers(self.tuning)


class SnapshotsForgetAnswers(MultiPaxos):
    """A snapshot leaves out the answers of the sessions."""

    state_class = _StateWithoutAnswers


class _RecountingSessions(Sessions):
    def resume(self, number: int, client: str, time_ms: int) -> int | None:
        return 1 if number in self._sessions else None


class _RecountingState(ReplicatedState):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.sessions = _RecountingSessions(self.tuning)


class ResumedSessionsCountAnew(MultiPaxos):
    """A client that restarts and resumes its session uses its sequence numbers again."""

    state_class = _RecountingState


# --- machines ---------------------------------------------------------------------------------------------------------


class _ShufflingState(ReplicatedState):
    def apply(self, slot: int, batch: bytes) -> list[bytes]:
        if batch and time.perf_counter_ns() % 2:
            at_ms, frames = unpack_unchecked(batch)
            return super().apply(slot, pack_unchecked((at_ms, frames[::-1])))[::-1]
        return super().apply(slot, batch)


class FramesAreAppliedInAnyOrder(MultiPaxos):
    """The frames of a slot are applied in an order that differs from replica to replica."""

    state_class = _ShufflingState


class _ClockKvMachine(KvMachine):
    def _put(self, key: str, value: bytes) -> int:
        return super()._put(key, value) + 1000 * (time.perf_counter_ns() % 7)


class _ClockKvState(ReplicatedState):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.machines["kv"] = _ClockKvMachine(self.tuning)


class AnswersDependOnTheNode(MultiPaxos):
    """The result of a put differs from replica to replica."""

    state_class = _ClockKvState
