"""A quick attempt to find an order, depth first: for histories that have many orders, however wide they are.

Source: Lowe, *Testing for Linearizability* (2017), section 4, and Horn and Kroening, *Faster linearizability checking via
P-compositionality* (2015).

Theory of operation
-------------------
Calls are put into an order one by one. Next comes a call that began before any call that is left has ended, and whose answer
the model gives. Of several, the one that ends first is tried first: it has the least room. Of calls with the same effect only
that one is tried: the others can change places with it. If no call fits, the last choice is taken back. A state that was reached
before with the same calls left is not explored again.

A call that changes nothing and has its answer in the state at hand is placed at once, without an alternative: any order remains
an order if it is moved to the front. A call of unknown outcome is tried last, and only if an open call has its answer then.

If the calls that are left are steps of a walk from state to state, a choice that cuts some of them off is not made: Euler's
condition for a walk along all edges, of which the other half, the degrees, holds as long as an order exists.

This finds an order, if there are many, in about one step a call. It proves nothing if it finds none.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

from harness.checkers.sequential_model import NO_SINGLE_STATE, Model, ModelState, ObjectCall

#: How many states are remembered at most, so that they take some 50 MB.
_SEEN_MAX: Final = 200_000
#: Of at most so many calls that are left it is asked whether a walk can reach them all.
_WALK_MAX: Final = 200

Attempted = Literal["searching", "found", "exhausted"]


def attempts(calls: Sequence[ObjectCall], model: Model) -> Iterator[Attempted]:
    """Yield "searching" after each step, and at last "found" if there is an order, or "exhausted" if none was found."""
    return _Attempt(calls, model).steps()


class _Attempt:
    """One search. Definite calls are numbered by their ends; those of unknown outcome follow."""

    def __init__(self, calls: Sequence[ObjectCall], model: Model) -> None:
        definite = sorted((call for call in calls if call.ended is not None), key=_end)
        pending = [call for call in calls if call.ended is None and call.f not in model.reads]
        self.model, self.count = model, len(definite)
        self.calls = [*definite, *sorted(pending, key=lambda call: call.began)]
        self.is_read = [model.is_read(call) for call in definite]
        self.effects = [(call.f, call.argument, None if call.is_pending else call.answer) for call in self.calls]
        self.links = [(model.required_state(call), model.resulting_state(call)) for call in definite]
        self.done = bytearray(len(self.calls))
        self.placed: list[int] = []
        self.first = 0
        """The call that ends first of those that are left."""
        self._open: list[list[int]] = []
        self._remaining = self._open_calls()

    def steps(self) -> Iterator[Attempted]:
        """Search. See `attempts`."""
        seen: set[tuple[int, int, ModelState]] = set()
        state = self._place_reads(self.model.initial)
        choices = self._choices(state)
        trail: list[tuple[ModelState, Iterator[tuple[int, ModelState]], int]] = []
        while self.first < self.count:
            yield "searching"
            choice = next(choices, None)
            if choice is None:
                if not trail:
                    yield "exhausted"
                    return
                state, choices, length = trail.pop()
                self._take_back(length)
                continue
            number, after = choice
            trail.append((state, choices, len(self.placed)))
            self._place(number)
            state = self._place_reads(after)
            key = (self.first, self._placed_bits(), state)
            choices = iter(()) if key in seen else self._choices(state)
            if len(seen) < _SEEN_MAX:
                seen.add(key)
        yield "found"

    def _place(self, number: int) -> None:
        self.done[number] = 1
        self.placed.append(number)
        while self.first < self.count and self.done[self.first]:
            self.first += 1

    def _take_back(self, length: int) -> None:
        while len(self.placed) > length:
            number = self.placed.pop()
            self.done[number] = 0
            if number < self.count:
                self.first = min(self.first, number)

    def _place_reads(self, state: ModelState) -> ModelState:
        """Place every open call that changes nothing and has its answer in this state."""
        before = -1
        while before != self.first and self.first < self.count:
            before = self.first
            for number in self._open_at(before):
                if self.is_read[number] and not self.done[number]:
                    call = self.calls[number]
                    if self.model.step(state, call)[1] == call.answer:
                        self._place(number)
        return state

    def _choices(self, state: ModelState) -> Iterator[tuple[int, ModelState]]:
        """Yield the calls that may come next, each with the state after it."""
        if self.first == self.count:
            return
        step = self.model.step
        left = [number for number in self._open_at(self.first) if not self.done[number]]
        tried = set()
        for number in left:
            if self.is_read[number] or self.effects[number] in tried:
                continue
            tried.add(self.effects[number])
            after, answer = step(state, self.calls[number])
            if answer == self.calls[number].answer and not self._is_cut_off(number, after):
                yield number, after
        place = _end(self.calls[self.first])
        for number in range(self.count, len(self.calls)):
            if self.calls[number].began > place:
                return
            if self.done[number] or self.effects[number] in tried:
                continue
            tried.add(self.effects[number])
            after, _ = step(state, self.calls[number])
            if after != state and any(step(after, self.calls[one])[1] == self.calls[one].answer for one in left):
                yield number, after

    def _is_cut_off(self, placed: int, state: ModelState) -> bool:
        """Return whether some call that is left can never come, if one is placed and leads to a state.

        If only calls are left that need one state and make one, the order is a walk along them. A call that no way leads to
        from the state, in either direction, is none of its steps.
        """
        if self.count - self.first > _WALK_MAX or self.count < len(self.calls):
            return False
        ways: dict[ModelState, list[ModelState]] = {}
        for number in range(self.first, self.count):
            if self.done[number] or number == placed or self.is_read[number]:
                continue
            required, made = self.links[number]
            if required is NO_SINGLE_STATE or made is NO_SINGLE_STATE:
                return False
            ways.setdefault(required, []).append(made)
            ways.setdefault(made, []).append(required)
        reached, front = {state}, [state]
        while front:
            for other in ways.get(front.pop(), ()):
                if other not in reached:
                    reached.add(other)
                    front.append(other)
        return not reached.issuperset(ways)

    def _placed_bits(self) -> int:
        """Return which open calls are placed, as bits, with those of unknown outcome."""
        found = 0
        if self.first < self.count:
            for number in self._open_at(self.first):
                found = found << 1 | self.done[number]
        pending = int.from_bytes(self.done[self.count :], "big")
        return pending << self.count | found

    def _open_at(self, first: int) -> list[int]:
        """Return the calls that are open when a call ends, by their ends; the first is that call."""
        while len(self._open) <= first:
            self._open.append(next(self._remaining))
        return self._open[first]

    def _open_calls(self) -> Iterator[list[int]]:
        by_begin = sorted(range(self.count), key=lambda number: self.calls[number].began)
        entered = 0
        opened: list[int] = []
        for number in range(self.count):
            while entered < self.count and self.calls[by_begin[entered]].began < _end(self.calls[number]):
                opened.append(by_begin[entered])
                entered += 1
            opened.sort()
            yield list(opened)
            opened.remove(number)


def _end(call: ObjectCall) -> int:
    assert call.ended is not None
    return call.ended
