"""Returns: for each moment at which a call returns, the open calls and those of them that a search must try.

Theory of operation
-------------------
All configurations of a search at one return share the same open calls. A `ReturnEvent` holds what they share. `ReturnEvents`
makes it when a search first reaches that return. A return event computes its candidates only when a configuration needs them,
that is, when the call that returns is not linearized there. Rules with numbers are those in `jit_linearizability.py`.

Sets of calls are bits of an integer. A definite call has a bit while it is open, and the bit then goes to another call, so
these sets stay small integers. A call of unknown outcome has a bit of its own in a second set. Calls of one group (rule 2) have
adjacent bits, in the order in which they began.
"""

from bisect import bisect_left
from collections.abc import Collection, Hashable, Iterator, Sequence
from functools import cached_property
from typing import ClassVar, NamedTuple

from harness.checkers.sequential_model import NO_SINGLE_STATE, Model, ModelState, ObjectCall

#: Open calls by what they do, as bits.
Bits = dict[Hashable, int]


class OpenCall(NamedTuple):
    """A definite call while it is open, with what the model says of it."""

    call: ObjectCall
    bit: int
    is_read: bool
    is_blind: bool
    is_skippable: bool
    required_state: ModelState
    resulting_state: ModelState


class _PendingGroup(NamedTuple):
    """Calls of unknown outcome with the same function and argument (rule 2)."""

    call: ObjectCall
    began: list[int]
    shift: int
    is_blind: bool
    required_state: ModelState
    resulting_state: ModelState

    def begun_before(self, place: int) -> int:
        """Return the bits of the calls that began before a place."""
        return ((1 << bisect_left(self.began, place)) - 1) << self.shift


class Candidate(NamedTuple):
    """A call, or a group of pending calls, that may take effect before the call that returns."""

    call: ObjectCall
    is_pending: bool
    is_blind: bool
    bit: int
    """The bit of a definite call; 0 for a group."""
    group_bits: int
    """The bits of all calls of a group that have begun; 0 for a definite call."""
    goes_after: int
    """Open calls with the same effect that return earlier. While one of them is not linearized, it is tried instead."""
    required_by: int
    """Open calls that require the state that this call makes."""
    is_always_tried: bool
    """Whether the search must try this call even if no open call in `required_by` is left."""

    def next_pending_bit(self, pending_linearized: int) -> int:
        """Return the bit of the next call of the group that takes effect; 0 for a definite call."""
        left = self.group_bits & ~pending_linearized
        return left & -left


class ReturnEvent:
    """The return of one definite call.

    Attributes:
        call: the call that returns.
        bit: its bit.
        reads: the open calls that change nothing, as bits.
        blind_writes: the open calls that are blind writes, as bits.
        skippable: the open calls that need not take effect, as bits.
        changes: the open calls that are no reads, as bits.
    """

    def __init__(
        self, model: Model, returned: OpenCall, open_calls: Sequence[OpenCall], groups: "_PendingGroups"
    ) -> None:
        self.call, self.bit = returned.call, returned.bit
        self._model, self._open, self._groups = model, open_calls, groups
        self.reads = self.blind_writes = self.changes = self.skippable = 0
        for one in open_calls:
            if one.is_skippable:
                self.skippable |= one.bit
            if one.is_read:
                self.reads |= one.bit
                continue
            self.changes |= one.bit
            if one.is_blind:
                self.blind_writes |= one.bit
        self._satisfied: dict[ModelState, int] = {}

    def reads_satisfied_in(self, state: ModelState) -> int:
        """Return the open calls that change nothing and have their answer in this state (rule 1)."""
        if not self.reads:
            return 0
        found = self._satisfied.get(state)
        if found is None:
            found = 0
            for one in self._open:
                if one.is_read and self._is_satisfied(state, one):
                    found |= one.bit
            self._satisfied[state] = found
        return found

    def _is_satisfied(self, state: ModelState, one: OpenCall) -> bool:
        if one.required_state is not NO_SINGLE_STATE:
            return one.required_state == state
        return self._model.step(state, one.call)[1] == one.call.answer

    def candidates(self, linearized: int, pending_linearized: int) -> Iterator[Candidate]:
        """Yield the calls that may take effect next, before the call that returns (rules 2 and 5).

        Args:
            linearized: the open calls that have taken effect.
            pending_linearized: the calls of unknown outcome that have taken effect.
        """
        everything = self._unknown_needs & ~linearized or self._has_opaque_group
        for candidate in self._all_candidates if everything else self._useful_candidates:
            if candidate.bit & linearized or candidate.goes_after & ~linearized:
                continue
            if candidate.is_pending and not candidate.group_bits & ~pending_linearized:
                continue
            if candidate.is_always_tried or candidate.required_by & ~linearized or self._unknown_needs & ~linearized:
                yield candidate

    @cached_property
    def _unknown_needs(self) -> int:
        """The open calls whose required state is not known."""
        return sum(one.bit for one in self._open if not one.is_blind and one.required_state is NO_SINGLE_STATE)

    @cached_property
    def _has_opaque_group(self) -> bool:
        """Whether a pending call has begun whose required state or resulting state is not known."""
        place = self.call.ended
        assert place is not None
        return any(group.began[0] < place for group in self._groups.opaque)

    @cached_property
    def _required_by(self) -> dict[ModelState, int]:
        """For each state that open calls require, these calls."""
        found: dict[ModelState, int] = {}
        for one in self._open:
            if not one.is_blind and one.required_state is not NO_SINGLE_STATE:
                found[one.required_state] = found.get(one.required_state, 0) | one.bit
        return found

    @cached_property
    def _all_candidates(self) -> list[Candidate]:
        return self._make_candidates(list(self._groups.all), set(), everything=True)

    @cached_property
    def _useful_candidates(self) -> list[Candidate]:
        """The candidates of rule 5: from the required states back, through pending calls that lead to them."""
        wanted = list(self._required_by)
        required_by_groups: set[ModelState] = set()
        groups: list[_PendingGroup] = []
        for state in wanted:  # the loop appends to this list
            for group in self._groups.by_resulting_state.get(state, ()):
                groups.append(group)
                if not group.is_blind:
                    required_by_groups.add(group.required_state)
                    if group.required_state not in wanted:
                        wanted.append(group.required_state)
        return self._make_candidates(groups, required_by_groups, everything=False)

    def _make_candidates(
        self, groups: Sequence[_PendingGroup], required_by_groups: set[ModelState], *, everything: bool
    ) -> list[Candidate]:
        """Make candidates of the open calls that change something, and of those groups of which a call has begun.

        Args:
            groups: the groups to try.
            required_by_groups: the states that pending calls require.
            everything: whether each candidate is always tried.
        """
        place = self.call.ended
        assert place is not None
        found = []
        # By function, argument and answer: open calls that return earlier, and those of them that have to take effect.
        return_earlier: Bits = {}
        required_earlier: Bits = {}
        blind_writes: Bits = {}  # function and argument to open blind writes
        for one in sorted((one for one in self._open if not one.is_read), key=lambda one: one.call.ended or 0):
            effect = (one.call.f, one.call.argument, one.call.answer)
            if one.bit != self.bit:
                always = everything or not one.is_blind or one.resulting_state in required_by_groups
                required_by = self._required_by.get(one.resulting_state, 0)
                if always or required_by:
                    goes_after = self._waited_for(one, return_earlier, required_earlier).get(effect, 0)
                    found.append(Candidate(one.call, False, one.is_blind, one.bit, 0, goes_after, required_by, always))
            return_earlier[effect] = return_earlier.get(effect, 0) | one.bit
            if not one.is_skippable:
                required_earlier[effect] = required_earlier.get(effect, 0) | one.bit
            if one.is_blind:
                blind_writes[effect[:2]] = blind_writes.get(effect[:2], 0) | one.bit
        for group in groups:
            begun = group.begun_before(place)
            if begun:
                always = everything or group.resulting_state in required_by_groups
                goes_after = blind_writes.get((group.call.f, group.call.argument), 0)
                required_by = self._required_by.get(group.resulting_state, 0)
                found.append(Candidate(group.call, True, group.is_blind, 0, begun, goes_after, required_by, always))
        return found

    def _waited_for(self, one: OpenCall, earlier: Bits, required_earlier: Bits) -> Bits:
        """Return which calls go before a call with the same effect: one that has to take effect waits for none that need not."""
        return earlier if one.is_skippable else required_earlier


class _PendingGroups:
    """Every call of unknown outcome that may change the state, by group."""

    def __init__(self, calls: Sequence[ObjectCall], model: Model) -> None:
        members: dict[Hashable, list[ObjectCall]] = {}
        for call in calls:
            if call.is_pending and call.f not in model.reads:
                members.setdefault((call.f, call.argument), []).append(call)
        self.all: list[_PendingGroup] = []
        self.opaque: list[_PendingGroup] = []  # those whose required state or resulting state is not known
        self.by_resulting_state: dict[ModelState, list[_PendingGroup]] = {}
        shift = 0
        for calls_of_group in members.values():
            first = min(calls_of_group, key=lambda call: call.began)
            began = sorted(call.began for call in calls_of_group)
            required, resulting = model.required_state(first), model.resulting_state(first)
            group = _PendingGroup(first, began, shift, model.is_blind(first), required, resulting)
            shift += len(calls_of_group)
            self.all.append(group)
            self.by_resulting_state.setdefault(resulting, []).append(group)
            if resulting is NO_SINGLE_STATE or (not group.is_blind and required is NO_SINGLE_STATE):
                self.opaque.append(group)
        self.opaque.sort(key=lambda group: group.began[0])


class ReturnEvents:
    """Every return of a definite call, in the order of time. Each is made on first use and kept until it is forgotten.

    Args:
        calls: all calls.
        model: their model.
        skippable: the definite calls that need not take effect.
    """

    event_class: ClassVar[type[ReturnEvent]] = ReturnEvent

    def __init__(
        self, calls: Sequence[ObjectCall], model: Model, skippable: Collection[ObjectCall] = frozenset()
    ) -> None:
        definite = [call for call in calls if call.ended is not None]
        self.count = len(definite)
        self._skippable = skippable
        self._groups = _PendingGroups(calls, model)
        self._made: dict[int, ReturnEvent] = {}
        self._next = 0
        self._remaining = self._make(definite, model)

    def at(self, number: int) -> ReturnEvent:
        """Return the return event with this number, from 0."""
        while self._next <= number:
            self._made[self._next] = next(self._remaining)
            self._next += 1
        return self._made[number]

    def forget(self, number: int) -> None:
        """Free the memory of a return event that no search will use again."""
        del self._made[number]

    def _make(self, calls: Sequence[ObjectCall], model: Model) -> Iterator[ReturnEvent]:
        events = [(call.began, call) for call in calls]
        events += [(call.ended, call) for call in calls if call.ended is not None]
        events.sort(key=lambda event: event[0])
        free_bits: list[int] = []
        opened: dict[int, OpenCall] = {}
        for place, call in events:
            if place == call.began and id(call) not in opened:
                bit = free_bits.pop() if free_bits else 1 << len(opened)
                is_read = model.is_read(call)
                is_blind = not is_read and model.is_blind(call)
                required, resulting = model.required_state(call), model.resulting_state(call)
                opened[id(call)] = OpenCall(call, bit, is_read, is_blind, call in self._skippable, required, resulting)
            else:
                one = opened[id(call)]
                yield self.event_class(model, one, tuple(opened.values()), self._groups)
                del opened[id(call)]
                free_bits.append(one.bit)
