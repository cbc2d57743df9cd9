"""Linearizability for any model: a just-in-time search for an order, with rules that keep its configurations few.

Sources: Wing and Gong, *Testing and Verifying Concurrent Objects* (1993); Lowe, *Testing for Linearizability* (2017).

Theory of operation
-------------------
The search goes through the returns in the order of time and keeps every *configuration* that the calls so far allow. A
configuration is the object's state; `linearized`, the open calls that have taken effect; `optional` (rule 3); and
`pending_linearized`, the calls of unknown outcome that have taken effect. When a call returns that is not linearized in a
configuration, it must be linearized now: the search tries every sequence of open calls that ends with this call. It need not
try anything earlier, since a call that took effect earlier, and whose effect no other call observed, can as well take effect
later. If no configuration is left, no order exists.

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

Two searches race. Breadth first keeps the frontier at one return, and is good for histories that have no order. When the
frontier grows wide, a depth-first search starts from there over the same configurations; it is good for histories that have
many orders. The two take turns, and the first that knows decides. Beyond a number of configurations both give up.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

from harness.checkers.certificate import Contradiction
from harness.checkers.return_events import ReturnEvent, ReturnEvents
from harness.checkers.sequential_model import Model, ModelState, ObjectCall

CONFIGURATIONS_MAX: Final = 500_000
#: The race begins when the frontier has more configurations than this.
RACE_WIDTH: Final = 32
#: How many configurations one of the two searches visits before the other takes its turn.
_CONFIGURATIONS_PER_TURN: Final = 64
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


def search(
    calls: Sequence[ObjectCall], model: Model, configurations_max: int = CONFIGURATIONS_MAX
) -> Contradiction | None:
    """Search for an order of the calls on one object.

    Args:
        calls: all calls on the object.
        model: the sequential model of the object.
        configurations_max: how many configurations the search may visit.

    Returns:
        None if there is an order. Otherwise a contradiction, `from_search`, whose one call no order explains, given all calls
        that returned before it.

    Raises:
        TooHard: the search visited more than `configurations_max` configurations.
    """
    return _Search(calls, model, configurations_max).run()


class _Search:
    def __init__(self, calls: Sequence[ObjectCall], model: Model, configurations_max: int) -> None:
        self.calls, self.model, self.configurations_max = calls, model, configurations_max
        self.returns = ReturnEvents(calls, model)
        self.visited = 0

    def run(self) -> Contradiction | None:
        """Search breadth first until the frontier is wide, and then race."""
        frontier = [SearchConfiguration(self.model.initial)]
        for number in range(self.returns.count):
            if len(frontier) > RACE_WIDTH:
                return self._race(number, frontier)
            event = self.returns.at(number)
            self.returns.forget(number)
            frontier = list(self._after(event, frontier))
            if not frontier:
                return self._contradiction(number, event.call)
        return None

    def _after(self, event: ReturnEvent, frontier: Sequence[SearchConfiguration]) -> _Antichain:
        found = _Antichain()
        for configuration in frontier:
            for after in self._advance(event, configuration):
                found.add(after, event.reads)
        return found

    def _race(self, number: int, frontier: list[SearchConfiguration]) -> Contradiction | None:
        racers = [self._breadth_first(number, frontier), self._depth_first(number, frontier)]
        turn = 0
        while True:
            target = self.visited + _CONFIGURATIONS_PER_TURN
            while self.visited < target:
                progress = next(racers[turn])
                if progress != "searching":
                    return progress
            turn = 1 - turn

    def _breadth_first(self, number: int, frontier: list[SearchConfiguration]) -> Iterator[_Progress]:
        for at in range(number, self.returns.count):
            event = self.returns.at(at)
            found = _Antichain()
            for configuration in frontier:
                for after in self._advance(event, configuration):
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
            found = self._advance(event, configuration)
            # The configuration with the most optional calls has the most freedom. It is last, so it is popped first.
            found.sort(key=lambda after: after.optional.bit_count())
            stack.extend((at + 1, after) for after in found if seen_after.add(after, event.reads))
            yield "searching"
        yield self._contradiction(deepest, self.returns.at(deepest).call)

    def _advance(self, event: ReturnEvent, configuration: SearchConfiguration) -> list[SearchConfiguration]:
        """Return every configuration after `event.call` has returned that can follow from `configuration`."""
        state, linearized, optional, pending = configuration
        self._count_visit()
        linearized |= event.reads_satisfied_in(state)
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
        if self.visited > self.configurations_max:
            raise TooHard(
                f"the search for an order of {len(self.calls):,} calls visited more than {self.configurations_max:,} "
                "configurations"
            )

    def _contradiction(self, number: int, call: ObjectCall) -> Contradiction:
        template = (
            f"no order explains the first {number + 1:,} of {len(self.calls):,} calls; in the last of these "
            "{0:process} {0:action}"
        )
        return Contradiction((call,), template, from_search=True)
