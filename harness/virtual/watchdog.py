"""Ends a turn of an algorithm that never ends by itself.

Theory of operation
-------------------
While `watching`, a thread signals the main thread every second. The handler runs in the main thread, in the middle of what also
runs there. If that is the same turn as at the signals before, it raises `EndlessLoop`: from the line of the author's code that
loops or sleeps, so the traceback names it. A turn costs nothing but a count.

Only the main thread of a process can be interrupted. Elsewhere nothing is watched.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

#: How long the thread waits between two signals, in seconds.
TICK_S: Final = 1.0
#: How many signals in a row a turn may meet. Real turns take less than a millisecond, and hardly ever meet one.
TICKS_MAX: Final = 5
#: What the text of an endless loop says.
ENDLESS: Final = "Is it an endless loop?"


class EndlessLoop(BaseException):
    """A turn took too long. It is no `Exception`, so that an author's `except Exception` does not swallow it."""


class _Watchdog:
    """Counts turns, and how many signals in a row have met the same one."""

    def __init__(self) -> None:
        self._turn = 0
        self._depth = 0
        self._met = (-1, 0)
        self._ticks_max = TICKS_MAX

    def begin(self) -> None:
        """Begin to watch: no loop was found yet."""
        self._met, self._ticks_max = (-1, 0), TICKS_MAX

    def signalled(self, _signal: int, _frame: FrameType | None) -> None:
        if not self._depth:
            return
        turn, times = self._met
        times = times + 1 if turn == self._turn else 1
        self._met = (self._turn, times)
        if times > self._ticks_max:
            self._met, self._ticks_max = (-1, 0), 2  # a search meets the same loop again and again
            raise EndlessLoop(f"one turn took more than {TICKS_MAX * TICK_S:g} s. {ENDLESS}")

    def __enter__(self) -> None:
        if not self._depth:
            self._turn += 1
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1


#: A block `with one_turn:` runs an author's code. It counts as one turn, unless it is part of one.
one_turn: Final = _Watchdog()


@contextmanager
def watching() -> Iterator[None]:
    """Watch the turns of the block, if it runs in the main thread. A block within another changes nothing."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGVTALRM) == one_turn.signalled:
        yield
        return
    one_turn.begin()
    before = signal.signal(signal.SIGVTALRM, one_turn.signalled)
    over = threading.Event()
    thread = threading.Thread(target=_signal_until, args=(over, threading.get_ident()), name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGVTALRM, before)


def watch_in_fork() -> None:
    """Go on to watch in a process that was forked within `watching`: a fork has no threads but its own."""
    if signal.getsignal(signal.SIGVTALRM) == one_turn.signalled:
        never = threading.Event()
        arguments = (never, threading.get_ident())
        threading.Thread(target=_signal_until, args=arguments, name="watchdog", daemon=True).start()


def _signal_until(over: threading.Event, main: int) -> None:
    while not over.wait(TICK_S):
        signal.pthread_kill(main, signal.SIGVTALRM)
