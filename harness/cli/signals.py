"""Signal handlers for verbs that end in order at a signal."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

from harness.cli.convention import EXIT_UNKNOWN, Signalled

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def handled(numbers: Sequence[int], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle these signals with `handler` inside the block. One that is ignored, as SIGHUP is under nohup, stays so.

    In another thread than the main one this does nothing, since only the main thread can handle signals.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        handled_ones = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, handler) for number in handled_ones}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """Yield a list that gets the number of each signal that interrupts the work in the block.

    For work that ends at KeyboardInterrupt with what it has found so far: the caller learns that it was interrupted.
    """
    noted: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        noted.append(number)
        raise Signalled(number)

    with handled(_ENDING, note):
        yield noted


def exit_code_after(noted: Sequence[int], code: int) -> int:
    """Return the exit code of work that has ended with `code`: that of the first signal, if nothing was shown before it."""
    return 128 + noted[0] if noted and code in (0, EXIT_UNKNOWN) else code
