"""Which kind of run a plan makes: one of our own nodes, or one of a system that is not ours."""

from pathlib import Path
from random import Random
from typing import Final, TypeAlias, cast

from harness.faults.catalogue import find_fault
from harness.faults.prerequisites import experiment_arguments
from harness.runs.experiment import Experiment
from harness.runs.plan import Plan
from harness.runs.system_run import SystemRun
from harness.workloads.planned_call import PlannedCall
from harness.workloads.registry import workload_for
from harness.workloads.workload import Callers, CallUnderWay, Workload
from node.algorithms import load_algorithm

#: How likely nodes that start again are found at other addresses, as without a proxy: see `Network`.
_MOVES: Final = 0.5
#: Faults of disks that strike any disk. A node on a disk that can fail by itself keeps no note of its last commit.
_ANY_DISK: Final = ("damage-last-commit",)
#: What a run of a plan is: of a cluster of our own nodes, or of another system.
Run: TypeAlias = Experiment | SystemRun


def run_of(plan: Plan, folder: Path, *, trace: bool) -> tuple[Run, Workload]:
    """Return the run of a plan, which is not started yet, and its workload."""
    if plan.system is not None:
        plan.system.check()
        asked = plan.system.workload(plan.workload)(plan.nodes, plan.seed, plan.time_s)
        return SystemRun(folder, plan.system, plan.nodes, plan.seed, asked), asked
    clients = workload_for(plan.workload, load_algorithm(plan.algorithm))(plan.nodes, plan.seed, plan.time_s)
    # A trace is compared with what a node takes in by the proxy's record, in which no connection closes.
    moves = not trace and Random(f"addresses/{plan.seed}").random() < _MOVES
    prepared = experiment_arguments(
        {find_fault(step.fault).family for step in plan.steps if step.fault not in _ANY_DISK}
    )
    run = Experiment(
        folder,
        nodes=plan.nodes,
        algorithm=plan.algorithm,
        seed=plan.seed,
        trace=trace,
        settings=plan.settings,
        moves=moves,
        **prepared,
    )
    return run, clients


def begin(run: Run, clients: Workload, client: int, ask: PlannedCall) -> CallUnderWay:
    """Begin a call of a client of the workload, and return it without waiting for the answer."""
    return clients.begin(cast(Callers, run), client, ask)  # a workload for a system asks nothing else of its run
