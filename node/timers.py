"""Named timers that run out after a random time in a range.

The only place below the transport that reads a clock or draws a random number; both are given to it.
"""

import heapq
from collections.abc import Callable, Hashable, Iterator
from random import Random
from typing import Final, Generic, TypeVar

_SPARE: Final = 64

_Key = TypeVar("_Key", bound=Hashable)


class Timers(Generic[_Key]):
    """Timers by key. Setting one again replaces it.

    A replaced or cancelled one stays in the heap until it is passed over, or until such are the larger part of the heap.
    """

    def __init__(self, clock: Callable[[], float], rng: Random) -> None:
        self.clock, self._rng = clock, rng
        self._due: dict[_Key, float] = {}
        self._heap: list[tuple[float, int, _Key]] = []
        self._count = 0

    def set(self, key: _Key, least_s: float, most_s: float) -> None:
        """Have `key` run out once, at a time drawn evenly from `least_s` to `most_s` seconds from now."""
        due = self.clock() + self._rng.uniform(least_s, most_s)
        self._due[key] = due
        self._count += 1
        if len(self._heap) > 2 * len(self._due) + _SPARE:
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (due, self._count, key))

    def cancel(self, key: _Key) -> None:
        """Forget `key`, if it is set."""
        self._due.pop(key, None)

    def wait_s(self, most_s: float) -> float:
        """Seconds until the next timer runs out, between 0 and `most_s`."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return min(max(self._heap[0][0] - self.clock(), 0.0), most_s) if self._heap else most_s

    def run_out(self) -> Iterator[_Key]:
        """Each key whose time has come, once, earliest first.

        Meanwhile timers may be set, which come next time even if they are due, and cancelled, which do not come.
        """
        now, last = self.clock(), self._count
        while self._heap and self._heap[0][0] <= now and self._heap[0][1] <= last:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                yield key
