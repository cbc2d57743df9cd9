"""Few calls that have no order, whichever of the other calls took effect.

Theory of operation
-------------------
Only some calls are *required*: each of these takes effect. Of every other call it is left open whether it has. An order of the
whole history is also an order under this weaker demand. So if the required calls have no order even so, the whole history has
none, and a reader needs to look at no other call than these, and at what the others can have written meanwhile.

The required calls are judged as a window (`suspect_windows.py`), from the begin of the first to the end of the last. They become
fewer as in delta debugging: each half, quarter and so on of them is left open if the rest still has no order.
"""

import time
from collections.abc import Collection, Sequence
from typing import Final

from harness.checkers.certificate import NAMED_MAX, Contradiction, actions_of
from harness.checkers.jit_linearizability import judge_window
from harness.checkers.sequential_model import Model, ObjectCall
from harness.checkers.suspect_windows import make_window, possible_states
from node.wording import count

#: How many configurations may be visited, over all trials.
_VISITED_MAX: Final = 400_000


def few_required_calls(
    calls: Sequence[ObjectCall], suspects: Collection[ObjectCall], model: Model, until: float | None = None
) -> list[ObjectCall] | None:
    """Return some of the suspects that have no order by themselves, in the order of their ends.

    Args:
        calls: all calls on the object.
        suspects: those that may be required; of unknown outcome they are never.
        model: the sequential model of the object.
        until: when to do with what there is, by `time.monotonic`; None for never.

    Returns:
        None if the suspects have an order, or if that is too hard to say.
    """
    trials = _Trials(calls, model, until)
    found: list[ObjectCall] | None = None
    for latest_first in (False, True):
        left = sorted((call for call in suspects if call.ended is not None), key=_end, reverse=latest_first)
        if left and (found is None or len(found) > NAMED_MAX) and trials.have_no_order(left):
            fewer = _dropped(left, trials)
            found = fewer if found is None else min(found, fewer, key=len)
    return found and sorted(found, key=_end)


def _dropped(left: list[ObjectCall], trials: "_Trials") -> list[ObjectCall]:
    """Return as few of the calls as have no order: without any one of them, the rest has one, or the trials are over."""
    chunk = max(len(left) // 2, 1)
    while chunk:
        start, dropped = 0, False
        while start < len(left) and not trials.are_over:
            some = left[:start] + left[start + chunk :]
            if some and trials.have_no_order(some):
                left, dropped = some, True
            else:
                start += chunk
        chunk = chunk if dropped and chunk == 1 else chunk // 2
    return left


def contradiction_of(required: Sequence[ObjectCall]) -> Contradiction:
    """Describe that these calls have no order, whichever of the others took effect."""
    named, others = required[-NAMED_MAX:], required[:-NAMED_MAX]
    rest = "no order explains these calls" + (f" and {count(len(others), 'other')}" if others else "")
    rest += ", whichever further calls took effect"
    return Contradiction(tuple(named), f"{actions_of(len(named))}: {rest}", tuple(others), is_window=True)


class _Trials:
    """Judges choices of required calls, until too much was tried."""

    def __init__(self, calls: Sequence[ObjectCall], model: Model, until: float | None) -> None:
        self._calls, self._model, self._until = calls, model, until
        self._states = possible_states(calls, model)
        self._visited = 0

    @property
    def are_over(self) -> bool:
        return self._visited > _VISITED_MAX or (self._until is not None and time.monotonic() > self._until)

    def have_no_order(self, required: Sequence[ObjectCall]) -> bool:
        begin = -1 if self._states is None else min(call.began for call in required)
        end = max(_end(call) for call in required)
        window = make_window(self._calls, self._model, self._states or [], begin, end, set(required))
        found, visited = judge_window(window, self._model, self._until)
        self._visited += visited
        return found is not None


def _end(call: ObjectCall) -> int:
    assert call.ended is not None
    return call.ended
