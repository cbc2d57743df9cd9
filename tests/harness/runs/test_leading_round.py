"""What a run asks of its voters after the heal. The tests with real processes ask voters that are all up."""

from types import SimpleNamespace
from typing import cast

from cluster.processes import ProcessState
from harness.runs.experiment import Experiment
from harness.runs.leading_round import let_each_lead


def test_no_voter_is_asked_while_one_is_down() -> None:
    states = {"n1": ProcessState.UP, "n2": ProcessState.DOWN, "n3": ProcessState.UP}
    led = {"leads": True, "voters": list(states), "applied": 1, "ballot": [1, "n1"]}
    cluster = SimpleNamespace(  # it has no client to ask by
        status=lambda: {"n1": {"variables": {"": led}}}, state=states.__getitem__
    )
    hand_overs = let_each_lead(cast("Experiment", SimpleNamespace(cluster=cluster, nodes=tuple(states))))
    assert [(each.node, each.led_ns, each.last) for each in hand_overs] == [
        (node, None, "n2 is down") for node in states
    ]
