import pytest

from harness.records.disks import decided_on_disk, dump
from node.algorithms import BUILT_IN, load_algorithm
from node.algorithms.failover import Failover
from node.algorithms.majority import Majority
from node.algorithms.paxos import Paxos
from node.contract import Algorithm, Status, Stored
from node.offline import replica_on_disk
from node.storage.disk import Contents
from node.wire import encode_value

MEMBERS = ("n1", "n2", "n3")
BLUE, RED = encode_value("blue"), encode_value(("red", 1))


@pytest.mark.parametrize(
    ("algorithm", "stored", "expected"),
    [
        (Paxos, {"promised": (1, "n1"), "accepted": (1, "n1", BLUE)}, {}),
        (Paxos, {"promised": (1, "n1"), "decided": RED}, {"x": ("red", 1)}),
        (Majority, {"vote of n1": BLUE, "vote of n2": RED}, {}),
        (Majority, {"vote of n1": BLUE, "vote of n3": BLUE}, {"x": "blue"}),
        (Failover, {"value": BLUE}, {"x": "blue"}),
        (Failover, {}, {}),
    ],
)
def test_the_decided_values_on_a_disk(
    algorithm: type[Algorithm], stored: dict[str, Stored], expected: dict[str, object]
) -> None:
    assert expected == decided_on_disk(algorithm, MEMBERS, Contents("", "n1", 1, {"x": stored}))


@pytest.mark.parametrize("name", BUILT_IN)
def test_reading_decisions_does_not_change_the_contents(name: str) -> None:
    stored: dict[str, Stored] = {"value": BLUE, "vote of n1": BLUE, "promised": (3, "n2"), "round": 3}
    contents = Contents("", "n1", 1, {"x": dict(stored)})
    decided_on_disk(load_algorithm(name), MEMBERS, contents)
    assert stored == contents.variables["x"]


def test_what_an_algorithm_does_at_its_start_has_no_effect() -> None:
    class Busy(Paxos):
        def start(self) -> None:
            self.become_preparing()
            self.node.cancel_timer("again")
            self.node.disk["decided"] = BLUE

    stored: dict[str, Stored] = {}
    assert replica_on_disk(Busy, "n1", MEMBERS, stored).status().decided == BLUE
    assert stored == {}


def test_a_value_that_does_not_decode_stays_as_it_is() -> None:
    contents = Contents("", "n1", 1, {"x": {"decided": b"\xc1"}})
    assert decided_on_disk(Paxos, MEMBERS, contents) == {"x": b"\xc1"}


def test_a_status_without_a_decision_shows_none() -> None:
    class Silent(Paxos):
        def status(self) -> Status:
            return Status("silent")

    assert decided_on_disk(Silent, MEMBERS, Contents("", "n1", 1, {"x": {"decided": BLUE}})) == {}


def test_a_dump_has_a_line_for_each_key() -> None:
    contents = Contents("c" * 32, "n1", 4, {"x": {"promised": (1, "n2"), "accepted": (1, "n2", BLUE)}, "y": {}})
    expected = (
        "node n1 of cluster cccccccc, booted 4 times\nx:\n  promised = (1, 'n2')\n  accepted = (1, 'n2', 'blue')\ny:\n"
    )
    assert expected == dump(contents)
