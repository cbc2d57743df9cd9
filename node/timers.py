"""Timers by key that expire after a random time in a range.

No other part of the turn uses a clock or random numbers. The caller supplies both.
"""

import heapq
from collections.abc import Callable, Hashable, Iterator
from random import Random
from typing import Final, Generic, TypeVar

_SPARE: Final = 64

_Key = TypeVar("_Key", bound=Hashable)


class Timers(Generic[_Key]):
    """Timers by key. Setting a key again replaces its timer.

    The heap also holds entries of timers that were replaced or cancelled. They are dropped when they come to the top, or all at
    once when they are the larger part of the heap.
    """

    def __init__(self, clock: Callable[[], float], rng: Random) -> None:
        self.clock, self._rng = clock, rng
        self._due: dict[_Key, float] = {}
        self._heap: list[tuple[float, int, _Key]] = []
        self._count = 0

    def set(self, key: _Key, least_s: float, most_s: float) -> None:
        """Have `key` expire once, at a time drawn uniformly from `least_s` to `most_s` seconds from now."""
        due = self.clock() + self._rng.uniform(least_s, most_s)
        self._due[key] = due
        self._count += 1
        if len(self._heap) > 2 * len(self._due) + _SPARE:
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (due, self._count, key))

    def cancel(self, key: _Key) -> None:
        """Cancel the timer of `key`, if it is set."""
        self._due.pop(key, None)

    def wait_s(self, most_s: float) -> float:
        """Return the seconds until the next timer expires, between 0 and `most_s`."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return min(max(self._heap[0][0] - self.clock(), 0.0), most_s) if self._heap else most_s

    def take_expired(self) -> Iterator[_Key]:
        """Yield each key whose timer has expired, the earliest first.

        The caller may set and cancel timers meanwhile. A timer that is set then is not yielded before the next call, even if it
        is due. A cancelled timer is not yielded.
        """
        now, last = self.clock(), self._count
        while self._heap and self._heap[0][0] <= now and self._heap[0][1] <= last:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                yield key
