"""A node without a process has the turn of a real one."""

import pickle
from collections import Counter, deque
from dataclasses import dataclass

import pytest

from harness.virtual.cluster import ImpossibleStep, VirtualCluster, run
from harness.virtual.fault_model import FaultModel
from harness.virtual.node import VARIABLE, VirtualNode
from harness.virtual.node_state import facts_of
from harness.virtual.snapshots import freeze, thaw
from harness.virtual.steps import (
    Crash,
    Deliver,
    DropPacket,
    DuplicatePacket,
    Fire,
    HearSelf,
    LoseDisk,
    Packet,
    Propose,
    Query,
    Recover,
    Step,
)
from node.algorithms.majority import Majority
from node.algorithms.paxos import Decided, Paxos, Prepare
from node.contract import Request, Stored, Value
from node.quorum import Ballot
from node.wire import encode_value

MEMBERS = ("n1", "n2", "n3")
BLUE = encode_value("blue")


@pytest.fixture
def cluster() -> VirtualCluster:
    return VirtualCluster(Paxos, MEMBERS)


def settle(cluster: VirtualCluster) -> None:
    """Deliver everything, first come first served, and have everybody hear themselves at once."""
    while True:
        own = [HearSelf(name) for name, node in cluster.nodes.items() if node.to_self]
        packets = [Deliver(packet) for packet in cluster.pending if cluster.nodes[packet.to].up]
        if not own and not packets:
            return
        cluster.apply((own or packets)[0])


def stored(node: VirtualNode) -> dict[str, Stored]:
    """What the disk of a node holds."""
    return node.disk.stored[VARIABLE]


def test_without_faults_everybody_decides_what_was_proposed(cluster: VirtualCluster) -> None:
    request = cluster.propose("n1", BLUE)
    settle(cluster)
    assert cluster.replies[request].value == BLUE
    assert [facts_of(node).decided for node in cluster.nodes.values()] == [BLUE] * 3
    assert cluster.violations == []


def test_what_a_node_sends_to_itself_waits_for_the_next_turn(cluster: VirtualCluster) -> None:
    cluster.propose("n1", BLUE)
    assert facts_of(cluster.nodes["n1"]).promised is None
    assert stored(cluster.nodes["n1"])["round"] == 1
    cluster.apply(HearSelf("n1"))
    assert facts_of(cluster.nodes["n1"]).promised == (1, "n1")


def test_it_comes_before_the_input_of_that_turn(cluster: VirtualCluster) -> None:
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


def test_a_disk_that_lies_loses_the_last_commit() -> None:
    cluster = VirtualCluster(Paxos, MEMBERS, FaultModel(disks_sync_late=True))
    cluster.propose("n1", BLUE)
    cluster.apply(HearSelf("n1"))
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


def test_what_an_earlier_life_has_sent_is_dropped_once_a_later_one_was_heard(cluster: VirtualCluster) -> None:
    cluster.propose("n1", BLUE)
    old = next(packet for packet in cluster.pending if packet.to == "n2")
    run(cluster, [Crash("n1"), Recover("n1"), Propose("n1", Request("c9", 1), BLUE)])
    new = next(packet for packet in cluster.pending if packet.to == "n2" and packet.incarnation == 2)
    cluster.apply(Deliver(new))
    assert cluster.apply(Deliver(old)).stale
    assert "n2 drops what an earlier life of n1 has sent: Prepare(ballot 1.n1)" in cluster.story


STRAY = Packet("n1", 1, "n2", Prepare(Ballot(1, "n1")))


@pytest.mark.parametrize(
    "step",
    [
        Deliver(STRAY),
        DropPacket(STRAY),
        DuplicatePacket(STRAY),
        Fire("n1", "again"),
        HearSelf("n1"),
        Recover("n1"),
        LoseDisk("n1"),
    ],
    ids=lambda step: type(step).__name__,
)
def test_what_cannot_happen_changes_nothing(cluster: VirtualCluster, step: Step) -> None:
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
        "what n1 sent to n2 is repeated: Prepare(ballot 1.n1)",
        "n2 promises ballot 1.n1 to n1, having accepted nothing",
        "what n1 sent to n2 is lost: Prepare(ballot 1.n1)",
    ]


def test_a_cluster_is_picklable_and_its_key_says_when_two_are_alike(cluster: VirtualCluster) -> None:
    cluster.propose("n1", BLUE)
    other = pickle.loads(pickle.dumps(cluster))  # noqa: S301 - our own
    assert other.key() == cluster.key()
    other.apply(HearSelf("n1"))
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


class Careless(Majority):
    """Breaks its contract in the way that the test asks for."""

    how = ""

    def propose(self, request: Request, value: Value) -> None:
        match self.how:
            case "a stranger":
                self.node.send("n9", Decided(value))
            case "an unlisted message":
                self.node.send("n2", Decided(value))
            case "a nothing":
                self.node.reply(request, None)
            case "a timer":
                self.node.set_timer("late", 2.0, 1.0)
            case "a bad disk":
                self.node.disk["x"] = object()  # type: ignore[assignment]


@pytest.mark.parametrize("how", ["a stranger", "an unlisted message", "a nothing", "a timer", "a bad disk"])
def test_what_breaks_the_contract_is_a_violation_and_ends_the_node(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Careless, "how", how)
    cluster = VirtualCluster(Careless, MEMBERS)
    cluster.propose("n1", BLUE)
    assert [violation.kind for violation in cluster.violations] == ["contract"]
    assert not cluster.nodes["n1"].up


@dataclass
class Box:
    """Mutable plain data."""

    items: list[int]


def test_a_snapshot_shares_nothing_and_comes_back_whole() -> None:
    data = {"b": [1, {2}], "a": (3, deque([4])), "c": Counter("xx"), "d": Box([5]), "e": Prepare(Ballot(1, "n1"))}
    snapshot = freeze(data)
    assert hash(snapshot) == hash(freeze(thaw(snapshot)))
    back = thaw(snapshot)
    assert back == data
    assert list(back) == list(data)
    back["d"].items.append(6)
    assert thaw(snapshot) == data


def test_a_snapshot_of_what_is_not_plain_says_so() -> None:
    with pytest.raises(TypeError, match="a function is not plain data"):
        freeze({"f": lambda: None})
