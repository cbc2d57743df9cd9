from node.algorithms.failover import Alive, Failover
from node.algorithms.leader import ForwardedCall
from node.contract import NodeId, Value
from tests.node.algorithms.schedule import Schedule

RED, BLUE = Value(b"red"), Value(b"blue")


def leaders(net: Schedule) -> dict[NodeId, NodeId]:
    """Return, for each running node, the node that it takes for the leader."""
    found = {}
    for name, algorithm in net.running.items():
        assert isinstance(algorithm, Failover)
        found[name] = algorithm.leader
    return found


def send_alive(net: Schedule, *names: NodeId) -> None:
    for name in names:
        net.fire(name, "alive")


def test_while_no_node_is_suspected_the_first_leads() -> None:
    net = Schedule(Failover)
    request = net.propose("c", RED)
    net.settle()
    assert leaders(net) == {"a": "a", "b": "a", "c": "a"}
    assert net.answers == {request: RED}


def test_the_others_take_over_the_leaders_value() -> None:
    net = Schedule(Failover)
    net.propose("a", RED)
    net.settle()
    assert [net.disk(name).get("value") for name in "abc"] == [RED, None, None]
    send_alive(net, "a")
    net.settle()
    assert [net.disk(name).get("value") for name in "abc"] == [RED, RED, RED]


def test_when_the_leader_dies_the_next_goes_on_with_its_value() -> None:
    net = Schedule(Failover)
    net.propose("a", RED)
    net.settle()
    send_alive(net, "a")
    net.settle()
    net.crash("a")
    query = net.query("c")
    net.settle()
    assert query not in net.answers
    for name in "bc":
        net.fire(name, "silent a")
    assert leaders(net) == {"b": "b", "c": "b"}
    net.fire("c", "ask again")
    later = net.propose("b", BLUE)
    net.settle()
    assert (net.answers[query], net.answers[later]) == (RED, RED)


def test_a_message_ends_the_suspicion_of_its_sender() -> None:
    net = Schedule(Failover)
    net.fire("b", "silent a")
    assert leaders(net)["b"] == "b"
    send_alive(net, "a")
    net.settle()
    assert leaders(net)["b"] == "a"
    net.crash("a")
    net.restart("a")
    assert leaders(net)["a"] == "a"


def test_split_brain_happens() -> None:
    net = Schedule(Failover)
    net.settle()
    for name, lost in [("a", "b"), ("a", "c"), ("b", "a"), ("c", "a")]:  # the network is cut: a on one side
        net.fire(name, f"silent {lost}")
    assert leaders(net) == {"a": "a", "b": "b", "c": "b"}
    ours, theirs = net.propose("a", RED), net.propose("c", BLUE)
    net.settle("a")
    net.settle("bc")
    assert net.answers == {ours: RED, theirs: BLUE}

    send_alive(net, "a", "b", "c")  # healing changes nothing: each side keeps its value
    net.settle()
    queries = [net.query(name) for name in "ac"]
    net.settle()
    assert leaders(net) == {"a": "a", "b": "a", "c": "a"}
    assert [net.answers[query] for query in queries] == [RED, RED]  # c's client got blue before, and gets red now
    assert (net.disk("a")["value"], net.disk("b")["value"]) == (RED, BLUE)


def test_a_decision_that_no_peer_knows_is_lost_with_its_leader() -> None:
    net = Schedule(Failover)
    early = net.propose("a", RED)
    net.settle("a")
    net.drop(Alive)
    net.crash("a")
    for name in "bc":
        net.fire(name, "silent a")
    later = net.propose("b", BLUE)
    net.settle()
    assert (net.answers[early], net.answers[later]) == (RED, BLUE)


def test_the_value_outlives_a_restart_of_all() -> None:
    net = Schedule(Failover)
    net.propose("b", RED)
    net.settle()
    net.crash(*"abc")
    for name in "cba":
        net.restart(name)
    query = net.query("c")
    net.wait_for_answers()
    assert net.answers[query] == RED


def test_a_node_that_does_not_take_itself_for_the_leader_accepts_nothing() -> None:
    net = Schedule(Failover)
    net.fire("c", "silent a")
    request = net.propose("c", RED)
    assert [packet.to for packet in net.find(ForwardedCall)] == ["b"]
    net.deliver(ForwardedCall, to="b")
    assert net.disk("b") == {}
    assert request not in net.answers
    net.wait_for_answers()  # once an Alive of a has reached c
    assert net.answers[request] == RED
    assert net.disk("a")["value"] == RED
