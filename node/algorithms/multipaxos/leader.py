"""Phase 2 of Paxos for the slots of a log: what a leader of Multi-Paxos does beside `node/replication/leader.py`.

Rules
-----
1. A leader first proposes the batches that phase 1 has reported, then a first batch of its own. It serves no client before that
   batch is applied.
2. An Accept leaves early: it rests on the ballot, which is on disk since phase 1, and on nothing that this turn saves. The
   leader's own vote is a message to itself, which waits for the commit.
"""

from node.algorithms.multipaxos.acceptor import Acceptor
from node.algorithms.multipaxos.messages import LogAccept, LogAccepted
from node.contract import NodeId
from node.log_contract import LogNode
from node.quorum import Ballot
from node.replication.leader import Flight, LogLeadership
from node.replication.messages import TakeOver
from node.replication.round_trips import RoundTrips
from node.replication.state import ReplicatedState
from node.replication.watches import Waiter


class Leadership(LogLeadership):
    """The leadership of one node under one ballot."""

    def __init__(
        self, node: LogNode, acceptor: Acceptor, state: ReplicatedState, ballot: Ballot, round_trips: RoundTrips
    ) -> None:
        super().__init__(node, acceptor, state, ballot, round_trips)
        self.acceptor = acceptor

    def begin(self, recovered: dict[int, bytes], last: int | None) -> None:
        """Propose the batches that phase 1 has reported.

        Args:
            recovered: the batch of each slot, in the order of slots.
            last: the slot after which to stop; None: propose all of them, and then a first batch of this leader.
        """
        # Slot 1 holds the voters that form the cluster. So it gets this batch and no no-op.
        first = self.first_batch()
        for slot, batch in recovered.items():
            if last is None or slot <= last:
                self.propose(slot, first if slot == 1 and not batch else batch, [], is_change=slot == last)
        if self.next_slot == 1:
            self.propose(1, first, [])
        if last is None:
            self.propose_own()

    def propose(self, slot: int, batch: bytes, waiters: list[Waiter], is_change: bool = False) -> None:
        """Send the Accepts of `slot` (phase 2a), and accept the batch on this node."""
        assert slot == self.next_slot
        self.next_slot += 1
        self.flights[slot] = Flight(batch, waiters, is_change)
        message = LogAccept(self.ballot, slot, batch, self.acceptor.commit)
        for member in self.configuration.members:
            if member != self.node.id:
                self.node.send_early(member, message)
        if self.acceptor.accept(self.ballot, slot, batch):
            self.node.send(self.node.id, LogAccepted(self.ballot, (slot,)))

    def accepted(self, sender: NodeId, slots: tuple[int, ...]) -> bool:
        """Count the vote of `sender` for `slots` (phase 2b). Returns whether the commit index has risen."""
        self.note_contact(sender)
        voters = self.configuration.voters
        if sender not in voters:
            return False
        flights = [flight for slot in slots if (flight := self.flights.get(slot)) is not None]
        if not flights:
            return False  # the slots were chosen without this vote
        for flight in flights:
            flight.votes[sender] = None
        before, quorum = self.acceptor.commit, self.quorum()
        while (flight := self.flights.get(self.acceptor.commit + 1)) is not None and len(flight.votes) >= quorum:
            # A recovered slot may have been too far above the commit index for this replica to accept it before.
            self.acceptor.accept(self.ballot, self.acceptor.commit + 1, flight.batch)
            self.acceptor.commit += 1
            if flight.is_change:
                break  # the slots above it have other voters
        return self.acceptor.commit > before

    def send_again(self) -> None:
        """Send the Accept of a slot again to each voter whose vote is overdue, and then once every round trip."""
        for slot, flight in self.flights.items():
            flight.beats += 1
            self._send_again(slot, flight)

    def _send_again(self, slot: int, flight: Flight) -> None:
        message = LogAccept(self.ballot, slot, flight.batch, self.acceptor.commit)
        for voter in self.configuration.voters:
            wait_beats = self.wait_beats(voter)
            overdue = flight.beats - self.node.tuning.send_again_beats - wait_beats
            if voter not in flight.votes and overdue >= 0 and overdue % (1 + wait_beats) == 0:
                self.node.send(voter, message)

    def ask_heir(self, to: NodeId) -> None:
        self.node.send(to, TakeOver(self.ballot))
