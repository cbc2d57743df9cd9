"""Limits of time and memory for work of many loops: an alarm of the operating system looks at both, wherever the work is."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: How often the memory is looked at, in seconds.
_LOOK_S: Final = 0.02
#: How long after the first alarm it rings again, in seconds, in case that some code has caught the exception.
_AGAIN_S: Final = 0.2
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class LimitReached(BaseException):
    """The time is over, or the memory is used up; its text says which. It is no `Exception`, so that no judge handles it."""


@contextmanager
def work_limits(seconds: float | None, gigabytes: float | None) -> Iterator[None]:
    """Raise `LimitReached` in the block when a limit is reached. An alarm that was set before goes on afterwards.

    Args:
        seconds: the time; None for no limit.
        gigabytes: how much memory of its own the process may have, of 10^9 bytes; None for no limit but the machine's.

    Outside of the main thread there are no limits.
    """
    limited = (seconds, gigabytes) != (None, None) and _is_main_thread()
    try:
        if limited:
            with _alarm(seconds, gigabytes):
                yield
        else:
            yield
    except MemoryError:
        raise LimitReached("the machine denies more memory") from None


@contextmanager
def _alarm(seconds: float | None, gigabytes: float | None) -> Iterator[None]:
    began = time.monotonic()
    is_over = False

    def ring(_signal: int, _frame: object) -> None:
        if gigabytes is not None and _memory_used() > gigabytes * 1e9:
            reached = f"not decided within {gigabytes:g} GB of memory: raise --memory"
        elif seconds is not None and time.monotonic() - began >= seconds:
            reached = f"not decided within {seconds:g} s: raise --timeout"
        else:
            return
        if not is_over:
            # The next alarm must not ring while this exception is on its way out of the block.
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S, _AGAIN_S)
            raise LimitReached(reached)

    handler = signal.signal(signal.SIGALRM, ring)
    first, then = (seconds, _AGAIN_S) if gigabytes is None else (_LOOK_S, _LOOK_S)
    left, again = signal.setitimer(signal.ITIMER_REAL, first or 0.0, then)
    try:
        yield
    finally:
        is_over = True
        signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 0.001) if left else 0.0, again)
        signal.signal(signal.SIGALRM, handler)


def _is_main_thread() -> bool:
    import threading  # noqa: PLC0415 - most checks have no limits

    return threading.current_thread() is threading.main_thread()


def _memory_used() -> int:
    """Return how much memory of this process is in use, in bytes."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * _PAGE
