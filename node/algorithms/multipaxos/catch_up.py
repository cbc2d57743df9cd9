"""Catching up: a replica that lacks chosen slots fetches the log, or a snapshot and then the log.

Rules
-----
1. A replica that sees a commit index above its own sends `Fetch` to the peer that has it.
2. The peer answers with records of its log. If it has deleted these, it offers its snapshot: see `node/replication/snapshots.py`.
"""

from collections.abc import Callable

from node.algorithms.multipaxos.acceptor import Acceptor
from node.algorithms.multipaxos.messages import Chosen, Fetch
from node.contract import NodeId
from node.log_contract import LogNode
from node.replication.messages import SnapshotOffer
from node.replication.round_trips import RoundTrips
from node.replication.snapshots import Snapshots
from node.replication.state import ReplicatedState


class CatchUp(Snapshots):
    """One replica's requests to its peers for chosen slots, and its answers to theirs."""

    def __init__(
        self,
        node: LogNode,
        acceptor: Acceptor,
        state: ReplicatedState,
        round_trips: RoundTrips,
        advance: Callable[[], None],
    ) -> None:
        """Take the parts of the replica. `advance` applies the slots that have become known as chosen."""
        super().__init__(node, acceptor, state, round_trips, advance)
        self.acceptor = acceptor

    def fetch(self, source: NodeId, *, leads: bool = False) -> None:
        """Ask `source` for the slots that this replica lacks, unless a request is open that may still be answered.

        If the present source has not answered in time, it may be down, and the leader, which is not, takes its place.
        """
        if leads and self.source not in (None, source) and self.timeouts:
            self.abandon()
        if self.source is None:
            self._ask(source)

    def _ask(self, source: NodeId) -> None:
        self.source = source
        self.node.send(source, Fetch(self.acceptor.commit))
        self.await_answer(source)

    def chosen(self, sender: NodeId, message: Chosen) -> None:
        """Take in chosen records from a peer."""
        before = self.acceptor.commit
        for record in message.records:
            if record.slot == self.acceptor.commit + 1:
                self.acceptor.choose(record)
        self.advance()
        # A copy of an earlier answer brings nothing. Were it to begin a request, requests would multiply with every copy.
        if sender == self.source and (self.acceptor.commit > before or message.commit <= before):
            self.source, self.timeouts = None, 0
            if message.records and message.commit > self.acceptor.commit:
                self._ask(sender)

    def answer(self, sender: NodeId, commit: int) -> None:
        """Send a peer the chosen records after `commit`, or the offer of a snapshot if some are deleted."""
        if commit >= self.acceptor.commit:
            return
        if commit + 1 < self.node.log.first:
            self.send_offer(sender)
            return
        records = [
            record
            for record in self.node.log.since(commit + 1, self.node.tuning.fetch_bytes)
            if record.slot <= self.acceptor.commit
        ]
        self.node.send(sender, Chosen(tuple(records), self.acceptor.commit))

    def send_offer(self, to: NodeId) -> None:
        self.node.send(to, SnapshotOffer(*self.acceptor.snapshot))

    def installed(self, source: NodeId) -> None:
        self._ask(source)
