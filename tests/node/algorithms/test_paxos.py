import pytest

from harness.virtual.steps import Packet
from node.algorithms.paxos import (
    Accept,
    Accepted,
    Decided,
    Inquire,
    Paxos,
    Prepare,
    Promise,
    Rejected,
    Report,
)
from node.contract import Message, NodeId, Request, Status, Value
from node.quorum import Ballot
from tests.node.algorithms.schedule import Schedule

RED, BLUE, GREEN = Value(b"red"), Value(b"blue"), Value(b"green")


def accepted(net: Schedule, at: NodeId) -> tuple[object, ...] | None:
    """Return what a node's disk holds as accepted: round, owner, value."""
    stored = net.disk(at).get("accepted")
    assert stored is None or isinstance(stored, tuple)
    return stored


def run_phase_1(net: Schedule, proposer: NodeId, quorum: str) -> None:
    """Have these nodes, and no others, promise the proposer's ballot."""
    assert net.deliver(Prepare, proposer, quorum) == len(quorum)
    net.drop(Prepare, proposer)
    assert net.deliver(Promise, quorum, proposer) == len(quorum)


# --- without faults -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("members", ["a", "ab", "abc", "abcde", "abcdefg"])
def test_a_proposal_is_chosen_and_every_node_learns_it(members: str) -> None:
    net = Schedule(Paxos, members)
    first = net.propose("a", RED)
    net.settle()
    assert net.answers == {first: RED}
    assert [net.disk(name)["decided"] for name in members] == [RED] * len(members)
    requests = [net.propose(members[-1], BLUE), net.query(members[0])]
    assert [net.answers[request] for request in requests] == [RED, RED]  # at once, from its own disk
    assert net.in_flight == []


def test_a_query_before_any_proposal_is_undecided() -> None:
    net = Schedule(Paxos)
    query = net.query("b")
    net.settle()
    assert net.answers == {query: None}
    assert net.disk("a") == {}


def test_proposals_at_one_node_share_a_ballot() -> None:
    net = Schedule(Paxos)
    requests = [net.propose("a", value) for value in (RED, BLUE, GREEN)]
    assert {packet.message for packet in net.in_flight} == {Prepare(Ballot(1, "a"))}
    net.settle()
    assert net.answers == dict.fromkeys(requests, RED)


def test_nothing_is_set_when_all_is_done() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    net.query("b")
    net.wait_for_answers()
    net.settle()
    assert [net.timers(name) for name in "abc"] == [{}, {}, {}]


# --- phase 1 --------------------------------------------------------------------------------------------------------


def accepted_by_two_rivals() -> Schedule:
    """a has accepted red under ballot 1, b has accepted blue under ballot 2, and c nothing."""
    net = Schedule(Paxos)
    net.propose("a", RED)
    run_phase_1(net, "a", "abc")
    net.deliver(Accept, to="a")
    net.drop()
    net.propose("b", BLUE)
    run_phase_1(net, "b", "bc")
    net.deliver(Accept, to="b")
    net.drop()
    assert (accepted(net, "a"), accepted(net, "b"), accepted(net, "c")) == ((1, "a", RED), (2, "b", BLUE), None)
    return net


def test_a_third_ballot_adopts_the_value_of_the_highest_reported_ballot() -> None:
    net = accepted_by_two_rivals()
    net.propose("c", GREEN)
    run_phase_1(net, "c", "abc")
    assert {packet.message for packet in net.find(Accept)} == {Accept(Ballot(3, "c"), BLUE)}


@pytest.mark.parametrize(("quorum", "expected"), [("ac", RED), ("bc", BLUE), ("cb", BLUE)])
def test_a_ballot_adopts_only_what_its_quorum_reports(quorum: str, expected: Value) -> None:
    net = accepted_by_two_rivals()
    net.propose("c", GREEN)
    run_phase_1(net, "c", quorum)
    assert {packet.message for packet in net.find(Accept)} == {Accept(Ballot(3, "c"), expected)}


def test_one_promise_is_no_quorum_however_often_it_comes() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    net.deliver(Prepare, to="b")
    for _ in range(3):
        net.deliver(Promise, keep=True)
    assert net.find(Accept) == []
    net.deliver(Prepare, to="c")
    net.deliver(Promise, "c")
    assert len(net.find(Accept)) == 3


def test_a_promise_for_another_ballot_counts_for_nothing() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    net.deliver(Prepare, to="b")
    late = net.find(Promise)
    net.crash("a")
    net.restart("a")
    net.propose("a", BLUE)
    net.deliver(Prepare, "a", "c")
    net.deliver(Promise, "c")
    for packet in late * 2:
        net.in_flight.append(packet)
        net.deliver_one(packet)
    assert net.find(Accept) == []


# --- the acceptor ---------------------------------------------------------------------------------------------------


def test_a_promise_is_respected() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    run_phase_1(net, "a", "ab")
    net.propose("c", BLUE)
    net.propose("c", BLUE)
    net.deliver(Prepare, "c", "b")
    assert net.disk("b")["promised"] == (1, "c")
    net.deliver(Accept, "a", "b")
    assert accepted(net, "b") is None
    assert [packet.message for packet in net.find(Rejected)] == [Rejected(Ballot(1, "a"), Ballot(1, "c"))]
    net.crash("b")
    net.restart("b")
    net.in_flight = []
    net.fire("a")
    net.deliver(Accept, "a", "b")
    assert accepted(net, "b") is None


def test_a_lower_prepare_is_rejected_with_the_promised_ballot() -> None:
    net = Schedule(Paxos)
    net.propose("c", RED)
    net.deliver(Prepare, "c", "b")
    net.drop()
    net.propose("a", BLUE)
    net.deliver(Prepare, "a", "b")
    net.deliver(Rejected)
    net.drop()
    assert net.running["a"].status().role == "beaten"
    net.fire("a")
    assert {packet.message for packet in net.find(Prepare)} == {Prepare(Ballot(2, "a"))}


def test_an_accept_raises_the_promise() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    run_phase_1(net, "a", "ab")
    net.deliver(Accept, to="c")  # which has promised nothing
    assert net.disk("c") == {"promised": (1, "a"), "accepted": (1, "a", RED)}


def test_repeated_prepares_and_accepts_are_answered_alike() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    net.deliver(Prepare, to="b", keep=True)
    net.deliver(Prepare, to="b")
    assert [packet.message for packet in net.find(Promise)] == [Promise(Ballot(1, "a"), None, None)] * 2
    net.deliver(Prepare)
    net.deliver(Promise)
    net.deliver(Accept, to="b", keep=True)
    net.deliver(Accept, to="b")
    assert [packet.message for packet in net.find(Accepted)] == [Accepted(Ballot(1, "a"))] * 2


def test_what_an_acceptor_holds_outlives_a_restart() -> None:
    net = accepted_by_two_rivals()
    before = {name: net.disk(name) for name in "abc"}
    net.crash(*"abc")
    for name in "abc":
        net.restart(name)
    assert before == {name: net.disk(name) for name in "abc"}
    query = net.query("c")
    net.wait_for_answers()
    assert net.answers[query] in (RED, BLUE)
    assert len(net.decisions()) == 1


# --- ballots --------------------------------------------------------------------------------------------------------


def test_a_ballot_is_never_used_again_after_a_restart() -> None:
    net = Schedule(Paxos)
    used = []
    for _ in range(4):
        net.propose("a", RED)
        used.append(net.find(Prepare)[0].message)
        net.drop()  # no message of this ballot arrives, not even at a itself
        net.crash("a")
        net.restart("a")
    assert used == [Prepare(Ballot(number, "a")) for number in (1, 2, 3, 4)]


def test_a_ballot_is_above_what_the_node_itself_has_promised() -> None:
    net = Schedule(Paxos)
    net.inject("b", "a", Prepare(Ballot(7, "b")))
    net.crash("a")
    net.restart("a")
    net.propose("a", RED)
    assert net.find(Prepare)[0].message == Prepare(Ballot(8, "a"))


# --- phase 2 --------------------------------------------------------------------------------------------------------


def test_one_acceptance_is_no_quorum_however_often_it_comes() -> None:
    net = Schedule(Paxos)
    request = net.propose("a", RED)
    run_phase_1(net, "a", "ab")
    net.deliver(Accept, to="b")
    for _ in range(3):
        net.deliver(Accepted, keep=True)
    assert net.answers == {}
    net.deliver(Accept, to="c")
    net.deliver(Accepted, "c")
    assert net.answers == {request: RED}


def test_a_late_rejection_of_an_earlier_ballot_does_not_beat_the_next() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    net.deliver(Prepare, "a", "ab")
    net.propose("c", BLUE)
    net.deliver(Prepare, "c", "b")
    net.deliver(Promise, to="a")
    net.deliver(Accept, "a", "b")
    net.deliver(Rejected, keep=True)
    assert net.running["a"].status().role == "beaten"
    net.fire("a")
    net.deliver(Rejected)
    assert net.running["a"].status().role == "preparing"


# --- crashes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", range(12))
def test_a_proposer_may_crash_at_any_point(steps: int) -> None:
    """After each number of deliveries the proposer crashes. The others agree, and so does the proposer after its restart."""
    net = Schedule(Paxos)
    net.propose("a", RED)
    for _ in range(steps):
        if net.in_flight:
            net.deliver_one(net.in_flight[0])
    net.crash("a")
    later = net.propose("c", BLUE)
    net.wait_for_answers("bc")
    net.restart("a")
    back = net.propose("a", GREEN)
    net.wait_for_answers()
    assert net.answers[later] == net.answers[back]
    assert len(net.decisions()) == 1


def test_a_minority_may_be_down() -> None:
    net = Schedule(Paxos, "abcde")
    net.crash("a", "b")
    first = net.propose("c", RED)
    net.wait_for_answers("cde")
    net.crash("c")
    net.restart("a")
    second = net.propose("a", BLUE)
    net.wait_for_answers("ade")
    assert net.answers == {first: RED, second: RED}


def test_with_a_majority_down_nothing_is_answered() -> None:
    net = Schedule(Paxos)
    net.crash("b", "c")
    proposal, query = net.propose("a", RED), net.query("a")
    for _ in net.go_on(rounds=5):
        assert net.answers == {}
    net.restart("c")
    net.wait_for_answers()
    assert net.answers[proposal] == RED
    assert net.answers[query] in (None, RED)  # it came before the decision


# --- queries --------------------------------------------------------------------------------------------------------


def test_undecided_needs_a_quorum_that_has_accepted_nothing() -> None:
    net = Schedule(Paxos, "abcde")
    query = net.query("a")
    net.deliver(Inquire, to="abc")
    net.deliver(Report, "ab")
    for _ in range(3):
        net.fire("a")  # asks again, and the same two answer again
        net.deliver(Inquire, to="ab")
        net.deliver(Report, "ab")
    assert net.answers == {}
    net.deliver(Report, "c")
    assert net.answers == {query: None}


def test_a_query_finishes_a_proposal_whose_proposer_is_down() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    run_phase_1(net, "a", "ab")
    net.deliver(Accept, to="b")
    net.crash("a")
    net.drop()
    query = net.query("c")
    net.wait_for_answers("bc")
    assert net.answers == {query: RED}
    assert [net.disk(name)["decided"] for name in "bc"] == [RED, RED]


def test_a_query_that_finds_an_unfinished_proposal_never_answers_undecided_after_a_value() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    run_phase_1(net, "a", "ab")
    net.deliver(Accept, to="b")
    net.crash("a")
    net.drop()
    first = net.query("c")
    net.wait_for_answers("bc")
    net.crash("b")
    net.restart("a")
    second = net.query("a")
    net.wait_for_answers("ac")
    assert (net.answers[first], net.answers[second]) == (RED, RED)


def test_a_query_is_undecided_if_its_quorum_lacks_the_node_that_had_accepted() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    run_phase_1(net, "a", "ab")
    net.deliver(Accept, to="a")  # only the proposer has accepted it, and no Accept is in flight
    net.drop()
    query = net.query("c")
    net.deliver(Inquire, "c", "a")
    net.deliver(Report, "a")  # so c prepares
    net.crash("a")
    net.wait_for_answers("bc")
    assert net.answers[query] is None
    net.restart("a")
    later = net.propose("b", BLUE)
    net.wait_for_answers()
    assert net.answers[later] in (RED, BLUE)  # concurrent with the query, or after it: either is right
    assert len(net.decisions()) == 1


def test_a_query_asks_again_while_too_few_answer() -> None:
    net = Schedule(Paxos)
    net.crash("b", "c")
    query = net.query("a")
    for _ in net.go_on(rounds=3):
        assert net.answers == {}
    assert net.running["a"].status().waiting == 1
    net.restart("b")
    net.wait_for_answers("ab")
    assert net.answers == {query: None}


def test_a_forgotten_request_ends_all_work() -> None:
    net = Schedule(Paxos)
    net.crash("b", "c")
    proposal, query = net.propose("a", RED), net.query("a")
    net.forget(proposal)
    net.forget(query)
    net.restart("b")
    for _ in net.go_on(rounds=8):
        pass
    assert net.timers("a") == {}
    assert net.decisions() == set()  # its only value was forgotten before it was free to propose it


# --- rivals ---------------------------------------------------------------------------------------------------------


def test_a_duel_goes_on_as_long_as_the_timing_is_perfect_and_ends_when_it_is_not() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    net.propose("b", BLUE)
    least = []
    for _ in range(6):  # each gets its promises just before the other's Accept comes
        for name in "ab":
            net.deliver(Prepare, name)
            net.deliver(Promise, to=name)
        for name in "ab":
            net.deliver(Accept, name)
            net.deliver(Rejected, to=name)
            net.drop(Accepted)
            net.fire(name)
        least.append(net.disk("c")["promised"])
        assert net.answers == {}
    assert sorted(least) == least  # type: ignore[type-var]
    assert len(set(least)) == 6
    net.wait_for_answers()
    assert len(set(net.answers.values())) == 1
    assert len(net.answers) == 2


def test_each_defeat_lengthens_the_pause_fourfold() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    pauses = []
    for number in range(9):
        net.inject("b", "a", Rejected(Ballot(number + 1, "a"), Ballot(number + 1, "b")))
        least_s, most_s = net.timers("a")["again"]
        assert least_s == most_s / 2
        pauses.append(round(most_s, 3))
        net.fire("a")
    assert pauses == [0.2, 0.8, 3.2, *([10.0] * 6)]


# --- lost messages --------------------------------------------------------------------------------------------------

KINDS: tuple[type[Message], ...] = Paxos.messages


def lose_one(algorithm: type[Paxos], kind: type[Message]) -> Schedule:
    """Two rivals and two queries with no node to spare, up to the first message of `kind` between two nodes, which is lost."""
    net = Schedule(algorithm)
    net.crash("c")
    for name, value in (("a", RED), ("b", BLUE)):
        net.query(name)
        net.propose(name, value)
    for _ in range(40):
        while net.in_flight:
            packet = net.in_flight[0]
            if type(packet.message) is kind and {packet.sender, packet.to} == {"a", "b"}:
                net.in_flight.remove(packet)
                return net
            net.deliver_one(packet)
        for name in "ab":
            net.fire(name)
    raise AssertionError(f"no {kind.__name__} ever crossed")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_after_the_loss_of_any_one_message_every_client_is_answered(kind: type[Message]) -> None:
    net = lose_one(Paxos, kind)
    net.wait_for_answers("ab")
    assert len(net.answers) == 4
    assert len(net.decisions()) == 1


def test_a_node_that_misses_a_decision_learns_it_by_its_next_call() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    while not net.find(Decided):
        net.deliver()
    assert net.drop(Decided) == 2
    assert "decided" not in net.disk("c")
    query, proposal = net.query("c"), net.propose("b", BLUE)
    net.settle()
    assert (net.answers[query], net.answers[proposal]) == (RED, RED)


@pytest.mark.parametrize("kind", [Prepare, Accept, Inquire])
def test_a_node_that_knows_the_decision_sends_it_to_every_node_that_asks(kind: type[Message]) -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    net.settle()
    message = {
        Prepare: Prepare(Ballot(9, "c")),
        Accept: Accept(Ballot(9, "c"), BLUE),
        Inquire: Inquire(Request("client of c", 9)),
    }[kind]
    net.in_flight = []
    net.inject("c", "a", message)
    assert net.in_flight == [Packet("a", 1, "c", Decided(RED))]
    assert accepted(net, "a") == (1, "a", RED)


def test_a_decision_never_changes() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    net.settle()
    net.inject("c", "b", Decided(BLUE))  # no node of this project sends this
    assert net.running["b"].status().decided == RED


def test_everything_twice_and_backwards() -> None:
    net = Schedule(Paxos)
    requests = [net.propose("a", RED), net.propose("b", BLUE), net.query("c")]
    for _ in range(6):
        for packet in reversed(list(net.in_flight)):
            net.deliver_one(packet, keep=True)
            net.deliver_one(packet)
        if not net.in_flight:
            break
    net.wait_for_answers()
    assert set(requests) == set(net.answers)
    assert len(net.decisions()) == 1


def test_the_status() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    assert net.running["a"].status() == Status("preparing", Ballot(0, ""), waiting=1, details={"accepted": None})
    net.settle()
    accepted_red = Status("learned", Ballot(1, "a"), Ballot(1, "a"), decided=RED, details={"accepted": RED})
    assert net.running["b"].status() == accepted_red


# --- reports that begin nothing -------------------------------------------------------------------------------------------


def test_a_report_for_no_open_query_begins_no_ballot() -> None:
    net = Schedule(Paxos)
    net.inject("b", "a", Report(Request("gone", 1), accepted=True))
    assert net.find(Prepare) == []


def test_a_report_while_a_ballot_is_under_way_begins_no_other() -> None:
    net = Schedule(Paxos)
    net.propose("a", RED)
    query = net.query("a")
    net.inject("b", "a", Report(query, accepted=True))
    assert {packet.message for packet in net.find(Prepare)} == {Prepare(Ballot(1, "a"))}
