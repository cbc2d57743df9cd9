"""A small history out of one that has no order, which has none either.

Rules
-----
1. Only what cannot have made the history wrong is taken away: if what is left has no order, neither had the whole.
   A call that changes nothing can always go. A value can go with every call that wrote it, read it, or compared it: between
   what is left, nobody saw it. So can all calls of one process on a lock, if nobody was told "held". Whoever was told
   "mismatch" saw that other values were there, so those calls go first.
2. What is left is judged again, each time. So a minimised history is invalid by construction.
3. First the last calls before the one that nothing explained are tried alone, ever more of them; then what can go is
   dropped in halves, quarters, and so on (delta debugging: Zeller and Hildebrandt, 2002).
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Final

from harness.checkers.certificate import Contradiction
from harness.checkers.jit_linearizability import TooHard
from harness.checkers.models import VOID, LockModel, Model, ObjectCall

ObjectChecker = Callable[[Sequence[ObjectCall]], Contradiction | None]

_FIRST_WINDOW: Final = 32
_CERTIFICATE_MAX: Final = 4
#: How many calls may be judged again, all trials taken together.
_CALLS_MAX: Final = 200_000


def explain(
    calls: Sequence[ObjectCall], model: Model, violation: Contradiction, judge: ObjectChecker
) -> tuple[Contradiction, list[ObjectCall]]:
    """The violation with two to four calls where there are as many, and a small history that is invalid by itself."""
    if not violation.searched:
        few = _in_order([*violation.calls, *violation.support])
        return violation, few if _is_wrong(few, judge) else list(calls)
    few = minimised(calls, model, violation.calls[0], judge)
    again = judge(few)
    assert again is not None
    if not again.searched:
        return again, few
    named = few if len(few) <= _CERTIFICATE_MAX else _last(few, again.calls[0])
    who = ", ".join(
        f"{{{place}:who}} {{{place}:did}} from {{{place}:began}} to {{{place}:ended}}" for place in range(len(named))
    )
    rest = (
        "no order explains these"
        if len(named) == len(few)
        else f"no order explains these and {len(few) - len(named)} others"
    )
    return Contradiction(tuple(named), f"{who}: {rest}", searched=True), few


def minimised(calls: Sequence[ObjectCall], model: Model, stuck: ObjectCall, judge: ObjectChecker) -> list[ObjectCall]:
    """Fewer calls that have no order, given the one whose return no order explains."""
    assert stuck.ended is not None
    ended = stuck.ended
    left = _in_order([call for call in calls if call.began <= ended])
    budget = _CALLS_MAX
    size = _FIRST_WINDOW
    while size < len(left) and budget > 0:
        some = _closed(left, set(left[-size:]), model)
        budget -= len(some)
        if _is_wrong(some, judge):
            left = some
            break
        size *= 4
    chunk = max(len(left) // 2, 1)
    while chunk and budget > 0:
        start = 0
        while start < len(left) and budget > 0:
            some = _closed(left, set(left[:start]) | set(left[start + chunk :]), model)
            budget -= len(some)
            if len(some) < len(left) and _is_wrong(some, judge):
                left = some
            else:
                start += chunk
        chunk //= 2
    return left


def _closed(calls: Sequence[ObjectCall], kept: set[ObjectCall], model: Model) -> list[ObjectCall]:
    """What is left of `kept` when a value goes with all who touch it (rule 1)."""
    touches = {call: _touches(call, model) for call in calls}
    gone: set[Hashable] = set()
    changed = True
    while changed:
        changed = False
        for call in calls:
            made, needed = touches[call]
            if call in kept and ((made is not VOID and made in gone) or any(value in gone for value in needed)):
                kept.discard(call)
                changed = True
            if call not in kept and not model.is_read(call) and made not in gone:
                gone.add(made)
                changed = True
    if gone:
        kept = {call for call in kept if not (model.is_read(call) and not touches[call][1])}
    if VOID in gone:  # somebody changed nobody knows what: only calls that change nothing can go
        kept = {call for call in calls if not model.is_read(call)} | kept
    return [call for call in calls if call in kept]


def _touches(call: ObjectCall, model: Model) -> tuple[Hashable, tuple[Hashable, ...]]:
    """The value that a call writes, and those that it saw."""
    if isinstance(model, LockModel):
        return (call.argument, ()) if not model.is_read(call) else (VOID, ())
    needed = model.needs(call)
    return model.makes(call), () if needed is VOID else (needed,)


def _last(few: Sequence[ObjectCall], stuck: ObjectCall) -> list[ObjectCall]:
    """The call that nothing explains, and those that ended last before it."""
    others = sorted(
        (call for call in few if call is not stuck), key=lambda call: (call.ended is not None, call.ended or 0)
    )
    return [*others[-(_CERTIFICATE_MAX - 1) :], stuck]


def _is_wrong(calls: Sequence[ObjectCall], judge: ObjectChecker) -> bool:
    try:
        return judge(calls) is not None
    except TooHard:
        return False


def _in_order(calls: Sequence[ObjectCall]) -> list[ObjectCall]:
    return sorted(dict.fromkeys(calls), key=lambda call: call.began)
