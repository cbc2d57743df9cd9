"""Any model: is there an order? Just-in-time linearization, Lowe, *Testing for linearizability* (2017), made to meet less.

Theory
------
Go through the returns in the order of time and keep every *configuration* that the calls so far allow. It is the object's
state; `used`, the open calls that have taken effect; `absorbed` (rule 3); and `spent`, the calls of unknown outcome that
have. At the return of a call that has not taken effect, it must: try every sequence of open calls that ends with it. Nothing
needs to be tried earlier, since what took effect earlier and mattered to nobody can as well wait. When no configuration is
left, no order exists. The rest keeps configurations few; for each rule, why nothing is lost:

1. *A call that changes nothing is used at once* when its answer fits the state: any order from here on stays one if it is
   moved to its front.
2. *Calls of unknown outcome that ask the same are one kind*, and are spent in the order in which they began: any order stays
   one if two of a kind change places so that the earlier one is first. One that nothing asks for is not tried.
3. *A blind write is absorbed.* A write whose effect and answer do not depend on the state may stand immediately before
   another such write, unseen. So when one is used, each that is open and unused becomes absorbed: it may count as used from
   now on, or still be used later. At its return there is a branch for each.
4. *A blind write that nobody sees is not used before another*: by rule 3 it is absorbed there instead.
5. *A write is tried before the call that returns only if somebody who is open needs its value*, directly or by calls of
   unknown outcome in between (`needs`, `makes`); or if somebody is open of whom it is not known what they need.
6. *Dominance.* Of two configurations of one state, one can be dropped if the other can do all that it can: it has spent a
   subset; each call that the dropped one has used or absorbed is used or absorbed; each that is absorbed there is absorbed
   here; and it has used nothing more but calls that change nothing. Only an antichain is kept, instead of all subsets.

Two searches race. Breadth first keeps the frontier at one return, and is right for histories that are wrong. When the
frontier grows wide, a depth-first search starts from there over the same configurations, for histories that are right but
have many orders; they take turns, and the first to know decides. Beyond a number of configurations both give up.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

from harness.checkers.certificate import Contradiction
from harness.checkers.configurations import Level, Levels
from harness.checkers.models import Model, ModelState, ObjectCall

CONFIGURATIONS_MAX: Final = 500_000
#: A frontier of more configurations than this makes the race begin.
WIDE: Final = 32
#: Configurations that one racer takes in its turn.
_TURN: Final = 64
#: What a racer says after each configuration; None: there is an order.
_Said = Literal["undecided"] | Contradiction | None


class TooHard(Exception):
    """The search was given up: there are too many orders."""


class SearchConfiguration(NamedTuple):
    """See the theory above. The sets are bits: of `Level.open`, and of the calls of unknown outcome."""

    state: ModelState
    used: int = 0
    absorbed: int = 0
    spent: int = 0


class _Antichain:
    """Configurations of which none dominates another (rule 6)."""

    def __init__(self) -> None:
        self._by_state: dict[ModelState, list[SearchConfiguration]] = {}
        self.count = 0

    def add(self, new: SearchConfiguration, reads: int) -> bool:
        """Keep it, and drop what it dominates; False if it is dominated itself."""
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
        one.spent & ~other.spent
        or other.used & ~(one.used | one.absorbed)
        or other.absorbed & ~one.absorbed
        or one.used & ~other.used & ~reads
    )


def search(
    calls: Sequence[ObjectCall], model: Model, configurations_max: int = CONFIGURATIONS_MAX
) -> Contradiction | None:
    """The call that no order explains, given all that returned before it; None if there is an order of all.

    Raises:
        TooHard: more than `configurations_max` configurations were met.
    """
    return _Search(calls, model, configurations_max).run()


class _Search:
    def __init__(self, calls: Sequence[ObjectCall], model: Model, configurations_max: int) -> None:
        self.calls, self.model, self.configurations_max = calls, model, configurations_max
        self.levels = Levels(calls, model)
        self.met = 0

    def run(self) -> Contradiction | None:
        """Breadth first, until the frontier is wide; then the race."""
        frontier = [SearchConfiguration(self.model.initial)]
        for number in range(self.levels.count):
            if len(frontier) > WIDE:
                return self._race(number, frontier)
            level = self.levels.at(number)
            self.levels.forget(number)
            frontier = list(self._after(level, frontier))
            if not frontier:
                return self._stuck(number, level.returns)
        return None

    def _after(self, level: Level, frontier: Sequence[SearchConfiguration]) -> _Antichain:
        found = _Antichain()
        for configuration in frontier:
            for after in self._advance(level, configuration):
                found.add(after, level.reads)
        return found

    def _race(self, number: int, frontier: list[SearchConfiguration]) -> Contradiction | None:
        racers = [self._breadth_first(number, frontier), self._depth_first(number, frontier)]
        turn = 0
        while True:
            target = self.met + _TURN
            while self.met < target:
                said = next(racers[turn])
                if said != "undecided":
                    return said
            turn = 1 - turn

    def _breadth_first(self, number: int, frontier: list[SearchConfiguration]) -> Iterator[_Said]:
        for at in range(number, self.levels.count):
            level = self.levels.at(at)
            found = _Antichain()
            for configuration in frontier:
                for after in self._advance(level, configuration):
                    found.add(after, level.reads)
                yield "undecided"
            frontier = list(found)
            if not frontier:
                yield self._stuck(at, level.returns)
        yield None

    def _depth_first(self, number: int, frontier: list[SearchConfiguration]) -> Iterator[_Said]:
        seen: dict[int, _Antichain] = {}
        stack = [(number, configuration) for configuration in frontier]
        deepest = number
        while stack:
            at, configuration = stack.pop()
            if at == self.levels.count:
                yield None
            deepest = max(deepest, at)
            level = self.levels.at(at)
            been = seen.setdefault(at + 1, _Antichain())
            found = self._advance(level, configuration)
            found.sort(key=lambda after: after.absorbed.bit_count())  # the freest is taken first
            stack.extend((at + 1, after) for after in found if been.add(after, level.reads))
            yield "undecided"
        yield self._stuck(deepest, self.levels.at(deepest).returns)

    def _advance(self, level: Level, configuration: SearchConfiguration) -> list[SearchConfiguration]:
        """What a configuration can become by the time that `level.returns` has returned."""
        state, used, absorbed, spent = configuration
        self._count()
        used |= level.fitting(state)
        bit, call = level.bit, level.returns
        if used & bit:
            return [SearchConfiguration(state, used & ~bit, absorbed & ~bit, spent)]
        found = []
        if absorbed & bit:
            found.append(SearchConfiguration(state, used, absorbed & ~bit, spent))
        step = self.model.step
        is_read, is_blind = bool(level.reads & bit), bool(level.blind & bit)
        met = None
        stack = [(state, used, absorbed, spent, False)]
        while stack:
            state, used, absorbed, spent, is_unseen = stack.pop()
            if not is_read and not (is_blind and is_unseen):
                after, answer = step(state, call)
                if answer == call.answer:
                    now = used | level.fitting(after)
                    covered = absorbed | (level.blind & ~now if is_blind else 0)
                    found.append(SearchConfiguration(after, now & ~bit, covered & ~bit, spent))
            for mover in level.movers(used, spent):
                if is_unseen and mover.is_blind:
                    continue
                after, answer = step(state, mover.call)
                if mover.is_pending:
                    if after == state:
                        continue
                elif answer != mover.call.answer:
                    continue
                self._count()
                seen_now = level.fitting(after) & ~used
                now = used | seen_now | mover.used_bit
                left = absorbed & ~mover.used_bit
                if mover.is_blind:
                    left |= level.blind & ~now
                paid = spent | mover.next_bit(spent)
                if now & bit:
                    found.append(SearchConfiguration(after, now & ~bit, left & ~bit, paid))
                    continue
                if met is None:
                    met = _Antichain()
                if met.add(SearchConfiguration(after, now, left, paid), level.reads):
                    stack.append((after, now, left, paid, mover.is_blind and not seen_now))
        return found

    def _count(self) -> None:
        self.met += 1
        if self.met > self.configurations_max:
            raise TooHard(f"more than {self.configurations_max:,} configurations of {len(self.calls):,} calls were met")

    def _stuck(self, number: int, call: ObjectCall) -> Contradiction:
        why = f"no order explains the first {number + 1:,} of {len(self.calls):,} calls; the last is that {{0:who}} {{0:did}}"
        return Contradiction((call,), why, searched=True)
