"""Linearizability for any model: a just-in-time search for an order, with rules that keep its configurations few.

Sources: Wing and Gong, *Testing and Verifying Concurrent Objects* (1993); Lowe, *Testing for Linearizability* (2017).

Theory of operation
-------------------
The search goes through the returns in the order of time and keeps every *configuration* that the calls so far allow. A
configuration is the object's state; `linearized`, the open calls that have taken effect; `optional` (rule 3; also calls that
need not take effect); and `pending_linearized`, the calls of unknown outcome that have taken effect. When a call returns that
is not linearized in a configuration, it must be linearized now: the search tries every sequence of open calls that ends with
this call. It need not try anything earlier, since a call that took effect earlier, and whose effect no other call observed, can
as well take effect later. If no configuration is left, no order exists.

The rules keep configurations few. Each states why no order is lost:

1. *A call that changes nothing is linearized at once* when its answer fits the state. Any order from here on remains an order
   if this call is moved to its front.
2. *Pending calls with the same function and argument form a group*, and are linearized in the order in which they began. Any
   order remains an order if two calls of a group change places so that the one that began earlier is first. A pending call
   whose effect no call requires is not tried.
3. *A blind write may be overwritten unseen.* Neither its effect nor its answer depends on the state, so it may take effect
   immediately before another blind write. So when a blind write is linearized, each other open blind write that is not
   linearized becomes *optional*: it may count as linearized from now on, or still be linearized later. At its return the
   search follows both branches.
4. *After a blind write that no call has observed, no other blind write is linearized*: by rule 3 the first is optional there.
5. *Before the call that returns, a write is tried only if it is useful*: an open call requires the state that the write makes,
   directly or through pending calls in between (`required_state`, `resulting_state`), or the required state of an open call
   is not known.
6. *Dominance.* Of two configurations with the same state, the search drops one and keeps the other if the kept one can do all
   that the dropped one can. That is so if the kept one has linearized a subset of the pending calls; each call that is
   linearized in the dropped one is linearized or optional in the kept one; each call that is optional in the dropped one is
   optional in the kept one; and every other call that the kept one has linearized changes nothing. So the search keeps only
   an antichain, instead of all subsets.

Several searches race. They take turns, and the first that knows decides.

1. `depth_first.py` puts call after call into an order. It finds one quickly if there are many.
2. `suspect_windows.py` looks for a short part of the history that has no order by itself.
3. Breadth first, the search above keeps the frontier at one return. It is good for histories that have no order.
4. When the frontier grows wide, a depth-first search starts from there over the same configurations.

A turn ends in the middle of a return, too, since one return can have more configurations than fit into any time. That return is
searched again in the next turn, which is longer. Beyond a number of configurations, or after a moment, all of them give up.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

from harness.checkers.certificate import Contradiction, actions_of
from harness.checkers.depth_first import attempts
from harness.checkers.return_events import ReturnEvent, ReturnEvents
from harness.checkers.sequential_model import Model, ModelState, ObjectCall
from harness.checkers.suspect_windows import Window, windows
from node.wording import count

CONFIGURATIONS_MAX: Final = 500_000
#: The race begins when the frontier has more configurations than this.
RACE_WIDTH: Final = 32
#: How many configurations one of the two searches visits before the other takes its turn.
_CONFIGURATIONS_PER_TURN: Final = 64
#: How many steps the first turn of each racer has. Each round has turns twice as long.
_FIRST_TURN: Final = 512
_TURN_MAX: Final = 16_384
#: How many configurations the search of one window may visit.
_WINDOW_MAX: Final = 4_096
#: What each of the two searches yields after each configuration. A search ends with a contradiction, or with None if it has
#: found an order.
_Progress = Literal["searching"] | Contradiction | None


class TooHard(Exception):
    """The search gave up, because there are too many configurations."""


class SearchConfiguration(NamedTuple):
    """One way in which the calls so far may have taken effect (see the theory above)."""

    state: ModelState
    linearized: int = 0
    """Open calls that have taken effect, as bits of `ReturnEvent`."""
    optional: int = 0
    """Open blind writes that may count as linearized (rule 3), as bits of `ReturnEvent`."""
    pending_linearized: int = 0
    """Calls of unknown outcome that have taken effect, each a bit of its own."""


class _Antichain:
    """Configurations of which none dominates another (rule 6)."""

    def __init__(self) -> None:
        self._by_state: dict[ModelState, list[SearchConfiguration]] = {}
        self.count = 0

    def add(self, new: SearchConfiguration, reads: int) -> bool:
        """Add a configuration and drop those that it dominates. Return False, and add nothing, if it is dominated itself.

        Args:
            new: the configuration.
            reads: the open calls that change nothing, as bits of `ReturnEvent`.
        """
        others = self._by_state.get(new.state)
        if others is None:
            self._by_state[new.state] = [new]
        else:
            if any(_dominates(other, new, reads) for other in others):
                return False
            kept = [other for other in others if not _dominates(new, other, reads)]
            self.count -= len(others) - len(kept)
            kept.append(new)
            self._by_state[new.state] = kept
        self.count += 1
        return True

    def __iter__(self) -> Iterator[SearchConfiguration]:
        for configurations in self._by_state.values():
            yield from configurations


def _dominates(one: SearchConfiguration, other: SearchConfiguration, reads: int) -> bool:
    return not (
        one.pending_linearized & ~other.pending_linearized
        or other.linearized & ~(one.linearized | one.optional)
        or other.optional & ~one.optional
        or one.linearized & ~other.linearized & ~reads
    )


class _TurnOver(Exception):
    """The turn of a search is over, in the middle of a return."""


def search(
    calls: Sequence[ObjectCall],
    model: Model,
    configurations_max: int = CONFIGURATIONS_MAX,
    *,
    until: float | None = None,
    quick: bool = True,
) -> Contradiction | None:
    """Search for an order of the calls on one object.

    Args:
        calls: all calls on the object.
        model: the sequential model of the object.
        configurations_max: how many configurations the search may visit.
        until: when the search gives up, by `time.monotonic`; None for never.
        quick: whether the quick searches take part, which only some histories need.

    Returns:
        None if there is an order. Otherwise a contradiction, `from_search`, whose one call no order explains, given all calls
        that returned before it; or, of a window, given what its `supporting` calls may have done.

    Raises:
        TooHard: the search visited more than `configurations_max` configurations, or its time was over.
    """
    full = _Search(calls, model, configurations_max, until)
    attempt = attempts(calls, model) if quick else iter(())
    suspects = windows(calls, model) if quick else iter(())
    progress = full.steps()
    turn = _FIRST_TURN
    while True:
        if until is not None and time.monotonic() > until:
            raise TooHard(f"the search for an order of {len(calls):,} calls did not end in time")
        for _, attempted in zip(range(min(turn, _TURN_MAX)), attempt, strict=False):
            if attempted == "found":
                return None
        spent = 0
        while spent < turn:
            window = next(suspects, None)
            if window is None:
                break
            found, visited = judge_window(window, model, until)
            spent += visited
            if found is not None:
                return found
        full.turn_ends = min(full.visited + turn, configurations_max)
        result = next(progress)
        if result != "searching":
            return result
        turn = min(2 * turn, _TURN_MAX) if turn < _TURN_MAX else full.interrupted


def judge_window(
    window: Window, model: Model, until: float | None, returns: type[ReturnEvents] = ReturnEvents
) -> tuple[Contradiction | None, int]:
    """Return why a window has no order, None if it has one or is too hard; and how many configurations were visited."""
    one = _Search(window.calls, model, _WINDOW_MAX, until)
    one.returns = returns(window.calls, model, window.skippable)
    one.initial = [SearchConfiguration(state) for state in window.initial]
    one.turn_ends = _WINDOW_MAX
    try:
        found = next(one.steps())
    except TooHard:
        return None, one.visited
    if found is None or found == "searching":
        return None, one.visited
    stuck = found.calls[0]
    ended = stuck.ended or 0
    used = [window.original[call] for call in window.calls if call.began < ended]
    named = sorted(
        (call for call in used if call.ended is not None and call.ended < ended), key=lambda call: call.ended or 0
    )
    return window_contradiction([*named[-3:], stuck], used), one.visited


def window_contradiction(named: Sequence[ObjectCall], used: Sequence[ObjectCall]) -> Contradiction:
    """Describe that the named calls have no order with the others of a window, whatever came before."""
    others = tuple(call for call in used if call not in named)
    rest = f"these calls and {count(len(others), 'other')}" if others else "these calls"
    template = f"{actions_of(len(named))}: whatever came before, no order explains {rest}"
    return Contradiction(tuple(named), template, others, is_window=True)


class _Search:
    def __init__(
        self, calls: Sequence[ObjectCall], model: Model, configurations_max: int, until: float | None = None
    ) -> None:
        self.calls, self.model, self.configurations_max, self.until = calls, model, configurations_max, until
        self.returns = ReturnEvents(calls, model)
        self.initial = [SearchConfiguration(model.initial)]
        self.visited = 0
        self.turn_ends = configurations_max
        self.interrupted = _TURN_MAX
        """How long a turn must be: twice as long as the longest that ended within one configuration."""

    def steps(self) -> Iterator[_Progress]:
        """Search breadth first until the frontier is wide, and then race. Yield when a turn is over, and the result."""
        frontier = self.initial
        for number in range(self.returns.count):
            if len(frontier) > RACE_WIDTH:
                yield from self._race(number, frontier)
                return
            event = self.returns.at(number)
            found = _Antichain()
            for configuration in frontier:
                while (following := self._advance(event, configuration)) is None:
                    yield "searching"
                for after in following:
                    found.add(after, event.reads)
            self.returns.forget(number)
            frontier = list(found)
            if not frontier:
                yield self._contradiction(number, event.call)
        yield None

    def _race(self, number: int, frontier: list[SearchConfiguration]) -> Iterator[_Progress]:
        racers = [self._breadth_first(number, frontier), self._depth_first(number, frontier)]
        turn = 0
        while True:
            target = min(self.visited + _CONFIGURATIONS_PER_TURN, self.turn_ends)
            while self.visited < target:
                progress = next(racers[turn])
                if progress != "searching":
                    yield progress
                    return
            turn = 1 - turn
            if self.visited >= self.turn_ends:
                yield "searching"

    def _breadth_first(self, number: int, frontier: list[SearchConfiguration]) -> Iterator[_Progress]:
        for at in range(number, self.returns.count):
            event = self.returns.at(at)
            found = _Antichain()
            for configuration in frontier:
                while (following := self._advance(event, configuration)) is None:
                    yield "searching"
                for after in following:
                    found.add(after, event.reads)
                yield "searching"
            frontier = list(found)
            if not frontier:
                yield self._contradiction(at, event.call)
        yield None

    def _depth_first(self, number: int, frontier: list[SearchConfiguration]) -> Iterator[_Progress]:
        seen: dict[int, _Antichain] = {}
        stack = [(number, configuration) for configuration in frontier]
        deepest = number
        while stack:
            at, configuration = stack.pop()
            if at == self.returns.count:
                yield None
            deepest = max(deepest, at)
            event = self.returns.at(at)
            seen_after = seen.setdefault(at + 1, _Antichain())
            while (found := self._advance(event, configuration)) is None:
                yield "searching"
            # The configuration with the most optional calls has the most freedom. It is last, so it is popped first.
            found.sort(key=lambda after: after.optional.bit_count())
            stack.extend((at + 1, after) for after in found if seen_after.add(after, event.reads))
            yield "searching"
        yield self._contradiction(deepest, self.returns.at(deepest).call)

    def _advance(self, event: ReturnEvent, configuration: SearchConfiguration) -> list[SearchConfiguration] | None:
        """Return every configuration after `event.call` has returned that can follow; None if the turn is over before."""
        before = self.visited
        try:
            return self._following(event, configuration)
        except _TurnOver:
            self.interrupted = max(self.interrupted, 2 * (self.visited - before))
            return None

    def _following(self, event: ReturnEvent, configuration: SearchConfiguration) -> list[SearchConfiguration]:
        state, linearized, optional, pending = configuration
        self._count_visit()
        optional |= event.skippable & ~linearized
        linearized |= event.reads_satisfied_in(state)
        if self.model.accepts_all(state):
            linearized |= event.changes
        bit, call = event.bit, event.call
        if linearized & bit:
            return [SearchConfiguration(state, linearized & ~bit, optional & ~bit, pending)]
        found = []
        if optional & bit:
            found.append(SearchConfiguration(state, linearized, optional & ~bit, pending))
        step = self.model.step
        is_read, is_blind = bool(event.reads & bit), bool(event.blind_writes & bit)
        seen = None
        stack = [(state, linearized, optional, pending, False)]
        while stack:
            state, linearized, optional, pending, is_unobserved = stack.pop()
            if not is_read and not (is_blind and is_unobserved):
                after, answer = step(state, call)
                if answer == call.answer:
                    now = linearized | event.reads_satisfied_in(after)
                    optional_now = optional | (event.blind_writes & ~now if is_blind else 0)
                    found.append(SearchConfiguration(after, now & ~bit, optional_now & ~bit, pending))
            for candidate in event.candidates(linearized, pending):
                if is_unobserved and candidate.is_blind:
                    continue
                after, answer = step(state, candidate.call)
                if candidate.is_pending:
                    if after == state:
                        continue
                elif answer != candidate.call.answer:
                    continue
                self._count_visit()
                observers = event.reads_satisfied_in(after) & ~linearized
                now = linearized | observers | candidate.bit
                optional_now = optional & ~candidate.bit
                if candidate.is_blind:
                    optional_now |= event.blind_writes & ~now
                pending_now = pending | candidate.next_pending_bit(pending)
                if now & bit:
                    found.append(SearchConfiguration(after, now & ~bit, optional_now & ~bit, pending_now))
                    continue
                if seen is None:
                    seen = _Antichain()
                if seen.add(SearchConfiguration(after, now, optional_now, pending_now), event.reads):
                    stack.append((after, now, optional_now, pending_now, candidate.is_blind and not observers))
        return found

    def _count_visit(self) -> None:
        self.visited += 1
        if self.visited <= self.turn_ends and self.visited % 256:
            return
        what = f"the search for an order of {len(self.calls):,} calls"
        if self.visited > self.configurations_max:
            raise TooHard(f"{what} visited more than {self.configurations_max:,} configurations")
        if self.until is not None and time.monotonic() > self.until:
            raise TooHard(f"{what} did not end in time")
        if self.visited > self.turn_ends:
            raise _TurnOver

    def _contradiction(self, number: int, call: ObjectCall) -> Contradiction:
        template = (
            f"no order explains the first {number + 1:,} of {len(self.calls):,} calls; in the last of these "
            "{0:process} {0:action}"
        )
        return Contradiction((call,), template, from_search=True)
