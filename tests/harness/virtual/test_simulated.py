"""A node without a process has the turn of a real one."""

import pickle
from collections import Counter, deque
from dataclasses import dataclass

import pytest

from harness.virtual.cluster import ImpossibleStep, VirtualCluster, run
from harness.virtual.fault_model import FaultModel
from harness.virtual.judge import VirtualJudge
from harness.virtual.node import VirtualNode
from harness.virtual.node_state import facts_of
from harness.virtual.snapshots import freeze, thaw
from harness.virtual.steps import (
    VARIABLE,
    Crash,
    Deliver,
    DropPacket,
    DuplicatePacket,
    Fire,
    LoseDisk,
    Packet,
    Propose,
    Query,
    Recover,
    Step,
    TakeOwnMessages,
)
from node.algorithms.majority import Majority
from node.algorithms.paxos import Accept, Decided, Paxos, Prepare
from node.contract import Message, Request, Stored, Value
from node.quorum import Ballot
from node.wire import encode_value

MEMBERS = ("n1", "n2", "n3")
BLUE = encode_value("blue")
RED = encode_value("red")


@pytest.fixture
def cluster() -> VirtualCluster:
    return VirtualCluster(Paxos, MEMBERS)


def settle(cluster: VirtualCluster) -> None:
    """Deliver every packet in the order in which they were sent. Nodes take in their own messages at once."""
    while True:
        own = [TakeOwnMessages(name) for name, node in cluster.nodes.items() if node.to_self]
        packets = [Deliver(packet) for packet in cluster.pending if cluster.nodes[packet.to].up]
        if not own and not packets:
            return
        cluster.apply((own or packets)[0])


def stored(node: VirtualNode) -> dict[str, Stored]:
    """Return what the disk of a node holds."""
    return node.disk.stored[VARIABLE]


def test_without_faults_every_node_decides_what_was_proposed(cluster: VirtualCluster) -> None:
    request = cluster.propose("n1", BLUE)
    settle(cluster)
    assert cluster.replies[request].value == BLUE
    assert [facts_of(node).decided for node in cluster.nodes.values()] == [BLUE] * 3
    assert cluster.violations == []


def test_what_a_node_sends_to_itself_waits_for_the_next_turn(cluster: VirtualCluster) -> None:
    cluster.propose("n1", BLUE)
    assert facts_of(cluster.nodes["n1"]).promised is None
    assert stored(cluster.nodes["n1"])["round"] == 1
    cluster.apply(TakeOwnMessages("n1"))
    assert facts_of(cluster.nodes["n1"]).promised == (1, "n1")


def test_a_node_takes_in_its_own_messages_before_the_input_of_that_turn(cluster: VirtualCluster) -> None:
    cluster.propose("n1", BLUE)
    cluster.propose("n2", BLUE)
    packet = next(packet for packet in cluster.pending if (packet.sender, packet.to) == ("n2", "n1"))
    outcome = cluster.apply(Deliver(packet))
    assert [type(message).__name__ for message in outcome.to_self] == ["Promise"]  # of its own 1.n1, before 1.n2
    assert outcome.packets[0].message.ballot == (1, "n2")  # type: ignore[attr-defined]


def test_a_crash_loses_all_but_the_disk(cluster: VirtualCluster) -> None:
    cluster.propose("n1", BLUE)
    cluster.apply(Crash("n1"))
    assert cluster.nodes["n1"].to_self == []
    cluster.apply(Recover("n1"))
    node = cluster.nodes["n1"]
    assert (stored(node), node.waiting, node.incarnation) == ({"round": 1}, {}, 2)


def test_a_disk_that_syncs_late_loses_the_last_commit() -> None:
    cluster = VirtualCluster(Paxos, MEMBERS, FaultModel(disks_sync_late=True))
    cluster.propose("n1", BLUE)
    cluster.apply(TakeOwnMessages("n1"))
    assert stored(cluster.nodes["n1"]) == {"round": 1, "promised": (1, "n1")}
    cluster.apply(Crash("n1"))
    assert stored(cluster.nodes["n1"]) == {"round": 1}
    assert [violation.kind for violation in cluster.violations] == ["promise"]


def test_a_node_without_its_disk_does_not_boot(cluster: VirtualCluster) -> None:
    run(cluster, [Crash("n1"), LoseDisk("n1")])
    with pytest.raises(ImpossibleStep):
        cluster.apply(Recover("n1"))
    other = VirtualCluster(Paxos, MEMBERS, FaultModel(empty_disks_vote=True))
    run(other, [Crash("n1"), LoseDisk("n1"), Recover("n1")])
    assert other.nodes["n1"].incarnation == 1


def test_a_message_is_stale_once_one_of_a_later_incarnation_has_arrived(cluster: VirtualCluster) -> None:
    cluster.propose("n1", BLUE)
    old = next(packet for packet in cluster.pending if packet.to == "n2")
    run(cluster, [Crash("n1"), Recover("n1"), Propose("n1", Request("c9", 1), BLUE)])
    new = next(packet for packet in cluster.pending if packet.to == "n2" and packet.incarnation == 2)
    cluster.apply(Deliver(new))
    assert cluster.apply(Deliver(old)).stale
    assert "n2 drops a stale message of n1, from before it booted: Prepare(ballot 1·n1)" in cluster.story


STRAY = Packet("n1", 1, "n2", Prepare(Ballot(1, "n1")))


@pytest.mark.parametrize(
    "step",
    [
        Deliver(STRAY),
        DropPacket(STRAY),
        DuplicatePacket(STRAY),
        Fire("n1", "again"),
        TakeOwnMessages("n1"),
        Recover("n1"),
        LoseDisk("n1"),
    ],
    ids=lambda step: type(step).__name__,
)
def test_an_impossible_step_changes_nothing(cluster: VirtualCluster, step: Step) -> None:
    before = cluster.key()
    with pytest.raises(ImpossibleStep):
        cluster.apply(step)
    assert cluster.key() == before
    assert cluster.happened == []


def test_a_packet_is_lost_or_repeated(cluster: VirtualCluster) -> None:
    cluster.propose("n1", BLUE)
    packet = next(iter(cluster.pending))
    run(cluster, [DuplicatePacket(packet), Deliver(packet), DropPacket(packet)])
    assert packet not in cluster.pending
    assert cluster.story[1:] == [
        "the network repeats a message from n1 to n2: Prepare(ballot 1·n1)",
        "n2 promises ballot 1·n1 to n1, having accepted nothing",
        "the network loses a message from n1 to n2: Prepare(ballot 1·n1)",
    ]


def test_a_cluster_is_picklable_and_equal_clusters_have_equal_keys(cluster: VirtualCluster) -> None:
    cluster.propose("n1", BLUE)
    other = pickle.loads(pickle.dumps(cluster))  # noqa: S301 - our own
    assert other.key() == cluster.key()
    other.apply(TakeOwnMessages("n1"))
    assert other.key() != cluster.key()
    settle(cluster)
    settle(other)
    assert other.key() == cluster.key()


def test_every_step_that_is_possible_can_happen(cluster: VirtualCluster) -> None:
    cluster.propose("n1", BLUE)
    cluster.apply(Query("n2", Request("c8", 1)))
    cluster.apply(Crash("n3"))
    for step in list(cluster.possible()):
        other = pickle.loads(pickle.dumps(cluster))  # noqa: S301 - our own
        other.apply(step)
        assert len(other.happened) == 4


class BreaksContract(Majority):
    """Breaks its contract as `how` states."""

    how = ""

    def propose(self, request: Request, value: Value) -> None:
        match self.how:
            case "an unknown node":
                self.node.send("n9", Decided(value))
            case "an unlisted message":
                self.node.send("n2", Decided(value))
            case "a reply without a value":
                self.node.reply(request, None)
            case "a timer":
                self.node.set_timer("late", 2.0, 1.0)
            case "an unstorable value":
                self.node.disk["x"] = object()  # type: ignore[assignment]


@pytest.mark.parametrize(
    "how", ["an unknown node", "an unlisted message", "a reply without a value", "a timer", "an unstorable value"]
)
def test_a_breach_of_the_contract_is_a_violation_and_stops_the_node(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BreaksContract, "how", how)
    cluster = VirtualCluster(BreaksContract, MEMBERS)
    cluster.propose("n1", BLUE)
    assert [violation.kind for violation in cluster.violations] == ["contract"]
    assert not cluster.nodes["n1"].up


@dataclass
class Box:
    """Mutable plain data."""

    items: list[int]


def test_a_snapshot_shares_nothing_and_thaws_to_equal_data() -> None:
    data = {"b": [1, {2}], "a": (3, deque([4])), "c": Counter("xx"), "d": Box([5]), "e": Prepare(Ballot(1, "n1"))}
    snapshot = freeze(data)
    assert hash(snapshot) == hash(freeze(thaw(snapshot)))
    back = thaw(snapshot)
    assert back == data
    assert list(back) == list(data)
    back["d"].items.append(6)
    assert thaw(snapshot) == data


def test_what_is_not_plain_data_cannot_be_frozen() -> None:
    with pytest.raises(TypeError, match="a function is not plain data"):
        freeze({"f": lambda: None})


@dataclass(frozen=True, slots=True)
class Wish(Message):
    """Names a ballot, and a value that no node is asked to accept."""

    asks_acceptance = False
    ballot: Ballot
    value: Value


@pytest.mark.parametrize(
    ("messages", "violated"),
    [
        (
            (Accept(Ballot(1, "n1"), BLUE), Accept(Ballot(1, "n1"), RED)),
            ["n1 asks with Accept for 'red' under ballot 1·n1, after 'blue'"],
        ),
        ((Accept(Ballot(1, "n1"), BLUE), Accept(Ballot(2, "n1"), RED)), []),
        ((Accept(Ballot(1, "n1"), BLUE), Wish(Ballot(1, "n1"), RED)), []),
        ((Wish(Ballot(1, "n1"), BLUE), Wish(Ballot(1, "n1"), RED)), []),
    ],
)
def test_requests_under_one_ballot_have_one_value_but_hints_have_any(
    messages: tuple[Message, ...], violated: list[str]
) -> None:
    judge = VirtualJudge()
    for message in messages:
        judge.check_packet(Packet("n1", 1, "n2", message))
    assert [violation.text for violation in judge.violations] == violated
