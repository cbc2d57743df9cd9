"""Snapshots of Raft: a follower whose leader has deleted what it lacks fetches the leader's snapshot (Ongaro 2014, chapter 5).

The leader offers its snapshot (`InstallSnapshot`), and the follower asks for the parts: `node/replication/snapshots.py`.
"""

from collections.abc import Callable

from node.algorithms.raft.log import RaftLog
from node.algorithms.raft.messages import InstallSnapshot
from node.contract import NodeId
from node.log_contract import LogNode
from node.quorum import NO_BALLOT
from node.replication.round_trips import RoundTrips
from node.replication.snapshots import Snapshots
from node.replication.state import ReplicatedState


class RaftSnapshots(Snapshots):
    """One replica's fetches of snapshots, and its own snapshots."""

    log: RaftLog

    def __init__(
        self,
        node: LogNode,
        log: RaftLog,
        state: ReplicatedState,
        round_trips: RoundTrips,
        advance: Callable[[], None],
        send_offer: Callable[[NodeId], None],
        report: Callable[[NodeId], None],
    ) -> None:
        """Take the parts of the replica.

        Args:
            advance: applies the slots that have become known as chosen.
            send_offer: offers this replica's snapshot, if it leads.
            report: tells the leader that its snapshot is installed.
        """
        super().__init__(node, log, state, round_trips, advance)
        self._send_offer, self._report = send_offer, report
        self.last = NO_BALLOT  # of the entry up to which the offered snapshot stands

    def take_offer(self, leader: NodeId, message: InstallSnapshot) -> None:
        """Take in the offer of the present leader."""
        if self.source != leader:
            self.abandon()
            self.source = leader
        if message.slot > max(self.log.commit, self.offered[0]):
            self.last = message.last
        self.offer(leader, message.slot, message.parts)

    def save_installed(self, slot: int, parts: list[bytes]) -> None:
        self.log.install(slot, parts, self.last)

    def send_offer(self, to: NodeId) -> None:
        self._send_offer(to)

    def installed(self, source: NodeId) -> None:
        self.abandon()
        self._report(source)
