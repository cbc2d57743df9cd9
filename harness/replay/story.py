"""The story of a broken algorithm: a shortest schedule in which it breaks a promise, found by the explorer in a few seconds."""

from typing import Final

from harness.replay.schedule import Schedule
from harness.virtual.bounds import Bounds
from harness.virtual.explorer import run_explore
from harness.virtual.fault_model import FaultModel
from harness.virtual.judge import SAFETY
from harness.virtual.search import Budget
from node.contract import Algorithm

#: How many crashes each search allows, and how long it takes at most.
_CRASHES: Final = (0, 1)
_BUDGET: Final = Budget(states=100_000, seconds=4.0)


def find_story(algorithm: type[Algorithm], nodes: int, fault_model: FaultModel) -> Schedule | None:
    """Return a schedule in which an algorithm breaks a promise, or None if the explorer finds none in a few seconds."""
    if algorithm.keeps_log:
        return None
    for crashes in _CRASHES:
        lose_disk = fault_model.empty_disks_vote
        bounds = Bounds(
            nodes=nodes,
            crashes=crashes + lose_disk,
            lose_disk=lose_disk,
            fault_model=fault_model,
            look_for=SAFETY,
        )
        report = run_explore(algorithm, bounds, _BUDGET)
        if report.violations and report.schedule:
            return Schedule.explored(report, algorithm)
    return None
