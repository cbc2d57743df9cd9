"""Shrinks the run of a failing seed by delta debugging.

Theory of operation
-------------------
Shrinking has two stages. The first shrinks the fault schedule: it leaves out faults and calls, improves the links, and sets the
drawn settings back to what is shipped, as long as the run still violates the same property. The second applies to properties
that steps alone can violate, whatever time passes between them: it leaves out steps until no single step can be removed. If the
steps alone do not violate the property, the result is the run after the first stage.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

from harness.virtual.cluster import VirtualCluster, run
from harness.virtual.fault_model import FaultModel
from harness.virtual.fault_schedule import FaultSchedule, LinkConditions
from harness.virtual.judge import STEPWISE, Violation
from harness.virtual.scheduled_events import ONE_INPUT, ScheduledEvent, ScheduledPlot
from harness.virtual.simulation_settings import SimulationSettings
from harness.virtual.steps import Step, TakeOwnMessages, Turn, inputs_of, plain
from node.authors import describe_failure
from node.contract import Algorithm
from node.status import status_fields
from node.tuning import BadSetting, tuning_of
from node.wording import count

_Item = TypeVar("_Item")


#: Why the same run came out in two ways, for the author of an algorithm.
NOT_DETERMINISTIC: Final = (
    "the same inputs gave other outputs, so the algorithm is not deterministic. Does it keep state outside of the instance (a "
    "global, a class attribute), read a clock, draw at random, or go through a set in its order?"
)


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
    from_steps: int
    """How many steps the run had before it was shrunk."""

    @property
    def how_much(self) -> str:
        """Return what shrinking has done, as the beginning of a sentence that the steps end."""
        if not self.schedule:
            return "Nothing could be shrunk"
        if len(self.schedule) < self.from_steps:
            return f"Shrunk from {count(self.from_steps, 'step')} to {len(self.schedule):,}, it does this"
        return f"It could not be shrunk, and does this, in {count(len(self.schedule), 'step')}"


def shrink_seed(
    algorithm: type[Algorithm], settings: SimulationSettings, seed: int, seconds: float | None = None, before: str = ""
) -> ShrunkSeed:
    """Simulate a seed that fails, and shrink its run: see `shrink_schedule`."""
    return shrink_schedule(algorithm, settings, settings.draw(algorithm, seed), seconds, before)


def shrink_schedule(
    algorithm: type[Algorithm],
    settings: SimulationSettings,
    failing: FaultSchedule,
    seconds: float | None = None,
    before: str = "",
) -> ShrunkSeed:
    """Simulate a fault schedule under which a run fails, and shrink it, for `seconds` at most if they are given.

    If the run does not fail, the result has one violation, which says that the algorithm is not deterministic, and what was
    seen when it failed before, if the caller knows it.
    """
    first = settings.simulate_in(algorithm, failing)
    if not first.violations:
        what = f" ({before})" if before else ""
        text = f"seed {failing.seed} has failed{what}, and does not fail again: {NOT_DETERMINISTIC}"
        return ShrunkSeed(first.fault_schedule, [Violation("contract", text)], [], [], {}, 0)
    kind = first.violations[0].kind

    until = float("inf") if seconds is None else time.monotonic() + seconds

    def breaks(fault_schedule: FaultSchedule) -> bool:
        return time.monotonic() < until and any(
            violation.kind == kind for violation in settings.simulate_in(algorithm, fault_schedule).violations
        )

    fault_schedule = _with_fewer_faults(first.fault_schedule, breaks)
    done = settings.simulate_in(algorithm, fault_schedule)
    cluster, steps = done.cluster, done.steps
    found = done.violations
    if kind in STEPWISE:
        replayed = _with_fewer_steps(algorithm, fault_schedule, settings.fault_model, steps, kind, until)
        if seen := [violation for violation in replayed.violations if violation.kind in settings.look_for]:
            cluster, found = replayed, seen
            steps = [happened.step for happened in cluster.happened]
    final_status: dict[str, object] = {
        name: _status_of(node.instance) if node.instance else None for name, node in cluster.nodes.items()
    }
    return ShrunkSeed(fault_schedule, found, steps, cluster.story, final_status, len(first.steps))


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
    for candidate in (
        replace(fault_schedule, clocks=tuple(1.0 for _ in fault_schedule.clocks)),
        replace(fault_schedule, turns=ONE_INPUT),
    ):
        if breaks(candidate):
            fault_schedule = candidate
    faults = _fewest(fault_schedule.faults, lambda kept: breaks(replace(fault_schedule, faults=tuple(kept))))
    for place, plot in enumerate(faults):
        if isinstance(plot, ScheduledPlot):
            put = partial(_with, fault_schedule, faults, place)
            faults[place] = _with_less(plot, lambda less: breaks(put(less)))  # noqa: B023 - called at once
    fewer = replace(fault_schedule, faults=tuple(faults))
    calls = _fewest(fewer.calls, lambda kept: breaks(replace(fewer, calls=tuple(kept))))
    return _with_fewer_settings(replace(fewer, calls=tuple(calls)), breaks)


def _with_fewer_settings(fault_schedule: FaultSchedule, breaks: Callable[[FaultSchedule], bool]) -> FaultSchedule:
    """Return a fault schedule that still breaks the property, with the fewest settings that are not as shipped."""

    def with_settings(kept: Sequence[tuple[str, int]]) -> FaultSchedule:
        return replace(fault_schedule, tuning=tuning_of(dict(kept)))

    def breaks_with(kept: Sequence[tuple[str, int]]) -> bool:
        try:
            return breaks(with_settings(kept))
        except BadSetting:  # some do not go together
            return False

    return with_settings(_fewest(list(fault_schedule.tuning.changed().items()), breaks_with))


def _with(
    fault_schedule: FaultSchedule, faults: list[ScheduledEvent], place: int, fault: ScheduledEvent
) -> FaultSchedule:
    return replace(fault_schedule, faults=(*faults[:place], fault, *faults[place + 1 :]))


def _with_less(plot: ScheduledPlot, breaks: Callable[[ScheduledPlot], bool]) -> ScheduledPlot:
    """Return a plot of which fewer events follow."""
    return replace(plot, then=tuple(_fewest(plot.then, lambda some: breaks(replace(plot, then=tuple(some))))))


def _with_fewer_steps(
    algorithm: type[Algorithm],
    fault_schedule: FaultSchedule,
    fault_model: FaultModel,
    steps: list[Step],
    kind: str,
    until: float,
) -> VirtualCluster:
    """Remove steps until no single one can be removed. Return a cluster to which the rest have happened.

    The steps of that cluster include the turns in which nodes take in their own messages.
    """

    def replayed(candidate: Sequence[Step], *, at_once: bool) -> VirtualCluster:
        cluster = VirtualCluster(
            algorithm, fault_schedule.members, fault_model, fault_schedule.newcomers, fault_schedule.tuning
        )
        for step in candidate:
            if run(cluster, [_possible_part(cluster, step)], skip_impossible=True) and at_once:
                run(cluster, cluster.own_turns())
        cluster.judge.check_end(cluster.nodes.values())
        return cluster

    def breaks(cluster: VirtualCluster) -> bool:
        return any(violation.kind == kind for violation in cluster.violations)

    # The schedule is easier to read if each input has a turn of its own, and if nodes take in their own messages at once. Some
    # violations need turns of several inputs, or the delay.
    alone = [each for step in steps for each in inputs_of(step)]
    for whole, at_once in ((alone, True), (steps, True), (alone, False), (steps, False)):
        tried = [step for step in whole if not (at_once and isinstance(step, TakeOwnMessages))]
        cluster = replayed(tried, at_once=at_once)
        if breaks(cluster):
            break
    else:
        return cluster

    def still_breaks(candidate: list[Step]) -> bool:
        return time.monotonic() < until and breaks(replayed(candidate, at_once=at_once))

    kept = _fewest(tried, still_breaks)
    for place, turn in enumerate(kept):
        if isinstance(turn, Turn):
            before, after = kept[:place], kept[place + 1 :]
            kept[place] = _with_fewer_inputs(turn, lambda less: still_breaks([*before, less, *after]))  # noqa: B023 - called at once
    return replayed(kept, at_once=at_once)


def _with_fewer_inputs(turn: Turn, breaks: Callable[[Step], bool]) -> Step:
    inputs = _fewest(turn.inputs, lambda some: breaks(replace(turn, inputs=tuple(some))))
    return inputs[0] if len(inputs) == 1 else replace(turn, inputs=tuple(inputs))


def _possible_part(cluster: VirtualCluster, step: Step) -> Step:
    """Return a turn with those of its inputs that can happen now, and any other step as it is."""
    if not isinstance(step, Turn):
        return step
    return replace(step, inputs=tuple(each for each in step.inputs if cluster.can_happen(each)))


def _fewest(items: Sequence[_Item], breaks: Callable[[list[_Item]], bool]) -> list[_Item]:
    """Return items that still break the property and of which no single one can be removed."""
    from harness.runs.shrink import minimise  # noqa: PLC0415 - imports much, and only a failure needs it

    if breaks([]):
        return []
    return minimise(items, lambda candidates: next((at for at, kept in enumerate(candidates) if breaks(kept)), None))
