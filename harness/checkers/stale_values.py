"""A value that nobody can have written in time, found in n log n, without a search.

It decides nothing when it finds nothing. It is tried first on registers of every kind, since most broken ones show this.

The proof
---------
Let a call r need the value v (a read of v, a `cas` from v), and consider all calls that can make v and began before r ended.
If there are none, and v is not the initial value, no order exists. Else let L be the latest of their ends (never, if one has
none; the beginning of time, for the initial value). Let x be a definite call that began after L, ended before r began, and
makes a value. It is not v: x would be one of those calls, and end at L or before. So the value must become v again after x
took effect and before r did. Whoever makes it took effect after x began, so after L; but all who can had ended by then.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from harness.checkers.certificate import Contradiction
from harness.checkers.models import VOID, Model, ModelState, ObjectCall

_NEVER: Final = float("inf")


class _Makers:
    """The calls that make one value, by beginning; and up to each, the one that ended last."""

    def __init__(self, calls: list[ObjectCall]) -> None:
        self.began = [call.began for call in calls]
        self.ended_last = list(accumulate(calls, _later))

    def latest(self, place: int) -> ObjectCall | None:
        """Of those that began before a place, the one that ended last."""
        number = bisect_left(self.began, place)
        return self.ended_last[number - 1] if number else None


def stale(calls: Sequence[ObjectCall], model: Model) -> Contradiction | None:
    """Up to three calls that contradict each other; None if it finds none. Every `makes` of a change must be known."""
    changes = sorted((call for call in calls if model.makes(call) is not VOID), key=lambda call: call.began)
    of_value: dict[ModelState, list[ObjectCall]] = {}
    for call in changes:
        of_value.setdefault(model.makes(call), []).append(call)
    makers = {value: _Makers(made_by) for value, made_by in of_value.items()}
    definite = [call for call in changes if not call.is_pending]
    began = [call.began for call in definite]
    ends_first = list(accumulate(reversed(definite), _sooner))[::-1]
    for call in calls:
        value = model.needs(call)
        if value is VOID or call.ended is None:
            continue
        source = makers[value].latest(call.ended) if value in makers else None
        if source is None and value != model.initial:
            return Contradiction((call,), "{0:who} {0:did} at {0:ended}, and nobody had written that")
        number = bisect_right(began, -1 if source is None else _end(source))
        between = ends_first[number] if number < len(definite) else None
        if between is not None and _end(between) < call.began:
            return _told(source, between, call)
    return None


def _told(source: ObjectCall | None, between: ObjectCall, call: ObjectCall) -> Contradiction:
    if source is None:
        why = (
            "{1:who} {1:did} from {1:began} on, but {0:who} {0:did} before that, by {0:ended}, and nobody ever undid it"
        )
        return Contradiction((between, call), why)
    why = (
        "{2:who} {2:did} from {2:began} on, and the last who can have made it so, {0:who}, had ended by {0:ended}, but {1:who} "
        "{1:did} entirely between, from {1:began} to {1:ended}"
    )
    return Contradiction((source, between, call), why)


def _end(call: ObjectCall) -> float:
    return _NEVER if call.ended is None else call.ended


def _later(one: ObjectCall, other: ObjectCall) -> ObjectCall:
    return one if _end(one) > _end(other) else other


def _sooner(one: ObjectCall, other: ObjectCall) -> ObjectCall:
    return one if _end(one) < _end(other) else other
