"""Tests of a log whose disks may have lost their last commit, in virtual time: `node/replication/doubt.py`."""

import pytest

from cluster.clients.outcomes import Ok
from harness.mutants.virtual_doubt_scripts import a_round_far_above_that_was_lost
from harness.mutants.virtual_script import start
from harness.virtual.log_script import LogWorld
from harness.virtual.steps import LastCommit
from node.algorithms.multipaxos import MultiPaxos
from node.algorithms.raft import Raft
from node.contract import NodeId
from node.log_contract import Doubt, LogAlgorithm
from node.replication.doubt import ROUNDS_AT_ONCE, ROUNDS_SKIPPED, Doubts
from node.replication.messages import KnownDoubt

NONE, MAYBE, PROVEN = Doubt
VOTERS = ("n1", "n2", "n3", "n4", "n5")


def begin_put(world: LogWorld, value: bytes, seconds: float) -> bool:
    """Return whether a put succeeds within so many seconds."""
    return isinstance(world.outcome(world.begin("c", "put", "k", value, for_s=seconds)), Ok)


def all_certain(world: LogWorld) -> bool:
    return all(node.disk.doubt is Doubt.NONE for node in world.cluster.nodes.values())


def crash_all_after_a_put() -> tuple[LogWorld, NodeId, tuple[NodeId, ...]]:
    world, first, others = start(MultiPaxos)
    world.do("c", "put", "k", b"acknowledged")
    world.crash(*world.members)
    return world, first, others


@pytest.mark.parametrize("damage", [LastCommit.DAMAGED, LastCommit.PROVEN_DAMAGED])
def test_after_a_power_cut_for_all_nodes_recover_by_themselves(damage: LastCommit) -> None:
    """The last commits of all nodes do not check, and one of them is damaged."""
    world, first, others = crash_all_after_a_put()
    world.damage(damage, first)
    world.damage(LastCommit.TORN, *others)
    world.restart(*world.members)
    world.wait_leader()
    assert world.do("c", "get", "k")[0] == b"acknowledged"
    world.wait(lambda: all_certain(world), "the end of all doubts")
    world.check()


def test_if_a_majority_is_proven_damaged_the_log_stops() -> None:
    world, first, others = crash_all_after_a_put()
    world.damage(LastCommit.PROVEN_DAMAGED, first, others[0])
    world.restart(*world.members)
    assert not begin_put(world, b"never", 5.0)
    assert world.leader() is None
    world.check()


def test_a_node_in_doubt_needs_all_others_of_three() -> None:
    world, first, (second, third) = crash_all_after_a_put()
    world.damage(LastCommit.TORN, first)
    world.restart(first, second)
    assert not begin_put(world, b"not yet", 3.0)
    world.restart(third)
    world.wait_leader()
    assert begin_put(world, b"now", 3.0)
    world.wait(lambda: all_certain(world), "the end of the doubt")
    world.check()


def test_a_leader_that_hears_of_a_doubt_is_elected_again_and_the_doubt_ends() -> None:
    world, first, (second, _) = start(MultiPaxos)
    before = world.replica(first).leading
    world.crash(second)
    world.damage(LastCommit.DAMAGED, second)
    world.restart(second)
    world.wait(lambda: all_certain(world), "the end of the doubt")
    leader = world.wait_leader()
    leading = world.replica(leader).leading
    assert leading is not None
    assert before is not None
    assert leading > before
    assert world.replica(leader).doubts.known == {second: 1}
    world.do("c", "put", "k", b"after")
    world.check()


def test_a_doubt_outlives_a_crash() -> None:
    world, first, (second, third) = crash_all_after_a_put()
    world.damage(LastCommit.DAMAGED, first)
    world.restart(first)
    world.pass_s(0.5)
    world.crash(first)
    world.restart(first, second)
    world.pass_s(1.0)
    assert world.leader() is None
    assert world.replica(first).status().details["disk"] == "torn or damaged"
    world.restart(third)
    world.wait(lambda: all_certain(world), "the end of the doubt")
    assert world.replica(first).status().details["disk"] == "none"


def test_a_node_alone_that_may_have_lost_its_last_commit_does_not_lead() -> None:
    world, only, _ = start(MultiPaxos, nodes=1)
    world.crash(only)
    world.damage(LastCommit.TORN, only)
    world.restart(only)
    assert not begin_put(world, b"never", 3.0)


@pytest.mark.parametrize(
    ("promised", "reports"),
    [
        ([NONE, NONE], False),
        ([NONE, NONE, NONE], True),
        ([NONE, NONE, MAYBE], False),
        ([NONE, NONE, NONE, MAYBE], True),
        ([NONE, NONE, MAYBE, MAYBE], False),
        ([NONE, NONE, NONE, MAYBE, MAYBE], True),
        ([NONE, NONE, MAYBE, MAYBE, MAYBE], True),
        ([MAYBE, MAYBE, MAYBE, MAYBE, MAYBE], True),
        ([NONE, NONE, PROVEN, PROVEN, MAYBE], True),
        ([NONE, NONE, PROVEN, PROVEN, PROVEN], False),
    ],
)
def test_which_promises_of_five_report_all_that_can_be_chosen(promised: list[Doubt], reports: bool) -> None:
    world, first, _ = start(MultiPaxos, nodes=5)
    doubts = world.replica(first).doubts
    assert doubts.quorum_reports(VOTERS, dict(zip(VOTERS, promised, strict=False))) is reports


def test_an_older_doubt_is_no_news() -> None:
    world, first, _ = start(MultiPaxos)
    doubts: Doubts = world.replica(first).doubts
    assert doubts.note((KnownDoubt("n2", 2),))
    assert not doubts.note((KnownDoubt("n2", 1), KnownDoubt("n2", 2)))
    assert doubts.listed() == (KnownDoubt("n2", 2),)


@pytest.mark.parametrize("algorithm", [MultiPaxos, Raft])
def test_a_round_is_used_once_also_if_its_record_is_lost_and_it_was_far_above_the_last(
    algorithm: type[LogAlgorithm],
) -> None:
    a_round_far_above_that_was_lost.play(algorithm)


def test_a_far_round_is_in_two_commits_before_it_is_used() -> None:
    """Each tick has a commit of its own, so two attempts in one tick may share theirs."""
    world, _, (second, _) = start(MultiPaxos)
    election, disk = world.replica(second).election, world.replica(second).node.disk
    last = disk.get("round", 0)
    assert isinstance(last, int)
    near, far = last + ROUNDS_AT_ONCE - 1, last + ROUNDS_AT_ONCE + 100
    assert election.next_round(near) == near + 1
    tries = []
    for _ in range(3):
        tries += [(election.next_round(2 * far), disk["round"]) for _ in range(2)]
        election.tick_count += 1
    noted = 2 * far + 1
    assert tries == [(None, noted)] * 2 + [(None, noted + 1)] * 2 + [(noted + 2, noted + 2), (noted + 3, noted + 3)]


def test_each_doubt_skips_more_rounds_so_that_one_that_is_lost_is_skipped_by_the_next() -> None:
    """Two commits may be lost: that of the boot in doubt, which skips rounds, and that of the round that was used then."""
    world, _, (second, _) = start(MultiPaxos)
    skipped = []
    for _ in range(2):
        world.crash(second)
        world.damage(LastCommit.TORN, second)
        before = world.cluster.nodes[second].disk.stored[""].get("round", 0)
        world.restart(second)
        after = world.cluster.nodes[second].disk.stored[""]["round"]
        assert isinstance(before, int)
        assert isinstance(after, int)
        skipped.append(after - before)
    assert skipped == [ROUNDS_SKIPPED, 2 * ROUNDS_SKIPPED]
