"""Waits follow the network: whatever a round trip takes, up to two seconds, a leader is found, and calls are answered."""

import heapq
from collections import Counter

import pytest

from cluster.clients.outcomes import Ok
from harness.virtual.fault_schedule import FaultSchedule, LinkConditions
from harness.virtual.log_script import LogWorld
from harness.virtual.scheduled_events import ScheduledCall
from harness.virtual.simulation import Simulation
from harness.virtual.steps import PeerLost
from node.algorithms.failover import Failover
from node.algorithms.multipaxos.messages import LogAccept
from node.algorithms.multipaxos.replica import MultiPaxos
from node.algorithms.paxos import Paxos
from node.algorithms.raft import Raft
from node.contract import Algorithm, Message, NodeId
from node.replication.messages import FetchPart, Forward, SnapshotOffer
from node.replication.replica import LogReplica
from node.replication.round_trips import RoundTrip, RoundTrips
from node.tuning import Tuning


def settled(late_s: float, loss: float = 0.0, nodes: int = 5, seed: int = 1, tuning: Tuning | None = None) -> LogWorld:
    """Return a cluster whose links have become so slow, with a leader that has served ever since a round trip ago."""
    world = LogWorld(nodes, seed) if tuning is None else LogWorld(nodes, seed, tuning=tuning)
    world.wait_leader()
    world.do("c", "put", "k", b"first")
    world.late_s, world.loss = late_s, loss
    world.pass_s(1.0 + 10 * late_s)
    world.wait(lambda: world.leader() is not None, "a leader", 30.0)
    world.pass_s(2 * late_s)
    world.wait(lambda: world.leader() is not None, "a leader", 30.0)
    return world


def crashed(world: LogWorld) -> NodeId:
    """Crash the leader of `world`, and return it."""
    leader = world.leader()
    assert leader is not None
    world.crash(leader)
    return leader


# --- a log ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late_s", [0.02, 0.1, 0.4, 1.0])
def test_after_a_leaders_end_a_put_is_answered_within_ten_round_trips_and_a_second(late_s: float) -> None:
    world = settled(late_s)
    crashed(world)
    put = world.begin("c", "put", "k", b"after", for_s=60.0)
    world.wait(lambda: put.outcome is not None, "the put", 20 * late_s + 1)
    assert isinstance(put.outcome, Ok)


@pytest.mark.parametrize("late_s", [0.15, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_with_a_fifth_of_all_messages_lost_a_leader_is_found_and_stays(seed: int, late_s: float) -> None:
    world = settled(late_s, 0.2, seed=seed)
    old = crashed(world)
    world.wait(lambda: world.leader() not in (None, old), "a leader", 30.0)
    leaders = [world.leader()]

    def note_change() -> bool:
        if world.leader() not in (None, leaders[-1]):
            leaders.append(world.leader())
        return False

    world.pass_s(60.0, note_change)
    assert len(leaders) - 1 <= 3


def test_a_leader_stays_when_links_have_become_slow() -> None:
    world = settled(0.5)
    leader = world.leader()
    world.pass_s(30.0, lambda: world.leader() != leader)
    assert world.leader() == leader


def test_on_a_fast_network_a_closed_connection_is_followed_by_a_leader_within_150_ms() -> None:
    world = LogWorld(5)
    world.wait_leader()
    world.pass_s(1.0)
    old = crashed(world)
    for node in world.members:
        if node != old:
            world._apply(node, PeerLost(node, old))
    world.wait(lambda: world.leader() not in (None, old), "a leader", 0.15)


def test_a_slow_network_that_is_fast_again_is_forgotten_by_leader_and_followers() -> None:
    world = settled(0.5)
    world.late_s = 0.0
    world.pass_s(10.0)
    leader = world.wait_leader()
    for node in world.members:
        voters = world.replica(node).state.configuration.voters
        assert world.replica(node).election.round_trips.quorum_wait_ms(voters) < 100, (node, leader)


@pytest.mark.parametrize("algorithm", [MultiPaxos, Raft])
def test_failures_do_not_lengthen_a_wait_by_a_round_trip_that_was_slow(algorithm: type[LogReplica]) -> None:
    world = LogWorld(3, algorithm=algorithm)
    election = world.replica("n1").election
    election.wait_ms, election.failures = 6_000, 100
    tuning = world.replica("n1").node.tuning
    assert election.patience_s(1_000) == tuning.growth_max + 6


def test_a_snapshot_crosses_a_slow_link() -> None:
    tuning = Tuning(snapshot_slots=20, kept_slots=1, kept_bytes=1, snapshot_part_bytes=256)
    world = settled(0.0, nodes=3, tuning=tuning)
    behind = next(node for node in world.members if node != world.leader())
    world.crash(behind)
    for number in range(60):
        world.do("c", "put", f"k{number % 20}", b"%d" % number * 20)
    parts: Counter[type[Message]] = Counter()
    world.drop_rules.append(lambda _sender, _to, message: bool(parts.update([type(message)])))
    world.late_s = 1.0
    world.restart(behind)
    leader = world.leader()
    assert leader is not None
    world.wait(lambda: world.replica(behind).snapshot_slot > 0, "the snapshot", 60.0)
    assert parts[SnapshotOffer] > 0
    assert parts[FetchPart] <= 4 * world.replica(leader).log.snapshot.parts


def test_a_leader_hands_over_across_a_slow_link() -> None:
    world = settled(0.5, nodes=3)
    old = world.leader()
    assert old is not None
    leading = world.replica(old).leader
    successor = leading.best_successor() if leading is not None else None
    assert leading is not None
    assert successor is not None
    leading.hand_over(successor)
    world.wait(lambda: world.leader() == successor, "the successor", 10.0)


def test_what_a_slow_link_delays_is_not_sent_many_times() -> None:
    world = settled(0.5, nodes=3)
    sent: Counter[type[Message]] = Counter()
    world.drop_rules.append(lambda _sender, _to, message: bool(sent.update([type(message)])))
    follower = next(node for node in world.members if node != world.leader())
    world.do("c", "put", "k", b"once")
    world._call(ScheduledCall(world.now, 30.0, follower, "blue"))
    world.pass_s(10.0)
    assert 0 < sent[Forward] <= 3
    assert sent[LogAccept] <= 12


# --- single-decree algorithms -----------------------------------------------------------------------------------------


class SlowLinks(Simulation):
    """Five nodes of a single-decree algorithm, with late packets."""

    def __init__(self, algorithm: type[Algorithm], late_s: float, seed: int) -> None:
        members = tuple(f"n{number}" for number in range(1, 6))
        links = LinkConditions(usual_s=(0.002,) * len(members) ** 2)
        super().__init__(
            algorithm, FaultSchedule(seed, members, 0.0, links, (1.0,) * len(members), (), (), members, ("blue",))
        )
        self.late_s = late_s

    def _travel_s(self, sender: str, to: str) -> float:
        return super()._travel_s(sender, to) + self.late_s

    def pass_s(self, seconds: float) -> None:
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            self.now, _, event = heapq.heappop(self._heap)
            self._happen(event)
        self.now = end


@pytest.mark.parametrize("seed", range(4))
def test_paxos_proposers_stop_beating_each_other_where_a_round_trip_takes_a_second(seed: int) -> None:
    world = SlowLinks(Paxos, 0.5, seed)
    for number, node in enumerate(world.fault_schedule.members):
        world._call(ScheduledCall(world.now, 100.0, node, f"value {number}"))
    world.pass_s(40.0)
    assert not any(node.waiting for node in world.cluster.nodes.values())
    assert not world.cluster.violations


def test_failover_doubles_its_patience_with_a_peer_that_it_has_suspected_and_that_lives() -> None:
    world = SlowLinks(Failover, 1.0, 1)
    for node in world.fault_schedule.members:
        world._call(ScheduledCall(world.now, 100.0, node, None))
    world.pass_s(3.0)
    instance = world.cluster.nodes["n2"].instance
    assert isinstance(instance, Failover)
    assert instance.mistakes == {"n1": 1, "n3": 1, "n4": 1, "n5": 1}
    assert not instance.suspected


# --- the estimate -----------------------------------------------------------------------------------------------------


def test_the_estimate_is_that_of_rfc_6298() -> None:
    round_trip = RoundTrip(1000)
    assert round_trip.wait_ms == 1000 + 4 * 500
    round_trip.take(1000)
    assert round_trip.wait_ms == 1000 + 4 * 375
    round_trip.take(200)
    assert round_trip.wait_ms == int(900 + 4 * (375 * 3 / 4 + 800 / 4))
    round_trips = RoundTrips("n1", wait_ms_max=6_000)
    round_trips.answered("n2", 10_000)
    assert round_trips.wait_ms("n2") == 6_000


def test_a_quorum_is_waited_for_and_not_its_slowest_peer() -> None:
    round_trips = RoundTrips("n1")
    for peer, sample_ms in (("n2", 0.0), ("n3", 100.0), ("n4", 2000.0), ("n5", 2000.0)):
        round_trips.answered(peer, sample_ms)
    assert round_trips.quorum_wait_ms(("n1", "n2", "n3", "n4", "n5")) == 300
    assert round_trips.quorum_wait_ms(("n1", "n2", "n3")) == 0
    assert round_trips.quorum_wait_ms(("n1",)) == 0
    round_trips.report(700)
    assert (round_trips.wait_ms("n4"), round_trips.wait_ms("n9")) == (700, 700)
