"""The election of a leader: canvassing, then phase 1 of Paxos.

Theory of operation
-------------------
`node/replication/election.py` says when a voter canvasses and prepares. It **prepares** with the support of a quorum: phase 1 of
Paxos, once for all slots. When a quorum has promised, the node leads. Phase 1 keeps its promises while it lasts, and asks the
other voters again.
"""

from typing import Final, NamedTuple

from node.algorithms.multipaxos.acceptor import Acceptor
from node.algorithms.multipaxos.messages import Canvass, LogPrepare, LogPromise
from node.contract import NodeId
from node.log_contract import Doubt, LogNode, Record
from node.quorum import NO_BALLOT, Ballot
from node.replication.configuration import Configuration
from node.replication.doubt import Doubts
from node.replication.election import LogElection

_CHOSEN: Final = Ballot(2**62, "")  # above any ballot


class Election(LogElection):
    """The state of one replica in elections, and the promises that it has got."""

    RUNNING = "preparing"

    def __init__(self, node: LogNode, acceptor: Acceptor, doubts: Doubts) -> None:
        super().__init__(node)
        self.acceptor, self.doubts = acceptor, doubts
        self.seen = NO_BALLOT  # the highest ballot that a peer has reported
        self.ballot = NO_BALLOT  # this replica's latest own ballot
        self.promises: dict[NodeId, dict[int, LogPromise]] = {}

    def send_canvass(self, configuration: Configuration) -> None:
        for voter in configuration.voters:
            if voter not in self.supporters:
                self.node.send(voter, Canvass(self.tick_count, self.acceptor.commit))

    def become_running(self, configuration: Configuration) -> None:
        """Begin phase 1a, under a ballot that this node has never used and that is above every ballot that it knows."""
        round_ = self.next_round(max(self.acceptor.promised.round, self.seen.round))
        if round_ is None:
            return
        self.ballot = Ballot(round_, self.node.id)
        self.role, self.leader, self.ticks, self.promises = "preparing", None, 0, {}
        self.begin_anew_after(self.node.tuning.prepare_ms)
        self.ask_again(configuration)

    def ask_again(self, configuration: Configuration) -> None:
        """Send the Prepare to every voter that has not promised, this node included."""
        for voter in configuration.voters:
            if not self.has_promised(voter):
                self.node.send(voter, LogPrepare(self.ballot, self.acceptor.commit, self.doubts.listed()))

    # --- votes ------------------------------------------------------------------------------------------------------

    def prepares_higher(self, ballot: Ballot) -> bool:
        """Return whether this replica prepares a higher ballot, which its own acceptor may not have on disk yet.

        A promise to the lower `ballot` would end this replica's candidacy, and then this replica's own Prepare would end the
        other's. There would be no leader until the next canvass. Refusing a promise is always safe.
        """
        return self.role == "preparing" and ballot < self.ballot

    def prepares(self, ballot: Ballot) -> bool:
        """Return whether this replica prepares `ballot`."""
        return self.role == "preparing" and ballot == self.ballot

    def supported(self, sender: NodeId, asked: int, promised: Ballot, configuration: Configuration) -> bool:
        """Count a supporter, which answers what was sent at the tick `asked`. Returns whether a quorum supports this replica."""
        self.seen = max(self.seen, promised)
        return self.count_supporter(sender, asked, configuration)

    def promised(self, sender: NodeId, promise: LogPromise, configuration: Configuration) -> bool:
        """Count one part of a promise.

        Returns:
            Whether every part of the promises of a quorum has come, and these report every batch that can have been chosen.
        """
        parts = self.promises.setdefault(sender, {})
        if any((part.parts, part.commit) != (promise.parts, promise.commit) for part in parts.values()):
            parts.clear()  # an answer to a repeated Prepare, which reports more and is divided in another way
        parts[promise.part] = promise
        whole = {
            voter: Doubt(max(part.doubt for part in parts.values()))
            for voter, parts in self.promises.items()
            if self.has_promised(voter)
        }
        return self.doubts.quorum_reports(configuration.voters, whole)

    def has_promised(self, voter: NodeId) -> bool:
        """Return whether every part of this voter's promise has come."""
        parts = self.promises.get(voter, {})
        return any(len(parts) >= promise.parts for promise in parts.values())

    def reported(self) -> list["PromisedRecords"]:
        """Return the content of every complete promise, part by part."""
        return [
            PromisedRecords(part.commit, part.records)
            for voter, parts in self.promises.items()
            if self.has_promised(voter)
            for part in parts.values()
        ]


class PromisedRecords(NamedTuple):
    """What one part of a promise reports: the acceptor's commit index, and its records."""

    commit: int
    records: tuple[Record, ...]


def to_propose(reports: list[PromisedRecords], commit: int) -> dict[int, bytes]:
    """Return the batch that a new leader must propose in each slot above `commit`, up to the highest slot in `reports`.

    If a batch was chosen in a slot, a quorum has accepted it, and that quorum shares a member with the quorum that has promised.
    Every higher ballot proposed the same batch. So the batch is that of the record with the highest ballot. A record that its
    acceptor knows as chosen counts above any ballot. A slot without any record has no chosen batch. It gets a no-op, so that the
    slots above it can be applied.
    """
    best: dict[int, tuple[Ballot, bytes]] = {}
    for each in reports:
        for slot, round_, owner, batch in each.records:
            ballot = _CHOSEN if slot <= each.commit else Ballot(round_, owner)
            if slot > commit and (slot not in best or ballot > best[slot][0]):
                best[slot] = (ballot, batch)
    highest = max(best, default=commit)
    return {slot: best[slot][1] if slot in best else b"" for slot in range(commit + 1, highest + 1)}
