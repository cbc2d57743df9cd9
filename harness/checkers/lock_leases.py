"""Locks with leases: whether holds exclude each other as long as they must, and tokens rise.

A holder whose lease has ended is no holder any more, whether it knows or not; that is no violation, it is what tokens are
for. What must hold
-------------------
1. A lease lasts by the log's time, which never runs faster than real time, and it begins when the acquire, or the renewal,
   takes effect: after that call began. So whoever was told its token holds the lock at least from then until its lease has
   gone by since it last asked for it, or until it asks for its release. Two holds that overlap in that time exclude each
   other in vain.
2. Along the holds tokens rise.
3. A resource that refuses a token below the highest it has seen never refuses one who must hold the lock, and takes nothing
   from one whose successor it has heard.

To judge 1 and 2 each hold becomes a process of its own whose release, of unknown outcome, begins where the hold may have
ended; `holds.py` decides that, with its proof.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.checkers.certificate import Contradiction, tell
from harness.checkers.evidence import RunEvidence
from harness.checkers.lock_holds import holds
from harness.checkers.models import ObjectCall
from harness.checkers.verdict import Verdict, checker, count, invalid, unknown, valid
from harness.records.history import RecordedCall


@dataclass
class LockHold:
    """A token, as long as its holder must have held the lock. Times are in nanoseconds."""

    acquire: RecordedCall
    token: int
    lease_ns: int
    until_ns: int

    @property
    def since_ns(self) -> int:
        """When its holder was told."""
        assert self.acquire.completion is not None
        return self.acquire.completion.time


@checker
def exclusion(run: RunEvidence) -> Verdict:
    """Whether at most one process held each lock at a time, with rising tokens, and a resource that checks them was safe."""
    times = {event.index: run.history.seconds(event.time) for event in run.history.events}
    found = []
    by_key: dict[str, list[LockHold]] = {}
    for hold in holds_of(run.calls):
        by_key.setdefault(hold.acquire.key, []).append(hold)
    for key, of_key in by_key.items():
        violation = holds(_calls(of_key, [event.time for event in run.history.events]))
        if violation is not None:
            found.append(f"{key}: {_both(run, of_key, violation) or tell(violation, times.get)}")
    refused = 0
    for operation in run.calls:
        if operation.f == "use":
            refused += operation.outcome == "fail"
            found += _wrong_uses(run, operation, by_key.get(operation.key, []))
    if found:
        return invalid(*found)
    total = sum(map(len, by_key.values()))
    reason = run.shows_nothing(run.calls) or (None if total > 1 else "the lock was held fewer than two times")
    if reason is not None:
        return unknown(reason)
    return valid(
        f"{count(total, 'hold')} of {count(len(by_key), 'lock')} excluded each other, with rising tokens; "
        f"{count(refused, 'stale use')} came and none was taken"
    )


def holds_of(operations: Sequence[RecordedCall]) -> list[LockHold]:
    """Every hold that somebody was told of, in the order in which they were asked for."""
    found: dict[tuple[str, int], LockHold] = {}
    for operation in operations:
        value: Any = operation.invoke.value
        if operation.f == "acquire" and operation.outcome == "ok" and isinstance(operation.answer, int):
            lease_ns = int(value["lease_s"] * 1e9)
            found.setdefault(
                (operation.key, operation.answer),
                LockHold(operation, operation.answer, lease_ns, operation.invoke.time + lease_ns),
            )
        elif operation.f == "renew" and operation.outcome == "ok":
            hold = found[operation.key, value["token"]]
            hold.until_ns = max(hold.until_ns, operation.invoke.time + hold.lease_ns)
    for operation in operations:
        released = found.get((operation.key, _token(operation))) if operation.f == "release" else None
        if released is not None:
            released.until_ns = min(released.until_ns, operation.invoke.time)
    return list(found.values())


def _token(operation: RecordedCall) -> int:
    value: Any = operation.invoke.value
    return int(value["token"])


def _calls(of_key: Sequence[LockHold], times: Sequence[int]) -> list[ObjectCall]:
    """The holds as `holds.py` takes them. A hold that may have ended before its holder was told has no core, and no part."""
    calls = []
    for hold in of_key:
        completion = hold.acquire.completion
        assert completion is not None
        if hold.until_ns <= completion.time:
            continue
        name = f"{hold.acquire.invoke.process}/{hold.token}"
        began, ended = hold.acquire.invoke.index, completion.index
        calls.append(ObjectCall("acquire", name, hold.token, began, ended, hold.acquire, hold.acquire.invoke.process))
        # The first event that is not before the end of the lease: what ended before that event ended in the lease.
        calls.append(ObjectCall("release", name, None, bisect_left(times, hold.until_ns), None, None, name))
    return calls


def _both(run: RunEvidence, of_key: Sequence[LockHold], violation: Contradiction) -> str | None:
    """Two holds at once, in words; None if that is not what it is about."""
    if len(violation.calls) < 3:
        return None
    asked = [call.operation for call in violation.calls if call.operation is not None]
    one, other = (next(hold for hold in of_key if hold.acquire is operation) for operation in asked)
    until_s = run.history.seconds(one.until_ns)
    return (
        f"{one.acquire.invoke.process} held the lock with token {one.token} until {until_s:.3f} s at least, and "
        f"{other.acquire.invoke.process} was given it with token {other.token} by {run.history.seconds(other.since_ns):.3f} s"
    )


def _wrong_uses(run: RunEvidence, use: RecordedCall, of_key: Sequence[LockHold]) -> list[str]:
    """What the resource did that it must not have done."""
    value: Any = use.invoke.value
    hold = next((hold for hold in of_key if hold.token == value["token"]), None)
    what = f"{use.key}: the use of {use.invoke.process} with token {value['token']} at {run.at(use.invoke)}"
    if use.outcome == "fail" and hold is not None and use.invoke.time < hold.until_ns:
        return [f"{what} was refused ({use.completion and use.completion.error}), and its holder held the lock"]
    higher = [other for other in of_key if other.token > value["token"]]
    if use.outcome == "ok" and any(_had_used(run, other, use) for other in higher):
        return [f"{what} was taken, and a holder with a higher token had come before"]
    return []


def _had_used(run: RunEvidence, hold: LockHold, before: RecordedCall) -> bool:
    return any(
        use.f == "use"
        and use.key == before.key
        and use.outcome == "ok"
        and _token(use) == hold.token
        and use.ended_before(before)
        for use in run.calls
    )
