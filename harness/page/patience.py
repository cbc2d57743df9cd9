"""How long the calls of a page wait: their time stands still while a person holds messages, or has stopped clocks.

Rules
-----
1. While a fault holds messages or a clock stands still, a call has no end: a person delivers its messages one by one.
2. Once no such fault is in force, the call's time counts from the beginning. So what has no answer then ends as unknown.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

#: For how long a call waits from one look at the cluster to the next while its time stands still, in seconds.
_AHEAD_S: Final = 60.0


class HasDeadline(Protocol):
    """A call under way, of any client."""

    deadline: float


class PatientCall:
    """A call under way. `stood` is whether its time has stood still since it began."""

    def __init__(self, call: HasDeadline, timeout_s: float) -> None:
        self.call, self.timeout_s = call, timeout_s
        self.stood = self.stands = False


class CallPatience:
    """The calls under way. Any thread may use it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Make it without calls. `clock` is the clock of their deadlines, in seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[int, PatientCall] = {}
        self._stands = False

    @contextmanager
    def of(self, call: HasDeadline, timeout_s: float) -> Iterator[PatientCall]:
        """Look after the deadline of a call within the block. `timeout_s` is how long it waits where nothing stands still."""
        waiting = PatientCall(call, timeout_s)
        with self._lock:
            self._waiting[id(waiting)] = waiting
            self._move(waiting)
        try:
            yield waiting
        finally:
            with self._lock:
                del self._waiting[id(waiting)]

    def take(self, in_force: Sequence[dict[str, Any]]) -> None:
        """Take in which faults are in force, as `HandSession.faults_in_force` lists them. Called at each look at the cluster."""
        with self._lock:
            self._stands = any(map(_stands, in_force))
            for waiting in self._waiting.values():
                self._move(waiting)

    def _move(self, waiting: PatientCall) -> None:
        if self._stands:
            waiting.stood = waiting.stands = True
            waiting.call.deadline = self._clock() + waiting.timeout_s + _AHEAD_S
        elif waiting.stands:
            waiting.stands = False
            waiting.call.deadline = self._clock() + waiting.timeout_s


def _stands(fault: dict[str, Any]) -> bool:
    return bool(fault["fault"] == "hold" or (fault["fault"] == "clock-skew" and fault["arguments"].get("rate") == 0))
