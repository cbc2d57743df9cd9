"""Thinning: which messages of a large run the page carries.

Rules
-----
1. Up to `most` messages, the page carries all. Beyond that, it first carries those near a witness or near the beginning or end
   of a fault, up to half of `most`.
2. The kinds share the rest. A kind is a type, and whether a rule acted on the message. Rare kinds are carried whole, and common
   ones are thinned evenly in time, so that a few lost votes do not drown among heartbeats.
3. The messages that are left out are counted by type, so that the page can name the numbers.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from harness.report.drawn_run import DrawnMessage

#: How many messages a page carries at most.
MESSAGES_MAX: Final = 20_000
#: How near a message must be to a moment to be carried first, in nanoseconds.
NEAR_NS: Final = 100_000_000


class Thinned(NamedTuple):
    """The messages of a page."""

    kept: list[DrawnMessage]
    """The messages that the page carries, in order."""
    left_out: Mapping[str, int]
    """How many messages of each type it does not carry."""


def thin(messages: Sequence[DrawnMessage], moments: Iterable[int], most: int = MESSAGES_MAX) -> Thinned:
    """Choose the messages that the page carries.

    Args:
        messages: all messages, in the order of time.
        moments: the times, in nanoseconds, near which messages matter most.
        most: how many messages the page may carry.
    """
    if len(messages) <= most:
        return Thinned(list(messages), {})
    near = _near(messages, sorted(moments))
    kept = set(_evenly(near, most // 2))
    kinds: dict[tuple[str, bool], list[int]] = {}
    for place, message in enumerate(messages):
        if place not in kept:
            kinds.setdefault((message.type, message.is_plain), []).append(place)
    room = most - len(kept)
    for waiting, kind in zip(range(len(kinds), 0, -1), sorted(kinds.values(), key=len), strict=True):
        chosen = _evenly(kind, room // waiting)
        kept.update(chosen)
        room -= len(chosen)
    left_out = Counter(message.type for place, message in enumerate(messages) if place not in kept)
    return Thinned([messages[place] for place in sorted(kept)], left_out)


def _near(messages: Sequence[DrawnMessage], moments: Sequence[int]) -> list[int]:
    """Return the places of the messages that are near a moment."""
    found = []
    place = 0
    for number, message in enumerate(messages):
        while place < len(moments) and moments[place] + NEAR_NS < message.time:
            place += 1
        if place < len(moments) and abs(moments[place] - message.time) <= NEAR_NS:
            found.append(number)
    return found


def _evenly(places: Sequence[int], most: int) -> list[int]:
    """Return at most `most` of the places, spread evenly."""
    if len(places) <= most:
        return list(places)
    return [places[number * len(places) // most] for number in range(most)]
