import pytest

from node.algorithms.majority import Heard, Majority, NotVoted, Vote, VoteQuery
from node.contract import Message, Value
from tests.node.algorithms.schedule import Schedule

RED, BLUE, GREEN = Value(b"red"), Value(b"blue"), Value(b"green")
SEVEN = "abcdefg"


def test_a_node_votes_for_the_first_value_that_it_receives_and_a_majority_decides() -> None:
    net = Schedule(Majority)
    first = net.propose("a", RED)
    assert net.answers == {}  # its own vote is one of three
    net.settle()
    later, query = net.propose("b", BLUE), net.query("c")
    net.settle()
    assert net.answers == {first: RED, later: RED, query: RED}


def test_two_proposals_at_once_end_in_one() -> None:
    net = Schedule(Majority)
    requests = [net.propose("a", RED), net.propose("b", BLUE)]
    net.deliver(Vote, "b", "c")
    net.settle()
    assert net.answers == dict.fromkeys(requests, BLUE)


def test_a_vote_is_for_ever() -> None:
    net = Schedule(Majority)
    net.propose("a", RED)
    net.drop()
    net.crash("a")
    net.restart("a")
    net.propose("a", BLUE)
    assert {packet.message for packet in net.find(Vote, "a")} == {Vote(RED)}
    assert net.disk("a")["vote of a"] == RED


def test_before_any_vote_a_query_is_undecided() -> None:
    net = Schedule(Majority)
    query = net.query("b")
    net.deliver(VoteQuery)
    net.deliver(NotVoted, to="b", sender="b")
    assert query not in net.answers  # one of three proves nothing
    net.deliver(NotVoted, sender="a")
    assert net.answers == {query: None}


def vote(net: Schedule, votes: str) -> None:
    """Let each node vote: r, b or g for red, blue or green; - for a node that is down. All others receive every vote."""
    values = {"r": RED, "b": BLUE, "g": GREEN}
    for name, colour in zip(net.members, votes, strict=True):
        if colour == "-":
            net.crash(name)
    for name, colour in zip(net.members, votes, strict=True):
        if colour in values:
            net.propose(name, values[colour])
    net.settle()


def test_three_against_three_depends_on_the_seventh() -> None:
    net = Schedule(Majority, SEVEN)
    vote(net, "rrrbbb-")
    query = net.query("a")
    for _ in net.go_on(rounds=5):
        assert net.answers == {}  # "undecided" could be wrong: the seventh may have voted, and answered its client

    net.restart("g")
    net.propose("g", BLUE)
    net.wait_for_answers()
    assert net.answers[query] == BLUE
    assert set(net.answers.values()) == {BLUE}


def test_the_seventh_may_have_decided_before_it_crashed() -> None:
    net = Schedule(Majority, SEVEN)
    votes = [net.propose(name, value) for name, value in zip(SEVEN, [RED] * 3 + [BLUE] * 3, strict=False)]
    last = net.propose("g", RED)
    net.settle("abcdef")
    assert not set(votes) & set(net.answers)
    net.deliver(None, "abc", "g")
    assert net.answers == {last: RED}  # only the seventh and its client know
    net.crash("g")
    net.drop(None, "g")
    query = net.query("d")
    for _ in net.go_on(rounds=5):
        assert query not in net.answers
    net.restart("g")
    net.wait_for_answers()
    assert net.answers[query] == RED


@pytest.mark.parametrize(
    ("votes", "undecided"),
    [
        ("rrrbbgg", True),
        ("rrbbgg-", True),  # two and the one that is down make three
        ("rrrbbg-", False),  # three and the one that is down make four
        ("rrbbg--", False),
        ("rrrbbb-", False),
        (
            "rrbbgg.",
            True,
        ),  # the seventh is up, replies that it has not voted, and votes later
    ],
)
def test_undecided_is_answered_only_with_proof(votes: str, undecided: bool) -> None:
    net = Schedule(Majority, SEVEN)
    if "." in votes:
        for name, value in zip("abcdef", [RED, RED, BLUE, BLUE, GREEN, GREEN], strict=True):
            net.propose(name, value)
        net.settle("abcdef")
        query = net.query("a")
        net.deliver(VoteQuery)
        net.deliver(NotVoted, "g")
    else:
        vote(net, votes)
        query = net.query("a")
    for _ in net.go_on("abcdef", rounds=5):
        pass
    assert ({query: None} if undecided else {}) == net.answers


def test_a_tie_of_three_leaves_proposals_without_an_answer() -> None:
    net = Schedule(Majority)
    for name, value in zip("abc", [RED, BLUE, GREEN], strict=True):
        net.propose(name, value)
    for _ in net.go_on(rounds=5):
        assert net.answers == {}
    query = net.query("b")
    net.settle()
    assert net.answers == {query: None}


@pytest.mark.parametrize("kind", [Vote, Heard, VoteQuery, NotVoted])
def test_a_lost_message_is_sent_again(kind: type[Message]) -> None:
    net = Schedule(Majority)
    net.crash("c")  # so that each of the two others counts
    query = net.query("a")
    net.deliver(VoteQuery)
    if kind in (VoteQuery, NotVoted):
        net.drop(NotVoted)
        net.wait_for_answers("ab")
        assert net.answers == {query: None}
        return
    net.drop(NotVoted)
    request = net.propose("a", RED)
    if kind is Heard:
        net.deliver(Vote)
    assert net.drop(kind) > 0
    net.wait_for_answers("ab")
    assert net.answers == {query: RED, request: RED}


def test_a_vote_is_sent_until_every_peer_has_confirmed_it_and_no_longer() -> None:
    net = Schedule(Majority)
    net.crash("c")
    net.propose("a", RED)
    net.settle()
    for _ in range(3):
        assert net.fire("a")
        assert [packet.to for packet in net.find(Vote, "a")] == ["c"]
        net.settle()
    net.restart("c")
    for _ in net.go_on(rounds=4):
        pass
    assert net.disk("c")["vote of c"] == RED
    assert [net.timers(name) for name in "abc"] == [{}, {}, {}]


def test_after_a_restart_of_all_the_votes_are_sent_again() -> None:
    net = Schedule(Majority)
    net.propose("a", RED)
    net.drop(Vote, "a", "c")
    net.deliver(Vote, "a", "b")
    net.drop()
    net.crash(*"abc")
    for name in "cba":
        net.restart(name)
    query = net.query("c")
    net.wait_for_answers()
    assert net.answers[query] == RED


def test_a_decision_outlives_a_minority() -> None:
    net = Schedule(Majority, "abcde")
    first = net.propose("a", RED)
    net.settle()
    net.crash("a", "b")
    later, query = net.propose("c", BLUE), net.query("e")
    net.wait_for_answers("cde")
    assert net.answers == {first: RED, later: RED, query: RED}


def test_repeated_and_late_messages_change_nothing() -> None:
    net = Schedule(Majority)
    net.query("a")
    net.deliver(VoteQuery, keep=True)
    late = net.find(NotVoted)
    net.propose("b", RED)
    net.deliver(Vote, keep=True)
    net.deliver(Vote, keep=True)
    net.settle()
    net.in_flight += late
    query = net.query("a")
    net.settle()
    assert net.answers[query] == RED


def test_a_not_voted_counts_for_its_own_query_only() -> None:
    net = Schedule(Majority)
    first = net.query("a")
    net.deliver(VoteQuery)
    net.deliver(NotVoted, sender="b")  # those of a and c are late
    net.propose("b", RED)
    net.deliver(Vote, to="c")
    net.crash("b", "c")  # decided by b and c, and only they know it
    second = net.query("a")
    for _ in net.go_on("a", rounds=3):
        assert second not in net.answers
    assert net.answers.get(first) is None  # it came before the decision, so this answer is right, too


def test_a_forgotten_request_is_not_asked_for_again() -> None:
    net = Schedule(Majority)
    net.crash("b", "c")
    query, proposal = net.query("a"), net.propose("a", RED)
    net.settle()
    net.forget(query)
    net.forget(proposal)
    net.drop()
    net.fire("a")
    assert net.find(VoteQuery) == []
