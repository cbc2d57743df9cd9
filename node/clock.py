"""A node's clock that somebody else steers: a file says how fast it runs and how far it has been moved.

`python -m node … --clock FOLDER` has the node `n1` read `FOLDER/n1`, which holds two numbers: the rate, in seconds of this
clock a real second, and how many seconds it has been moved altogether. "1 0" is a true clock, as is a missing file; "0 0"
stands still; "1 -5" has been put back by five seconds. A change counts from when the node sees it, which is at its next
look, `LOOK_EVERY_S` later at the most. Timers are all that a node uses its clock for.

Without the flag a node reads `time.monotonic`, and none of this is in its way.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

#: How long a node with such a clock waits at most before it looks at the file again, in seconds.
LOOK_EVERY_S: Final = 0.005


class SteeredClock:
    """Call it for the time, in seconds."""

    def __init__(self, path: Path, real: Callable[[], float] = time.monotonic) -> None:
        self._path, self._real = path, real
        self._real_last = self._now = real()
        self._seen = b""
        self._rate, self._moved_s = 1.0, 0.0

    def __call__(self) -> float:
        real = self._real()
        self._now += (real - self._real_last) * self._rate
        self._real_last = real
        self._look()
        return self._now

    def _look(self) -> None:
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            text = b"1 0"
        except OSError:  # no descriptor is free, say: it goes on as it was
            return
        if text != self._seen:
            self._seen = text
            self._rate, moved_s = (float(word) for word in text.split())
            self._now += moved_s - self._moved_s
            self._moved_s = moved_s


def steer(path: Path, rate: float, moved_s: float = 0.0) -> None:
    """Have the clock that reads `path` run at `rate`, moved by `moved_s` seconds altogether."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_suffix(".new")
    aside.write_text(f"{rate} {moved_s}\n")
    aside.rename(path)  # nobody reads half of it
