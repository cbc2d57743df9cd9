"""Raft by the rules of Ongaro, *Consensus: Bridging Theory and Practice* (2014). One test for each rule, named after it.

The first half of the rules is also in Ongaro and Ousterhout, *In Search of an Understandable Consensus Algorithm* (2014).
"""

from collections.abc import Sequence

from node.algorithms.raft import Raft
from node.algorithms.raft.messages import (
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
from node.contract import NodeId, Request, Value
from node.log_contract import Record
from node.quorum import NO_BALLOT, Ballot
from node.replication.messages import Heartbeat, HeartbeatAck, SnapshotPart, TakeOver
from node.replication.state import CLUSTER
from node.replication.watches import Waiter
from node.wire import pack_unchecked
from tests.node.algorithms.schedule import Schedule

EMPTY = pack_unchecked((0, ()))


def raft(net: Schedule, node: NodeId) -> Raft:
    """Return the replica of a node that is up."""
    replica = net.running[node]
    assert isinstance(replica, Raft)
    return replica


def terms(net: Schedule, node: NodeId) -> list[int]:
    """Return the terms of a node's log on its disk, from slot 1 on."""
    return [record.round for record in net.nodes[node].disk.log.since(1, 2**62)]


def entries(first: int, *of_terms: int, leader: NodeId = "c") -> tuple[Record, ...]:
    """Return empty entries of these terms, from slot `first` on."""
    return tuple(Record(first + number, term, leader, EMPTY) for number, term in enumerate(of_terms))


def change(slot: int, term: int, kind: str, node: NodeId, leader: NodeId = "c") -> Record:
    """Return the entry of a change of members."""
    return Record(slot, term, leader, pack_unchecked((0, ((0, 0, 0, CLUSTER, pack_unchecked([[kind, node]])),))))


def follow(
    net: Schedule, node: NodeId, term: int, after: int, prev: int, new: Sequence[Record] = (), commit: int = 0
) -> None:
    """Have `c`, which leads in `term`, send a node entries that follow slot `after` of term `prev`."""
    net.inject("c", node, AppendEntries(Ballot(term, "c"), after, Ballot(prev, "c"), tuple(new), commit))


def take_own(net: Schedule, nodes: str) -> None:
    """Have nodes take in what they have sent to themselves, in a turn whose other input changes nothing."""
    for node in nodes:
        net.inject(node, node, PreVoteGranted(2**20, 0))


def settle(net: Schedule, among: str = "abc") -> None:
    """Deliver all packets among these nodes, and those that they cause."""
    for _ in range(40):
        net.deliver(None, among, among)
        take_own(net, among)
    assert not net.find(None, among, among)


def run(net: Schedule, node: NodeId) -> None:
    """Have a node begin an election, as if its leader had asked it to, and vote for itself."""
    net.inject(node, node, TakeOver(Ballot(raft(net, node).election.term, node)))
    take_own(net, node * 2)


def elect(net: Schedule, node: NodeId, voters: str) -> None:
    """Have a node be elected by these voters, and no others. What it sends as a leader stays in flight."""
    run(net, node)
    net.deliver(RequestVote, node, voters)
    net.drop(RequestVote)
    net.deliver(VoteReply, voters, node)
    assert raft(net, node).leading is not None


def last_answer(net: Schedule, kind: type, sender: NodeId) -> object:
    """Return the last message of a kind that a node has sent and that is in flight."""
    return net.find(kind, sender)[-1].message


# --- section 3.3: roles and terms -----------------------------------------------------------------------------------


def test_3_3_a_server_starts_as_a_follower_of_no_term() -> None:
    net = Schedule(Raft)
    assert [raft(net, node).election.role for node in "abc"] == ["follower"] * 3
    assert [raft(net, node).promised for node in "abc"] == [NO_BALLOT] * 3


def test_3_3_a_server_that_learns_of_a_later_term_becomes_a_follower_of_it() -> None:
    net = Schedule(Raft)
    elect(net, "a", "ab")
    net.inject("b", "a", StaleTerm(Ballot(1, "a"), 5))
    assert (raft(net, "a").leading, raft(net, "a").election.term) == (None, 5)


def test_3_3_a_request_of_an_earlier_term_is_rejected_with_the_present_one() -> None:
    net = Schedule(Raft)
    follow(net, "a", 5, 0, 0)
    net.in_flight = []
    follow(net, "a", 4, 0, 0, entries(1, 4))
    assert last_answer(net, StaleTerm, "a") == StaleTerm(Ballot(4, "c"), 5)
    assert terms(net, "a") == []


def test_3_3_term_and_vote_are_on_disk_before_a_vote_leaves() -> None:
    net = Schedule(Raft)
    run(net, "a")
    net.deliver(RequestVote, "a", "b")
    assert net.nodes["b"].disk.synced[""]["vote"] == (1, "a")


# --- section 3.4: election ------------------------------------------------------------------------------------------


def test_3_4_election_safety_a_server_votes_once_in_a_term_also_after_a_restart() -> None:
    net = Schedule(Raft)
    run(net, "a")
    run(net, "c")
    net.deliver(RequestVote, "a", "b")
    net.crash("b")
    net.restart("b")
    net.deliver(RequestVote, "c", "b")
    votes = [packet.message for packet in net.find(VoteReply, "b")]
    assert [(vote.ballot.node, vote.granted) for vote in votes if isinstance(vote, VoteReply)] == [
        ("a", True),
        ("c", False),
    ]


def test_3_4_election_safety_two_candidates_of_a_term_are_not_both_elected() -> None:
    net = Schedule(Raft, "abcde")
    run(net, "a")
    run(net, "e")
    net.deliver(RequestVote)
    net.deliver(VoteReply)
    net.deliver(RequestVote, "e")
    net.deliver(VoteReply)
    assert sum(raft(net, node).leading is not None for node in "abcde") == 1


def test_3_4_a_candidate_whose_vote_is_split_runs_again_soon_at_a_random_time() -> None:
    net = Schedule(Raft, "abc")
    run(net, "a")
    run(net, "b")
    whole = net.timers("a")["anew"]
    net.deliver(RequestVote, "a", "b")
    net.deliver(VoteReply, "b", "a")
    soon = net.timers("a")["anew"]
    assert soon[0] < soon[1] < whole[0]
    net.inject("c", "a", VoteReply(Ballot(1, "a"), 1, granted=True, doubt=0, doubts=()))
    assert raft(net, "a").leading is not None
    assert "anew" not in net.timers("a")


def test_3_4_a_candidate_needs_the_votes_of_a_majority() -> None:
    net = Schedule(Raft, "abcde")
    run(net, "a")
    for voter, leads in (("b", False), ("c", True)):
        net.deliver(RequestVote, "a", voter)
        net.deliver(VoteReply, voter, "a")
        assert (raft(net, "a").leading is not None) == leads


def test_3_4_a_vote_that_arrives_twice_counts_once() -> None:
    net = Schedule(Raft, "abcde")
    run(net, "a")
    net.deliver(RequestVote, "a", "b")
    net.deliver(VoteReply, "b", "a", keep=True)
    net.deliver(VoteReply, "b", "a")
    assert raft(net, "a").leading is None


def test_3_4_a_candidate_follows_the_leader_of_its_term() -> None:
    net = Schedule(Raft)
    run(net, "a")
    follow(net, "a", 1, 0, 0)
    assert (raft(net, "a").election.role, raft(net, "a").election.leader) == ("follower", "c")


def test_3_4_a_vote_of_an_earlier_candidacy_does_not_count() -> None:
    net = Schedule(Raft)
    run(net, "a")
    net.deliver(RequestVote, "a", "b")
    run(net, "a")
    net.deliver(VoteReply)
    assert raft(net, "a").leading is None


def test_3_4_a_vote_lasts_for_its_term_whatever_the_role() -> None:
    net = Schedule(Raft)
    run(net, "b")
    run(net, "c")
    net.deliver(RequestVote, "b", "a")
    net.inject("b", "a", AppendEntries(Ballot(1, "b"), 0, NO_BALLOT, (), 0))
    net.deliver(RequestVote, "c", "ab")  # b is a candidate, and has voted for itself
    votes = [packet.message for packet in net.find(VoteReply, to="c")]
    assert [vote.granted for vote in votes if isinstance(vote, VoteReply)] == [False, False]


# --- section 3.5: replication ---------------------------------------------------------------------------------------


def test_3_5_a_new_leader_appends_an_entry_of_its_term() -> None:
    net = Schedule(Raft)
    elect(net, "a", "ab")
    assert terms(net, "a") == [1, 1]  # the entry that forms the cluster, and its own
    sent = [packet.message for packet in net.find(AppendEntries, "a")]
    assert [(message.prev_slot, message.prev.round) for message in sent if isinstance(message, AppendEntries)] == [
        (0, 0)
    ] * 2


def test_3_5_consistency_check_an_entry_is_taken_in_only_after_one_that_matches() -> None:
    net = Schedule(Raft)
    follow(net, "a", 2, 0, 0, entries(1, 1, 1))
    follow(net, "a", 2, 3, 2, entries(4, 2))  # a gap
    assert last_answer(net, Conflict, "a") == Conflict(Ballot(2, "c"), 3, 0, 3)
    follow(net, "a", 2, 2, 2, entries(3, 2))  # another term
    assert last_answer(net, Conflict, "a") == Conflict(Ballot(2, "c"), 2, 1, 1)
    assert terms(net, "a") == [1, 1]
    follow(net, "a", 2, 2, 1, entries(3, 2))
    assert terms(net, "a") == [1, 1, 2]


def test_3_5_log_matching_a_conflict_ends_the_log_before_it() -> None:
    net = Schedule(Raft)
    follow(net, "a", 2, 0, 0, entries(1, 1, 2, 2, 2))
    follow(net, "a", 3, 1, 1, entries(2, 3))
    assert terms(net, "a") == [1, 3]
    net.crash("a")
    net.restart("a")
    assert terms(net, "a") == [1, 3]


def test_3_5_a_late_message_deletes_nothing() -> None:
    net = Schedule(Raft)
    follow(net, "a", 2, 0, 0, entries(1, 1, 2, 2))
    follow(net, "a", 2, 0, 0, entries(1, 1))
    assert terms(net, "a") == [1, 2, 2]


def test_3_5_a_follower_reports_what_the_message_has_shown_to_match_and_no_more() -> None:
    net = Schedule(Raft)
    follow(net, "a", 1, 0, 0, entries(1, 1, 1, 1))
    net.in_flight = []
    follow(net, "a", 2, 1, 1)
    assert last_answer(net, Appended, "a") == Appended(Ballot(2, "c"), 1)


def test_3_5_a_leader_goes_back_over_a_term_at_a_time() -> None:
    net = Schedule(Raft)
    follow(net, "b", 3, 0, 0, entries(1, 1, 2, 2, 2, 2, 3))
    follow(net, "a", 4, 0, 0, entries(1, 1, 1, 1, 1, 4, 4))
    elect(net, "a", "ac")
    asked = []
    for _ in range(10):
        asked += [
            p.message.prev_slot for p in net.find(AppendEntries, "a", "b") if isinstance(p.message, AppendEntries)
        ]
        if not net.deliver(AppendEntries, "a", "b") or not net.deliver(Conflict, "b", "a"):
            break
    assert asked == [6, 5, 1]  # over the entry of term 3, then over all of term 2
    settle(net, "ab")
    assert terms(net, "b") == terms(net, "a") == [1, 1, 1, 1, 4, 4, 5]


def test_3_5_leader_append_only_a_leader_keeps_what_it_has() -> None:
    net = Schedule(Raft)
    follow(net, "a", 2, 0, 0, entries(1, 1, 2, 2))
    elect(net, "a", "ab")
    settle(net)
    assert terms(net, "a") == [1, 2, 2, 3]


def test_3_5_a_follower_learns_no_commit_index_above_what_matches() -> None:
    net = Schedule(Raft)
    follow(net, "a", 1, 0, 0, entries(1, 1, 1, 1))
    follow(net, "a", 2, 1, 1, (), commit=3)
    net.inject("c", "a", Heartbeat(Ballot(2, "c"), 0, 3))
    assert raft(net, "a").log.commit == 1
    follow(net, "a", 2, 1, 1, entries(2, 2, 2), commit=3)
    assert raft(net, "a").log.commit == 3


def test_3_5_what_matched_an_earlier_leader_does_not_match_the_next_also_for_a_candidate_of_its_term() -> None:
    net = Schedule(Raft)
    follow(net, "a", 2, 0, 0, entries(1, 1, 2))
    run(net, "a")
    net.inject("c", "a", Heartbeat(Ballot(3, "c"), 0, 2))  # c has won that term, with another entry in slot 2
    assert raft(net, "a").log.commit == 0


def two_entries_on_their_way() -> Schedule:
    """Return a cluster whose leader, a, has sent two entries to b, and has no answer."""
    net = Schedule(Raft)
    elect(net, "a", "ab")
    settle(net)
    for colour in (b"red", b"blue"):
        net.propose("a", Value(colour))
        take_own(net, "a")  # the call reaches the leader, which sends the entry
    return net


def test_3_5_pipelining_an_entry_leaves_before_the_answer_to_the_one_before() -> None:
    net = two_entries_on_their_way()
    sent = [p.message for p in net.find(AppendEntries, "a", "b")]
    assert [(m.prev_slot, len(m.entries)) for m in sent if isinstance(m, AppendEntries)] == [(2, 1), (3, 1)]


def test_3_5_what_is_sent_is_no_match() -> None:
    net = two_entries_on_their_way()
    first, _ = net.find(AppendEntries, "a", "b")
    net.deliver_one(first)
    net.deliver(Appended, "b", "a")
    assert raft(net, "a").log.commit == 3


def test_3_5_entries_that_are_lost_are_sent_again() -> None:
    net = Schedule(Raft)
    elect(net, "a", "ab")
    net.drop(AppendEntries)
    take_own(net, "aa")
    for _ in range(10):
        net.fire("a", "beat")
        net.deliver(Heartbeat, "a")
        net.deliver(HeartbeatAck)
    settle(net)
    assert terms(net, "b") == terms(net, "c") == [1, 1]


# --- section 3.6: safety --------------------------------------------------------------------------------------------


def test_3_6_1_a_vote_goes_to_no_candidate_with_an_older_log() -> None:
    for own, candidate, granted in (
        ((1, 1, 1), (2, 1), False),  # a shorter log of the same last term
        ((1, 2), (3, 1), False),  # a longer log of an earlier last term
        ((1, 1, 1), (2, 2), True),  # a shorter log of a later last term
        ((1, 1), (2, 1), True),  # the same log
    ):
        net = Schedule(Raft)
        follow(net, "a", 2, 0, 0, entries(1, *own))
        net.in_flight = []
        net.inject("b", "a", RequestVote(Ballot(3, "b"), *candidate, True))
        vote = last_answer(net, VoteReply, "a")
        assert isinstance(vote, VoteReply)
        assert vote.granted == granted


def test_3_6_2_figure_3_7_an_entry_of_an_earlier_term_is_not_chosen_by_counting() -> None:
    net = Schedule(Raft, "abcde")
    for node in "ab":
        follow(net, node, 2, 0, 0, entries(1, 1, 2))  # (a): the entry of term 2 is on two servers of five
    for node in "cde":
        follow(net, node, 1, 0, 0, entries(1, 1))
    net.in_flight = []
    elect(net, "a", "abc")  # (c): it leads in term 3, and brings the entry of term 2 to c
    take_own(net, "aa")
    net.in_flight = []
    for voter in "bc":
        net.inject(voter, "a", Appended(Ballot(3, "a"), 2))
    assert raft(net, "a").log.commit == 0  # a majority has it, and yet e could be elected, and replace it: (d)
    for voter in "bc":
        net.inject(voter, "a", Appended(Ballot(3, "a"), 3))
    assert raft(net, "a").log.commit == 3  # (e): the entry of term 3 chooses both


def test_3_6_3_leader_completeness_a_chosen_entry_is_in_the_log_of_each_later_leader() -> None:
    net = Schedule(Raft)
    elect(net, "a", "ab")
    settle(net, "ab")
    run(net, "c")
    net.deliver(RequestVote, "c", "bc")
    net.deliver(VoteReply, "bc", "c")
    assert raft(net, "c").leading is None


# --- section 3.10: leadership transfer ------------------------------------------------------------------------------


def test_3_10_a_leader_asks_an_heir_to_run_only_once_its_log_is_whole() -> None:
    net = Schedule(Raft)
    elect(net, "a", "ab")
    leader = raft(net, "a").leader
    assert leader is not None
    leader.hand_over("b")
    net.fire("a", "beat")
    assert net.find(TakeOver) == []
    settle(net, "ab")
    assert raft(net, "b").leading is not None


# --- section 4: membership ------------------------------------------------------------------------------------------


def test_4_1_the_configuration_is_that_of_the_last_change_in_the_log_chosen_or_not() -> None:
    net = Schedule(Raft)
    follow(net, "a", 1, 0, 0, entries(1, 1))
    follow(net, "a", 1, 1, 1, (change(2, 1, "remove", "b"),))
    assert raft(net, "a").configuration.voters == ("a", "c")
    net.crash("a")
    net.restart("a")
    assert raft(net, "a").configuration.voters == ("a", "c")
    follow(net, "a", 2, 1, 1, entries(2, 2))  # the change was not chosen, and its entry is replaced
    assert raft(net, "a").configuration.voters == ("a", "b", "c")


def test_4_1_one_change_at_a_time_and_none_before_the_leaders_own_entry_is_chosen() -> None:
    net = Schedule(Raft)
    follow(net, "a", 1, 0, 0, entries(1, 1))
    elect(net, "a", "ab")
    leader = raft(net, "a").leader
    assert leader is not None
    removal = pack_unchecked([["remove", "b"]])
    leader.submit((0, 0, 0, CLUSTER, removal), Waiter(Request("client", 1)))
    take_own(net, "aa")
    assert terms(net, "a") == [1, 2]  # the change waits (the bug of 2015)
    settle(net)
    leader.propose(leader.next_slot, change(4, 2, "remove", "c").batch, [], is_change=True)
    assert leader.why_not("remove", "c") is not None


def test_4_2_2_a_leader_that_is_removed_does_not_count_itself() -> None:
    net = Schedule(Raft)
    elect(net, "a", "ab")
    settle(net)
    leader = raft(net, "a").leader
    assert leader is not None
    leader.propose(3, change(3, 1, "remove", "a").batch, [], is_change=True)
    take_own(net, "aa")
    net.deliver(AppendEntries, "a", "b")
    net.deliver(Appended, "b", "a")
    assert raft(net, "a").log.commit == 2  # a and b have it, and of b and c one
    settle(net)
    assert (raft(net, "a").log.commit, raft(net, "a").leading) == (3, None)  # chosen: it steps down


def test_4_2_3_a_server_that_hears_from_its_leader_ignores_a_candidate() -> None:
    net = Schedule(Raft)
    elect(net, "a", "ab")
    settle(net)
    net.inject("c", "b", RequestVote(Ballot(9, "c"), 9, 9))
    net.inject("c", "a", RequestVote(Ballot(9, "c"), 9, 9))
    assert net.find(VoteReply) == []
    assert [raft(net, node).election.term for node in "ab"] == [1, 1]
    assert raft(net, "a").leading is not None


# --- section 5: snapshots -------------------------------------------------------------------------------------------


def snapshot_of(net: Schedule, node: NodeId, slot: int) -> bytes:
    """Return the state after `slot` of a node that has applied that slot last, packed."""
    replica = raft(net, node)
    replica.apply_deferred()
    assert replica.state.applied == slot
    return replica.state.packed()


def test_5_1_a_snapshot_keeps_the_entries_that_follow_its_last_one_only_if_that_matches() -> None:
    for has, left in ((2, [3]), (1, [])):
        net = Schedule(Raft)
        follow(net, "b", 3, 0, 0, entries(1, 1, 2), commit=2)
        data = snapshot_of(net, "b", 2)
        follow(net, "a", 3, 0, 0, entries(1, 1, has, 3))
        net.inject("c", "a", InstallSnapshot(Ballot(4, "c"), 2, 1, Ballot(2, "c")))
        net.inject("c", "a", SnapshotPart(2, 0, data))
        assert terms(net, "a") == left
        assert last_answer(net, Appended, "a") == Appended(Ballot(4, "c"), 2)
        follow(net, "a", 4, 2, 2, entries(3, 3, 4))  # the snapshot has the term for the consistency check
        assert terms(net, "a") == [3, 4]


def test_5_1_a_snapshot_of_what_is_chosen_already_changes_nothing() -> None:
    net = Schedule(Raft)
    follow(net, "a", 1, 0, 0, entries(1, 1, 1, 1, 1), commit=3)
    net.in_flight = []
    net.inject("c", "a", InstallSnapshot(Ballot(1, "c"), 2, 1, Ballot(1, "c")))
    assert terms(net, "a") == [1, 1, 1, 1]
    assert last_answer(net, Appended, "a") == Appended(Ballot(1, "c"), 4)


# --- section 6: clients ---------------------------------------------------------------------------------------------


def test_6_2_a_leader_that_hears_from_no_majority_steps_down() -> None:
    net = Schedule(Raft)
    elect(net, "a", "ab")
    for _ in range(30):
        net.fire("a", "beat")
        net.in_flight = []
    assert raft(net, "a").leading is None


def test_6_4_a_question_waits_for_the_leaders_own_entry_and_for_a_round_of_a_majority() -> None:
    net = Schedule(Raft)
    elect(net, "a", "ab")
    early = net.query("a")
    take_own(net, "a")
    net.inject("b", "a", HeartbeatAck(Ballot(1, "a"), 0, 0))
    assert early not in net.answers  # a majority follows it, and its own entry is not chosen
    settle(net)
    assert early in net.answers
    late = net.query("a")
    take_own(net, "aaa")
    assert late not in net.answers  # its own entry is chosen, and no majority has said since that it leads
    net.deliver(Heartbeat, "a", "b")
    net.deliver(HeartbeatAck, "b", "a")
    take_own(net, "a")
    assert late in net.answers


def test_6_4_a_new_leader_answers_nothing_before_its_own_entry_is_chosen() -> None:
    net = Schedule(Raft)
    follow(net, "a", 1, 0, 0, entries(1, 1, 1), commit=1)
    elect(net, "a", "ab")
    asked = net.query("a")
    take_own(net, "aaa")
    net.deliver(Heartbeat, "a", "b")
    net.deliver(HeartbeatAck, "b", "a")
    take_own(net, "aaa")
    assert asked not in net.answers


def test_10_2_1_a_leader_does_not_count_what_its_own_disk_lacks() -> None:
    net = Schedule(Raft, "abcde")
    elect(net, "a", "abc")
    raft(net, "a").receive("b", Appended(Ballot(1, "a"), 2))  # in the turn in which the entry is proposed
    raft(net, "a").receive("c", Appended(Ballot(1, "a"), 2))
    assert raft(net, "a").log.commit == 0
    take_own(net, "a")
    assert raft(net, "a").log.commit == 2


# --- section 9.6: PreVote -------------------------------------------------------------------------------------------


def test_9_6_a_pre_vote_raises_no_term() -> None:
    net = Schedule(Raft)
    for _ in range(20):
        net.fire("a", "tick")
        net.fire("a", "anew")
        net.in_flight = []
    assert [raft(net, node).election.term for node in "abc"] == [0, 0, 0]


def test_9_6_a_pre_vote_goes_to_no_candidate_with_an_older_log_nor_while_a_leader_works() -> None:
    net = Schedule(Raft)
    follow(net, "b", 1, 0, 0, entries(1, 1))
    net.in_flight = []
    net.fire("a", "tick")
    net.deliver(PreVote, "a", "bc")
    assert [packet.sender for packet in net.find(PreVoteGranted)] == ["c"]
