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

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from harness.checkers.sequential_model import NO_SINGLE_STATE, Model, ModelState, ObjectCall

#: How many calls end within a window: small ones are tried first.
_SIZES: Final = (2, 4, 16, 64)


class Window(NamedTuple):
    """A window, as calls that are to be judged by themselves."""

    calls: list[ObjectCall]
    initial: list[ModelState]
    """The states that the object may have before it."""
    optional: int
    """How many of the first calls may have taken effect before it, or may still do so."""
    original: dict[ObjectCall, ObjectCall]
    """The calls of the history, by those of the window that stand for them."""


def windows(calls: Sequence[ObjectCall], model: Model) -> Iterator[Window]:
    """Yield windows of a long history, the most suspect first; none if it is short, or the model has states without number.

    Args:
        calls: all calls on the object.
        model: a model of which `resulting_state` names every state that a call can lead to.
    """
    definite = sorted((call for call in calls if call.ended is not None), key=lambda call: call.ended or 0)
    states = {model.resulting_state(call) for call in calls if not (model.is_read(call) or call.f in model.reads)}
    if NO_SINGLE_STATE in states or len(definite) <= 4:
        return
    initial = list(dict.fromkeys([model.initial, *sorted(states, key=str)]))
    if len(initial) > 64:  # with many values, a stale one is found without a search
        return
    cuts = _Cuts(definite)
    for size in _SIZES:
        yield _window(calls, model, initial, cuts.place_before(len(definite) - size), None)
    for size in _SIZES:
        for last in range(len(definite) - size, 0, -max(size // 2, 1)):
            begin = cuts.place_before(last - size)
            yield _window(calls, model, initial, begin, definite[last].ended)


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


def _window(
    calls: Sequence[ObjectCall], model: Model, initial: list[ModelState], begin: int, end: int | None
) -> Window:
    found: dict[ObjectCall, ObjectCall] = {}
    optional = 0
    for call in calls:
        if end is not None and call.began > end:
            continue
        if call.ended is not None and call.ended <= begin:
            continue
        ends_within = call.ended is not None and (end is None or call.ended <= end)
        if ends_within and call.began > begin:
            found[call] = call
        elif ends_within and not model.is_read(call):
            found[call] = call
            optional += 1
        elif not model.is_read(call) and call.f not in model.reads:
            found[replace(call, ended=None)] = call
    return Window(list(found), initial if begin >= 0 else [model.initial], optional, found)
