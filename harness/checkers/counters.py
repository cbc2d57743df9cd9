"""Counters that clients raise and lower: whether the values that were read can be sums of the changes.

Theory of operation
-------------------
A read of a linearizable counter returns the sum of all changes that had ended before it began, and of some of those that
were open meanwhile or whose outcome is unknown. So its value lies between two bounds: the former, with all negative or with
all positive changes of the latter. A value outside of the bounds is a violation. A value between them need not be a sum
that some order gives, and no search looks for one: that question is the subset sum problem.

A counter that agrees in the end may return old values meanwhile. Its values never go beyond what all changes that had begun
amount to, and each reader's last value is the sum of the acknowledged changes and of some whose outcome is unknown: these
sums are computed.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final

from harness.checkers.client_calls import CallContext, CallJudge, ClientCall, wrong_answer
from harness.checkers.final_reads import final_reads
from harness.checkers.verdict import Found, Verdict, invalid, unknown, valid
from node.wording import count

READ: Final = "read"
#: Sums are computed one by one if they lie within so large a range; otherwise only their bounds count.
_RANGE_MAX: Final = 1_000_000


def judge_counter(calls: Sequence[ClientCall], context: CallContext) -> Verdict:
    """Return whether each value lies between the bounds of a linearizable counter."""
    return _judge(calls, context, is_eventual=False)


def judge_eventual_counter(calls: Sequence[ClientCall], context: CallContext) -> Verdict:
    """Return whether each reader's last value is a sum of the changes, and no earlier value is beyond them."""
    return _judge(calls, context, is_eventual=True)


class _Sums:
    """Sums of changes before a place, in the order of their places."""

    def __init__(self, changes: list[tuple[int, int]]) -> None:
        changes.sort()
        self._places = [place for place, _ in changes]
        self._sums = [0, *accumulate(change for _, change in changes)]

    def before(self, place: int) -> int:
        return self._sums[bisect_left(self._places, place)]


def _judge(calls: Sequence[ClientCall], context: CallContext, *, is_eventual: bool) -> Verdict:
    changes = [(call, _change(call)) for call in calls if call.f != READ and call.outcome != "fail"]
    reads = [call for call in calls if call.f == READ and call.is_ok]
    begun = {sign: _Sums([(call.began, change) for call, change in changes if change * sign > 0]) for sign in (1, -1)}
    done = {
        sign: _Sums([(call.ended, change) for call, change in changes if change * sign > 0 and call.ended is not None])
        for sign in (1, -1)
    }
    finals = final_reads(calls, READ, context) if is_eventual else None
    with Found() as found:
        for call in reads:
            value = call.answer
            if type(value) is not int:
                found.append(wrong_answer(call, context, "a whole number"))
                continue
            ended = call.began if call.ended is None else call.ended
            low = begun[-1].before(ended) + (0 if is_eventual else done[1].before(call.began))
            high = begun[1].before(ended) + (0 if is_eventual else done[-1].before(call.began))
            if not low <= value <= high:
                found.append(
                    f"{context.by(call)} read {value}, and by the changes the value was between {low} and {high}"
                )
        if finals is not None and not found:
            found.extend(_wrong_in_the_end(changes, finals.reads, context))
    if found:
        return invalid(*found)
    if finals is not None and finals.too_little is not None:
        return unknown(finals.too_little)
    if not reads:
        return unknown(f"none of {count(len(calls), 'call')} was a read that was answered")
    return valid(f"{count(len(reads), 'read')} of sums of {count(len(changes), 'change')}")


def _wrong_in_the_end(
    changes: Sequence[tuple[ClientCall, int]], finals: Sequence[ClientCall], context: CallContext
) -> list[str]:
    certain = sum(change for call, change in changes if call.ended is not None)
    doubtful = [change for call, change in changes if call.ended is None and change]
    low = sum(change for change in doubtful if change < 0)
    high = sum(change for change in doubtful if change > 0)
    sums = 1  # bit n: the sum low + n is possible
    if high - low <= _RANGE_MAX:
        for change in doubtful:
            sums |= sums << abs(change)  # from the lowest sum on, each change in doubt may add its size or not
    found = []
    for call in finals:
        above = call.answer - certain - low
        if above < 0 or above > high - low or (high - low <= _RANGE_MAX and not sums >> above & 1):
            doubt = f", and {count(len(doubtful), 'change')} of unknown outcome" if doubtful else ""
            found.append(
                f"the last read of {call.reader}, by {context.by(call)}, returned {call.answer}, and the acknowledged changes "
                f"add up to {certain}{doubt}"
            )
    return found


def _change(call: ClientCall) -> int:
    return 1 if call.value is None else call.value if type(call.value) is int else 0


def _asks_for(f: str, value: Any) -> str:
    return "a whole number, or null for 1" if f == "add" and value is not None and type(value) is not int else ""


_ALIASES: Final = {"inc": "add", "increment": "add", "r": READ}
COUNTER: Final = CallJudge(("add", READ), judge_counter, _ALIASES, asks_for=_asks_for)
EVENTUAL_COUNTER: Final = CallJudge(("add", READ), judge_eventual_counter, _ALIASES, asks_for=_asks_for)
