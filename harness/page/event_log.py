"""The events of a page, in the order in which they were seen, for any number of browsers.

Theory of operation
-------------------
There is one log, and each browser has a place in it. A browser that is slow falls behind, and costs nothing: nothing is queued
for it. If its place is gone when it reads on, it gets the `base` and what is left, as a browser does that has just come.

The log is bounded. Of events that fall out, the base keeps what a picture needs: the latest of each node, fault and call.

An event is plain data for JSON: `k` is its kind, `t` its time in microseconds. `harness/report/events.py` lists the kinds.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final, NamedTuple

from harness.report.events import Event

#: How many events are kept.
EVENTS_MAX: Final = 40_000
#: How many events of calls and faults that have fallen out the base keeps.
BASE_MAX: Final = 2_000
#: The fields that name what an event is about, by its kind. Of the others, the base keeps nothing.
_NAMES: Final = {"node": "node", "fault": "id", "call": "id", "predicate": "name"}


class EventBatch(NamedTuple):
    """What a browser is sent: its place afterwards, the events, and whether they replace all that it has."""

    place: int
    events: list[Event]
    is_anew: bool


class EventLog:
    """A bounded log. Any thread may add; `on_change` is called after each addition, by the thread that adds."""

    def __init__(self, events_max: int = EVENTS_MAX) -> None:
        self._events: deque[Event] = deque()
        self._max = events_max
        self._begin = 0  # the number of the first event that is left
        self._base: dict[tuple[str, Any], Event] = {}
        self._lock = threading.Lock()
        self.on_change: Callable[[], None] = lambda: None

    @property
    def end(self) -> int:
        """The place after the last event."""
        return self._begin + len(self._events)

    def add(self, events: Iterable[Event]) -> None:
        """Add events. The oldest fall out if there are too many."""
        with self._lock:
            self._events.extend(events)
            while len(self._events) > self._max:
                self._keep_in_base(self._events.popleft())
                self._begin += 1
        self.on_change()

    def replace(self, events: Iterable[Event]) -> None:
        """Forget all events, and hold these: every browser begins anew."""
        with self._lock:
            self._begin = self.end + 1  # no place of a browser is left
            self._events.clear()
            self._base.clear()
            self._events.extend(events)
        self.on_change()

    def _keep_in_base(self, event: Event) -> None:
        name = _NAMES.get(event["k"])
        if name is None:
            return
        key = (event["k"], event[name])
        self._base.pop(key, None)
        self._base[key] = event
        if len(self._base) > BASE_MAX:
            del self._base[next(iter(self._base))]

    def read(self, place: int, most: int) -> EventBatch:
        """Return up to `most` events from a place on. A place that is gone, or that never was, begins anew."""
        with self._lock:
            is_anew = not self._begin <= place <= self.end
            begin = self._begin if is_anew else place
            events = list(islice(self._events, begin - self._begin, begin - self._begin + most))
            base = list(self._base.values()) if is_anew or (place == 0 and not self._begin) else []
            return EventBatch(begin + len(events), base + events, is_anew)
