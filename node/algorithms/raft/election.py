"""The election of a leader: terms and votes (Ongaro 2014, sections 3.4, 3.6.1, 4.2.3 and 9.6).

Rules
-----
1. A replica has a term, which only rises, and gives one vote in a term. Both are on disk before a message mentions them.
2. It votes for a candidate only if the candidate's log is at least as up-to-date as its own (section 3.6.1). So a leader has
   every chosen entry.
3. A voter asks for pre-votes before it raises its term (PreVote, section 9.6): `node/replication/election.py` says when.
4. A replica that has heard from a leader lately ignores a RequestVote: it neither votes nor raises its term (section 4.2.3). So
   a server that was removed, and does not know that, disturbs no other. A candidate that the leader has asked to run is heard.
5. A replica that learns of the leader of its term, and has not voted in it, notes the leader as its vote.
6. A candidate whose term has a rival, or whose log lacks something, begins anew soon: after a round trip, in which a rival that
   wins would report that it leads, and a random time. Voters that see their leader's connection close run at the same time, and
   would otherwise wait for a whole election timeout after each split vote (section 3.4).
"""

from node.algorithms.raft.log import RaftLog
from node.algorithms.raft.messages import PreVote, RequestVote, VoteReply
from node.contract import NodeId
from node.log_contract import Doubt, LogNode
from node.quorum import NO_BALLOT, Ballot
from node.replication.configuration import Configuration
from node.replication.doubt import Doubts
from node.replication.election import LogElection
from node.replication.replica_log import stored_ballot


class RaftElection(LogElection):
    """The term and the vote of one replica, and the votes that it has got."""

    RUNNING = "candidate"

    def __init__(self, node: LogNode, log: RaftLog, doubts: Doubts) -> None:
        super().__init__(node)
        self.log, self.doubts = log, doubts
        self.term = 0
        self.voted_for: NodeId = ""
        self.seen = 0  # the highest term that a peer has reported
        self.ballot = NO_BALLOT  # of this replica's latest candidacy
        self.transfer = False  # whether a leader has asked this replica to run
        self.votes: dict[NodeId, Doubt] = {}
        self.refused = False  # whether a voter has refused its vote in this candidacy

    def start(self) -> None:
        """Read the disk."""
        self.term, self.voted_for = stored_ballot(self.node.disk.get("vote"))

    # --- terms and votes --------------------------------------------------------------------------------------------

    def enter_term(self, term: int, vote: NodeId = "") -> None:
        """Enter a later term, or vote in the present one."""
        assert term > self.term or (term == self.term and self.voted_for in ("", vote))
        if (term, vote) != (self.term, self.voted_for):
            self.term, self.voted_for = term, vote
            self.node.disk["vote"] = (term, vote)

    def stands_by_leader(self) -> bool:
        """Return whether this replica leads, or has heard from a leader lately, so that it ignores a RequestVote."""
        if self.role == "leading":
            return True
        return self.leader is not None and self.ticks_without_leader < self.node.tuning.support_ticks

    def may_vote_for(self, request: RequestVote) -> bool:
        """Return whether this replica may vote for the candidate of a RequestVote of its own term."""
        candidate = request.ballot.node
        return self.voted_for in ("", candidate) and self.log.is_up_to_date(request.last_slot, request.last_term)

    def count_vote(self, sender: NodeId, vote: VoteReply, configuration: Configuration) -> bool:
        """Count a vote that was granted. Returns whether a quorum has voted for this replica, and reports all that is chosen."""
        self.votes[sender] = Doubt(vote.doubt)
        return self.doubts.quorum_reports(configuration.voters, self.votes)

    def vote_refused(self) -> None:
        """Take in that a voter refuses its vote in this replica's term, so that another candidacy may have to follow."""
        if self.refused:
            return  # each time that it is asked again
        self.refused = True
        least_s = self.patience_s(max(self.node.tuning.hurry_ms, 1))
        self.node.set_timer("anew", least_s, 3 * least_s)

    def forget_time(self) -> None:
        super().forget_time()
        self.refused = False  # it only makes the candidacy shorter

    # --- running ----------------------------------------------------------------------------------------------------

    def send_canvass(self, configuration: Configuration) -> None:
        message = PreVote(self.tick_count, self.log.last, self.log.last_term)
        for voter in configuration.voters:
            if voter not in self.supporters:
                self.node.send(voter, message)

    def become_running(self, configuration: Configuration, *, transfer: bool = False) -> None:
        """Enter a new term, and vote for this replica in it (section 3.4). A term in which it may have run is left out."""
        self.transfer = transfer or (self.runs_when_noted and self.transfer)
        term = self.next_round(max(self.term, self.seen))
        if term is None:
            return
        self.enter_term(term, self.node.id)
        self.ballot = Ballot(term, self.node.id)
        self.role, self.leader, self.ticks, self.votes, self.refused = self.RUNNING, None, 0, {}, False
        self.begin_anew_after(self.node.tuning.prepare_ms)
        self.ask_again(configuration)

    def ask_again(self, configuration: Configuration) -> None:
        log = self.log
        message = RequestVote(self.ballot, log.last, log.last_term, self.transfer, self.doubts.listed())
        for voter in configuration.voters:
            if voter not in self.votes:
                self.node.send(voter, message)
