"""Raft: one replica of a log, and of the state that the log produces.

Ongaro, *Consensus: Bridging Theory and Practice* (2014), whose sections and figures the files name; Ongaro and Ousterhout, *In
Search of an Understandable Consensus Algorithm* (2014) is its first half.

Theory of operation
-------------------
| part | file | its work | chapter |
|---|---|---|---|
| log | `log.py` | entries, terms, the consistency check, the configuration in the log | 3.5, 4.1 |
| election | `election.py` | terms, votes, pre-votes | 3.4, 3.6, 9.6 |
| leader | `leader.py` | sends entries, decides what is chosen, hands over | 3.5, 3.6, 3.10 |
| snapshots | `snapshots.py` | fetches a leader's snapshot | 5 |

`node/replication/replica.py` has what does not depend on how a log decides: clients, sessions and questions (chapter 6), changes
of members (chapter 4), and when a leader steps down (CheckQuorum, section 6.2). `Raft` takes in every message, and calls the part
that handles it.

Terms and ballots
-----------------
Judges and tools speak of ballots. That of a leader is its term with its id, and *Election Safety* says that a term has one
leader. That which a replica has promised is its term with its vote.
"""

from collections.abc import Sequence
from typing import ClassVar

from node.algorithms.raft.election import RaftElection
from node.algorithms.raft.leader import RaftLeadership
from node.algorithms.raft.log import RaftLog
from node.algorithms.raft.messages import (
    MESSAGES,
    Appended,
    AppendEntries,
    Conflict,
    InstallSnapshot,
    PreVote,
    PreVoteGranted,
    RequestVote,
    StaleTerm,
    VoteReply,
)
from node.algorithms.raft.past import effect_on
from node.algorithms.raft.snapshots import RaftSnapshots
from node.contract import Message, NodeId
from node.log_contract import Effect, LeaderMessage, LogNode, RecordId
from node.quorum import NO_BALLOT, Ballot
from node.replication.clients import Clients
from node.replication.configuration import Configuration
from node.replication.doubt import Doubts
from node.replication.messages import EndOfDoubt, Heartbeat, HeartbeatAck, InDoubt, KnownDoubt, TakeOver
from node.replication.replica import LogReplica


class TermDoubts(Doubts):
    """Doubts, in terms: what ends a doubt under the leader of a term is not undone by a vote for another candidate of it."""

    def learned(self, promised: Ballot, commit: int) -> None:
        super().learned(Ballot(promised.round, ""), commit)


class Raft(LogReplica):
    """One replica of the log. Its parts are made from the classes named here, so a subclass can replace one."""

    messages = MESSAGES
    records_keep_ballots = True
    doubts_class: ClassVar[type[Doubts]] = TermDoubts
    log_class: ClassVar[type[RaftLog]] = RaftLog
    election_class: ClassVar[type[RaftElection]] = RaftElection
    leadership_class: ClassVar[type[RaftLeadership]] = RaftLeadership
    snapshots_class: ClassVar[type[RaftSnapshots]] = RaftSnapshots
    election: RaftElection
    catch_up: RaftSnapshots
    leader: RaftLeadership | None

    def __init__(self, node: LogNode) -> None:
        super().__init__(node)
        self._log = self.log_class(node)
        self.election = self.election_class(node, self._log, self.doubts)
        round_trips = self.election.round_trips
        self.catch_up = self.snapshots_class(
            node, self._log, self.state, round_trips, self.advance, self.offer_snapshot, self.report_snapshot
        )
        self.clients = Clients(node, self.state, round_trips)
        self.matched_with = NO_BALLOT  # the latest leader that this replica has followed
        self.matched = 0  # up to which slot this log is known to be that leader's
        self.appended: Ballot | None = None  # the leader whose entries this turn has taken in

    def start(self) -> None:
        self.election.start()
        super().start()

    @property
    def log(self) -> RaftLog:
        return self._log

    @property
    def configuration(self) -> Configuration:
        """The configuration of the last change in the log, chosen or not (section 4.1)."""
        return self.log.configuration(self.state.configuration, self.state.applied)

    # --- roles ------------------------------------------------------------------------------------------------------

    def begin_leading(self) -> None:
        election = self.election
        self.leader = self.leadership_class(self.node, self.log, self.state, election.ballot, election.round_trips)
        self.leader.begin()

    def enter_term(self, term: int) -> None:
        """Enter a later term, as a follower that knows no leader (section 3.3)."""
        silent_for = 0 if self.leader is not None else self.election.ticks_without_leader
        self.election.enter_term(term)
        self.appended = None
        self.become_following(None)
        self.election.ticks_without_leader = silent_for  # only a leader, or a candidate that has this vote, gets time

    def follow_leader(self, ballot: Ballot) -> None:
        """Follow the leader of `ballot`, whose term is not below this replica's.

        What matched the log of an earlier leader may conflict with this one's, also if this replica has entered the term itself,
        as a candidate.
        """
        if ballot != self.matched_with:
            self.matched_with, self.matched, self.appended = ballot, 0, None
        if ballot.round > self.election.term or not self.election.voted_for:
            self.election.enter_term(ballot.round, ballot.node)
        self.follow(ballot.node)

    # --- messages ---------------------------------------------------------------------------------------------------

    def receive(self, sender: NodeId, message: Message) -> None:
        if type(message) is not AppendEntries:
            self.apply_deferred()
        election = self.election
        term = election.term
        match message:
            # Replication.
            case AppendEntries(ballot) if ballot.round >= term:
                self.follow_leader(ballot)
                self.append_entries(sender, message)
            case Appended(ballot, match) if self.leader is not None and ballot == self.leader.ballot:
                if self.leader.appended(sender, match):
                    self.advance()
            case Conflict(ballot) if self.leader is not None and ballot == self.leader.ballot:
                self.leader.conflicts(sender, message)
            case Heartbeat(ballot, round_, commit, beat, wait_ms) if ballot.round >= term:
                self.follow_leader(ballot)
                election.round_trips.report(wait_ms)
                self.learn(commit)
                if self.doubts.may_vote(ballot):
                    commit_ms = self.slow_disk.commit_ms
                    self.node.send(sender, HeartbeatAck(ballot, round_, self.log.commit, beat, commit_ms))
                if self.doubts.is_own:
                    self.node.send(sender, InDoubt(self.doubts.listed()))
            case InstallSnapshot(ballot) if ballot.round >= term:
                self.follow_leader(ballot)
                self.install_snapshot(sender, message)
            case AppendEntries(ballot) | Heartbeat(ballot) | InstallSnapshot(ballot):
                self.node.send(sender, StaleTerm(ballot, term))

            case _:
                self.receive_other(sender, message)

    def receive_other(self, sender: NodeId, message: Message) -> None:
        """Take in a message that is not frequent. `receive` matches the frequent messages first."""
        election = self.election
        match message:
            case RequestVote():
                self.vote_requested(sender, message)
            case VoteReply() | StaleTerm():
                self.answered(sender, message)
            case PreVote():
                self.pre_vote_requested(sender, message)
            case PreVoteGranted(asked, seen):
                election.seen = max(election.seen, seen)
                if election.count_supporter(sender, asked, self.configuration):
                    election.become_running(self.configuration)
            case TakeOver(ballot) if ballot.round == election.term and self.leader is None:
                if self.node.id in self.configuration.voters and not self.doubts.is_own:
                    election.become_running(self.configuration, transfer=True)

            case InDoubt(doubts) if self.leader is not None:
                self.voter_in_doubt(self.leader, sender, doubts)
            case EndOfDoubt(ballot, slot) if ballot.round >= election.term and self.doubts.is_own:
                self.follow_leader(ballot)
                self.doubts.end(ballot, slot)
                self.doubts.learned(self.promised, self.log.commit)
            case _:
                self.receive_common(sender, message)

    # --- election ---------------------------------------------------------------------------------------------------

    def vote_requested(self, sender: NodeId, request: RequestVote) -> None:
        """Answer a RequestVote (sections 3.4, 3.6.1 and 4.2.3)."""
        election, ballot = self.election, request.ballot
        if ballot.round < election.term:
            self.send_vote(request, granted=False)
            return
        if sender != self.node.id:
            if not request.transfer and election.stands_by_leader():
                return  # the leader works, as far as this replica knows
            if ballot.round > election.term:
                self.enter_term(ballot.round)
        self.doubts.note(request.doubts)
        knows_doubt = not self.doubts.is_own or KnownDoubt(self.node.id, self.node.doubts) in request.doubts
        granted = knows_doubt and election.may_vote_for(request)
        if granted:
            if sender != self.node.id:
                election.note_candidate()
            election.enter_term(ballot.round, ballot.node)
            self.doubts.promised(ballot, request.doubts)
        self.send_vote(request, granted=granted)

    def send_vote(self, request: RequestVote, *, granted: bool) -> None:
        """Answer a RequestVote."""
        doubt, doubts = int(self.node.doubt), self.doubts.listed()
        self.node.send(request.ballot.node, VoteReply(request.ballot, self.election.term, granted, doubt, doubts))

    def answered(self, sender: NodeId, message: VoteReply | StaleTerm) -> None:
        """Take in an answer to a RequestVote, or a rejection: a later term ends a candidacy and a leadership."""
        election = self.election
        if message.term > election.term:
            self.enter_term(message.term)
        elif isinstance(message, VoteReply) and election.role == election.RUNNING and message.ballot == election.ballot:
            if self.doubts.note(message.doubts):
                election.become_running(self.configuration)
            elif not message.granted:
                election.vote_refused()
            elif election.count_vote(sender, message, self.configuration):
                self.become_leading()

    def pre_vote_requested(self, sender: NodeId, message: PreVote) -> None:
        """Answer a PreVote, or ignore it (section 9.6). A leader tells that it leads."""
        if self.leader is not None:
            self.leader.send_heartbeat((sender,))
        elif self.election.supports() and self.log.is_up_to_date(message.last_slot, message.last_term):
            self.node.send(sender, PreVoteGranted(message.asked, self.election.term))

    # --- replication ------------------------------------------------------------------------------------------------

    def append_entries(self, sender: NodeId, message: AppendEntries) -> None:
        """Take in entries of the leader, if they follow an entry that matches (section 3.5)."""
        log, ballot, previous = self.log, message.ballot, message.prev_slot
        if sender == self.node.id or not self.doubts.may_vote(ballot):
            return
        if not self.consistent(message):
            term = log.term_at(previous)
            first = log.last + 1 if term is None else log.first_of_term(previous)
            self.node.send(sender, Conflict(ballot, previous, term or 0, first))
            return
        log.take(message.entries)
        self.matched = max(self.matched, previous + len(message.entries))
        self.appended = ballot
        self.learn(message.commit)

    def consistent(self, message: AppendEntries) -> bool:
        """Return whether this log has the entry that the entries of a message follow: the consistency check."""
        return self.log.matches(message.prev_slot, message.prev.round)

    def learn(self, commit: int) -> None:
        """Take in the leader's commit index. It holds for the slots up to which this log is known to be the leader's."""
        self.log.commit = max(self.log.commit, min(commit, self.matched))

    def end_of_input(self) -> None:
        if self.appended is not None:
            self.node.send(self.appended.node, Appended(self.appended, self.matched))
            self.appended = None
        super().end_of_input()

    # --- snapshots --------------------------------------------------------------------------------------------------

    def install_snapshot(self, sender: NodeId, message: InstallSnapshot) -> None:
        """Take in that the leader offers a snapshot. What is chosen already is in the leader's log."""
        if not self.doubts.may_vote(message.ballot):
            return
        if message.slot <= self.log.commit:
            self.report_snapshot(sender)
        else:
            self.catch_up.take_offer(sender, message)

    def report_snapshot(self, leader: NodeId) -> None:
        """Tell the present leader up to which slot this log is the leader's: at least what is chosen is."""
        ballot = Ballot(self.election.term, leader)
        if self.election.leader == leader and self.doubts.may_vote(ballot):
            self.matched = max(self.matched, self.log.commit)
            self.appended = ballot

    def offer_snapshot(self, to: NodeId) -> None:
        """Offer the snapshot again to a follower that asks for parts of an earlier one, if this replica leads."""
        if self.leader is not None:
            self.node.send(to, InstallSnapshot(self.leader.ballot, *self.log.snapshot, self.log.snapshot_ballot))

    def forget_time(self) -> None:
        super().forget_time()
        self.log.forget_changes(self.state.applied)
        if self.election.role != self.election.RUNNING:
            self.election.votes = {}

    def effect_of(self, sender: NodeId, message: Message) -> Effect:
        effect = effect_on(self.election, self.leader, self.matched_with, self.matched, sender, message)
        return super().effect_of(sender, message) if effect is None else effect

    # --- what judges and tools ask ----------------------------------------------------------------------------------

    @property
    def promised(self) -> Ballot:
        return Ballot(self.election.term, self.election.voted_for)

    @property
    def snapshot_record(self) -> Ballot | None:
        return self.log.snapshot_ballot

    @classmethod
    def leader_message(cls, message: Message) -> LeaderMessage | None:
        match message:
            case AppendEntries(ballot, previous, prev, entries, commit):
                return LeaderMessage(ballot, entries, commit, RecordId(previous, prev))
            case Heartbeat(ballot, _, commit):
                return LeaderMessage(ballot, (), commit)
        return None

    @classmethod
    def candidacy_in(cls, message: Message) -> Ballot | None:
        return message.ballot if isinstance(message, RequestVote) else None

    @classmethod
    def interchangeable(cls, members: Sequence[NodeId], called: Sequence[NodeId]) -> tuple[NodeId, ...]:
        return tuple(members)  # terms are compared for order, and no names

    @classmethod
    def request_to_lead(cls, ballot: Ballot) -> Message:
        return TakeOver(ballot)
