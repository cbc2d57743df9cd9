"""Raft with one thing broken a class, each of which an implementation of Raft has really got wrong: `RAFT_MUTANTS`.

A test of `tests/node/algorithms/test_raft_paper.py` fails on each. README.md says which of them simulated runs show.
"""

import re
from typing import Final, NamedTuple

from node.algorithms.raft.election import RaftElection
from node.algorithms.raft.leader import RaftLeadership
from node.algorithms.raft.log import RaftLog
from node.algorithms.raft.messages import AppendEntries, InstallSnapshot, RequestVote, VoteReply
from node.algorithms.raft.replica import Raft
from node.contract import NodeId
from node.log_contract import Record
from node.quorum import Ballot
from node.replication.configuration import Configuration
from node.replication.watches import Question, Waiter

# --- terms and votes --------------------------------------------------------------------------------------------------


class _ForgetfulElection(RaftElection):
    def enter_term(self, term: int, vote: NodeId = "") -> None:
        if term > self.term:
            super().enter_term(term)
        self.voted_for = vote


class RaftVotesInMemory(Raft):
    """A vote is not on disk: after a restart a server votes a second time in its term."""

    election_class = _ForgetfulElection


class _ResettingElection(RaftElection):
    def become_follower(self, leader: NodeId | None) -> None:
        super().become_follower(leader)
        self.voted_for = ""


class VotesEndWithARole(Raft):
    """A server that becomes a follower forgets its vote, also if its term is the same."""

    election_class = _ResettingElection


class _SelflessElection(RaftElection):
    def may_vote_for(self, request: RequestVote) -> bool:
        if self.role == self.RUNNING:
            self.voted_for = ""
        return super().may_vote_for(request)


class CandidatesKeepTheirVote(Raft):
    """A candidate counts its own vote and does not note it, so it also votes for a rival of its term."""

    election_class = _SelflessElection


class _GenerousLog(RaftLog):
    def is_up_to_date(self, last_slot: int, last_term: int) -> bool:
        return True


class AnyLogIsUpToDate(Raft):
    """A server votes for a candidate whatever the candidate's log lacks."""

    log_class = _GenerousLog


class _LengthLog(RaftLog):
    def is_up_to_date(self, last_slot: int, last_term: int) -> bool:
        return last_slot >= self.last


class LongerLogsWin(Raft):
    """A server compares how long two logs are, and not their last terms."""

    log_class = _LengthLog


class OldVotesCount(Raft):
    """A candidate counts votes that it got in an earlier term."""

    def answered(self, sender: NodeId, message: "VoteReply | object") -> None:
        if (
            isinstance(message, VoteReply)
            and message.ballot.node == self.node.id
            and message.term <= self.election.term
        ):
            message = VoteReply(self.election.ballot, message.term, message.granted, message.doubt, message.doubts)
        super().answered(sender, message)  # type: ignore[arg-type]


class _EagerElection(RaftElection):
    def become_canvassing(self, configuration: Configuration) -> None:
        self.enter_term(self.term + 1, self.node.id)
        super().become_canvassing(configuration)


class PreVotesRaiseTerms(Raft):
    """A server raises its term before it asks for pre-votes, and ends the leadership that it comes back to."""

    election_class = _EagerElection


class _FickleElection(RaftElection):
    def stands_by_leader(self) -> bool:
        return False


class CandidatesAreAlwaysHeard(Raft):
    """A server that hears from its leader raises its term for a candidate, such as a removed server."""

    election_class = _FickleElection


# --- replication ------------------------------------------------------------------------------------------------------


class _ShorteningLog(RaftLog):
    def take(self, entries: tuple[Record, ...]) -> None:
        super().take(entries)
        if entries and entries[-1].slot < self.last and entries[-1].slot >= self.commit:
            self.cut_off(entries[-1].slot)


class LateMessagesTruncate(Raft):
    """A follower ends its log with the entries of an AppendEntries, also if the message is late, and shorter than the log."""

    log_class = _ShorteningLog


class _PatchingLog(RaftLog):
    def take(self, entries: tuple[Record, ...]) -> None:
        for record in entries:
            if record.slot <= self.last:
                if not self.matches(record.slot, record.round):
                    self._put(record)
                    self._note(record)
                continue
            self.append(record)


class ConflictsKeepTheirTail(Raft):
    """A follower replaces an entry that conflicts, and keeps those that follow it."""

    log_class = _PatchingLog


class CommitsAboveTheMatch(Raft):
    """A follower takes its whole log for the leader's, up to the leader's commit index."""

    def learn(self, commit: int) -> None:
        self.log.commit = max(self.log.commit, min(commit, self.log.last))


class MatchesOutliveTheirTerm(Raft):
    """A candidate that loses its term takes what matched the log of the leader before for a match with the winner's log."""

    def follow_leader(self, ballot: Ballot) -> None:
        if ballot.round == self.election.term:
            self.matched_with = ballot
        super().follow_leader(ballot)


class TheLastEntryMatches(Raft):
    """A follower reports its last entry as the match, also if the message has shown less."""

    def append_entries(self, sender: NodeId, message: AppendEntries) -> None:
        super().append_entries(sender, message)
        if self.appended is not None:
            self.matched = self.log.last


class _CountingLeadership(RaftLeadership):
    def may_choose(self, slot: int) -> bool:
        return True


class EarlierTermsAreCounted(Raft):
    """A leader takes an entry of an earlier term for chosen once a majority has it: figure 3.7 of the dissertation."""

    leadership_class = _CountingLeadership


class _HopefulLeadership(RaftLeadership):
    def appended(self, sender: NodeId, match: int) -> bool:
        known = self.members.get(sender)
        return super().appended(sender, max(match, known.next_slot - 1) if known is not None else match)


class MatchesAreGuessed(Raft):
    """A leader takes what it sends next for what a member has: the match index comes from the next index."""

    leadership_class = _HopefulLeadership


class _HastyLeadership(RaftLeadership):
    def match_of(self, voter: NodeId) -> int:
        return self.log.last if voter == self.node.id else super().match_of(voter)


class LeadersCountUnsavedEntries(Raft):
    """A leader counts itself before its own disk has the entry."""

    leadership_class = _HastyLeadership


class _SmallLeadership(RaftLeadership):
    def quorum(self) -> int:
        return max(len(self.configuration.voters) // 2, 1)


class HalfIsEnough(Raft):
    """A leader takes half of the voters for a majority."""

    leadership_class = _SmallLeadership


class NoEntryOfItsOwn(Raft):
    """A new leader with entries appends none of its own, and serves at once."""

    def begin_leading(self) -> None:
        super().begin_leading()
        assert self.leader is not None
        self.leader.serves_from = min(self.leader.serves_from, max(self.state.applied, 1))


# --- snapshots --------------------------------------------------------------------------------------------------------


class _KeepingLog(RaftLog):
    def install(self, slot: int, parts: list[bytes], last: Ballot) -> None:
        if slot in self.ballots:
            self.ballots[slot] = last
        super().install(slot, parts, last)


class SnapshotsKeepConflicts(Raft):
    """A follower keeps the entries after a snapshot's last one, although its own entry there conflicts."""

    log_class = _KeepingLog


class OldSnapshotsTruncate(Raft):
    """A follower drops what follows a snapshot, also if its log has that snapshot's last entry."""

    def install_snapshot(self, sender: NodeId, message: InstallSnapshot) -> None:
        if message.slot <= self.log.commit < self.log.last:
            self.log.cut_off(self.log.commit)
        super().install_snapshot(sender, message)


# --- questions, members and hand-over ---------------------------------------------------------------------------------


class _TrustingLeadership(RaftLeadership):
    def take_confirmed(self) -> list[Question]:
        return [question for round_ in list(self.rounds) for question in self.rounds.pop(round_)]


class QuestionsAreNotConfirmed(Raft):
    """A leader answers questions by itself, without a round of heartbeats: as with a lease that has no end."""

    leadership_class = _TrustingLeadership


class _BusyLeadership(RaftLeadership):
    def propose(self, slot: int, batch: bytes, waiters: list[Waiter], is_change: bool = False) -> None:
        del is_change
        super().propose(slot, batch, waiters)

    def changing(self) -> bool:
        return False


class TwoChangesAtOnce(Raft):
    """A leader appends a change of members while another one is not chosen."""

    leadership_class = _BusyLeadership


class _VainLeadership(RaftLeadership):
    def _choose(self) -> bool:
        if self.node.id in self.configuration.voters:
            return super()._choose()
        voters = self.configuration.voters
        slots = sorted((self.match_of(voter) for voter in (*voters, self.node.id)), reverse=True)
        slot = slots[self.quorum() - 1]
        if slot <= self.log.commit or not self.may_choose(slot):
            return False
        self.log.commit = slot
        return True


class RemovedLeadersCountThemselves(Raft):
    """A leader that is being removed counts itself for the majority."""

    leadership_class = _VainLeadership


class _ClingingLog(RaftLog):
    def cut_off(self, last: int) -> None:
        changes = self.changes.copy()
        super().cut_off(last)
        self.changes = changes


class ConfigurationsOutliveTheirEntries(Raft):
    """A server keeps a configuration whose entry it has deleted."""

    log_class = _ClingingLog


class _ImpatientLeadership(RaftLeadership):
    def ask_heir(self, to: NodeId) -> None:
        caught_up, self.log.last = self.log.last, self.match_of(to)
        super().ask_heir(to)
        self.log.last = caught_up


class HeirsAreAskedTooSoon(Raft):
    """A leader asks a server to run that lacks entries, and so cannot win."""

    leadership_class = _ImpatientLeadership


class _PoliteElection(RaftElection):
    def ask_again(self, configuration: Configuration) -> None:
        self.transfer = False
        super().ask_again(configuration)


class HeirsAreIgnored(Raft):
    """The RequestVote of an heir does not say that its leader has asked it to run, so the others stand by that leader."""

    election_class = _PoliteElection


class RaftMutant(NamedTuple):
    """A break of Raft."""

    broken: type[Raft]
    source: str
    """Where that has really happened, or a change that mended it: a repository and a number there, on GitHub."""
    paper: str
    """The test of `test_raft_paper.py` that fails on it, without `test_`."""
    script: str = ""
    """The script in virtual time that shows it, if there is one."""
    rows: tuple[int, ...] = ()
    """The numbers of the `harness.mutants.catalogue.ROWS` that it imitates."""

    @property
    def name(self) -> str:
        """Its name in the catalogue, such as `raft-half-is-enough`."""
        return "raft" + re.sub(
            "[A-Z]", lambda letter: f"-{letter[0].lower()}", self.broken.__name__.removeprefix("Raft")
        )

    @property
    def note(self) -> str:
        """What is broken, and where that has really happened."""
        return f"{(self.broken.__doc__ or '').rstrip('.')} ({self.source})"


RAFT_MUTANTS: Final = (
    RaftMutant(
        RaftVotesInMemory,
        "xnnyygn/xraft#29",
        "3_4_election_safety_a_server_votes_once_in_a_term_also_after_a_restart",
        "everybody-starts-anew",
        (5, 12),
    ),
    RaftMutant(
        VotesEndWithARole,
        "etcd-io/etcd#2461",
        "3_4_a_vote_lasts_for_its_term_whatever_the_role",
        "everybody-starts-anew",
    ),
    RaftMutant(
        CandidatesKeepTheirVote,
        "vesoft-inc/nebula#3415",
        "3_4_a_vote_lasts_for_its_term_whatever_the_role",
        "a-leader-crashes-behind-slow-links",
    ),
    RaftMutant(
        AnyLogIsUpToDate,
        "ktoso/akka-raft#30",
        "3_6_1_a_vote_goes_to_no_candidate_with_an_older_log",
        "a-longer-log-of-an-older-term",
    ),
    RaftMutant(
        LongerLogsWin,
        "sile/noraft#22",
        "3_6_1_a_vote_goes_to_no_candidate_with_an_older_log",
        "a-longer-log-of-an-older-term",
    ),
    RaftMutant(
        OldVotesCount,
        "andreev-io/little-raft#44",
        "3_4_a_vote_of_an_earlier_candidacy_does_not_count",
        "a-vote-for-an-earlier-term",
        (22,),
    ),
    RaftMutant(
        PreVotesRaiseTerms,
        "hashicorp/raft#411",
        "9_6_a_pre_vote_raises_no_term",
        "one-comes-back",
    ),
    RaftMutant(
        CandidatesAreAlwaysHeard,
        "logcabin/logcabin#56",
        "4_2_3_a_server_that_hears_from_its_leader_ignores_a_candidate",
        "late-requests-for-votes",
    ),
    RaftMutant(
        LateMessagesTruncate,
        "hashicorp/raft#113",
        "3_5_a_late_message_deletes_nothing",
        "a-message-that-comes-again",
    ),
    RaftMutant(
        ConflictsKeepTheirTail,
        "mofa-org/mofa#1151",
        "3_5_log_matching_a_conflict_ends_the_log_before_it",
        "a-tail-of-an-older-term",
    ),
    RaftMutant(
        CommitsAboveTheMatch,
        "atomix/copycat#265",
        "3_5_a_follower_learns_no_commit_index_above_what_matches",
        "a-leader-of-a-minority",
    ),
    RaftMutant(
        MatchesOutliveTheirTerm,
        "talent-plan/tinykv#191",
        "3_5_what_matched_an_earlier_leader_does_not_match_the_next_also_for_a_candidate_of_its_term",
        "two-candidates-of-a-term",
    ),
    RaftMutant(
        TheLastEntryMatches, "rabbitmq/ra#637", "3_5_a_follower_reports_what_the_message_has_shown_to_match_and_no_more"
    ),
    RaftMutant(
        EarlierTermsAreCounted,
        "bakwc/PySyncObj#169",
        "3_6_2_figure_3_7_an_entry_of_an_earlier_term_is_not_chosen_by_counting",
        "figure-3-7",
    ),
    RaftMutant(
        MatchesAreGuessed,
        "adjoint-io/raft#86",
        "3_5_what_is_sent_is_no_match",
        "an-entry-that-is-lost-on-its-way",
    ),
    RaftMutant(LeadersCountUnsavedEntries, "goraft/raft#150", "10_2_1_a_leader_does_not_count_what_its_own_disk_lacks"),
    RaftMutant(
        HalfIsEnough,
        "rabbitmq/ra#251",
        "3_5_what_is_sent_is_no_match",
        "a-leader-of-a-minority",
        (9,),
    ),
    RaftMutant(
        NoEntryOfItsOwn,
        "etcd-io/etcd#7331",
        "6_4_a_new_leader_answers_nothing_before_its_own_entry_is_chosen",
        "a-question-to-a-new-leader",
        (16,),
    ),
    RaftMutant(
        SnapshotsKeepConflicts,
        "hashicorp/raft#704",
        "5_1_a_snapshot_keeps_the_entries_that_follow_its_last_one_only_if_that_matches",
    ),
    RaftMutant(
        OldSnapshotsTruncate,
        "camunda/camunda#6092",
        "5_1_a_snapshot_of_what_is_chosen_already_changes_nothing",
        "a-snapshot-that-is-offered-late",
    ),
    RaftMutant(
        QuestionsAreNotConfirmed,
        "adjoint-io/raft#41",
        "6_4_a_question_waits_for_the_leaders_own_entry_and_for_a_round_of_a_majority",
        "a-leader-from-the-past-is-asked",
        (16,),
    ),
    RaftMutant(
        TwoChangesAtOnce,
        "atomix/copycat#23",
        "4_1_one_change_at_a_time_and_none_before_the_leaders_own_entry_is_chosen",
        "two-changes-at-once",
        (19,),
    ),
    RaftMutant(
        RemovedLeadersCountThemselves,
        "nats-io/nats-server#7600",
        "4_2_2_a_leader_that_is_removed_does_not_count_itself",
    ),
    RaftMutant(
        ConfigurationsOutliveTheirEntries,
        "camunda/camunda#57393",
        "4_1_the_configuration_is_that_of_the_last_change_in_the_log_chosen_or_not",
        "a-removal-that-is-replaced",
    ),
    RaftMutant(
        HeirsAreAskedTooSoon,
        "redpanda-data/redpanda#2606",
        "3_10_a_leader_asks_an_heir_to_run_only_once_its_log_is_whole",
        "an-heir-that-lacks-an-entry",
    ),
    RaftMutant(
        HeirsAreIgnored,
        "baidu/braft#262",
        "3_10_a_leader_asks_an_heir_to_run_only_once_its_log_is_whole",
        "a-leader-hands-over",
    ),
)
