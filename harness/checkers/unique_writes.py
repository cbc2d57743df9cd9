"""A register whose values are written once each: Gibbons and Korach, *Testing Shared Memories* (1997), section 4.

The proof for `Register` with unique writes
-------------------------------------------
Between a write and the next one there can be only reads of its value, so each block (a write and its reads) is contiguous
in any order. Block a must come before block b if some call of a ended before some call of b began, that is, if a's first
end is before b's last beginning. No order exists if that holds both ways round. If it never does, there is one, since there
is no longer cycle either: in a cycle let m have the latest last beginning of all, and let p come next. So m must come
before p. And p's first end is before the last beginning of the one after it, so before m's: p must come before m, both
ways round. Within a block the write goes first, which fits unless a read ended before the write began.

The initial value has a block too, whose write ended before everything. A write that nobody saw to end has no end; unread, its
block has none either and need come before nothing, so it can go last, which is as good as never.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from harness.checkers.certificate import Contradiction
from harness.checkers.models import ObjectCall

WRITES: Final = ("write", "put")
READS: Final = ("read", "get")
_NEVER: Final = float("inf")


def writes_are_unique(calls: Iterable[ObjectCall]) -> bool:
    """Whether there are only writes and reads, and no value is written twice, nor the initial one at all.

    Then a read tells whose write it saw.
    """
    written = set()
    for call in calls:
        if call.f in WRITES:
            if call.argument in written or call.argument is None:
                return False
            written.add(call.argument)
        elif call.f not in READS:
            return False
    return True


class _Block:
    """A write and the reads that saw it: which call ended first, and which began last."""

    __slots__ = ("began_last", "ended_first", "first_end", "last_began", "write")

    def __init__(self, write: ObjectCall | None) -> None:
        self.write = self.ended_first = self.began_last = write
        self.first_end: float = -_NEVER if write is None else _NEVER if write.ended is None else write.ended
        self.last_began: float = -_NEVER if write is None else write.began


def blocks(calls: Sequence[ObjectCall]) -> Contradiction | None:
    """Up to four calls that contradict each other, in n log n; None if there are none."""
    found: dict[object, _Block] = {call.argument: _Block(call) for call in calls if call.f in WRITES}
    found[None] = _Block(None)
    for call in calls:
        if call.f in WRITES or call.ended is None:
            continue
        block = found.get(call.answer)
        if block is None:
            return Contradiction((call,), "{0:who} read {0:value} at {0:ended}, which nobody had written")
        write = block.write
        if write is not None and call.ended < write.began:
            why = "{0:value} was read by {0:who} at {0:ended}, and first written at {1:began}, by {1:who}"
            return Contradiction((call, write), why)
        if call.ended < block.first_end:
            block.first_end, block.ended_first = call.ended, call
        if call.began > block.last_began:
            block.last_began, block.began_last = call.began, call
    return _both_ways_round(list(found.values()))


def _both_ways_round(zones: list[_Block]) -> Contradiction | None:
    """Two blocks that must each come before the other, if there are any, in n log n.

    A block is forward if its first end is before its last beginning: then these bound a time throughout which its value
    was the register's. Two forward blocks clash if those times overlap. Another block clashes with a forward one if all
    of it lies within that time. Two that are not forward never clash: a.end < b.began <= b.end < a.began <= a.end.
    """
    forward = sorted((zone for zone in zones if zone.first_end < zone.last_began), key=lambda zone: zone.first_end)
    for before, after in pairwise(forward):
        if after.first_end < before.last_began:
            return _clash(before, after)
    starts = [zone.first_end for zone in forward]
    for zone in zones:
        place = bisect_left(starts, zone.last_began) - 1
        if zone.first_end >= zone.last_began and place >= 0 and zone.first_end < forward[place].last_began:
            return _clash(forward[place], zone)
    return None


def _clash(outer: _Block, inner: _Block) -> Contradiction:
    """`outer` held throughout a time, and `inner` must have held within it.

    If `inner` is forward too, it held from its first end, which is within; else at some time from its last beginning to its
    first end, and both are within.
    """
    assert outer.began_last is not None
    assert inner.ended_first is not None
    assert inner.began_last is not None
    calls = [outer.began_last] if outer.ended_first is None else [outer.ended_first, outer.began_last]
    again = len(calls) - 1
    held = (
        "{0:value} must still hold at {0:began} ({0:by})"
        if outer.ended_first is None
        else "{0:value} must still hold at {0:ended} ({0:by}) and again at {1:began} ({1:by})"
    )
    one, two = inner.ended_first, inner.began_last
    calls += [one] if one is two else [one, two]
    a, b = again + 1, again + 2
    until = outer.last_began
    if one is two:
        before = "entirely between" if again else "entirely before that"
        but = f"{{{a}:value}} was {{{a}:by}} {before}, from {{{a}:began}} to {{{a}:ended}}"
    elif one.began > outer.first_end and two.ended is not None and two.ended < until:
        before = "entirely between" if again else "entirely before that"
        but = f"{{{a}:value}} was {{{a}:by}} and {{{b}:by}} {before}"
    elif inner.first_end < inner.last_began:
        but = f"{{{a}:value}} must hold at {{{a}:ended}} ({{{a}:by}}) and again at {{{b}:began}} ({{{b}:by}})"
    else:
        but = f"{{{a}:value}} must hold between {{{b}:began}} (then to be {{{b}:by}}) and {{{a}:ended}} ({{{a}:by}})"
    support = tuple(block.write for block in (outer, inner) if block.write is not None)
    return Contradiction(tuple(calls), f"{held}, but {but}", support)
