"""Which messages of a large run the page carries.

Rules
-----
1. All of them, up to `most`. Beyond that, first those near a witness or near a fault's beginning and end, up to half.
2. The rest is shared among the kinds: a kind is a type and whether something was done to the message. Rare kinds stay
   whole, common ones are thinned evenly in time, so that a few lost votes are not drowned by heartbeats.
3. What was left out is counted by type, for the page to say.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from harness.report.reading import DrawnMessage

MESSAGES_MAX: Final = 20_000
NEAR_NS: Final = 100_000_000


class Thinned(NamedTuple):
    """What was kept, in order, and how many of each type were left out."""

    kept: list[DrawnMessage]
    left_out: Mapping[str, int]


def thin(messages: Sequence[DrawnMessage], moments: Iterable[int], most: int = MESSAGES_MAX) -> Thinned:
    """Keep at most `most` messages. `moments` are the times, in nanoseconds, around which they matter most."""
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
    """The places of the messages that are near a moment."""
    found = []
    place = 0
    for number, message in enumerate(messages):
        while place < len(moments) and moments[place] + NEAR_NS < message.time:
            place += 1
        if place < len(moments) and abs(moments[place] - message.time) <= NEAR_NS:
            found.append(number)
    return found


def _evenly(places: Sequence[int], most: int) -> list[int]:
    """At most `most` of them, spread evenly."""
    if len(places) <= most:
        return list(places)
    return [places[number * len(places) // most] for number in range(most)]
