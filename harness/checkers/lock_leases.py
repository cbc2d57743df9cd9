"""The checker of locks with leases: holds exclude each other for as long as they must, and tokens rise.

A holder whose lease has ended no longer holds the lock, whether it knows that or not. That is no violation: fencing tokens
exist for this case.

What must hold
--------------
1. A lease lasts by the log's time, which never runs faster than the clock of a node, and begins when the acquire or the renewal
   takes effect, which is after that call began. So a process that received a token holds the lock at least from then until the
   lease's length has passed since it began its last acquire or renewal, or until it begins its release. Two holds must not
   overlap in these times.
2. Along the holds, tokens rise.
3. A resource that refuses every token below the highest it has seen never refuses a process that must hold the lock, and never
   accepts a use from a process whose successor it has heard from.
4. A token is given to one acquire: each call that acquires is of a holder of its own.
5. What `keepers.py` says of keepers of locks, and of acquires that were given up.

To judge 1 and 2, each hold becomes a process of its own, with a release of unknown outcome that begins where the hold may have
ended. `lock_holds.py` decides these calls, with its proof.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.checkers.certificate import Clock, Contradiction, sentence_of
from harness.checkers.evidence import RunEvidence
from harness.checkers.keepers import left_behind, sure_for_too_long
from harness.checkers.lock_holds import check_lock_holds
from harness.checkers.sequential_model import ObjectCall
from harness.checkers.verdict import Found, Verdict, checker, invalid, unknown, valid
from harness.records.history import RecordedCall
from harness.records.jsonable import wording
from harness.records.receipts import Timeline
from node.wording import count


@dataclass
class LockHold:
    """One token, for as long as its process must have held the lock.

    Attributes:
        acquire: the call that returned the token.
        token: the fencing token.
        lease_ns: the length of the lease, in nanoseconds.
        until_ns: when the hold may have ended, in nanoseconds of the harness's clock.
    """

    acquire: RecordedCall
    token: int
    lease_ns: int
    until_ns: int

    @property
    def since_ns(self) -> int:
        """When the process received the token, in nanoseconds of the harness's clock."""
        assert self.acquire.completion is not None
        return self.acquire.completion.time


@checker
def exclusion(run: RunEvidence) -> Verdict:
    """Check that one process at most held each lock at a time, that tokens rose, and that the resource checked them.

    Unknown if a lock was held fewer than two times in the whole run.
    """
    times = {event.index: run.history.seconds(event.time) for event in run.history.events}
    by_lock: dict[str, list[LockHold]] = {}
    for hold in holds_of(run.calls, run.timeline):
        by_lock.setdefault(hold.acquire.key, []).append(hold)
    refused = 0
    with Found() as found:
        for lock, holds in by_lock.items():
            contradiction = check_lock_holds(_as_object_calls(holds, [event.time for event in run.history.events]))
            if contradiction is not None:
                found.append(f"{lock}: {_overlap(run, holds, contradiction, times.get)}")
        for operation in run.calls:
            if operation.f == "use":
                refused += operation.outcome == "fail"
                found.extend(_wrong_uses(run, operation, by_lock.get(operation.key, [])))
        found.extend(_given_twice(run))
        found.extend(sure_for_too_long(run, "holds"))
        found.extend(left_behind(run))
    if found:
        return invalid(*found)
    total = sum(map(len, by_lock.values()))
    reason = run.why_untested(run.calls) or (None if total > 1 else "the lock was held fewer than two times")
    if reason is not None:
        return unknown(reason)
    return valid(
        f"{count(total, 'hold')} of {count(len(by_lock), 'lock')} excluded each other, with rising tokens; "
        f"the resource refused {count(refused, 'stale use')} and accepted none"
    )


def _given_twice(run: RunEvidence) -> Iterator[str]:
    """Yield a sentence for each token that two acquires were answered."""
    given: dict[tuple[str, int], RecordedCall] = {}
    for call in run.calls:
        if call.f == "acquire" and call.outcome == "ok" and isinstance(call.answer, int):
            first = given.setdefault((call.key, call.answer), call)
            if first is not call:
                yield (
                    f"{call.key}: the acquires of {first.invoke.process} at {run.time_of(first.invoke)} and of "
                    f"{call.invoke.process} at {run.time_of(call.invoke)} were both given token {call.answer}"
                )


def holds_of(operations: Sequence[RecordedCall], timeline: Timeline) -> list[LockHold]:
    """Return every hold whose token a client received, in the order in which the acquires began."""
    found: dict[tuple[str, int], LockHold] = {}
    for operation in operations:
        value: Any = operation.invoke.value
        if operation.f == "acquire" and operation.outcome == "ok" and isinstance(operation.answer, int):
            lease_ns = int(value["lease_s"] * 1e9)
            found.setdefault(
                (operation.key, operation.answer),
                LockHold(operation, operation.answer, lease_ns, _lasts_until(operation, lease_ns, timeline)),
            )
        held = found.get((operation.key, value["token"])) if operation.f in ("renew", "holds") else None
        if held is None or operation.outcome != "ok":
            continue  # no client has received the token, or it says nothing
        if operation.f == "renew":
            held.until_ns = max(held.until_ns, _lasts_until(operation, held.lease_ns, timeline))
        elif not timeline.is_clock_fast(held.since_ns, operation.invoke.time):  # its keeper was sure of the lease then
            held.until_ns = max(held.until_ns, operation.invoke.time)
    for operation in operations:
        released = found.get((operation.key, _token(operation))) if operation.f == "release" else None
        if released is not None:
            released.until_ns = min(released.until_ns, operation.invoke.time)
    return list(found.values())


def _lasts_until(operation: RecordedCall, lease_ns: int, timeline: Timeline) -> int:
    return operation.invoke.time + timeline.lease_ns(operation.invoke.time, lease_ns)


def _token(operation: RecordedCall) -> int:
    value: Any = operation.invoke.value
    return int(value["token"])


def _as_object_calls(holds: Sequence[LockHold], times_ns: Sequence[int]) -> list[ObjectCall]:
    """Return the holds of one lock as `check_lock_holds` takes them.

    A hold that may have ended before its process received the token has no core and is left out.

    Args:
        holds: the holds.
        times_ns: the time of each event of the history.
    """
    calls = []
    for hold in holds:
        completion = hold.acquire.completion
        assert completion is not None
        if hold.until_ns <= completion.time:
            continue
        name = f"{hold.acquire.invoke.process}/{hold.token}"
        began, ended = hold.acquire.invoke.index, completion.index
        calls.append(ObjectCall("acquire", name, hold.token, began, ended, hold.acquire, hold.acquire.invoke.process))
        # The release begins at the first event at or after the end of the lease: earlier events are within the lease.
        calls.append(ObjectCall("release", name, None, bisect_left(times_ns, hold.until_ns), None, None, name))
    return calls


@wording
def _overlap(run: RunEvidence, holds: Sequence[LockHold], contradiction: Contradiction, clock: Clock) -> str:
    """Describe two holds that overlap, with the ends of their leases, or else the contradiction that it is."""
    if len(contradiction.calls) < 3:
        return sentence_of(contradiction, clock)
    acquires = [call.operation for call in contradiction.calls if call.operation is not None]
    one, other = (next(hold for hold in holds if hold.acquire is operation) for operation in acquires)
    until_s = run.history.seconds(one.until_ns)
    return (
        f"{one.acquire.invoke.process} held the lock with token {one.token} until {until_s:.3f} s at least, but "
        f"{other.acquire.invoke.process} acquired it with token {other.token} by {run.history.seconds(other.since_ns):.3f} s"
    )


def _wrong_uses(run: RunEvidence, use: RecordedCall, holds: Sequence[LockHold]) -> list[str]:
    """Return a sentence if the resource refused a use that it had to accept, or accepted one that it had to refuse."""
    value: Any = use.invoke.value
    hold = next((hold for hold in holds if hold.token == value["token"]), None)
    what = f"{use.key}: the use of {use.invoke.process} with token {value['token']} at {run.time_of(use.invoke)}"
    if use.outcome == "fail" and hold is not None and use.invoke.time < hold.until_ns:
        error = use.completion and use.completion.error
        return [f"{what} was refused ({error}), although its lease had not ended"]
    higher = [other for other in holds if other.token > value["token"]]
    if use.outcome == "ok" and any(_used_before(run, other, use) for other in higher):
        return [f"{what} was accepted, although the resource had accepted a use with a higher token before"]
    return []


def _used_before(run: RunEvidence, hold: LockHold, later: RecordedCall) -> bool:
    """Return whether the resource had accepted a use with the token of `hold` before the use `later` began."""
    return any(
        use.f == "use"
        and use.key == later.key
        and use.outcome == "ok"
        and _token(use) == hold.token
        and use.ended_before(later)
        for use in run.calls
    )
