"""Turns of several inputs, crashes in the middle of a turn, timers that are owed, and faults that know roles."""

from random import Random

import pytest

from harness.virtual.cluster import ImpossibleStep, VirtualCluster
from harness.virtual.log_fault_schedule import draw_log_fault_schedule
from harness.virtual.log_script import LogWorld
from harness.virtual.node_state import facts_of
from harness.virtual.roles import NodeRole, holder_of
from harness.virtual.shrink_seed import shrink_seed
from harness.virtual.simulation_settings import SimulationSettings
from harness.virtual.steps import (
    CrashInTurn,
    CrashMoment,
    Deliver,
    Packet,
    Propose,
    Query,
    Recover,
    Turn,
    from_json,
    to_json,
)
from node.algorithms.multipaxos import MultiPaxos
from node.algorithms.paxos import Paxos, Prepare
from node.contract import Request
from node.quorum import Ballot
from node.replication.state import ReplicatedState
from node.wire import encode_value

BLUE, RED = encode_value("blue"), encode_value("red")


@pytest.fixture
def cluster() -> VirtualCluster:
    return VirtualCluster(Paxos, ("n1", "n2", "n3"))


def packet_of(cluster: VirtualCluster, kind: type, to: str) -> Packet:
    return next(packet for packet in cluster.pending if isinstance(packet.message, kind) and packet.to == to)


# --- turns of several inputs ----------------------------------------------------------------------------------------


def test_a_node_takes_in_all_inputs_of_a_turn_before_its_own_messages(cluster: VirtualCluster) -> None:
    cluster.propose("n2", RED)
    rival = packet_of(cluster, Prepare, "n1")
    cluster.apply(Turn("n1", (Propose("n1", Request("c", 1), BLUE), Deliver(rival))))
    assert facts_of(cluster.nodes["n1"]).promised == Ballot(1, "n2")  # its own Prepare of 1.n1 waits
    assert rival not in cluster.pending
    assert cluster.story[-1].startswith(
        "in one turn: c proposes 'blue' at n1; n1 is asked by n2 to prepare ballot 1·n2."
    )


def test_a_turn_is_possible_only_if_each_of_its_inputs_is(cluster: VirtualCluster) -> None:
    cluster.propose("n2", RED)
    once = Deliver(packet_of(cluster, Prepare, "n1"))
    with pytest.raises(ImpossibleStep):
        cluster.apply(Turn("n1", (once, once)))
    assert once.packet in cluster.pending


def test_a_turn_of_several_inputs_is_read_back_from_json(cluster: VirtualCluster) -> None:
    cluster.propose("n2", RED)
    turn = Turn("n1", (Query("n1", Request("c", 1)), Deliver(packet_of(cluster, Prepare, "n1"))))
    assert from_json(to_json(turn), cluster.possible()) == turn


# --- crashes in the middle of a turn --------------------------------------------------------------------------------


@pytest.mark.parametrize(("moment", "sent"), [(CrashMoment.COMMITTED, 0), (CrashMoment.RELEASING, 1)])
def test_a_crash_after_the_commit_keeps_what_was_saved_and_loses_what_was_not_sent(
    cluster: VirtualCluster, moment: CrashMoment, sent: int
) -> None:
    cluster.apply(CrashInTurn("n1", moment=moment))
    cluster.propose("n1", BLUE)
    assert not cluster.nodes["n1"].up
    assert len(cluster.pending) == sent
    cluster.apply(Recover("n1"))
    assert cluster.nodes["n1"].disk.stored["colour"]["round"] == 1


def test_the_end_of_a_doubt_is_lost_in_a_crash_right_after_the_commit() -> None:
    disk = VirtualCluster(MultiPaxos, ("n1",)).nodes["n1"].disk
    disk.begin_doubt(disk.doubt.DAMAGED, loses_commit=False)
    disk.end_doubt()
    disk.commit(ends_doubt=False)
    disk.crash()
    assert disk.doubt is disk.doubt.DAMAGED


# --- timers ---------------------------------------------------------------------------------------------------------


class QueriesSetNoTimer(Paxos):
    """Forgets the timer of a query that comes while no proposal is under way."""

    def query(self, request: Request) -> None:
        super().query(request)
        self.node.cancel_timer("again")


def test_a_query_without_a_timer_is_a_violation_of_that_turn() -> None:
    cluster = VirtualCluster(QueriesSetNoTimer, ("n1", "n2", "n3"))
    cluster.query("n1")
    (violation,) = cluster.violations
    assert violation.kind == "timer"
    assert "n1 waits" in violation.text


# --- roles ----------------------------------------------------------------------------------------------------------


def test_nodes_are_found_by_their_roles() -> None:
    world = LogWorld()
    rng = Random(1)
    assert holder_of(NodeRole.LEADER, world.cluster.nodes, rng) is None
    leader = world.wait_leader()
    assert holder_of(NodeRole.LEADER, world.cluster.nodes, rng) == leader
    assert holder_of(NodeRole.FOLLOWER, world.cluster.nodes, rng) in set(world.members) - {leader}
    assert holder_of(NodeRole.HEIR, world.cluster.nodes, rng) is None
    world.replica(leader).retire()
    heir = holder_of(NodeRole.HEIR, world.cluster.nodes, rng)
    assert heir is not None
    assert heir != leader
    world.crash(leader)
    world.wait(lambda: holder_of(NodeRole.CANDIDATE, world.cluster.nodes, rng) is not None, "a candidate")


def test_seeds_strike_every_role() -> None:
    seen: dict[str, None] = {}
    for seed in range(40):
        fault_schedule = draw_log_fault_schedule(seed)
        if any(hasattr(fault, "then") for fault in fault_schedule.faults):
            done = SimulationSettings().simulate(MultiPaxos, seed)
            assert done.violations == []
            seen |= dict.fromkeys(done.seen)
    assert {"a fault at the leader", "a fault at the heir", "a fault at the follower"} <= seen.keys()
    assert "a turn of several inputs" in seen


# --- what is found at the end of a run ------------------------------------------------------------------------------


class StateDependsOnTheNode(ReplicatedState):
    """Its snapshots differ between nodes, though all its answers are equal."""

    owner = ""

    def snapshot(self) -> bytes:
        return super().snapshot() + self.owner.encode()


class SnapshotsDiffer(MultiPaxos):
    """Packs a state that differs between nodes."""

    state_class = StateDependsOnTheNode

    def start(self) -> None:
        self.state.owner = self.node.id  # type: ignore[attr-defined]
        super().start()


def test_what_is_found_at_the_end_of_a_run_is_named_after_shrinking() -> None:
    settings = SimulationSettings(look_for=("state",))
    # Not one in which a node restores such a snapshot, which fails.
    found = {
        seed: {violation.kind for violation in settings.simulate(SnapshotsDiffer, seed).violations} for seed in range(8)
    }
    seed = next(seed for seed, kinds in found.items() if kinds == {"state"})
    shrunk = shrink_seed(SnapshotsDiffer, settings, seed)
    assert [violation.kind for violation in shrunk.violations][:1] == ["state"]
    assert "is in another state than" in shrunk.violations[0].text
