"""Minimising: a small history that is not linearizable, out of a large one that is not.

Rules
-----
1. Only calls that cannot have made the history wrong are taken away: if the rest has no order, the whole has none.
   A call that changes nothing can always go. A value can go together with every call that wrote, read or compared it, since no
   other call observed it. All calls of one process on a lock can go, if no call returned "held". A call that returned
   "mismatch" saw that another value was there, so such calls go first. If the object counts its changes, a change can go only
   together with everything after it: without it, each later change would have another number.
2. The rest is checked again, each time. So a minimised history is not linearizable by construction.
3. First only the last calls before the one that no order explains are tried, in windows that grow. Then halves, quarters and
   so on of the calls are dropped (delta debugging: Zeller and Hildebrandt, *Simplifying and Isolating Failure-Inducing
   Input*, 2002).
4. Few trials may be too hard for the checker. Beyond that the calls up to the one that no order explains stay as they are: the
   violation was found in them, so they need no further proof.
"""

import time
from collections.abc import Callable, Hashable, Sequence
from typing import Final, NamedTuple

from harness.checkers.certificate import NAMED_MAX, Contradiction, actions_of
from harness.checkers.few_calls import contradiction_of, few_required_calls
from harness.checkers.jit_linearizability import TooHard
from harness.checkers.models import LockModel
from harness.checkers.sequential_model import DONE, NO_SINGLE_STATE, Model, ObjectCall
from node.wording import count

#: Takes calls on one object and returns why they have no order, or None; raises TooHard if the question is open.
ObjectChecker = Callable[[Sequence[ObjectCall]], Contradiction | None]

#: How many calls the first window has; each further window is four times as large.
_FIRST_WINDOW: Final = 32
#: How many calls may be checked again, over all trials.
_CALLS_MAX: Final = 200_000
#: How many trials may be too hard. Each costs the checker its whole budget.
_TOO_HARD_MAX: Final = 3


class Explanation(NamedTuple):
    """A violation that is ready for people."""

    contradiction: Contradiction
    """It names two to four calls where there are as many."""
    history: list[ObjectCall]
    """A small history that is not linearizable by itself."""


def explain(
    calls: Sequence[ObjectCall],
    model: Model,
    violation: Contradiction,
    check: ObjectChecker,
    until: float | None = None,
) -> Explanation:
    """Reduce a violation to few calls.

    Args:
        calls: all calls on the object.
        model: the sequential model of the object.
        violation: what `check` returned for `calls`.
        check: the checker, with a smaller budget.
        until: when to do with what there is, by `time.monotonic`; None for never.
    """
    now = time.monotonic()
    half = until and now + (until - now) / 2
    explained = (_searched if violation.from_search else _shown)(calls, model, violation, check, half)
    if not explained.contradiction.supporting or not (violation.is_window or violation.from_search):
        return explained
    return _with_few_required(explained, calls, model, violation, check, until)


def _with_few_required(
    explained: Explanation,
    calls: Sequence[ObjectCall],
    model: Model,
    violation: Contradiction,
    check: ObjectChecker,
    until: float | None,
) -> Explanation:
    """Return an explanation that names fewer calls, which have no order whichever others took effect; if there are such."""
    history = explained.history
    required = few_required_calls(calls, history, model, until)
    if required is None or len(required) > NAMED_MAX:
        last = max(call.ended or 0 for call in (*violation.calls, *violation.supporting))
        wider = few_required_calls(calls, [call for call in calls if (call.ended or 0) <= last], model, until)
        if wider is not None and (required is None or len(wider) < len(required)):
            with_these = what_is_left(_in_order(calls), {*history, *wider}, model)
            if set(wider) <= set(with_these) and _is_wrong(with_these, check):
                required, history = wider, with_these
    if required is None or len(required) >= len(history):
        return explained
    return Explanation(contradiction_of(required), history)


def _shown(
    calls: Sequence[ObjectCall], model: Model, violation: Contradiction, check: ObjectChecker, until: float | None
) -> Explanation:
    """Explain a violation that names the calls that show it, or a window."""
    few = _in_order([*violation.calls, *violation.supporting])
    if violation.is_window:
        few = (
            what_is_left(_in_order(calls), set(few), model)
            if model.counts_changes
            else _in_order([*few, *_writers(few, calls, model)])
        )
    explained = Explanation(violation, few if _is_wrong(few, check) else list(calls))
    if not violation.is_window or model.counts_changes or len(few) <= NAMED_MAX:
        return explained
    other = _searched(calls, model, Contradiction(violation.calls[-1:], "", from_search=True), check, until)
    return min(explained, other, key=lambda one: len(one.history))


def _searched(
    calls: Sequence[ObjectCall], model: Model, violation: Contradiction, check: ObjectChecker, until: float | None
) -> Explanation:
    """Explain a violation that only names the call that no order explains."""
    few, again = minimised(calls, model, violation, check, until)
    if not again.from_search:
        return Explanation(again, few)
    named = few if len(few) <= NAMED_MAX else _last_calls(few, again.calls[0])
    others = tuple(call for call in few if call not in named)
    rest = "no order explains these calls" + (f" and {count(len(others), 'other')}" if others else "")
    rest += f", and {model.setting}" if model.setting else ""
    return Explanation(Contradiction(tuple(named), f"{actions_of(len(named))}: {rest}", others, from_search=True), few)


def _writers(few: Sequence[ObjectCall], calls: Sequence[ObjectCall], model: Model) -> list[ObjectCall]:
    """Return, for each state that some calls require, the last call before them that made it."""
    last: dict[tuple[ObjectCall, Hashable], ObjectCall] = {}
    wanted = {call: model.required_state(call) for call in few}
    for call in sorted(calls, key=lambda call: call.began):
        made = model.resulting_state(call)
        for one, state in wanted.items():
            if made == state and made is not NO_SINGLE_STATE and one.ended is not None and call.began < one.ended:
                last[one, state] = call
    return list(last.values())


class _Minimised(NamedTuple):
    """Some of the calls, and why they have no order."""

    calls: list[ObjectCall]
    contradiction: Contradiction


class _Trials:
    """Checks parts of a history, until its budget is used up."""

    def __init__(self, check: ObjectChecker, until: float | None) -> None:
        self._check, self._until = check, until
        self._calls, self._too_hard = 0, 0

    @property
    def are_over(self) -> bool:
        if self._until is not None and time.monotonic() > self._until:
            return True
        return self._calls >= _CALLS_MAX or self._too_hard >= _TOO_HARD_MAX

    def why_wrong(self, calls: Sequence[ObjectCall]) -> Contradiction | None:
        """Return why calls have no order. None if they have one, or if that is too hard to say."""
        self._calls += len(calls)
        try:
            return self._check(calls)
        except TooHard:
            self._too_hard += 1
            return None


def minimised(
    calls: Sequence[ObjectCall],
    model: Model,
    violation: Contradiction,
    check: ObjectChecker,
    until: float | None = None,
) -> _Minimised:
    """Return a subset of calls that has no order.

    Args:
        calls: all calls on the object.
        model: the sequential model of the object.
        violation: why they have no order: its first call is the one whose return no order explains, given what the
            supporting calls show.
        check: the checker.
        until: when to stop, by `time.monotonic`; None for never.
    """
    ended = max(call.ended or 0 for call in (violation.calls[0], *violation.supporting))
    left = _in_order([call for call in calls if call.began <= ended])
    trials = _Trials(check, until)
    size = _FIRST_WINDOW
    while size < len(left) and not trials.are_over:
        some = what_is_left(left, set(left[-size:]), model)
        if (why := trials.why_wrong(some)) is not None:
            left, violation = some, why
            break
        size *= 4
    chunk = max(len(left) // 2, 1)
    while chunk and not trials.are_over:
        start = 0
        while start < len(left) and not trials.are_over:
            some = what_is_left(left, set(left[:start]) | set(left[start + chunk :]), model)
            if len(some) < len(left) and (why := trials.why_wrong(some)) is not None:
                left, violation = some, why
            else:
                start += chunk
        chunk //= 2
    return _Minimised(left, violation)


def what_is_left(calls: Sequence[ObjectCall], kept: set[ObjectCall], model: Model) -> list[ObjectCall]:
    """Return the calls that are left of `kept` when each value goes together with all calls that touch it (rule 1)."""
    touched = {call: _touched_values(call, model) for call in calls}
    if model.counts_changes:
        return _up_to_latest(calls, kept, model, touched)
    gone: set[Hashable] = set()
    changed = True
    while changed:
        changed = False
        for call in calls:
            made, observed = touched[call]
            makes_gone_value = made is not NO_SINGLE_STATE and made in gone
            if call in kept and (makes_gone_value or any(value in gone for value in observed)):
                kept.discard(call)
                changed = True
            if call not in kept and not model.is_read(call) and made not in gone:
                gone.add(made)
                changed = True
    if gone:
        kept = {call for call in kept if not (model.is_read(call) and not touched[call].observed)}
    if NO_SINGLE_STATE in gone:  # a call with an unknown effect went, so only calls that change nothing can go
        kept = {call for call in calls if not model.is_read(call)} | kept
    return [call for call in calls if call in kept]


def _up_to_latest(
    calls: Sequence[ObjectCall], kept: set[ObjectCall], model: Model, touched: "dict[ObjectCall, _TouchedValues]"
) -> list[ObjectCall]:
    """Return the calls that are left of `kept`, with every change that may be among the first ones, up to the latest seen in it.

    If all calls have an order, so have these. Take its part up to the latest number: each kept read stands in it. A change of
    unknown number that stands behind may follow that part, since its answer says nothing; a `cas` may not, so then all stay.
    """
    numbers = {
        call: max((state[0] for state in (made, *observed) if isinstance(state, tuple)), default=None)
        for call, (made, observed) in touched.items()
    }
    latest = max((number for call in kept if (number := numbers[call]) is not None), default=0)
    if any(call.answer == DONE and call.f == "cas" for call in calls):
        latest = max((number for number in numbers.values() if number is not None), default=0)
    gone = {call for call in calls if (number := numbers[call]) is not None and number > latest}
    is_cut = not all(model.is_read(call) for call in gone)
    return [
        call
        for call in calls
        if call not in gone and (not model.is_read(call) or (call in kept and not (is_cut and numbers[call] is None)))
    ]


class _TouchedValues(NamedTuple):
    """The value that a call writes (`NO_SINGLE_STATE` if it is not known or there is none), and those that it observed."""

    made: Hashable
    observed: tuple[Hashable, ...]


def _touched_values(call: ObjectCall, model: Model) -> _TouchedValues:
    if isinstance(model, LockModel):
        return _TouchedValues(NO_SINGLE_STATE if model.is_read(call) else call.argument, ())
    required = model.required_state(call)
    return _TouchedValues(model.resulting_state(call), () if required is NO_SINGLE_STATE else (required,))


def _last_calls(few: Sequence[ObjectCall], stuck: ObjectCall) -> list[ObjectCall]:
    """Return the call that no order explains, after those that ended last before it."""
    others = sorted(
        (call for call in few if call is not stuck), key=lambda call: (call.ended is not None, call.ended or 0)
    )
    return [*others[-(NAMED_MAX - 1) :], stuck]


def _is_wrong(calls: Sequence[ObjectCall], check: ObjectChecker) -> bool:
    try:
        return check(calls) is not None
    except TooHard:
        return False


def _in_order(calls: Sequence[ObjectCall]) -> list[ObjectCall]:
    return sorted(dict.fromkeys(calls), key=lambda call: call.began)
