import pytest

from node.algorithms.leader import ForwardedCall, Leader, LeaderAnswer
from node.contract import Request, Value
from tests.node.algorithms.schedule import Schedule

RED, BLUE = Value(b"red"), Value(b"blue")


def test_whatever_node_is_asked_the_leader_answers() -> None:
    net = Schedule(Leader)
    requests = [net.propose(name, RED) for name in "abc"]
    queries = [net.query(name) for name in "abc"]
    assert {packet.to for packet in net.find(ForwardedCall)} == {"a"}
    net.settle()
    assert net.answers == dict.fromkeys([*requests, *queries], RED)
    assert net.disk("a") == {"value": RED}
    assert net.disk("b") == {}


def test_the_first_proposal_that_reaches_the_leader_wins() -> None:
    net = Schedule(Leader)
    early, late = net.propose("b", RED), net.propose("c", BLUE)
    net.deliver(ForwardedCall, "c")
    net.settle()
    assert net.answers == {early: BLUE, late: BLUE}
    again = net.propose("a", RED)
    net.settle()
    assert net.answers[again] == BLUE


def test_a_query_before_any_proposal_is_undecided() -> None:
    net = Schedule(Leader)
    first = net.query("c")
    net.settle()
    assert net.answers == {first: None}


def test_a_leader_that_comes_back_still_has_its_value() -> None:
    net = Schedule(Leader)
    net.propose("b", RED)
    net.settle()
    net.crash("a")
    net.restart("a")
    later, query = net.propose("c", BLUE), net.query("b")
    net.settle()
    assert (net.answers[later], net.answers[query]) == (RED, RED)


def test_a_leader_that_crashes_before_it_answers_keeps_what_it_accepted() -> None:
    net = Schedule(Leader)
    net.propose("b", RED)
    net.deliver(ForwardedCall)
    net.drop(LeaderAnswer)
    net.crash("a")
    net.restart("a")
    later = net.propose("c", BLUE)
    net.wait_for_answers()
    assert net.answers[later] == RED


def test_while_the_leader_is_down_no_call_is_answered() -> None:
    net = Schedule(Leader)
    net.crash("a")
    waiting = [net.propose("b", RED), net.query("c")]
    for _ in net.go_on(rounds=5):
        assert net.answers == {}
    net.restart("a")
    net.wait_for_answers()
    assert set(waiting) == set(net.answers)


@pytest.mark.parametrize("kind", [ForwardedCall, LeaderAnswer])
@pytest.mark.parametrize("at", ["a", "b"])
def test_a_lost_message_is_sent_again(kind: type[ForwardedCall | LeaderAnswer], at: str) -> None:
    net = Schedule(Leader)
    request = net.propose(at, RED)
    if kind is LeaderAnswer:
        net.deliver(ForwardedCall)
    assert net.drop(kind) == 1
    net.wait_for_answers()
    assert net.answers == {request: RED}


def test_a_repeated_message_changes_nothing() -> None:
    net = Schedule(Leader)
    request = net.propose("b", RED)
    net.deliver(ForwardedCall, keep=True)
    net.propose("c", BLUE)
    net.deliver(ForwardedCall, keep=True)
    net.deliver(LeaderAnswer, keep=True)
    net.settle()
    assert net.answers[request] == RED
    assert net.disk("a") == {"value": RED}


def test_a_request_that_is_forgotten_is_not_sent_again() -> None:
    net = Schedule(Leader)
    net.crash("a")
    kept, dropped = net.query("b"), net.query("b")
    net.drop()
    net.forget(dropped)
    net.fire("b")
    assert [packet.message for packet in net.in_flight] == [ForwardedCall(kept, None)]
    net.forget(kept)
    net.drop()
    net.fire("b")
    assert (net.in_flight, net.timers("b")) == ([], {})


def test_a_node_that_does_not_lead_does_not_accept() -> None:
    net = Schedule(Leader)
    net.inject("c", "b", ForwardedCall(Request("client of c", 1), RED))
    assert net.disk("b") == {}
    assert net.in_flight == []
