"""What every configuration of a search shares: which calls are open when one returns, and which of them are worth a try.

A `Level` is a return. It is made when a search first comes there, and what it takes to leave a configuration in which the
call has not taken effect is computed only if there is such a configuration. The rules that are named here by number stand
in `harness/checkers/jit_linearizability.py`.

Bits: a definite call has a bit while it is open, and the bit is given to another afterwards, so these sets stay small
integers. A call of unknown outcome has one of its own in another set; those of one kind lie side by side, in the order in
which they began.
"""

from bisect import bisect_left
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from harness.checkers.models import VOID, Model, ModelState, ObjectCall


@dataclass(frozen=True, slots=True)
class _Open:
    """A definite call while it is open."""

    call: ObjectCall
    bit: int
    is_read: bool
    is_blind: bool
    needs: ModelState
    makes: ModelState


@dataclass(frozen=True, slots=True)
class _Kind:
    """Calls of unknown outcome that ask the same (rule 2)."""

    call: ObjectCall
    began: list[int]
    shift: int
    is_blind: bool
    needs: ModelState
    makes: ModelState

    def begun(self, place: int) -> int:
        """The bits of those that began before a place."""
        return ((1 << bisect_left(self.began, place)) - 1) << self.shift


class Mover(NamedTuple):
    """A call, or a kind of calls of unknown outcome, that may take effect before the one that returns."""

    call: ObjectCall
    is_pending: bool
    is_blind: bool
    used_bit: int
    begun: int
    """Of a kind: the bits of all that have begun."""
    rivals: int
    """Open calls that do the same and must do it sooner: while one is unused, it is its turn."""
    seers: int
    """Open calls that need the value which this one writes."""
    is_wanted: bool
    """Whether it is to be tried whoever has been used."""

    def next_bit(self, spent: int) -> int:
        """The bit of the one to spend next; 0 for a definite call."""
        left = self.begun & ~spent
        return left & -left


class Level:
    """The return of one definite call."""

    def __init__(self, model: Model, returned: _Open, open_calls: Sequence[_Open], kinds: "_Kinds") -> None:
        self.returns, self.bit = returned.call, returned.bit
        self._model, self._open, self._kinds = model, open_calls, kinds
        self.reads = self.blind = 0
        for one in open_calls:
            if one.is_read:
                self.reads |= one.bit
            elif one.is_blind:
                self.blind |= one.bit
        self._fitting: dict[ModelState, int] = {}

    def fitting(self, state: ModelState) -> int:
        """The open calls that change nothing and have their answer in this state (rule 1)."""
        if not self.reads:
            return 0
        found = self._fitting.get(state)
        if found is None:
            found = 0
            for one in self._open:
                if one.is_read and self._fits(state, one):
                    found |= one.bit
            self._fitting[state] = found
        return found

    def _fits(self, state: ModelState, one: _Open) -> bool:
        if one.needs is not VOID:
            return one.needs == state
        return self._model.step(state, one.call)[1] == one.call.answer

    def movers(self, used: int, spent: int) -> Iterator[Mover]:
        """What may take effect next in a configuration, before the call that returns does (rules 2 and 5)."""
        for mover in self._all if self._odd & ~used or self._is_odd else self._wanted:
            if mover.used_bit & used or mover.rivals & ~used:
                continue
            if mover.is_pending and not mover.begun & ~spent:
                continue
            if mover.is_wanted or mover.seers & ~used or self._odd & ~used:
                yield mover

    @cached_property
    def _odd(self) -> int:
        """Open calls of which it is not known which state they need."""
        return sum(one.bit for one in self._open if not one.is_blind and one.needs is VOID)

    @cached_property
    def _is_odd(self) -> bool:
        """Whether there are calls of unknown outcome of which that is not known, or not what they lead to."""
        place = self.returns.ended
        assert place is not None
        return any(kind.began[0] < place for kind in self._kinds.odd)

    @cached_property
    def _seers(self) -> dict[ModelState, int]:
        """For each state that an open call needs, those that do."""
        found: dict[ModelState, int] = {}
        for one in self._open:
            if not one.is_blind and one.needs is not VOID:
                found[one.needs] = found.get(one.needs, 0) | one.bit
        return found

    @cached_property
    def _all(self) -> list[Mover]:
        return self._movers(list(self._kinds.all), set(), everything=True)

    @cached_property
    def _wanted(self) -> list[Mover]:
        """Rule 5: from the states that are needed, back through calls of unknown outcome that lead there."""
        wanted = list(self._seers)
        by_kinds: set[ModelState] = set()
        kinds: list[_Kind] = []
        for state in wanted:  # it grows
            for kind in self._kinds.by_made.get(state, ()):
                kinds.append(kind)
                if not kind.is_blind:
                    by_kinds.add(kind.needs)
                    if kind.needs not in wanted:
                        wanted.append(kind.needs)
        return self._movers(kinds, by_kinds, everything=False)

    def _movers(self, kinds: Sequence[_Kind], by_kinds: set[ModelState], *, everything: bool) -> list[Mover]:
        """As movers: the open calls that change something, and those kinds that have begun."""
        place = self.returns.ended
        assert place is not None
        found = []
        same: dict[Hashable, int] = {}  # who does the same, and ends sooner
        blind: dict[Hashable, int] = {}
        for one in sorted((one for one in self._open if not one.is_read), key=lambda one: one.call.ended or 0):
            name = (one.call.f, one.call.argument, one.call.answer)
            if one.bit != self.bit:
                wanted = everything or not one.is_blind or one.makes in by_kinds
                seers = self._seers.get(one.makes, 0)
                if wanted or seers:
                    rivals = same.get(name, 0)
                    found.append(Mover(one.call, False, one.is_blind, one.bit, 0, rivals, seers, wanted))
            same[name] = same.get(name, 0) | one.bit
            if one.is_blind:
                blind[name[:2]] = blind.get(name[:2], 0) | one.bit
        for kind in kinds:
            begun = kind.begun(place)
            if begun:
                wanted = everything or kind.makes in by_kinds
                rivals = blind.get((kind.call.f, kind.call.argument), 0)
                seers = self._seers.get(kind.makes, 0)
                found.append(Mover(kind.call, True, kind.is_blind, 0, begun, rivals, seers, wanted))
        return found


class _Kinds:
    """Every call of unknown outcome, by kind."""

    def __init__(self, calls: Sequence[ObjectCall], model: Model) -> None:
        members: dict[Hashable, list[ObjectCall]] = {}
        for call in calls:
            if call.is_pending and call.f not in model.reads:
                members.setdefault((call.f, call.argument), []).append(call)
        self.all: list[_Kind] = []
        self.odd: list[_Kind] = []
        self.by_made: dict[ModelState, list[_Kind]] = {}
        shift = 0
        for of_kind in members.values():
            first = min(of_kind, key=lambda call: call.began)
            began = sorted(call.began for call in of_kind)
            kind = _Kind(first, began, shift, model.is_blind(first), model.needs(first), model.makes(first))
            shift += len(of_kind)
            self.all.append(kind)
            self.by_made.setdefault(kind.makes, []).append(kind)
            if kind.makes is VOID or (not kind.is_blind and kind.needs is VOID):
                self.odd.append(kind)
        self.odd.sort(key=lambda kind: kind.began[0])


class Levels:
    """Every return, in order; each is made when it is first asked for, and kept until it is forgotten."""

    def __init__(self, calls: Sequence[ObjectCall], model: Model) -> None:
        definite = [call for call in calls if call.ended is not None]
        self.count = len(definite)
        self._kinds = _Kinds(calls, model)
        self._made: dict[int, Level] = {}
        self._next = 0
        self._coming = self._make(definite, model)

    def at(self, number: int) -> Level:
        """The return of that number, from 0."""
        while self._next <= number:
            self._made[self._next] = next(self._coming)
            self._next += 1
        return self._made[number]

    def forget(self, number: int) -> None:
        """Nobody will ask for that one again."""
        del self._made[number]

    def _make(self, calls: Sequence[ObjectCall], model: Model) -> Iterator[Level]:
        events = [(call.began, call) for call in calls]
        events += [(call.ended, call) for call in calls if call.ended is not None]
        events.sort(key=lambda event: event[0])
        free: list[int] = []
        opened: dict[int, _Open] = {}
        for place, call in events:
            if place == call.began and id(call) not in opened:
                bit = free.pop() if free else 1 << len(opened)
                is_read = model.is_read(call)
                is_blind = not is_read and model.is_blind(call)
                opened[id(call)] = _Open(call, bit, is_read, is_blind, model.needs(call), model.makes(call))
            else:
                one = opened[id(call)]
                yield Level(model, one, tuple(opened.values()), self._kinds)
                del opened[id(call)]
                free.append(one.bit)
