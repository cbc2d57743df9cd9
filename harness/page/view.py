"""What a page looks at: what never changes of it, how it stands, and the log of its events.

`LiveView` (`live_view.py`) follows a cluster that runs; `recorded_view` (`recorded_view.py`) makes a view of a run folder.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.page.event_log import EventLog


@dataclass
class PageView:
    """One thing that pages show.

    Attributes:
        log: its events.
        about: what never changes: algorithm, nodes, predicates, catalogue of faults; plain data for JSON.
        now_us: returns the present time of the events, in microseconds; None if nothing happens any more.
        folder: returns the run folder, or None if there is none yet.
    """

    log: EventLog
    about: dict[str, Any]
    now_us: Callable[[], int] | None = None
    folder: Callable[[], Path | None] = lambda: None
    _standing: dict[str, Any] = field(default_factory=dict)
    _version: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def stand(self, **standing: Any) -> None:
        """Note how it stands now: what of it is not an event, such as the messages that are held. A browser gets all of it."""
        with self._lock:
            if standing == {name: self._standing.get(name) for name in standing}:
                return
            self._standing.update(standing)
            self._version += 1
        self.log.on_change()

    @property
    def is_under_way(self) -> bool:
        """Whether it is of a session that still runs."""
        with self._lock:
            return bool(self.about.get("live")) and not (self._standing.get("ended") or self._standing.get("over"))

    def standing(self, since: int) -> tuple[int, dict[str, Any] | None]:
        """Return the version of how it stands, and how it stands if that is not the version `since`."""
        with self._lock:
            return self._version, dict(self._standing) if self._version != since else None
