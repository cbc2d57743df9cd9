"""What can still be decided: found schedules are replayed, and what is called impossible is so."""

import pytest

from harness.virtual.cluster import VirtualCluster
from harness.virtual.flp_majority import decided_in, reachable, valences_of
from harness.virtual.numbering import DecisionSeen
from harness.virtual.outlook import Outlook, OutlookLimits
from harness.virtual.search import Budget
from harness.virtual.steps import Crash, Deliver
from node.algorithms import load_algorithm
from node.contract import Value
from node.wire import encode_value

BLUE, RED = encode_value("blue"), encode_value("red")


def cluster_of(algorithm: str, nodes: int = 3) -> VirtualCluster:
    return VirtualCluster(load_algorithm(algorithm), tuple(f"n{number}" for number in range(1, nodes + 1)))


def tied(algorithm: str) -> VirtualCluster:
    """Two clients of three nodes propose different values."""
    cluster = cluster_of(algorithm)
    cluster.propose("n1", BLUE)
    cluster.propose("n2", RED)
    return cluster


def deliver(cluster: VirtualCluster, to: str, sender: str) -> None:
    cluster.apply(Deliver(next(packet for packet in cluster.pending if (packet.sender, packet.to) == (sender, to))))
    for step in cluster.own_turns():
        cluster.apply(step)


@pytest.mark.parametrize("algorithm", ["majority", "paxos"])
@pytest.mark.parametrize("value", [BLUE, RED])
def test_a_tie_can_go_either_way_and_the_way_that_is_found_leads_there(algorithm: str, value: Value) -> None:
    cluster = tied(algorithm)
    chance = Outlook(cluster).of(value)
    assert chance.way
    assert chance.story
    for step in chance.way:
        cluster.apply(step)
    assert set(cluster.judge.decided) == {value}


def test_the_message_that_arrives_first_ends_the_tie_of_three() -> None:
    cluster = tied("majority")
    deliver(cluster, "n3", "n1")
    outlook = Outlook(cluster)
    blue, red = outlook.of(BLUE), outlook.of(RED)
    assert blue.way is not None
    assert not blue.is_never
    assert red.way is None
    assert red.is_never
    assert str(red) == "no, by no schedule"


def test_a_node_that_is_down_decides_the_vote_when_it_boots() -> None:
    cluster = tied("majority")
    cluster.apply(Crash("n3"))
    assert all(Outlook(cluster).of(value).is_never for value in (BLUE, RED))
    boots = Outlook(cluster, OutlookLimits(boots=True))
    assert boots.of(BLUE).way
    assert boots.of(RED).way
    # A wall between n3 and the two that vote blue and red, or a suspended n3, comes to the same as its crash.
    cut = frozenset({("n1", "n3"), ("n2", "n3")})
    assert Outlook(cluster, OutlookLimits(boots=True, cut=cut)).of(RED).is_never
    assert Outlook(cluster, OutlookLimits(boots=True, still=frozenset({"n3"}))).of(RED).is_never


def test_a_search_that_is_cut_short_does_not_say_never() -> None:
    chance = Outlook(tied("paxos")).of(RED, Budget(states=10))
    assert chance.way is None
    assert not chance.is_never
    assert str(chance).startswith("not within ")


def test_failover_can_still_decide_red_after_blue_and_paxos_cannot() -> None:
    for algorithm, is_never in (("failover", False), ("paxos", True)):
        cluster = tied(algorithm)
        way = Outlook(cluster).of(BLUE).way
        assert way
        for step in way:
            cluster.apply(step)
        outlook = Outlook(cluster)
        assert str(outlook.of(BLUE)) == "it is decided"
        assert outlook.of(RED).is_never is is_never


def test_the_proof_never_contradicts_the_whole_graph() -> None:
    """For every state that can follow a tie of three: what the proof calls impossible is in no state that follows."""
    cluster = tied("majority")
    space = Outlook(cluster)._space
    graph = reachable(space, space.initial())
    valences = valences_of(space, graph)
    proven = 0
    for state in list(graph)[::40]:
        space._first = state
        for text, value in (("blue", BLUE), ("red", RED)):
            if not space.may_hold(space.numbering.bit(DecisionSeen(value)), 10_000):
                assert text not in valences[state]
                proven += 1
    assert proven
    assert {text for state in graph for text in decided_in(space, state)} == {"blue", "red"}
