"""Queues: each element leaves once, none is lost, and they leave in the order in which they came.

Source: Henzinger, Sezgin and Vafeiadis, *Aspect-Oriented Linearizability Proofs* (CONCUR 2013): if each element is put into
the queue once, and every dequeue was answered, the calls have an order exactly if there are none of these four flaws.

1. *Unexpected*: an element leaves that no client had begun to put in.
2. *Duplicate*: an element leaves more often than it was put in.
3. *Order*: a was put in before b, and b had left before a began to, or a never left.
4. *Empty*: a dequeue found the queue empty, though at each moment of it some element was certainly inside: put in and not yet
   being taken out. If the element never leaves, it is *lost*.

A dequeue of unknown outcome may have taken any element that never left. So while there is one, an element that never left shows
nothing. Elements that were put in more than once are only counted (flaws 1 and 2).
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from harness.checkers.client_calls import CallContext, CallJudge, ClientCall, wrong_answer
from harness.checkers.sequential_model import NOT_FOUND, definite_answer, text_of
from harness.checkers.verdict import Found, Verdict, invalid, unknown, valid
from node.wording import count

_NEVER: Final = float("inf")
#: The errors of a dequeue that failed since the queue was empty.
_EMPTY: Final = ("empty", ":empty", "exhausted", ":exhausted", ["empty"], [":empty"])


class _Stay(NamedTuple):
    """An element that is certainly inside the queue from one moment to another."""

    text: str | None
    came: ClientCall
    left: ClientCall | None

    @property
    def begins(self) -> float:
        return _NEVER if self.came.ended is None else self.came.ended

    @property
    def ends(self) -> float:
        return _NEVER if self.left is None else self.left.began


class _Collected:
    """The elements by text, with the calls that put them in and took them out."""

    def __init__(self, calls: Sequence[ClientCall], context: CallContext) -> None:
        self.came: dict[str | None, list[ClientCall]] = {}
        self.left: dict[str | None, list[ClientCall]] = {}
        self.empties: list[ClientCall] = []
        self.flaws: list[str] = []
        self.has_doubt = False
        self.answered = 0
        for call in calls:
            if call.f == "enqueue":
                if call.outcome != "fail":
                    self.came.setdefault(text_of(call.value), []).append(call)
            elif call.outcome == "info":
                self.has_doubt = True
            else:
                for value in self._taken(call, context):
                    self.left.setdefault(text_of(value), []).append(call)

    def _taken(self, call: ClientCall, context: CallContext) -> Sequence[Any]:
        """Return the elements that an answered call took out, and note that it found the queue empty."""
        if call.outcome == "fail" and definite_answer(call.error) != NOT_FOUND and call.error not in _EMPTY:
            return ()
        self.answered += call.is_ok
        if call.f == "drain":
            if call.is_ok and not isinstance(call.answer, list | tuple):
                self.flaws.append(wrong_answer(call, context, "the list of what was left"))
                return ()
            self.empties.append(call)
            return call.answer if call.is_ok else ()
        if call.outcome == "fail" or call.answer is None:
            self.empties.append(call)
            return ()
        return (call.answer,)

    def stays(self) -> list[_Stay]:
        """Return the stays of the elements that were put in once, and of which it is known when or whether they left."""
        found = []
        for text, came in self.came.items():
            left = self.left.get(text, [])
            if len(came) == 1 and len(left) <= 1 and (left or (not self.has_doubt and came[0].is_ok)):
                found.append(_Stay(text, came[0], left[0] if left else None))
        return found


def judge_queue(calls: Sequence[ClientCall], context: CallContext) -> Verdict:
    """Return whether elements leave once each and in the order in which they came, and none is lost."""
    return _judge(calls, context, ordered=True)


def judge_unordered_queue(calls: Sequence[ClientCall], context: CallContext) -> Verdict:
    """Return whether elements leave once each, in any order, and none is lost."""
    return _judge(calls, context, ordered=False)


def _judge(calls: Sequence[ClientCall], context: CallContext, *, ordered: bool) -> Verdict:
    seen = _Collected(calls, context)
    with Found() as found:
        found.extend(seen.flaws)
        found.extend(_wrong_elements(seen, context))
        stays = seen.stays()
        found.extend(_found_empty(seen, stays, context))
        if ordered:
            found.extend(_out_of_order(stays, context))
    if found:
        return invalid(*found)
    if not seen.answered:
        return unknown(f"none of {count(len(calls), 'call')} was a dequeue that was answered")
    return valid(f"{count(len(seen.left), 'element')} left, of {len(seen.came):,} that came")


def _wrong_elements(seen: _Collected, context: CallContext) -> Iterator[str]:
    for text, left in seen.left.items():
        came = seen.came.get(text, [])
        if not came:
            yield f"unexpected: {context.by(left[0])} received {text}, which no client had put into the queue"
        elif all(call.began > (left[0].ended or 0) for call in came):
            yield (
                f"unexpected: {context.by(left[0])} received {text}, which was put in only from {context.at(came[0].began)} on, "
                f"by {came[0].who}"
            )
        elif len(left) > len(came):
            receivers = " and ".join(context.by(call) for call in left[:3])
            yield f"duplicate: {receivers} received {text}, which was put in {'once' if len(came) == 1 else f'{len(came)} times'}"


def _found_empty(seen: _Collected, stays: Sequence[_Stay], context: CallContext) -> Iterator[str]:
    """Yield a sentence for each call that found the queue empty while some element was inside at every moment."""
    inside = sorted((stay for stay in stays if stay.begins < stay.ends), key=lambda stay: stay.begins)
    for call in seen.empties:
        until, witness = float(call.began), None
        for stay in inside:
            if stay.begins > until:
                break
            if stay.ends > until and stay.left is not call:
                until, witness = stay.ends, stay
                if call.ended is not None and until > call.ended:
                    break
        if witness is not None and call.ended is not None and until > call.ended:
            put = f"{witness.came.who} had put in {witness.text} by {context.at(witness.came.ended)}"
            if witness.left is None:
                yield f"lost: {put}, it never left, and {context.by(call)} found the queue empty"
            else:
                yield f"empty: {context.by(call)} found the queue empty, but {put}, and it left only later, to {witness.left.who}"


def _out_of_order(stays: Sequence[_Stay], context: CallContext) -> Iterator[str]:
    """Yield a sentence for the first element that left before one which was put in before it."""
    by_begin = sorted(stays, key=lambda stay: stay.came.began)
    by_end = sorted(stays, key=lambda stay: stay.begins)
    place, latest = 0, None
    for stay in by_begin:
        while place < len(by_end) and by_end[place].begins < stay.came.began:
            if latest is None or by_end[place].ends > latest.ends:
                latest = by_end[place]
            place += 1
        if latest is None or stay.left is None or stay.left.ended is None or stay.left.ended >= latest.ends:
            continue
        first = f"{latest.came.who} had put in {latest.text} by {context.at(latest.came.ended)}"
        second = f"{stay.came.who} began to put in {stay.text} at {context.at(stay.came.began)}"
        then = "never left" if latest.left is None else f"left only later, to {context.by(latest.left)}"
        yield f"order: {first}, before {second}, but {stay.text} left first, to {context.by(stay.left)}; {latest.text} {then}"
        return


_ALIASES: Final = {"put": "enqueue", "push": "enqueue", "send": "enqueue", "pop": "dequeue", "take": "dequeue"}
QUEUE: Final = CallJudge(("enqueue", "dequeue", "drain"), judge_queue, _ALIASES)
UNORDERED_QUEUE: Final = CallJudge(("enqueue", "dequeue", "drain"), judge_unordered_queue, _ALIASES)
