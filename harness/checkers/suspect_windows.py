"""Suspect windows: a short part of a long history that has no order, whatever came before it.

Theory of operation
-------------------
Most violations show in a few calls that follow each other closely, such as two reads of different values with no write
between. A window is all calls that end between two moments. It is judged by itself, with every doubt in its favour:

1. before it, the object may have any state that some call makes, or its initial state;
2. a call that was open when it begins may have taken effect before, or take effect in it by its own end; one that is open when
   it ends may take effect in it, or not, like one of unknown outcome. If such a call changes nothing, it is left out;
3. calls of unknown outcome from before may take effect in it, too.

If the window has no order even so, the whole history has none: an order of the whole would, between the two moments, be an
order of the window. That the window has an order proves nothing.

Windows begin where few calls are open, since fewer doubts remain there. Those at the end come first: a history that was
recorded until something was found wrong ends there.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

from harness.checkers.sequential_model import NO_SINGLE_STATE, Model, ModelState, ObjectCall

#: How many calls end within a window: small ones are tried first.
_SIZES: Final = (2, 4, 16, 64)
#: With more states, and so with more values, a stale one is found without a search.
_STATES_MAX: Final = 64


class Window(NamedTuple):
    """A window, as calls that are to be judged by themselves."""

    calls: list[ObjectCall]
    initial: list[ModelState]
    """The states that the object may have before it."""
    skippable: set[ObjectCall]
    """Those of the calls that need not take effect in it."""
    original: dict[ObjectCall, ObjectCall]
    """The calls of the history, by those of the window that stand for them."""


def windows(calls: Sequence[ObjectCall], model: Model) -> Iterator[Window]:
    """Yield windows of a long history, the most suspect first; none if it is short, or the model has states without number.

    Args:
        calls: all calls on the object.
        model: a model of which `resulting_state` names every state that a call can lead to.
    """
    definite = sorted((call for call in calls if call.ended is not None), key=lambda call: call.ended or 0)
    initial = possible_states(calls, model)
    if initial is None or len(definite) <= 4:
        return
    cuts = _Cuts(definite)
    for size in _SIZES:
        yield make_window(calls, model, initial, cuts.place_before(len(definite) - size), None)
    for size in _SIZES:
        for last in range(len(definite) - size, 0, -max(size // 2, 1)):
            begin = cuts.place_before(last - size)
            yield make_window(calls, model, initial, begin, definite[last].ended)


def possible_states(calls: Sequence[ObjectCall], model: Model) -> list[ModelState] | None:
    """Return every state that the object may have; None if they are many, or without number."""
    states = {model.resulting_state(call) for call in calls if not (model.is_read(call) or call.f in model.reads)}
    if NO_SINGLE_STATE in states:
        return None
    found = list(dict.fromkeys([model.initial, *sorted(states, key=str)]))
    return found if len(found) <= _STATES_MAX else None


class _Cuts:
    """Moments at which few calls are open."""

    def __init__(self, definite: Sequence[ObjectCall]) -> None:
        begins = sorted(call.began for call in definite)
        self.ends = [call.ended or 0 for call in definite]
        self.open_after: list[int] = []
        begun = 0
        for number, end in enumerate(self.ends):
            while begun < len(begins) and begins[begun] < end:
                begun += 1
            self.open_after.append(begun - number - 1)

    def place_before(self, number: int) -> int:
        """Return a place at or before the end of a call at which as few calls as possible are open; -1 for the beginning."""
        if number <= 0:
            return -1
        near = range(max(number - 8, 0), number)
        return self.ends[min(near, key=lambda one: (self.open_after[one], -one))]


def make_window(
    calls: Sequence[ObjectCall],
    model: Model,
    initial: list[ModelState],
    begin: int,
    end: int | None,
    required: Collection[ObjectCall] | None = None,
) -> Window:
    """Return the window between two moments.

    Args:
        calls: all calls on the object.
        model: the sequential model of the object.
        initial: every state that the object may have before the window.
        begin: the place at which the window begins; -1 for the beginning.
        end: the place at which it ends; None for the end.
        required: the calls that have to take effect in it; None for all that begin and end in it.
    """
    found: dict[ObjectCall, ObjectCall] = {}
    skippable = set()
    for call in calls:
        if (end is not None and call.began > end) or (call.ended is not None and call.ended <= begin):
            continue
        ends_within = call.ended is not None and (end is None or call.ended <= end)
        if ends_within and (call.began > begin if required is None else call in required):
            found[call] = call
        elif ends_within and not model.is_read(call):
            found[call] = call
            skippable.add(call)
        elif not model.is_read(call) and call.f not in model.reads:
            found[call.changed(ended=None)] = call
    return Window(list(found), initial if begin >= 0 else [model.initial], skippable, found)
