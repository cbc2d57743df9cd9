from pathlib import Path
from typing import Any

import pytest

from harness.records.disks import decided_on_disk, dump, log_on_disk
from harness.systematic.rescue_points import SURVIVOR, old_cluster
from node.algorithms import BUILT_IN, load_algorithm
from node.algorithms.failover import Failover
from node.algorithms.majority import Majority
from node.algorithms.multipaxos import MultiPaxos
from node.algorithms.paxos import Paxos
from node.contract import Algorithm, Status, Stored
from node.machines import DEFAULT
from node.offline import replica_on_disk
from node.replication.configuration import Configuration
from node.replication.state import ReplicatedState
from node.storage.disk import Contents, inspect
from node.storage.log_store import MemoryLog
from node.wire import encode_value, pack_unchecked

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
            self.become_running()
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


def test_a_log_on_a_disk_shows_its_values_and_what_is_not_known_as_chosen(tmp_path: Path) -> None:
    spec = old_cluster(tmp_path / "old")
    contents = inspect(spec.settings.directory(SURVIVOR))
    log = log_on_disk(MultiPaxos, spec.nodes, contents)
    assert log["known_as_chosen_to"] == 6
    assert list(log["values"]["kv"]) == [f"key {slot}" for slot in range(2, 7)]
    assert [(record["slot"], record["ballot"]) for record in log["accepted"]] == [
        (slot, [1, "n1"]) for slot in (7, 8, 9)
    ]
    assert log["accepted"][0]["commands"] == [["kv", "put", "key 7", b"x" * 7]]
    text = dump(contents, log)
    assert "known as chosen, in kv:\n  key 2 = " in text
    assert "accepted, and not known as chosen:\n  slot 7, ballot 1.n1: 'kv' 'put' 'key 7' " in text


def test_many_values_are_cut_for_people() -> None:
    log: dict[str, Any] = {"values": {"kv": {f"k{number}": [number, number] for number in range(250)}}, "accepted": []}
    text = dump(Contents("0" * 32, "n1"), log)
    assert "k99 = " in text
    assert "k100 = " not in text
    assert "and 150 more: see -o json" in text


def test_every_kind_of_value_is_shown() -> None:
    state = ReplicatedState(DEFAULT, Configuration(("n1",)))

    def do(session: int, sequence: int, machine: str, *command: Any) -> None:
        frame = (session, sequence, 1, machine, pack_unchecked([command]))
        state.apply(state.applied + 1, pack_unchecked((0, (frame,))))

    do(0, 0, "session", "open")
    do(1, 1, "once", "propose", "colour", BLUE)
    do(1, 2, "locks", "try", "printer", "alice", 1000)
    do(1, 3, "members", "join", "bob", b"", 1000)
    do(1, 4, "assignment", "add", "task")
    log = MemoryLog()
    disk: dict[str, Stored] = {}
    MultiPaxos.store_state(disk, log, state.applied, [state.packed()])
    shown = log_on_disk(MultiPaxos, ("n1",), Contents("", "n1", 1, {"": disk}, log))["values"]
    assert shown == {
        "once": {"colour": "blue"}, "kv": {}, "locks": {"printer": "alice"}, "members": ["bob"], "assignment": {"task": None},
    }  # fmt: skip
