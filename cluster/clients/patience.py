"""How long a client waits for a reply before it takes the leader for lost, or asks another node.

Theory of operation
-------------------
The wait is twice the shortest time in which one of the latest frames was answered, and at least half a second. Each time counts
from the first send of its frame. So a network that is slow for all frames lengthens the wait, and one that loses some does not.
"""

from collections import deque

from node.tuning import SHIPPED, Tuning


class Patience:
    """The patience of one client with its leader. Times are in seconds."""

    def __init__(self, tuning: Tuning = SHIPPED) -> None:
        self._tuning = tuning
        self._took_s: deque[float] = deque(maxlen=tuning.client_patience_replies)

    @property
    def wait_s(self) -> float:
        """How long to wait for the next reply."""
        return self.at_least(self._tuning.client_patience_ms)

    def at_least(self, least_ms: int) -> float:
        """Return how long to wait for the next reply, if that is no shorter than `least_ms`, in seconds."""
        tuning = self._tuning
        usual_s = tuning.client_patience_times * min(self._took_s, default=0.0)
        return max(least_ms / 1000, min(usual_s, tuning.client_patience_ms_max / 1000))

    def replied(self, took_s: float) -> None:
        """Take in that a frame was answered `took_s` seconds after it was sent first."""
        self._took_s.append(took_s)
