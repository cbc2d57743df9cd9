"""Registers whose values are written once each: whether the calls have an order, in n log n.

Source: Gibbons and Korach, *Testing Shared Memories* (1997), section 4. The paper calls a write with the reads that return its
value a *cluster*, and the time between its first end and its last beginning the cluster's *zone*. Here `_Zone` is both.

The proof for `RegisterModel` with unique writes
------------------------------------------------
Between a write and the next one there can be only reads of its value, so in any order a write and its reads stand together.
Zone a must come before zone b if some call of a ended before some call of b began, that is, if a's first end is before b's
last beginning. If that holds both ways for two zones, no order exists. If it holds both ways for no two zones, an order
exists, since there is no longer cycle either: in a cycle, let m be the zone with the latest last beginning, let p come next
in the cycle, and q after p. Then m must come before p. And p's first end is before the last beginning of q, so before that
of m: p must come before m too, both ways. Within a zone the write goes first, which fits unless a read ended before the
write began.

The initial value has a zone too, whose write ended before everything else. A write of unknown outcome has no end. If no
call reads its value, its zone has no end either and need not come before any other, so it can go last, which is as good as
never.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from harness.checkers.certificate import Contradiction, describe_value
from harness.checkers.sequential_model import ModelState, ObjectCall

WRITES: Final = ("write", "put")
READS: Final = ("read", "get")
_NEVER: Final = float("inf")


def writes_are_unique(calls: Iterable[ObjectCall], initial: ModelState = None) -> bool:
    """Return whether `check_unique_writes` applies.

    It does if there are only writes and reads, no value is written twice, and the initial value is never written. Then the
    value of a read names its write.
    """
    written = set()
    for call in calls:
        if call.f in WRITES:
            if call.argument in written or call.argument == initial:
                return False
            written.add(call.argument)
        elif call.f not in READS:
            return False
    return True


class _Zone:
    """A write and the reads that return its value: which of these calls ended first, and which began last."""

    __slots__ = ("began_last", "ended_first", "first_end", "last_began", "write")

    def __init__(self, write: ObjectCall | None) -> None:
        self.write = self.ended_first = self.began_last = write
        self.first_end: float = -_NEVER if write is None else _NEVER if write.ended is None else write.ended
        self.last_began: float = -_NEVER if write is None else write.began


def check_unique_writes(calls: Sequence[ObjectCall], initial: ModelState = None) -> Contradiction | None:
    """Return one to four calls that contradict each other; None if the calls have an order. `initial` is the first value."""
    zones: dict[object, _Zone] = {call.argument: _Zone(call) for call in calls if call.f in WRITES}
    zones[initial] = _Zone(None)
    for call in calls:
        if call.f in WRITES or call.ended is None:
            continue
        zone = zones.get(call.answer)
        if zone is None:
            return Contradiction((call,), "{0:process} read {0:value} at {0:ended}, which no client had written")
        write = zone.write
        if write is not None and call.ended < write.began:
            template = (
                "{0:process} read {0:value} by {0:ended}, but {1:process} first wrote it after that, at {1:began}"
            )
            return Contradiction((call, write), template)
        if call.ended < zone.first_end:
            zone.first_end, zone.ended_first = call.ended, call
        if call.began > zone.last_began:
            zone.last_began, zone.began_last = call.began, call
    return _conflicting_zones(list(zones.values()), initial)


def _conflicting_zones(zones: list[_Zone], initial: ModelState) -> Contradiction | None:
    """Return two zones that must each come before the other, if there are any, in n log n.

    A zone is *forward* if its first end is before its last beginning: throughout the time between these, its value was the
    register's. Two forward zones conflict if these times overlap. A zone that is not forward conflicts with a forward one
    if all of it lies within that time. Two zones that are not forward never conflict: a conflict would need
    a.end < b.began <= b.end < a.began <= a.end.
    """
    forward = sorted((zone for zone in zones if zone.first_end < zone.last_began), key=lambda zone: zone.first_end)
    for before, after in pairwise(forward):
        if after.first_end < before.last_began:
            return _contradiction(before, after, initial)
    starts = [zone.first_end for zone in forward]
    for zone in zones:
        place = bisect_left(starts, zone.last_began) - 1
        if zone.first_end >= zone.last_began and place >= 0 and zone.first_end < forward[place].last_began:
            return _contradiction(forward[place], zone, initial)
    return None


def _contradiction(outer: _Zone, inner: _Zone, initial: ModelState) -> Contradiction:
    """Describe two zones that conflict: the register had `outer`'s value throughout a time, and `inner`'s within it.

    If `inner` is forward, it had `inner`'s value from `inner`'s first end on, which is within that time. Otherwise it had
    `inner`'s value at some moment between `inner`'s last beginning and its first end, and both are within.
    """
    assert outer.began_last is not None
    assert inner.ended_first is not None
    assert inner.began_last is not None
    calls = [outer.began_last] if outer.ended_first is None else [outer.ended_first, outer.began_last]
    last = len(calls) - 1
    first = describe_value(initial).replace("{", "{{").replace("}", "}}")
    held = (
        f"the value was {first} until {{0:began}} ({{0:done_by}})"
        if outer.ended_first is None
        else "the value was {0:value} from {0:ended} ({0:done_by}) to {1:began} ({1:done_by})"
    )
    one, two = inner.ended_first, inner.began_last
    calls += [one] if one is two else [one, two]
    a, b = last + 1, last + 2
    until = outer.last_began
    when = "within that time" if last else "before that"
    if one is two:
        but = f"{{{a}:value}} was {{{a}:done_by}} {when}, from {{{a}:began}} to {{{a}:ended}}"
    elif one.began > outer.first_end and two.ended is not None and two.ended < until:
        but = f"{{{a}:value}} was {{{a}:done_by}} and {{{b}:done_by}} {when}"
    elif inner.first_end < inner.last_began:
        but = (
            f"the value was also {{{a}:value}} from {{{a}:ended}} ({{{a}:done_by}}) to {{{b}:began}} ({{{b}:done_by}})"
        )
    else:
        but = (
            f"the value was {{{a}:value}} at some moment between {{{b}:began}} (then {{{b}:done_by}}) and {{{a}:ended}} "
            f"({{{a}:done_by}})"
        )
    supporting = tuple(zone.write for zone in (outer, inner) if zone.write is not None)
    return Contradiction(tuple(calls), f"{held}, but {but}", supporting)
