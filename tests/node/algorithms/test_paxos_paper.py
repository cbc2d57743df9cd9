"""Paxos by the rules of Lamport, *Paxos Made Simple* (2001), section 2. One test for each rule, named after it."""

from node.algorithms.paxos import Accept, Accepted, Decided, Paxos, Prepare, Promise, Rejected
from node.contract import NodeId, Stored, Value
from node.quorum import Ballot
from tests.node.algorithms.schedule import Schedule

RED, BLUE, GREEN = Value(b"red"), Value(b"blue"), Value(b"green")


def prepared(net: Schedule, proposer: NodeId, acceptors: str) -> None:
    """Have these acceptors, and no others, promise the proposer's ballot, and deliver their promises."""
    net.deliver(Prepare, proposer, acceptors)
    net.drop(Prepare, proposer)
    net.deliver(Promise, acceptors, proposer)


def accepted_only_by(net: Schedule, proposer: NodeId, acceptors: str) -> None:
    """Have these acceptors, and no others, accept the proposer's value. Their Accepted messages are lost."""
    net.deliver(Accept, proposer, acceptors)
    net.in_flight = []


def accepted(net: Schedule, node: NodeId) -> Stored:
    return net.disk(node).get("accepted")


# --- section 2.1: what a choice is ----------------------------------------------------------------------------------


def test_a_value_is_chosen_once_a_majority_has_accepted_it() -> None:
    net = Schedule(Paxos, "abcde")
    request = net.propose("a", RED)
    prepared(net, "a", "abcde")
    for acceptor, others in (("a", 1), ("b", 2)):
        net.deliver(Accept, "a", acceptor)
        net.deliver(Accepted, acceptor, "a")
        assert request not in net.answers, f"{others} of five are no majority"
    net.deliver(Accept, "a", "c")
    net.deliver(Accepted, "c", "a")
    assert net.answers == {request: RED}


def test_p1_an_acceptor_accepts_the_first_proposal_that_it_receives() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    prepared(net, "a", "ab")
    net.deliver(Accept, "a", "c")  # c has promised nothing
    assert accepted(net, "c") == (1, "a", RED)


def test_p1a_an_acceptor_accepts_a_ballot_only_if_it_has_promised_no_higher_one() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    prepared(net, "a", "ab")
    net.propose("c", BLUE)
    net.propose("c", BLUE)
    prepared(net, "c", "b")
    net.deliver(Accept, "a", "ab")
    assert (accepted(net, "a"), accepted(net, "b")) == ((1, "a", RED), None)


def test_p2a_no_acceptor_accepts_another_value_above_the_ballot_of_a_choice() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    prepared(net, "a", "ab")
    accepted_only_by(net, "a", "ab")  # chosen, and no node knows it
    net.propose("c", BLUE)
    net.wait_for_answers("bc")
    assert (accepted(net, "b"), accepted(net, "c")) == ((1, "c", RED), (1, "c", RED))


def test_p2b_no_proposer_issues_another_value_above_the_ballot_of_a_choice() -> None:
    for survivors in ("ac", "bc"):  # of the nodes that have accepted, either one answers
        net = Schedule(Paxos)
        net.propose("a", RED)
        prepared(net, "a", "ab")
        accepted_only_by(net, "a", "ab")
        net.propose("c", BLUE)
        prepared(net, "c", survivors)
        assert {packet.message for packet in net.find(Accept)} == {Accept(Ballot(1, "c"), RED)}


def test_p2c_the_value_is_that_of_the_highest_ballot_that_a_majority_has_reported() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    prepared(net, "a", "abc")
    accepted_only_by(net, "a", "a")
    net.propose("b", BLUE)
    prepared(net, "b", "bc")
    accepted_only_by(net, "b", "b")
    net.propose("c", GREEN)
    prepared(net, "c", "abc")  # red of ballot 1 and blue of ballot 2
    assert {packet.message for packet in net.find(Accept)} == {Accept(Ballot(3, "c"), BLUE)}


# --- section 2.2: the two phases ------------------------------------------------------------------------------------


def test_phase_1a_a_proposer_asks_for_promises_of_a_new_ballot() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    assert [(packet.to, packet.message) for packet in net.in_flight] == [(to, Prepare(Ballot(1, "a"))) for to in "abc"]


def test_phase_1b_an_acceptor_promises_and_reports_what_it_has_accepted() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    prepared(net, "a", "ab")
    accepted_only_by(net, "a", "b")
    net.propose("c", BLUE)
    net.deliver(Prepare, "c", "bc")
    assert [(packet.sender, packet.message) for packet in net.find(Promise)] == [
        ("b", Promise(Ballot(1, "c"), Ballot(1, "a"), RED)),
        ("c", Promise(Ballot(1, "c"), None, None)),
    ]


def test_phase_1b_an_acceptor_promises_nothing_below_its_promise() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    net.propose("c", BLUE)
    net.deliver(Prepare, "c", "b")
    net.deliver(Prepare, "a", "b")
    assert net.disk("b")["promised"] == (1, "c")
    assert [packet.message for packet in net.find(Promise, to="a")] == []


def test_phase_2a_a_proposer_goes_on_once_a_majority_has_promised() -> None:
    net = Schedule(Paxos, "abcde")
    net.propose("a", RED)
    net.deliver(Prepare, "a", "abc")
    net.deliver(Promise, "ab", "a")
    assert net.find(Accept) == []
    net.deliver(Promise, "c", "a")
    assert len(net.find(Accept)) == 5


def test_phase_2a_a_proposer_without_a_reported_value_takes_its_own() -> None:
    net = Schedule(Paxos)
    net.propose("a", GREEN)
    prepared(net, "a", "bc")
    assert {packet.message for packet in net.find(Accept)} == {Accept(Ballot(1, "a"), GREEN)}


def test_phase_2b_an_acceptor_accepts_what_it_has_promised() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    prepared(net, "a", "ab")
    net.deliver(Accept, "a", "b")
    assert [packet.message for packet in net.find(Accepted)] == [Accepted(Ballot(1, "a"))]
    assert accepted(net, "b") == (1, "a", RED)


def test_a_proposer_abandons_a_ballot_when_a_higher_one_is_reported() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    net.propose("c", BLUE)
    net.deliver(Prepare, "c", "b")
    net.deliver(Prepare, "a", "b")
    assert [packet.message for packet in net.find(Rejected)] == [Rejected(Ballot(1, "a"), Ballot(1, "c"))]
    net.deliver(Rejected)
    net.in_flight = []
    net.fire("a")
    assert {packet.message for packet in net.find(Prepare, "a")} == {Prepare(Ballot(2, "a"))}


# --- section 2.3: learning ------------------------------------------------------------------------------------------


def test_a_learner_learns_from_a_node_that_knows() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    net.settle()
    assert [net.disk(name)["decided"] for name in "abc"] == [RED, RED, RED]


def test_a_learner_without_a_decided_learns_by_its_own_proposal() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    while not net.find(Decided):
        net.deliver()
    net.drop(Decided)
    query = net.query("c")
    net.wait_for_answers()
    assert net.answers[query] == RED


# --- section 2.4: progress ------------------------------------------------------------------------------------------


def test_two_proposers_can_reject_each_other_without_end() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    net.propose("c", BLUE)
    for _ in range(20):  # each gets its promises just before the other's Accepts arrive
        for proposer in "ac":
            net.fire(proposer)
            net.deliver(Prepare, proposer)
            net.deliver(Promise, to=proposer)
            net.deliver(Rejected)
            net.deliver(Accept, "ac".replace(proposer, ""))
    assert net.answers == {}
    net.wait_for_answers()  # and random pauses end it
    assert len(net.decisions()) == 1


# --- section 2.5: what must be on disk, and which ballots a node may use -------------------------------------------------


def test_no_two_proposers_share_a_ballot() -> None:
    net = Schedule(Paxos)
    for proposer in "abc":
        net.propose(proposer, RED)
    ballots = {packet.message.ballot for packet in net.in_flight if isinstance(packet.message, Prepare)}
    assert ballots == {Ballot(1, "a"), Ballot(1, "b"), Ballot(1, "c")}


def test_a_proposer_never_uses_a_ballot_twice_not_even_after_a_crash() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    first = net.find(Prepare)[0].message
    net.crash("a")
    net.restart("a")
    net.propose("a", BLUE)
    again = net.find(Prepare)[-1].message
    assert (first, again) == (Prepare(Ballot(1, "a")), Prepare(Ballot(2, "a")))


def test_an_acceptor_records_its_answer_before_it_leaves() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    net.deliver(Prepare, "a", "b")
    assert net.find(Promise, "b")
    net.crash("b")
    net.restart("b")
    assert net.disk("b")["promised"] == (1, "a")
    net.deliver(Prepare, "a", "a")
    net.deliver(Promise, to="a")
    net.deliver(Accept, "a", "b")
    assert net.find(Accepted, "b")
    net.crash("b")
    net.restart("b")
    assert accepted(net, "b") == (1, "a", RED)
