"""How long a replica's peers take to answer it, so that its waits follow the network.

Theory of operation
-------------------
A replica has no clock. It counts its own ticks or beats, sends the count with a question, and the answer returns the count. The
difference is a sample of the round trip, as with TCP's timestamps, so it is right even if the question was sent many times. The
estimate is that of RFC 6298: a smoothed round trip, and four times its deviation.

A leader measures its peers all the time, and heartbeats carry its figure for a quorum. A follower, which asks nothing, uses that
figure until it canvasses.
"""

from collections.abc import Sequence

from node.contract import NodeId
from node.quorum import majority
from node.tuning import SHIPPED


class RoundTrip:
    """The round trip to one peer, in milliseconds."""

    __slots__ = ("deviation_ms", "smoothed_ms")

    def __init__(self, first_ms: float) -> None:
        self.smoothed_ms, self.deviation_ms = first_ms, first_ms / 2

    def take(self, sample_ms: float) -> None:
        """Take in one more sample (RFC 6298, section 2.3)."""
        self.deviation_ms += (abs(self.smoothed_ms - sample_ms) - self.deviation_ms) / 4
        self.smoothed_ms += (sample_ms - self.smoothed_ms) / 8

    @property
    def wait_ms(self) -> int:
        """How long to wait for an answer: hardly one takes longer."""
        return int(self.smoothed_ms + 4 * self.deviation_ms)


class RoundTrips:
    """The round trips from one replica to its peers."""

    def __init__(self, node: NodeId, wait_ms_max: int = SHIPPED.wait_ms_max) -> None:
        """Begin without a measurement. No wait grows by more than `wait_ms_max`, however late answers come."""
        self.node, self.wait_ms_max = node, wait_ms_max
        self.measured: dict[NodeId, RoundTrip] = {}
        self.reported_ms = 0  # the leader's figure, for peers that this replica has not measured

    def answered(self, peer: NodeId, sample_ms: float) -> None:
        """Take in that an answer of `peer` has come `sample_ms` milliseconds after the question."""
        if peer in self.measured:
            self.measured[peer].take(sample_ms)
        else:
            self.measured[peer] = RoundTrip(sample_ms)

    def report(self, wait_ms: int) -> None:
        """Take in the leader's figure. What this replica has measured itself is older."""
        self.measured.clear()
        self.reported_ms = min(wait_ms, self.wait_ms_max)

    def forget(self) -> None:
        """Forget every measurement."""
        self.measured.clear()
        self.reported_ms = 0

    def wait_ms(self, peer: NodeId) -> int:
        """Return how long to wait for an answer of `peer`, in milliseconds; 0 if answers come within a tick."""
        measured = self.measured.get(peer)
        return self.reported_ms if measured is None else min(measured.wait_ms, self.wait_ms_max)

    def quorum_wait_ms(self, voters: Sequence[NodeId]) -> int:
        """Return how long to wait until a quorum of `voters` has answered, this replica included, in milliseconds."""
        peers = [voter for voter in voters if voter != self.node]
        others = min(majority(len(voters)) - 1, len(peers)) if voters else 0
        if not self.measured:  # as at every follower
            return self.reported_ms if others else 0
        waits = sorted(map(self.wait_ms, peers))
        return waits[others - 1] if others else 0
