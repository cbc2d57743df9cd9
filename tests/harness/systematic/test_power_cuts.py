"""The tails that a walk over writes and syncs tries, and its report."""

from harness.faults.power_cut import Tail
from harness.systematic.power_cuts import PowerCutTrial, Walk, WalkedOperation, tails_for
from harness.systematic.sweep_points import PointOutcome


def test_only_tails_that_differ_are_tried() -> None:
    assert tails_for(0) == []
    assert set(tails_for(1)) == {Tail.ALL, Tail.TORN}
    assert set(tails_for(2)) == set(Tail) - {Tail.NONE}


def test_a_walk_counts_and_reports() -> None:
    lost = PowerCutTrial(
        3, Tail.TORN, "before a sync of state.db-wal", PointOutcome.VIOLATES, "it has forgotten", 4120, 100
    )
    trials = (PowerCutTrial(1, Tail.NONE, "before a write of state.db-wal", PointOutcome.SURVIVED, ""), lost)
    walk = Walk("paxos", WalkedOperation.PROPOSE, 3, 1, trials, ("coherence: bad",), 1.0)
    data = walk.to_json()
    assert (data["boundaries"], data["power_cuts"], data["survived"], data["violates"]) == (3, 2, 1, 1)
    assert (data["lost_bytes"], data["unreached"]) == (100, 1)
    text = walk.text()
    assert "3 write and sync boundaries, 2 power cuts" in text
    assert "boundary 3, before a sync of state.db-wal, torn of 4,120 un-synced bytes survive: it has forgotten" in text
    assert "not reached again: 1" in text
    assert "coherence: bad" in text
