"""A limit of time for work that consists of many loops: an alarm of the operating system ends it, wherever it is."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: How long after the limit the alarm rings again, in seconds, in case that some code has caught the first exception.
_AGAIN_S: Final = 0.2


class TimeIsUp(BaseException):
    """The time is over. It is no `Exception`, so that nothing takes it for an error of a judge."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise `TimeIsUp` in the block when its time is over. An alarm that was set before goes on afterwards.

    Args:
        seconds: the time; None for no limit. Outside of the main thread there is none either.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_signal: int, _frame: object) -> None:
        raise TimeIsUp

    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, ring)
    left, again = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 0.001) if left else 0.0, again)
        signal.signal(signal.SIGALRM, handler)
