"""How long a client waits for a leader's reply before it takes the leader for lost.

Theory of operation
-------------------
The wait is twice the shortest time in which one of the latest frames was answered, and at least `LEAST_S`. Each time counts from
the first send of its frame. So a network that is slow for all frames lengthens the wait, and one that loses some does not.
"""

from collections import deque
from typing import Final

#: In seconds: the shortest and the longest wait.
LEAST_S: Final = 0.5
MOST_S: Final = 5.0
_LATEST: Final = 8
_TIMES: Final = 2


class Patience:
    """The patience of one client with its leader. Times are in seconds."""

    def __init__(self) -> None:
        self._took_s: deque[float] = deque(maxlen=_LATEST)

    @property
    def wait_s(self) -> float:
        """How long to wait for the next reply."""
        return min(max(LEAST_S, _TIMES * min(self._took_s, default=0.0)), MOST_S)

    def replied(self, took_s: float) -> None:
        """Take in that a frame was answered `took_s` seconds after it was sent first."""
        self._took_s.append(took_s)
