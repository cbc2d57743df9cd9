"""Shrinks a plan that violates a promise to the fewest steps that still violate it: delta debugging, with real runs.

Zeller and Hildebrandt, *Simplifying and Isolating Failure-Inducing Input* (2002): try parts of the steps, then the steps
without a part, in ever finer parts, until no single step can be taken away.

Rules that real runs add
------------------------
1. A plan may violate a promise in some runs only. So the whole plan runs first, a few times. A part that violates runs again,
   and is taken only if it violates in `STEADY` of `OF` runs, so that the smallest plan replays. If the whole plan does not
   violate so often, one violation is enough, and the rate says so. A part that does not violate is only not taken, and when no
   step can be taken away any more, the whole search runs once more.
2. A part counts if it breaks the **same promise** as the run did.
3. When no step can be taken away, the settings are set back to what is shipped, as many as the violation does not need.
4. Nodes that are not ours elect leaders by timers of their own, so a fault at a time strikes another role in each run. So steps
   are tied to the messages at which they struck (`harness/runs/struck_events.py`), if the plan violates as often then.
5. Runs cost time. So a plan is made compact before it runs: idle time between its faults is removed, and it ends soon after
   the last fault. A run ends as soon as two clients got different values.
"""

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from cluster.errors import ConsensusError
from harness.runs.plan import Plan, PlanStep
from harness.runs.progress import ShowLine, show_nothing
from harness.runs.struck_events import tied_steps
from harness.runs.suite import PlanResult, run_plan
from node.tuning import BadSetting, tuning_of
from node.wording import count

_LEAD_S: Final = 0.5
_TAIL_S: Final = 1.0
CONFIRMATIONS: Final = 4
#: A plan is steady if it violates the promise in so many of so many runs.
STEADY: Final = 2
OF: Final = 3
_PASSES: Final = 2

Item = TypeVar("Item")


class NotAgain(ConsensusError):
    """The whole plan did not violate the promise again, so it cannot be shrunk."""


def minimise(items: Sequence[Item], first_that_fails: Callable[[list[list[Item]]], int | None]) -> list[Item]:
    """Find a smallest part of `items` that still fails.

    Args:
        items: these fail together.
        first_that_fails: takes candidates, the likeliest first, and returns the place of one that fails, or None.

    Returns:
        Items in their order. The result is 1-minimal: without any single one of them it did not fail.
    """
    left, parts = list(items), 2
    while len(left) > 1:
        size = -(-len(left) // parts)
        chunks = [left[start : start + size] for start in range(0, len(left), size)]
        others = [[item for chunk in chunks if chunk is not one for item in chunk] for one in chunks]
        candidates = [*chunks, *others] if len(chunks) > 2 else chunks
        found = first_that_fails(candidates)
        if found is not None and found < len(chunks):
            left, parts = chunks[found], 2
        elif found is not None:
            left, parts = candidates[found], max(len(chunks) - 1, 2)
        elif size == 1:
            break
        else:
            parts = min(2 * len(chunks), len(left))
    return left


def compact(plan: Plan) -> Plan:
    """Return the same steps, with at most `_LEAD_S` seconds before and between them in which no fault is in force.

    Nodes that are not ours may need longer to elect a leader, so their steps stay where they are, and only the end is cut off.
    """
    lead_s = _LEAD_S if plan.system is None else plan.time_s
    steps: list[PlanStep] = []
    until_s = shift_s = 0.0
    for step in sorted(plan.steps, key=lambda step: step.at_s):
        shift_s += max(step.at_s - shift_s - until_s - lead_s, 0.0)
        at_s = round(step.at_s - shift_s, 3)
        steps.append(replace(step, at_s=at_s))
        until_s = max(until_s, at_s + step.for_s)
    return replace(plan, time_s=round(min(plan.time_s, until_s + _TAIL_S), 3), steps=tuple(steps))


@dataclass(frozen=True, slots=True)
class ShrunkPlan:
    """The smallest plan that was found, with its run, the promise, the steps before, and the number of runs.

    `again` is in how many of its own runs this plan has violated the promise, and how many these were.
    """

    result: PlanResult
    promise: str
    steps_before: int
    runs: int
    again: tuple[int, int]


class Shrinker:
    """Shrinks one plan. Each run has a folder of its own; only the folder of the smallest plan's run is kept."""

    def __init__(
        self,
        plan: Plan,
        promise: str,
        kept: Path,
        *,
        workers: int = 2,
        show: ShowLine = show_nothing,
        run: Callable[..., PlanResult] = run_plan,
    ) -> None:
        """Prepare to shrink.

        Args:
            plan: violates the promise.
            promise: the name of the verdict that must come out invalid.
            kept: where the folder of the smallest plan's run goes: a folder that is missing or empty.
            workers: how many runs are made at a time.
            show: called with a line for each run.
            run: makes and judges a run.
        """
        self._plan, self._promise, self._kept = plan, promise, kept
        self._workers, self._show, self._run = workers, show, run
        self._scratch = kept.with_name(kept.name + ".trying")
        self._runs = 0
        self._best: PlanResult | None = None
        self._again = (0, 0)
        self._steady = STEADY

    def shrink(self) -> ShrunkPlan:
        """Shrink the plan. Raises NotAgain if the whole plan does not violate the promise again."""
        try:
            self._confirm()
            steps = list(self._plan.steps)
            if self._first_that_violates([[]]) is not None:
                steps = []  # the promise breaks without any fault
            for _ in range(_PASSES):
                steps = minimise(self._tie(steps), self._first_that_violates)
            self._shrink_settings(steps)
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)
        assert self._best is not None
        return ShrunkPlan(self._best, self._promise, len(self._plan.steps), self._runs, self._again)

    def _confirm(self) -> None:
        """Run the whole plan until it is found steady. Otherwise one violation of any plan is enough from now on."""
        whole = [list(self._plan.steps)] * CONFIRMATIONS
        if self._first_that_violates(whole) is not None:
            return
        self._steady = 1
        if self._best is None:
            raise NotAgain(
                f"{self._promise} was not violated again in {count(CONFIRMATIONS, 'run')} of the whole plan, so it cannot be "
                "shrunk: `consensus replay --times 20` says how often it is violated"
            )
        self._show(f"the whole plan violates {self._promise} in fewer than {STEADY} of {OF} runs, so one is enough")

    def _tie(self, steps: list[PlanStep]) -> list[PlanStep]:
        """Return the steps tied to the messages at which they struck, if they violate the promise so, too."""
        assert self._best is not None
        tied = tied_steps(self._best) if len(self._best.plan.steps) == len(steps) else None
        if (
            tied is None or self._first_that_violates([tied, tied]) is None
        ):  # twice, since it may violate in some runs only
            return steps
        return tied

    def _shrink_settings(self, steps: list[PlanStep]) -> None:
        """Set back to what is shipped each setting that the violation does not need."""
        if not self._plan.settings:
            return

        def first_that_violates(candidates: list[list[tuple[str, int]]]) -> int | None:
            for place, candidate in enumerate(candidates):
                before = self._plan
                try:
                    self._plan = replace(before, settings=tuning_of(dict(candidate)).changed())
                except BadSetting:  # some do not go together
                    continue
                if self._first_that_violates([steps]) is not None:
                    return place
                self._plan = before
            return None

        if first_that_violates([[]]) is None:
            minimise(list(self._plan.settings.items()), first_that_violates)

    def _first_that_violates(self, candidates: list[list[PlanStep]]) -> int | None:
        """Run candidates, a few at a time, until one violates the promise. Returns its place, or None."""
        with ThreadPoolExecutor(self._workers) as pool:
            for start in range(0, len(candidates), self._workers):
                batch = candidates[start : start + self._workers]
                for place, result in enumerate(list(pool.map(self._try, batch)), start):
                    if self._promise not in result.violated:
                        continue
                    more = list(pool.map(self._try, [candidates[place]] * (OF - 1))) if self._steady > 1 else []
                    again = 1 + sum(self._promise in other.violated for other in more)
                    if again >= self._steady or self._best is None:
                        self._keep(result, (again, 1 + len(more)))
                    if again >= self._steady:
                        return place
        return None

    def _try(self, steps: list[PlanStep]) -> PlanResult:
        self._runs += 1
        number = self._runs
        plan = compact(self._plan.with_steps(tuple(steps)))
        result = self._run(plan, self._scratch / f"{number:03}", stop_early=True, shrunk_for=self._promise)
        violates = self._promise in result.violated
        how = f"{'violates' if violates else 'does not violate'} {self._promise} (the run is {result.verdict.status})"
        self._show(f"run {number}: {len(steps)} of {count(len(self._plan.steps), 'step')}, {plan.time_s:g} s: {how}")
        return result

    def _keep(self, result: PlanResult, again: tuple[int, int]) -> None:
        """Keep the folder of the smallest plan up to now, and delete the one before. `again` is that of `ShrunkPlan`."""
        if self._best is not None and _size(result.plan) > _size(self._best.plan):
            return
        if self._best is not None:
            shutil.rmtree(self._kept, ignore_errors=True)
        result.folder.rename(self._kept)  # also over an empty folder
        self._best, self._again = replace(result, folder=self._kept), again


def _size(plan: Plan) -> tuple[int, int]:
    return len(plan.steps), len(plan.settings)
