"""Clients that ask a node and are gone before its answer can come, as a process that was killed.

All other clients of a run reach the nodes through the proxy, whose connections stay. So only a client that connects to a node
itself shows whether the node bears that its client has gone. What it asks changes nothing, and no judge asks what
became of it: a node that fails is judged by the verdict "contract".
"""

import contextlib
from itertools import count
from random import Random
from typing import Final

import zmq

from cluster.cluster import Cluster
from node.algorithms import load_algorithm
from node.client_messages import StatusRequest
from node.contract import Message
from node.frames import ReadFrame
from node.transport import tuned
from node.wire import Codec, Envelope, pack_unchecked

#: How often one comes by, in seconds.
_EVERY_S: Final = 0.15
#: How long its frames may take to leave, in milliseconds: its node may be suspended.
_LINGER_MS: Final = 100


class PassersBy:
    """The passers-by of one run."""

    def __init__(self, cluster: Cluster, rng: Random) -> None:
        """Prepare them. `rng` draws which node is asked."""
        settings = cluster.spec.settings
        self._cluster, self._rng = cluster, rng
        self._codec = Codec(settings.cluster, ())
        self._keeps_log = load_algorithm(settings.algorithm).keeps_log
        self._next_at_s = 0.0
        self._numbers = count(1)
        self.visits = 0
        """How many nodes were asked."""

    def come_by(self, now_s: float) -> None:
        """Let one come by if it is time. Does not wait."""
        if now_s < self._next_at_s:
            return
        self._next_at_s = now_s + _EVERY_S
        ready = [process.ready for process in self._cluster.processes.values() if process.ready is not None]
        if not ready:
            return
        asks: list[Message] = [StatusRequest(1)]
        if self._keeps_log:  # its answer takes a round of the leader's
            asks.append(ReadFrame(2, 0, "kv", pack_unchecked([["version"]])))
        socket = tuned(zmq.Context.instance().socket(zmq.DEALER))
        socket.setsockopt(zmq.LINGER, _LINGER_MS)
        with contextlib.closing(socket):
            socket.connect(self._rng.choice(ready).address)
            name = f"passer-by{next(self._numbers)}"
            for message in asks:
                with contextlib.suppress(zmq.Again):
                    socket.send(self._codec.encode(Envelope(name, 0, "", message)), zmq.NOBLOCK)
        self.visits += 1
