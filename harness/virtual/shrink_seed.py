"""Shrinks the run of a failing seed by delta debugging.

Theory of operation
-------------------
Shrinking has two stages. The first shrinks the fault schedule: it leaves out faults and calls, improves the links, and sets the
drawn settings back to what is shipped, as long as the run still violates the same property. The second applies to properties
that steps alone can violate, whatever time passes between them: it leaves out steps until no single step can be removed. If the
steps alone do not violate the property, the result is the run after the first stage.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from harness.virtual.cluster import VirtualCluster, run
from harness.virtual.fault_model import FaultModel
from harness.virtual.fault_schedule import FaultSchedule, LinkConditions
from harness.virtual.judge import STEPWISE, Violation
from harness.virtual.log_fault_schedule import LogFaultSchedule
from harness.virtual.simulation_settings import SimulationSettings
from harness.virtual.steps import Step, TakeOwnMessages, plain
from node.authors import describe_failure
from node.contract import Algorithm
from node.status import status_fields
from node.tuning import BadSetting, tuning_of

_Item = TypeVar("_Item")


@dataclass(slots=True)
class ShrunkSeed:
    """A failing run after shrinking."""

    fault_schedule: FaultSchedule
    violations: list[Violation]
    schedule: list[Step]
    story: list[str]
    """The steps of `schedule` in English, one line for each."""
    final_status: dict[str, object]
    """The status of each node at the end; None for a node that is down."""


def shrink_seed(algorithm: type[Algorithm], settings: SimulationSettings, seed: int) -> ShrunkSeed:
    """Simulate a seed that fails, and shrink its run.

    If the seed does not fail, the result has one violation, which says that the algorithm is not deterministic.
    """
    first = settings.simulate(algorithm, seed)
    if not first.violations:
        text = f"seed {seed} has failed, and does not fail again: the algorithm is not deterministic"
        return ShrunkSeed(first.fault_schedule, [Violation("contract", text)], [], [], {})
    kind = first.violations[0].kind

    def breaks(fault_schedule: FaultSchedule) -> bool:
        return any(violation.kind == kind for violation in settings.simulate_in(algorithm, fault_schedule).violations)

    fault_schedule = _with_fewer_faults(first.fault_schedule, breaks)
    done = settings.simulate_in(algorithm, fault_schedule)
    cluster, steps = done.cluster, done.steps
    found = done.violations
    if kind in STEPWISE:
        replayed = _with_fewer_steps(algorithm, fault_schedule, settings.fault_model, steps, kind)
        if seen := [violation for violation in replayed.violations if violation.kind in settings.look_for]:
            cluster, found = replayed, seen
            steps = [happened.step for happened in cluster.happened]
    final_status: dict[str, object] = {
        name: _status_of(node.instance) if node.instance else None for name, node in cluster.nodes.items()
    }
    return ShrunkSeed(fault_schedule, found, steps, cluster.story, final_status)


def _status_of(instance: Algorithm) -> dict[str, Any]:
    try:
        return {key: plain(item) for key, item in status_fields(instance).items()}
    except Exception as error:  # noqa: BLE001 - the author's code may raise anything
        return {"status": f"fails: {describe_failure(error)}"}


def _with_fewer_faults(fault_schedule: FaultSchedule, breaks: Callable[[FaultSchedule], bool]) -> FaultSchedule:
    """Return a fault schedule that still breaks the property, with fewer faults and calls, and with better links."""
    perfect = LinkConditions(usual_s=tuple(0.001 for _ in fault_schedule.links.usual_s))
    links = fault_schedule.links
    for better in (
        perfect,
        replace(links, loss=0.0),
        replace(links, repeat=0.0),
        replace(links, slow=0.0),
        replace(links, loss_by_kind=()),
    ):
        if breaks(candidate := replace(fault_schedule, links=better)):
            fault_schedule = candidate
            break
    if breaks(candidate := replace(fault_schedule, clocks=tuple(1.0 for _ in fault_schedule.clocks))):
        fault_schedule = candidate
    faults = _fewest(fault_schedule.faults, lambda kept: breaks(replace(fault_schedule, faults=tuple(kept))))
    fewer = replace(fault_schedule, faults=tuple(faults))
    calls = _fewest(fewer.calls, lambda kept: breaks(replace(fewer, calls=tuple(kept))))
    return _with_fewer_settings(replace(fewer, calls=tuple(calls)), breaks)


def _with_fewer_settings(fault_schedule: FaultSchedule, breaks: Callable[[FaultSchedule], bool]) -> FaultSchedule:
    """Return a fault schedule that still breaks the property, with the fewest settings that are not as shipped."""
    if not isinstance(fault_schedule, LogFaultSchedule):
        return fault_schedule

    def with_settings(kept: Sequence[tuple[str, int]]) -> LogFaultSchedule:
        return replace(fault_schedule, tuning=tuning_of(dict(kept)))

    def breaks_with(kept: Sequence[tuple[str, int]]) -> bool:
        try:
            return breaks(with_settings(kept))
        except BadSetting:  # some do not go together
            return False

    return with_settings(_fewest(list(fault_schedule.tuning.changed().items()), breaks_with))


def _with_fewer_steps(
    algorithm: type[Algorithm], fault_schedule: FaultSchedule, fault_model: FaultModel, steps: list[Step], kind: str
) -> VirtualCluster:
    """Remove steps until no single one can be removed. Return a cluster to which the rest have happened.

    The steps of that cluster include the turns in which nodes take in their own messages.
    """

    def replayed(candidate: Sequence[Step], *, at_once: bool) -> VirtualCluster:
        cluster = VirtualCluster(
            algorithm, fault_schedule.members, fault_model, fault_schedule.newcomers, fault_schedule.tuning
        )
        for step in candidate:
            if run(cluster, [step], skip_impossible=True) and at_once:
                run(cluster, cluster.own_turns())
        cluster.judge.check_end(cluster.nodes.values())
        return cluster

    def breaks(cluster: VirtualCluster) -> bool:
        return any(violation.kind == kind for violation in cluster.violations)

    # The schedule is easier to read if nodes take in their own messages at once. Some violations need the delay.
    others: list[Step] = [step for step in steps if not isinstance(step, TakeOwnMessages)]
    at_once = breaks(replayed(others, at_once=True))
    if not at_once and not breaks(whole := replayed(steps, at_once=False)):
        return whole
    kept = _fewest(others if at_once else steps, lambda candidate: breaks(replayed(candidate, at_once=at_once)))
    return replayed(kept, at_once=at_once)


def _fewest(items: Sequence[_Item], breaks: Callable[[list[_Item]], bool]) -> list[_Item]:
    """Return items that still break the property and of which no single one can be removed."""
    from harness.runs.shrink import minimise  # noqa: PLC0415 - imports much, and only a failure needs it

    if breaks([]):
        return []
    return minimise(items, lambda candidates: next((at for at, kept in enumerate(candidates) if breaks(kept)), None))
