"""Stale values: a call that needs a value which the object cannot have had at that time. Found in n log n, without a search.

`find_stale_value` proves nothing if it finds nothing. It runs before a search, on registers of every kind, since most broken
ones show a stale value.

The proof
---------
Let a call r require the value v (a read of v, a `cas` from v). Consider all calls that can make v and began before r ended.
If there are none, and v is not the initial value, no order exists. Otherwise let L be the latest of their ends (never, if one has
no end; the beginning of time, for the initial value). Let x be a definite call that began after L, ended before r began, and
shows that the value was not v at some moment: it makes a value, requires another value than v, or found a mismatch with v. The
value that it makes is not v: x would be one of those calls, and would have ended at L or before. So the value must
become v again after x took effect and before r did. A call that makes it so takes effect after x began, which is after L.
But all calls that can make v had ended by L. So no order exists.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from harness.checkers.certificate import Contradiction
from harness.checkers.sequential_model import MISMATCH, NO_SINGLE_STATE, Model, ModelState, ObjectCall

_NEVER: Final = float("inf")


class _Writers:
    """The calls that make one value, in the order in which they began, and for each prefix the call that ended last."""

    def __init__(self, calls: list[ObjectCall]) -> None:
        self.began = [call.began for call in calls]
        self.ended_last = list(accumulate(calls, _later))

    def latest(self, place: float) -> ObjectCall | None:
        """Return, of the calls that began before a place, the one that ended last; None if there is none."""
        number = bisect_left(self.began, place)
        return self.ended_last[number - 1] if number else None


class _Shown(NamedTuple):
    """Of some definite calls, the one that ended first, and the one that ended first of those that show another value."""

    first: ObjectCall | None = None
    value: ModelState = NO_SINGLE_STATE
    """The value that `first` shows; `NO_SINGLE_STATE` if it shows that the value was not the one in question."""
    other: ObjectCall | None = None

    def and_call(self, call: ObjectCall, value: ModelState) -> "_Shown":
        if self.first is None or _end(call) < _end(self.first):
            return _Shown(call, value, self.other if value == self.value else self.first)
        if value != self.value and (self.other is None or _end(call) < _end(self.other)):
            return _Shown(self.first, self.value, call)
        return self

    def other_than(self, value: ModelState) -> ObjectCall | None:
        """Return the call that ended first of those that show another value."""
        return self.other if self.value == value else self.first


class _Witnesses:
    """Definite calls in the order in which they began, and for each suffix those that ended first."""

    def __init__(self, calls: Sequence[tuple[ObjectCall, ModelState]]) -> None:
        in_order = sorted(calls, key=lambda pair: pair[0].began)
        self.began = [call.began for call, _ in in_order]
        self.ends_first = list(
            accumulate(reversed(in_order), lambda shown, pair: shown.and_call(*pair), initial=_Shown())
        )

    def after(self, place: float, value: ModelState) -> ObjectCall | None:
        """Return, of the calls that began after a place and show another value, the one that ended first."""
        number = bisect_right(self.began, place)
        return self.ends_first[len(self.began) - number].other_than(value)


def find_stale_value(calls: Sequence[ObjectCall], model: Model) -> Contradiction | None:
    """Return one to three calls that contradict each other; None if it finds none.

    Args:
        calls: all calls on the object.
        model: a model that names the `resulting_state` of every call that can change the state.
    """
    changes_to: dict[ModelState, list[ObjectCall]] = {}
    shows: list[tuple[ObjectCall, ModelState]] = []
    denies: dict[ModelState, list[tuple[ObjectCall, ModelState]]] = {}
    for call in calls:
        made, required = model.resulting_state(call), model.required_state(call)
        if made is not NO_SINGLE_STATE:
            changes_to.setdefault(made, []).append(call)
        if call.ended is None:
            continue
        if made is not NO_SINGLE_STATE or required is not NO_SINGLE_STATE:
            shows.append((call, required if made is NO_SINGLE_STATE else made))
        elif call.answer == MISMATCH and isinstance(call.argument, tuple):
            denies.setdefault(call.argument[0], []).append((call, NO_SINGLE_STATE))
    writers = {value: _Writers(sorted(made_by, key=_began)) for value, made_by in changes_to.items()}
    shown, denied = _Witnesses(shows), {value: _Witnesses(some) for value, some in denies.items()}
    for call in calls:
        value = model.required_state(call)
        if value is NO_SINGLE_STATE or call.ended is None:
            continue
        source = writers[value].latest(call.ended) if value in writers else None
        if source is None and value != model.initial:
            return Contradiction((call,), "{0:process} {0:action} at {0:ended}, and no client had written that value")
        last = -1 if source is None else _end(source)
        for witnesses in (shown, denied.get(value)):
            between = None if witnesses is None else witnesses.after(last, value)
            if between is not None and _end(between) < call.began:
                value_read = model.required_state(between) if model.is_read(between) else NO_SINGLE_STATE
                wrote = writers[value_read].latest(_end(between)) if value_read in writers else None
                return _contradiction(source, between, call, () if wrote is None else (wrote,))
    return None


def _contradiction(
    source: ObjectCall | None, between: ObjectCall, call: ObjectCall, supporting: tuple[ObjectCall, ...]
) -> Contradiction:
    """Describe `call`, whose value was last made by `source` (None: the initial value), and was gone at `between`."""
    if source is None:
        template = (
            "{1:process} {1:action} in a call that began at {1:began}, but {0:process} {0:action} before that, by {0:ended}, "
            "and no call restored the value"
        )
        return Contradiction((between, call), template, supporting)
    template = (
        "{2:process} {2:action} in a call that began at {2:began}, and every call that can have written that value had ended "
        "by {0:ended} (the last by {0:process}), but {1:process} {1:action} between these times, from {1:began} to {1:ended}"
    )
    return Contradiction((source, between, call), template, supporting)


def _began(call: ObjectCall) -> int:
    return call.began


def _end(call: ObjectCall) -> float:
    return _NEVER if call.ended is None else call.ended


def _later(one: ObjectCall, other: ObjectCall) -> ObjectCall:
    return one if _end(one) > _end(other) else other
