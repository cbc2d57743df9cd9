"""Multi-Paxos: one replica of a log, and of the state that the log produces.

Lamport, *The Part-Time Parliament* (1998) and *Paxos Made Simple* (2001), section 3; sessions, reads, canvassing and
snapshots after Ongaro, *Consensus: Bridging Theory and Practice* (2014).

Theory of operation
-------------------
| part | file | its work |
|---|---|---|
| acceptor | `acceptor.py` | promises, records, commit index; durable |
| election | `election.py` | phase 1, once for all slots |
| leader | `leader.py` | phase 2 |
| catching up | `catch_up.py` | fetches the log or a snapshot from a peer |

`node/replication/replica.py` has what does not depend on how a log decides. `MultiPaxos` takes in every message, and calls the
part that handles it.
"""

from typing import ClassVar

from node.algorithms.multipaxos.acceptor import Acceptor
from node.algorithms.multipaxos.catch_up import CatchUp
from node.algorithms.multipaxos.election import Election, to_propose
from node.algorithms.multipaxos.leader import Leadership
from node.algorithms.multipaxos.messages import (
    MESSAGES,
    Behind,
    Canvass,
    Chosen,
    Fetch,
    LogAccept,
    LogAccepted,
    LogPrepare,
    LogPromise,
    LogRejected,
    Support,
)
from node.algorithms.multipaxos.past import effect_on
from node.contract import Message, NodeId
from node.log_contract import Effect, LeaderMessage, LogNode, Record
from node.quorum import Ballot
from node.replication.clients import Clients
from node.replication.messages import (
    EndOfDoubt,
    FetchPart,
    Forward,
    Forwarded,
    Heartbeat,
    HeartbeatAck,
    InDoubt,
    SnapshotOffer,
    SnapshotPart,
    TakeOver,
)
from node.replication.replica import LogReplica
from node.replication.state import is_change


class MultiPaxos(LogReplica):
    """One replica of the log. Its parts are made from the classes named here, so a subclass can replace one."""

    messages = MESSAGES
    acceptor_class: ClassVar[type[Acceptor]] = Acceptor
    election_class: ClassVar[type[Election]] = Election
    leadership_class: ClassVar[type[Leadership]] = Leadership
    election: Election
    catch_up: CatchUp
    leader: Leadership | None

    def __init__(self, node: LogNode) -> None:
        super().__init__(node)
        self.acceptor = self.acceptor_class(node)
        self.election = self.election_class(node, self.acceptor, self.doubts)
        self.catch_up = CatchUp(node, self.acceptor, self.state, self.election.round_trips, self.advance)
        self.clients = Clients(node, self.state, self.election.round_trips)
        self.accepted: dict[Ballot, list[int]] = {}  # the slots that this turn has accepted
        self.elect_again_at = 0  # the slot of a recovered change of members, after which phase 1 is repeated; 0: none

    @property
    def log(self) -> Acceptor:
        return self.acceptor

    def begin_leading(self) -> None:
        """Propose the batches that phase 1 has reported."""
        recovered = self.recovered()
        self.leader = self.leadership_class(
            self.node, self.acceptor, self.state, self.election.ballot, self.election.round_trips
        )
        changes = [slot for slot, batch in recovered.items() if slot > 1 and self.changes_members(batch)]
        # The slots above a change have other voters, whose promises this ballot may lack: phase 1 is repeated after it.
        self.elect_again_at = changes[0] if changes else 0
        self.leader.begin(recovered, self.elect_again_at or None)

    def recovered(self) -> dict[int, bytes]:
        """Return the batch that this replica must propose in each slot, according to phase 1."""
        return to_propose(self.election.reported(), self.acceptor.commit)

    def changes_members(self, batch: bytes) -> bool:
        """Return whether a recovered batch changes the members."""
        return is_change(batch)

    def applied(self, slot: int) -> None:
        if slot == self.elect_again_at and self.leader is not None:
            self.become_following(None)
            self.election.become_running(self.state.configuration)

    def end_of_input(self) -> None:
        for ballot, slots in self.accepted.items():
            self.node.send(ballot.node, LogAccepted(ballot, tuple(slots)))
        self.accepted.clear()
        super().end_of_input()

    # --- messages -----------------------------------------------------------------------------------------------------

    def receive(self, sender: NodeId, message: Message) -> None:
        if type(message) is not LogAccept:
            self.apply_deferred()
        promised = self.acceptor.promised
        match message:
            # The leader. An answer to another ballot matches nothing.
            case LogAccepted(ballot, slots) if self.leader is not None and ballot == self.leader.ballot:
                if self.leader.accepted(sender, slots):
                    self.advance()

            # The acceptor.
            case LogAccept(ballot, slot, batch, commit) if ballot >= promised:
                self.follow(sender)
                if self.doubts.may_vote(ballot) and self.acceptor.accept(ballot, slot, batch):
                    self.accepted.setdefault(ballot, []).append(slot)
                self.learn(sender, ballot, commit)
            case Heartbeat(ballot, round_, commit, beat, wait_ms) if ballot >= promised:
                self.follow(sender)
                self.election.round_trips.report(wait_ms)
                self.learn(sender, ballot, commit)
                if self.doubts.may_vote(ballot):
                    commit_ms = self.slow_disk.commit_ms
                    self.node.send(sender, HeartbeatAck(ballot, round_, self.acceptor.commit, beat, commit_ms))
                if self.doubts.is_own:
                    self.node.send(sender, InDoubt(self.doubts.listed()))
            case LogPrepare(ballot) if self.election.prepares_higher(ballot):
                self.node.send(sender, LogRejected(ballot, self.election.ballot))
            case LogPrepare(ballot) if ballot >= promised:
                self.prepared(sender, message)
            case LogAccept(ballot) | Heartbeat(ballot) | LogPrepare(ballot):
                self.node.send(sender, LogRejected(ballot, promised))

            case HeartbeatAck() | Forward() | Forwarded():
                self.receive_common(sender, message)
            case _:
                self.receive_other(sender, message)

    def receive_other(self, sender: NodeId, message: Message) -> None:
        """Take in a message that is not frequent. `receive` matches the frequent messages first."""
        match message:
            case Canvass(asked, commit):
                self.canvassed(sender, asked, commit)
            case Support(asked, promised):
                if self.election.supported(sender, asked, promised, self.state.configuration):
                    self.election.become_running(self.state.configuration)
            case LogPromise(ballot) if ballot == self.acceptor.promised and self.election.prepares(ballot):
                if self.doubts.note(message.doubts):
                    self.election.become_running(self.state.configuration)
                elif self.election.promised(sender, message, self.state.configuration):
                    self.become_leading()
            case LogRejected(ballot, promised):
                self.election.seen = max(self.election.seen, promised)
                if ballot == self.election.ballot and self.election.role in ("preparing", "leading"):
                    self.become_following(None)
            case InDoubt(doubts) if self.leader is not None:
                self.voter_in_doubt(self.leader, sender, doubts)
            case EndOfDoubt(ballot, slot) if ballot >= self.acceptor.promised and self.doubts.is_own:
                if ballot > self.acceptor.promised:
                    self.acceptor.promise(ballot)
                self.doubts.end(ballot, slot)
                self.doubts.learned(ballot, self.acceptor.commit)
            case TakeOver(ballot) if ballot == self.acceptor.promised and self.leader is None:
                if self.node.id in self.state.configuration.voters and not self.doubts.is_own:
                    self.election.become_running(self.state.configuration)
            case _:
                self.receive_catch_up(sender, message)

    def receive_catch_up(self, sender: NodeId, message: Message) -> None:
        """Take in a message of catching up."""
        match message:
            case Behind(commit) if commit > self.acceptor.commit and self.leader is None:
                self.become_following(None)
                self.catch_up.fetch(sender)
            case Fetch(commit):
                self.catch_up.answer(sender, commit)
            case Chosen() if self.leader is None:
                self.catch_up.chosen(sender, message)
            case SnapshotOffer(slot, parts) if self.leader is None:
                self.catch_up.offer(sender, slot, parts)
            case FetchPart() | SnapshotPart():
                self.receive_common(sender, message)

    def learn(self, sender: NodeId, ballot: Ballot, commit: int) -> None:
        """Take in the leader's commit index. Fetches the records that this replica lacks."""
        whole = self.acceptor.learn(ballot, commit)
        if not whole and self.leader is None:
            self.catch_up.fetch(sender, leads=True)

    def canvassed(self, sender: NodeId, asked: int, commit: int) -> None:
        """Answer the canvass of `sender`, whose commit index is `commit`, or ignore it."""
        voters = self.state.configuration.voters
        # A node that has joined and has not caught up may be a voter, and not know that, nor the other voters.
        if sender not in voters and self.node.id in voters:
            if commit > self.acceptor.commit and self.leader is None:
                self.catch_up.fetch(sender)  # the sender may have joined in a slot that this replica lacks
            return
        if self.leader is not None:
            self.leader.send_heartbeat((sender,))
        elif not self.election.supports():
            pass  # as far as this replica knows, the leader works
        elif not self.acceptor.can_inform(commit):
            self.node.send(sender, Behind(self.acceptor.commit))
        else:
            self.node.send(sender, Support(asked, self.acceptor.promised))

    def prepared(self, sender: NodeId, message: LogPrepare) -> None:
        """Answer a Prepare (phase 1a)."""
        ballot, commit = message.ballot, message.commit
        if not self.acceptor.can_inform(commit):
            self.node.send(sender, Behind(self.acceptor.commit))
            return
        if ballot > self.acceptor.promised:
            self.acceptor.promise(ballot)
            if sender != self.node.id:
                self.become_following(None if self.leader is None else sender)
        elif sender != self.node.id:
            self.election.note_candidate()
        self.doubts.promised(ballot, message.doubts)
        doubt, doubts = int(self.node.doubt), self.doubts.listed()
        parts = self.acceptor.above(commit)
        for number, records in enumerate(parts):
            promise = LogPromise(ballot, number, len(parts), self.acceptor.commit, records, doubt, doubts)
            self.node.send(sender, promise)

    def effect_of(self, sender: NodeId, message: Message) -> Effect:
        effect = effect_on(self.election, self.leader, sender, message)
        return super().effect_of(sender, message) if effect is None else effect

    # --- what judges and tools ask ------------------------------------------------------------------------------------

    @property
    def promised(self) -> Ballot:
        return self.acceptor.promised

    @classmethod
    def leader_message(cls, message: Message) -> LeaderMessage | None:
        match message:
            case LogAccept(ballot, slot, batch, commit):
                return LeaderMessage(ballot, (Record(slot, ballot.round, ballot.node, batch),), commit)
            case Heartbeat(ballot, _, commit):
                return LeaderMessage(ballot, (), commit)
        return None

    @classmethod
    def candidacy_in(cls, message: Message) -> Ballot | None:
        return message.ballot if isinstance(message, LogPrepare) else None

    @classmethod
    def request_to_lead(cls, ballot: Ballot) -> Message:
        return TakeOver(ballot)
