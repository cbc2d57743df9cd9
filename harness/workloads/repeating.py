"""A client of a log whose frames arrive again, late, and to which some replies are lost: by itself, without a fault in force.

So its commands are sent again while others of its session are under way, and late copies of frames arrive whose answers the
client has long had. Neither may take effect again: see `node/replication/sessions.py`. No judge asks whether its calls were
answered soon.
"""

from heapq import heappop, heappush
from random import Random
from time import monotonic
from typing import Any, Final

from cluster.clients.log_client import LogClient
from node.contract import NodeId

#: The probability that what the client sends arrives again, and within how many seconds.
_AGAIN: Final = 0.1
_AGAIN_S: Final = (0.005, 1.0)
#: The probability that a message to the client is lost.
_LOST: Final = 0.08


class RepeatingClient(LogClient):
    """A client over such a network."""

    def __init__(self, rng: Random, *arguments: Any, **more: Any) -> None:
        """Make a client. `rng` draws what is sent again, and what is lost. The other arguments are those of `LogClient`."""
        super().__init__(*arguments, **more)
        self._rng = rng
        self._copies: list[tuple[float, NodeId, str, bytes]] = []

    def send(self, now: float) -> None:
        """Send what is due at `now`, and the copies that are."""
        for node, address, data in self.pipeline.outgoing(now):
            self._connections.send(node, address, data)
            if self._rng.random() < _AGAIN:
                heappush(self._copies, (now + self._rng.uniform(*_AGAIN_S), node, address, data))
        while self._copies and self._copies[0][0] <= now:
            self._connections.send(*heappop(self._copies)[1:])

    def due(self) -> float:
        """Return when `send` is to be called again, also for the next copy."""
        return min(self.pipeline.due(), self._copies[0][0]) if self._copies else self.pipeline.due()

    def receive(self, source: Any) -> None:
        """Take in one message of a socket, or lose it."""
        received = self._connections.receive(source)
        if received is not None and received[1] is not None and self._rng.random() >= _LOST:
            self.pipeline.incoming(received[0], received[1], monotonic())
