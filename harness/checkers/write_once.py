"""Variables that are set once: whether the answers have an order, in one pass over the calls.

The proof for `ConsensusModel`
------------------------------
If no client received a value, all queries returned undecided. They come first, in any order, and every proposal is pending
and never takes effect.

Otherwise all answers must be one value v, and a proposal of v is the first to take effect, at a time t: after this proposal
began, after every query that returned undecided began, and before any call that returned v ended. Such a t exists exactly
if the latest of these beginnings is before the earliest of these ends. The rest then fits: each query that returned
undecided takes effect at its beginning, each call that returned v at its end, and other pending proposals never. If any
proposal of v serves, the one that began first does.
"""

from collections.abc import Sequence
from typing import Final

from harness.checkers.certificate import Contradiction
from harness.checkers.sequential_model import ObjectCall

_NEVER: Final = float("inf")


def check_write_once(calls: Sequence[ObjectCall]) -> Contradiction | None:
    """Return one to three calls on a variable that contradict each other; None if the calls have an order."""
    with_value = [call for call in calls if call.answer is not None]
    undecided = [call for call in calls if call.answer is None and not call.is_pending]
    for call in undecided:
        if call.f == "propose":
            return Contradiction((call,), "{0:process} proposed {0:argument} and received undecided at {0:ended}")
    if not with_value:
        return None
    first = min(with_value, key=_end)
    for call in with_value:
        if call.answer != first.answer:
            template = (
                "{0:process} received {0:value} at {0:ended} and {1:process} received {1:value} at {1:ended}: "
                "two values were decided"
            )
            return Contradiction((first, call), template, _first_proposals(calls, first, call))
    winners = _first_proposals(calls, first)
    if not winners:
        return Contradiction((first,), "{0:process} received {0:value} at {0:ended}, which no client had proposed")
    (winner,) = winners
    if winner.began > _end(first):
        template = "{0:process} received {0:value} at {0:ended}, but the first proposal of it began at {1:began}, by {1:process}"
        return Contradiction((first, winner), template)
    latest = max(undecided, key=lambda call: call.began, default=None)
    if latest is not None and latest.began > _end(first):
        template = (
            "{0:process} received {0:value} at {0:ended}, but {1:process} queried after that, at {1:began}, "
            "and received undecided"
        )
        return Contradiction((first, latest), template, winners)
    return None


def _first_proposals(calls: Sequence[ObjectCall], *answered: ObjectCall) -> tuple[ObjectCall, ...]:
    """Return the proposal that began first of each value in the answers."""
    found = []
    for answer in dict.fromkeys(call.answer for call in answered):
        proposals = [call for call in calls if call.f == "propose" and call.argument == answer]
        found += [min(proposals, key=lambda call: call.began)] if proposals else []
    return tuple(found)


def _end(call: ObjectCall) -> float:
    return _NEVER if call.ended is None else call.ended
