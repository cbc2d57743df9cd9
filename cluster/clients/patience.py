"""How long a client waits for a leader's reply before it takes the leader for lost.

Theory of operation
-------------------
The wait is the estimate of RFC 6298 over the replies to frames that were sent once, and at least `LEAST_S`. While a leader that
is slower than that does not reply in time, no reply counts as a sample. So the wait doubles with each silence in a row after the
first, up to `MOST_S`, until a frame that was sent once is answered. The first silence doubles nothing: a leader may be suspended,
and then the next one is to be found soon.
"""

from typing import Final

#: In seconds: the shortest and the longest wait.
LEAST_S: Final = 0.5
MOST_S: Final = 5.0


class Patience:
    """The patience of one client with its leader. Times are in seconds."""

    def __init__(self) -> None:
        self._smoothed_s = self._deviation_s = 0.0
        self._silences = 0

    @property
    def wait_s(self) -> float:
        """How long to wait for the next reply."""
        estimate_s = max(LEAST_S, self._smoothed_s + 4 * self._deviation_s)
        return min(float(estimate_s * 2 ** max(self._silences - 1, 0)), MOST_S)

    def replied(self, took_s: float) -> None:
        """Take in that a frame that was sent once was answered after `took_s` seconds."""
        if not self._smoothed_s:
            self._smoothed_s, self._deviation_s = took_s, took_s / 2
        self._deviation_s += (abs(self._smoothed_s - took_s) - self._deviation_s) / 4
        self._smoothed_s += (took_s - self._smoothed_s) / 8
        self._silences = 0

    def silent(self) -> None:
        """Take in that no reply has come in time."""
        self._silences = min(self._silences + 1, 8)
