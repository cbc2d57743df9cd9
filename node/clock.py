"""A clock that a test steers: it runs faster or slower than the machine's clock, stands still, or is moved.

A node reads `time.monotonic` until its launcher sends `{"clock": {"rate": 2.0, "moved_s": 0.0}}` over the control pipe. From
then on it reads a `SteeredClock`. Timers are all that a node uses its clock for.
"""

import time
from collections.abc import Callable


class SteeredClock:
    """A clock: a call returns the time in seconds."""

    def __init__(self, real: Callable[[], float] = time.monotonic) -> None:
        """Make a clock that runs as `real` does, a clock in seconds, until it is steered."""
        self._real = real
        self._real_last = self._now = real()
        self._rate, self._moved_s = 1.0, 0.0

    def __call__(self) -> float:
        real = self._real()
        self._now += (real - self._real_last) * self._rate
        self._real_last = real
        return self._now

    def steer(self, rate: float, moved_s: float) -> None:
        """Have the clock run at `rate` seconds per real second from now on, moved by `moved_s` seconds in total.

        With a rate of 0 it stands still. A negative `moved_s` sets it back.
        """
        self._now = self() + moved_s - self._moved_s
        self._rate, self._moved_s = rate, moved_s

    def real_s(self, seconds: float, most_s: float) -> float:
        """Return how long `seconds` of this clock take in real seconds, at most `most_s`."""
        return min(seconds / self._rate, most_s) if self._rate > 0 else most_s
