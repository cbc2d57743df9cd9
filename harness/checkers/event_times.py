"""The order and the times of the lines of a history file.

The order of the lines is the order of real time. `index` and `time` may be missing, but must not decrease: a verdict on
lines in another order would be about events that never happened. Recorders that stamp a line before they write it let
`time` step back while the lines are in order. If these lines have a rising `index`, or if the time steps back by less than a
millisecond, the order of the lines counts, and a note says so.
"""

import math
from array import array
from typing import Any, Final

_NO_TIME: Final = float("nan")
#: By how much less than this a time may step back, in seconds.
_STEP_BACK_S: Final = 0.001


class EventTimes:
    """The times of the lines that were read so far."""

    def __init__(self) -> None:
        self.per_second = 1.0
        """How many units of the times a second has."""
        self.steps_back = 0
        """How often a time was before that of an earlier line."""
        self._back_max_s = 0.0
        self._times = array("d")
        self._last_index = 0
        self._first = self._last = -math.inf

    def add(self, place: int, event: dict[str, Any]) -> None:
        """Check a line's index and time, and keep the time.

        Raises:
            ValueError: the line is not in the order of real time.
        """
        index, time = event.get("index"), event.get("time")
        if type(index) is int:
            if index < self._last_index:
                raise ValueError(
                    f"index {index} comes after {self._last_index}, but the lines must be in the order of real time"
                )
            self._last_index = index
        if type(time) is not int and type(time) is not float:
            return
        if self._first == -math.inf:
            self._first = time
            self.per_second = 1e9 if type(time) is int else 1.0
        if time < self._last:
            back = (self._last - time) / self.per_second
            if back >= _STEP_BACK_S and type(index) is not int:
                raise ValueError(
                    f"time {time} comes after {self._last}, but the lines must be in the order of real time"
                )
            self.steps_back += 1
            self._back_max_s = max(back, self._back_max_s)
        self._last = max(time, self._last)
        while len(self._times) < place:
            self._times.append(_NO_TIME)
        self._times.append(time - self._first)

    def seconds(self, place: int) -> float | None:
        """Return the time of a line in seconds since the first line that has one; None if it has none."""
        time = self._times[place] if 0 <= place < len(self._times) else _NO_TIME
        return None if math.isnan(time) else time / self.per_second

    @property
    def note(self) -> str | None:
        """What a reader should know about the times; None if there is nothing."""
        if not self.steps_back:
            return None
        how_often = "once" if self.steps_back == 1 else f"{self.steps_back:,} times"
        within = self._back_max_s < _STEP_BACK_S
        by = "less than a millisecond" if within else f"up to {self._back_max_s:.3g} s while the index rises"
        return f"time steps back {how_often}, by {by}: the order of the lines counts"
