"""Stale values: a call that needs a value which the object cannot have had at that time. Found in n log n, without a search.

`find_stale_value` proves nothing if it finds nothing. It runs before a search, on registers of every kind, since most broken
ones show a stale value.

The proof
---------
Let a call r require the value v (a read of v, a `cas` from v). Consider all calls that can make v and began before r ended.
If there are none, and v is not the initial value, no order exists. Otherwise let L be the latest of their ends (never, if one has
no end; the beginning of time, for the initial value). Let x be a definite call that began after L, ended before r began, and
makes a value. This value is not v: x would be one of those calls, and would have ended at L or before. So the value must
become v again after x took effect and before r did. A call that makes it so takes effect after x began, which is after L.
But all calls that can make v had ended by L. So no order exists.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from harness.checkers.certificate import Contradiction
from harness.checkers.sequential_model import NO_SINGLE_STATE, Model, ModelState, ObjectCall

_NEVER: Final = float("inf")


class _Writers:
    """The calls that make one value, in the order in which they began, and for each prefix the call that ended last."""

    def __init__(self, calls: list[ObjectCall]) -> None:
        self.began = [call.began for call in calls]
        self.ended_last = list(accumulate(calls, _later))

    def latest(self, place: int) -> ObjectCall | None:
        """Return, of the calls that began before a place, the one that ended last; None if there is none."""
        number = bisect_left(self.began, place)
        return self.ended_last[number - 1] if number else None


def find_stale_value(calls: Sequence[ObjectCall], model: Model) -> Contradiction | None:
    """Return one to three calls that contradict each other; None if it finds none.

    Args:
        calls: all calls on the object.
        model: a model that names the `resulting_state` of every call that can change the state.
    """
    changes = sorted((call for call in calls if model.resulting_state(call) is not NO_SINGLE_STATE), key=_began)
    changes_to: dict[ModelState, list[ObjectCall]] = {}
    for call in changes:
        changes_to.setdefault(model.resulting_state(call), []).append(call)
    writers = {value: _Writers(made_by) for value, made_by in changes_to.items()}
    definite = [call for call in changes if not call.is_pending]
    began = [call.began for call in definite]
    ends_first = list(accumulate(reversed(definite), _sooner))[::-1]
    for call in calls:
        value = model.required_state(call)
        if value is NO_SINGLE_STATE or call.ended is None:
            continue
        source = writers[value].latest(call.ended) if value in writers else None
        if source is None and value != model.initial:
            return Contradiction((call,), "{0:process} {0:action} at {0:ended}, and no client had written that value")
        number = bisect_right(began, -1 if source is None else _end(source))
        between = ends_first[number] if number < len(definite) else None
        if between is not None and _end(between) < call.began:
            return _contradiction(source, between, call)
    return None


def _contradiction(source: ObjectCall | None, between: ObjectCall, call: ObjectCall) -> Contradiction:
    """Describe `call`, whose value was last made by `source` (None: the initial value) and replaced by `between`."""
    if source is None:
        template = (
            "{1:process} {1:action} in a call that began at {1:began}, but {0:process} {0:action} before that, by {0:ended}, "
            "and no call restored the value"
        )
        return Contradiction((between, call), template)
    template = (
        "{2:process} {2:action} in a call that began at {2:began}, and every call that can have written that value had ended "
        "by {0:ended} (the last by {0:process}), but {1:process} {1:action} between these times, from {1:began} to {1:ended}"
    )
    return Contradiction((source, between, call), template)


def _began(call: ObjectCall) -> int:
    return call.began


def _end(call: ObjectCall) -> float:
    return _NEVER if call.ended is None else call.ended


def _later(one: ObjectCall, other: ObjectCall) -> ObjectCall:
    return one if _end(one) > _end(other) else other


def _sooner(one: ObjectCall, other: ObjectCall) -> ObjectCall:
    return one if _end(one) < _end(other) else other
