"""Five proposers of Paxos at once, in virtual time, over slow links: how long it takes until each client has its answer."""

import heapq
from statistics import median

import pytest

from harness.virtual.fault_schedule import FaultSchedule, LinkConditions
from harness.virtual.scheduled_events import ScheduledCall
from harness.virtual.simulation import Simulation
from node.algorithms.paxos import Paxos
from node.tuning import SHIPPED, Tuning

MEMBERS = ("n1", "n2", "n3", "n4", "n5")
COLOURS = ("blue", "red", "green", "yellow", "purple")
#: Pauses that suit links that take a millisecond.
SHORT = Tuning(duel_pause_ms=10)


class Race(Simulation):
    """One run, without a fault, in which each packet takes `late_s` and up to a millisecond more."""

    def __init__(self, seed: int, late_s: float, tuning: Tuning) -> None:
        calls = tuple(ScheduledCall(0.0, 1000.0, node, colour) for node, colour in zip(MEMBERS, COLOURS, strict=True))
        super().__init__(
            Paxos,
            FaultSchedule(
                seed,
                MEMBERS,
                1000.0,
                LinkConditions(usual_s=(0.001,) * len(MEMBERS) ** 2),
                (1.0,) * len(MEMBERS),
                (),
                calls,
                MEMBERS,
                COLOURS,
                tuning=tuning,
            ),
        )
        self.late_s = late_s
        for call in calls:
            self._at(call.at_s, call)

    def _travel_s(self, sender: str, to: str) -> float:
        return self.late_s + self._rng.uniform(0.0001, 0.001)

    def answered_s(self) -> float:
        """Return when the last client has its answer."""
        while self._heap:
            self.now, _, event = heapq.heappop(self._heap)
            self._happen(event)
            if self.cluster.judge.decided and not any(node.waiting for node in self.cluster.nodes.values()):
                return self.now
        raise AssertionError("a client has no answer")


def race_s(late_s: float, tuning: Tuning = SHIPPED, races: int = 9) -> float:
    """Return the median time of some races, in seconds."""
    return median(Race(seed, late_s, tuning).answered_s() for seed in range(races))


@pytest.mark.parametrize(("late_s", "hops"), [(0.02, 6), (0.1, 6), (0.4, 16)])
def test_five_proposers_end_their_race_within_some_hops(late_s: float, hops: int) -> None:
    assert race_s(late_s) < hops * late_s


def test_pauses_that_suit_a_fast_network_take_twice_as_long_on_a_slow_one() -> None:
    assert race_s(0.1, SHORT) > 2 * race_s(0.1)


def test_a_fast_network_does_not_wait() -> None:
    assert race_s(0.0) < 0.02
