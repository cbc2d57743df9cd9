"""What a log applies must be on the disks of a majority of its voters, at that moment."""

import pytest

from harness.virtual.log_copies import FirstApplied, missing_copies
from harness.virtual.log_script import LogWorld
from harness.virtual.simulation_settings import SimulationSettings
from harness.virtual.simulator import run_simulate
from node.contract import NodeId
from node.log_contract import Record
from tests.fixed_leader_log import Appended, FixedLeaderLog


class AcknowledgesAtOnce(FixedLeaderLog):
    """It takes a slot for chosen once one disk, its own, has it. Its disk is not lost, and heartbeats bring the rest later."""

    def receive(self, sender: NodeId, message: object) -> None:
        super().receive(sender, message)  # type: ignore[arg-type]
        if isinstance(message, Appended) and sender == self.node.id:
            for node in self.node.members:
                super().receive(node, message)


def test_a_log_that_acknowledges_what_one_disk_has_is_found_though_no_disk_is_lost() -> None:
    report = run_simulate(AcknowledgesAtOnce, range(3), SimulationSettings(look_for=("durability",)))
    assert report.shrunk is not None
    assert report.shrunk.violations[0].kind == "durability"
    assert "which no majority of the disks of n1, n2, n3 holds: only n1" in report.shrunk.violations[0].text
    assert run_simulate(FixedLeaderLog, range(3), SimulationSettings(look_for=("durability",))).tally.failures == {}


V3, V4 = ("n1", "n2", "n3"), ("n1", "n2", "n3", "n4")


@pytest.mark.parametrize(
    ("without", "spoilt", "voters", "voters_then", "is_whole"),
    [
        ((), (), V3, V3, True),
        (("n3",), (), V3, V3, True),
        (("n2", "n3"), (), V3, V3, False),
        (("n2", "n3"), ("n2",), V3, V3, True),
        (("n2", "n3"), (), ("n1",), V3, True),
        (("n3",), (), V4, V4, False),  # n4 has joined and has no disk yet
        (("n3",), (), (), V4, False),
    ],
)
def test_a_majority_of_the_voters_then_or_before_holds_it(
    without: tuple[str, ...],
    spoilt: tuple[str, ...],
    voters: tuple[str, ...],
    voters_then: tuple[str, ...],
    is_whole: bool,
) -> None:
    world = LogWorld(3)
    leader = world.wait_leader()
    world.do("c", "put", "k", b"v")
    world.pass_s(1.0)
    record = world.cluster.nodes[leader].disk.log.get(2)
    assert record is not None
    for node in without:  # another batch is no copy
        world.cluster.nodes[node].disk.log.put(Record(2, *record[1:3], b"another"))
    found = missing_copies(FirstApplied("n1", record, voters, voters_then), world.cluster.nodes, spoilt)
    assert (found is None) == is_whole


def test_what_a_snapshot_has_replaced_counts_as_held() -> None:
    world = LogWorld(3)
    leader = world.wait_leader()
    world.pass_s(1.0)
    record = world.cluster.nodes[leader].disk.log.get(1)
    assert record is not None
    for node in world.members:
        world.cluster.nodes[node].disk.log.truncate(2)
    assert missing_copies(FirstApplied("n1", record, V3, V3), world.cluster.nodes, ()) is None
