"""The leader of Raft: it brings every member's log to its own, and decides what is chosen (Ongaro 2014, sections 3.5 and 3.6).

Rules
-----
1. *Leader Append-Only.* A leader never changes or deletes an entry of its log: it appends.
2. A leader counts an entry as chosen when a majority of the voters has it, **if the entry is of its own term** (section 3.6.2,
   figure 3.7). Entries of earlier terms are chosen with it. So a new leader appends an empty entry at once, and serves no client
   before that is applied.
3. What a member has (`match`) is only what the member has said. What is sent next (`next_slot`) is a guess.
4. Entries are sent without waiting for the answers to earlier ones (section 10.2.1, pipelining), and before this node's own disk
   has them: the leader's own match is a message to itself, which waits for the commit.
5. A leader that is no voter in its configuration does not count itself (section 4.2.2).
"""

from node.algorithms.raft.log import RaftLog
from node.algorithms.raft.messages import Appended, AppendEntries, Conflict, InstallSnapshot
from node.contract import NodeId
from node.log_contract import LogNode, Record
from node.quorum import NO_BALLOT, Ballot
from node.replication.configuration import Configuration
from node.replication.leader import Flight, LogLeadership
from node.replication.messages import HeartbeatAck, TakeOver
from node.replication.round_trips import RoundTrips
from node.replication.state import ReplicatedState
from node.replication.watches import Waiter


class Replication:
    """What a leader knows of one member's log.

    `match` is the slot up to which it is the leader's. `next_slot` is what is sent next. While `probing`, the leader does not
    know where the two logs meet, and sends one message at a time. `sent` counts the beats since something was sent that has no
    answer.
    """

    __slots__ = ("heard_commit", "match", "next_slot", "probing", "sent")

    def __init__(self, next_slot: int) -> None:
        self.match, self.next_slot, self.probing = 0, next_slot, True
        self.sent = -1  # -1: nothing waits for an answer
        self.heard_commit = 0


class RaftLeadership(LogLeadership):
    """The leadership of one node in one term."""

    log: RaftLog

    def __init__(
        self, node: LogNode, log: RaftLog, state: ReplicatedState, ballot: Ballot, round_trips: RoundTrips
    ) -> None:
        super().__init__(node, log, state, ballot, round_trips)
        self.next_slot = log.last + 1
        self.own_match = 0  # what this node's own disk has
        self.members: dict[NodeId, Replication] = {}

    @property
    def configuration(self) -> Configuration:
        """The configuration of the last change in the log, chosen or not (section 4.1)."""
        return self.log.configuration(self.state.configuration, self.state.applied)

    # --- appending --------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Append an empty entry of the new term, and in a new cluster first the entry that forms it."""
        if self.next_slot == 1:
            self.propose(1, self.first_batch(), [])
        self.propose_own()

    def propose(self, slot: int, batch: bytes, waiters: list[Waiter], is_change: bool = False) -> None:
        """Append an entry, and send it to the members."""
        assert slot == self.next_slot
        self.next_slot += 1
        self.flights[slot] = Flight(batch, waiters, is_change)
        self.log.append(Record(slot, *self.ballot, batch))
        self.send_entries()
        self.node.send(self.node.id, Appended(self.ballot, slot))

    def send_entries(self) -> None:
        """Send each member the entries that it may lack, if it is not waited for."""
        alike: dict[int, AppendEntries] = {}  # by next slot: members that are sent the same get the same message
        for member in self.configuration.members:
            if member != self.node.id:
                self._send_to(member, alike)

    def replication(self, member: NodeId) -> Replication:
        """Return what is known of the log of a member."""
        if member not in self.members:
            self.members[member] = Replication(max(1, self.log.last))
        return self.members[member]

    def _send_to(self, member: NodeId, alike: dict[int, AppendEntries]) -> None:
        to = self.replication(member)
        if to.sent >= 0 and (to.probing or to.next_slot - to.match > self.node.tuning.window):
            return
        if to.next_slot <= self.log.last:
            self._append_to(member, to, alike)

    def _append_to(self, member: NodeId, to: Replication, alike: dict[int, AppendEntries]) -> None:
        """Send a member what follows `next_slot - 1`, which may be nothing, or offer a snapshot if that is deleted."""
        previous = self.log.ballot_at(to.next_slot - 1) if to.next_slot > 1 else NO_BALLOT
        to.sent = max(to.sent, 0)
        if previous is None or to.next_slot < self.node.log.first:
            to.probing = True
            slot, parts = self.log.snapshot
            self.node.send(member, InstallSnapshot(self.ballot, slot, parts, self.log.snapshot_ballot))
            return
        message = alike.get(to.next_slot)
        if message is None:
            entries = self._entries(to.next_slot)
            message = AppendEntries(self.ballot, to.next_slot - 1, previous, entries, self.log.commit)
            alike[to.next_slot] = message
        if not to.probing:
            to.next_slot += len(message.entries)
        self.node.send_early(member, message)

    def _entries(self, slot: int) -> tuple[Record, ...]:
        """Return the entries from `slot` on, as many as fit in a message."""
        known = self.log.records.get(slot)
        if slot == self.log.last and known is not None:
            return (known,)
        if slot > self.log.last:
            return ()
        return tuple(self.node.log.since(slot, self.node.tuning.fetch_bytes))

    # --- what members have ------------------------------------------------------------------------------------------

    def appended(self, sender: NodeId, match: int) -> bool:
        """Take in up to which slot the log of `sender` is this leader's. Returns whether the commit index has risen."""
        if sender == self.node.id:
            self.own_match = max(self.own_match, match)
            return self._choose()
        self.note_contact(sender)
        if sender not in self.configuration.members:
            return False
        to = self.replication(sender)
        to.probing = False
        if match > to.match:
            to.match = match
            to.sent = 0
        to.next_slot = max(to.next_slot, match + 1)
        if to.match + 1 >= to.next_slot:
            to.sent = -1
        self._send_to(sender, {})
        if self.hand_over_to == sender:
            self.ask_heir(sender)
        return self._choose()

    def conflicts(self, sender: NodeId, conflict: Conflict) -> None:
        """Take in that a member lacks the entry that a message followed, and go back to where the logs may meet.

        If this log has the term of the member's entry, they may meet at its last entry of that term. Otherwise, they do not meet
        in that term at all (section 3.5, the end).
        """
        self.note_contact(sender)
        if sender not in self.configuration.members:
            return
        to = self.replication(sender)
        if conflict.prev_slot <= to.match or (to.probing and conflict.prev_slot != to.next_slot - 1):
            return  # it answers an earlier message
        meet = self.log.last_of_term(conflict.term, conflict.prev_slot) if conflict.term else None
        first = conflict.first if meet is None else meet + 1
        to.next_slot = max(min(first, conflict.prev_slot), to.match + 1)
        to.probing, to.sent = True, -1
        self._append_to(sender, to, {})

    def acknowledged(self, sender: NodeId, ack: HeartbeatAck) -> None:
        """Take in the answer to a heartbeat. A member that has booted does not know what of its log is the leader's: tell it."""
        super().acknowledged(sender, ack)
        if sender in self.configuration.members:
            to = self.replication(sender)
            if ack.commit < min(self.log.commit, to.match) and ack.commit == to.heard_commit and to.sent < 0:
                self._append_to(sender, to, {})
            to.heard_commit = ack.commit

    def _choose(self) -> bool:
        """Raise the commit index to the highest slot of this term that a majority has."""
        voters = self.configuration.voters
        slots = sorted((self.match_of(voter) for voter in voters), reverse=True)
        slot = slots[self.quorum() - 1] if slots else 0
        if slot <= self.log.commit or not self.may_choose(slot):
            return False
        self.log.commit = slot
        return True

    def may_choose(self, slot: int) -> bool:
        """Return whether a slot that a majority has is chosen: its entry is of this term (figure 3.7)."""
        return self.log.term_at(slot) == self.ballot.round

    def match_of(self, voter: NodeId) -> int:
        """Return up to which slot a voter's disk has this leader's log."""
        if voter == self.node.id:
            return self.own_match
        return self.members[voter].match if voter in self.members else 0

    # --- time -------------------------------------------------------------------------------------------------------

    def send_again(self) -> None:
        """Go back to what a member has said to have, if its answer is overdue."""
        for member in self.configuration.members:
            if member == self.node.id:
                continue
            to = self.replication(member)
            if to.sent < 0 and to.match < self.log.last:
                self._send_to(member, {})
            if to.sent >= 0:
                to.sent += 1
                if to.sent > self.node.tuning.send_again_beats + self.wait_beats(member):
                    to.sent = -1
                    if not to.probing:
                        to.next_slot = to.match + 1
                    self._append_to(member, to, {})

    def forget_time(self) -> None:
        super().forget_time()
        for to in self.members.values():
            if to.sent >= 0:
                to.sent = self.node.tuning.send_again_beats

    def ask_heir(self, to: NodeId) -> None:
        """Ask the heir to run, once its log is this leader's: otherwise it could not win (section 3.10)."""
        if self.match_of(to) == self.log.last:
            self.node.send(to, TakeOver(self.ballot))
