"""A variable that is set once: whether what was told has an order, in one pass.

The proof for `Consensus`. If nobody was told a value, all queries were told undecided: they come first, in any order, and
every proposal is pending and never happens. Otherwise all answers are one value v, and some proposal of v is the first to
take effect, at a time t: after it began, after every query that was told undecided began, and before any call that was told
v ended. Such a t exists exactly if the latest of those beginnings is before the earliest of those ends. Then all else fits:
what was told undecided goes to its own beginning, what was told v to its own end, and other pending proposals never happen.
The proposal of v that began first serves if any does.
"""

from collections.abc import Sequence
from typing import Final

from harness.checkers.certificate import Contradiction
from harness.checkers.models import ObjectCall

_NEVER: Final = float("inf")


def consensus(calls: Sequence[ObjectCall]) -> Contradiction | None:
    """Two to three calls on a variable that contradict each other; None if there are none."""
    told_value = [call for call in calls if call.answer is not None]
    undecided = [call for call in calls if call.answer is None and not call.is_pending]
    for call in undecided:
        if call.f == "propose":
            return Contradiction((call,), "{0:who} proposed {0:asked}, and was answered undecided at {0:ended}")
    if not told_value:
        return None
    first = min(told_value, key=_end)
    for call in told_value:
        if call.answer != first.answer:
            why = "{0:who} was told {0:value} at {0:ended}, and {1:who} {1:value} at {1:ended}: two values were decided"
            return Contradiction((first, call), why, _first_proposals(calls, first, call))
    winners = _first_proposals(calls, first)
    if not winners:
        return Contradiction((first,), "{0:who} was told {0:value} at {0:ended}, which nobody had proposed")
    (winner,) = winners
    if winner.began > _end(first):
        why = "{0:who} was told {0:value} at {0:ended}, and it was first proposed at {1:began}, by {1:who}"
        return Contradiction((first, winner), why)
    late = max(undecided, key=lambda call: call.began, default=None)
    if late is not None and late.began > _end(first):
        why = "{0:who} was told {0:value} at {0:ended}, and {1:who} asked at {1:began} and was told undecided"
        return Contradiction((first, late), why, winners)
    return None


def _first_proposals(calls: Sequence[ObjectCall], *told: ObjectCall) -> tuple[ObjectCall, ...]:
    """The first proposal of each of the values."""
    found = []
    for answer in dict.fromkeys(call.answer for call in told):
        winners = [call for call in calls if call.f == "propose" and call.argument == answer]
        found += [min(winners, key=lambda call: call.began)] if winners else []
    return tuple(found)


def _end(call: ObjectCall) -> float:
    return _NEVER if call.ended is None else call.ended
