"""Shrinks a plan that violates a promise to the fewest steps that still do: delta debugging, with real runs.

Zeller and Hildebrandt, *Simplifying and Isolating Failure-Inducing Input* (2002): try parts of the steps, then what is left
without a part, in ever finer parts, until no single step can be taken away.

What real runs add
------------------
1. A run may violate by chance or not. So the whole plan is tried first, a few times; a part that fails to violate is only
   not taken, and when nothing can be taken away any more, everything is tried once more.
2. A part counts if it breaks the **same promise** as the run did, not just any.
3. Runs cost time. A plan is made compact before it is run: idle time between its faults is cut out, and it ends soon after
   the last; and a run ends as soon as two clients were told two values.
"""

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from cluster.errors import ConsensusError
from harness.runs.plan import Plan, PlanStep
from harness.runs.suite import PlanResult, run_plan

_LEAD_S: Final = 0.5
_TAIL_S: Final = 1.0
CONFIRMATIONS: Final = 4
_PASSES: Final = 2

Item = TypeVar("Item")
Tell = Callable[[str], None]


class NotAgain(ConsensusError):
    """The violation did not come again, so nothing can be said about parts of its plan."""


def minimise(items: Sequence[Item], first_that_fails: Callable[[list[list[Item]]], int | None]) -> list[Item]:
    """The fewest items of which `first_that_fails` still finds a failure, in their order.

    It is given candidates, the likeliest first, and returns the place of one that fails, or None. The result is
    1-minimal: without any single one of its items it did not fail.
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
    """The same steps, with no more time than `_LEAD_S` before them and between them in which nothing is in force."""
    steps: list[PlanStep] = []
    until_s = shift_s = 0.0
    for step in sorted(plan.steps, key=lambda step: step.at_s):
        shift_s += max(step.at_s - shift_s - until_s - _LEAD_S, 0.0)
        at_s = round(step.at_s - shift_s, 3)
        steps.append(replace(step, at_s=at_s))
        until_s = max(until_s, at_s + step.for_s)
    return replace(plan, time_s=round(min(plan.time_s, until_s + _TAIL_S), 3), steps=tuple(steps))


@dataclass(frozen=True, slots=True)
class ShrunkPlan:
    """The smallest plan that was found, the run that it was seen in, and how many runs that took."""

    result: PlanResult
    promise: str
    steps_before: int
    runs: int


class Shrinker:
    """Shrinks one plan, with runs in folders of their own below `scratch`; the smallest one's is kept as `kept`."""

    def __init__(
        self,
        plan: Plan,
        promise: str,
        kept: Path,
        *,
        workers: int = 2,
        tell: Tell = lambda _line: None,
        run: Callable[..., PlanResult] = run_plan,
    ) -> None:
        """`promise` is the name of the verdict that must come out invalid; `run` makes and judges a run."""
        self._plan, self._promise, self._kept = plan, promise, kept
        self._workers, self._tell, self._run = workers, tell, run
        self._scratch = kept.with_name(kept.name + ".trying")
        self._runs = 0
        self._best: PlanResult | None = None

    def shrink(self) -> ShrunkPlan:
        """Raises NotAgain if the whole plan does not violate any more."""
        try:
            whole = [list(self._plan.steps)]
            if self._first_that_violates(whole * CONFIRMATIONS) is None:
                raise NotAgain(
                    f"{self._promise} was not violated again in {CONFIRMATIONS} runs of the whole plan, so there is nothing "
                    "to shrink by: `consensus replay --times 20` says how rare it is"
                )
            steps = list(self._plan.steps)
            if self._first_that_violates([[]]) is not None:
                steps = []  # no fault is needed
            for _ in range(_PASSES):
                steps = minimise(steps, self._first_that_violates)
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)
        assert self._best is not None
        return ShrunkPlan(self._best, self._promise, len(self._plan.steps), self._runs)

    def _first_that_violates(self, candidates: list[list[PlanStep]]) -> int | None:
        """Run them, a few at a time, until one violates."""
        with ThreadPoolExecutor(self._workers) as pool:
            for start in range(0, len(candidates), self._workers):
                batch = candidates[start : start + self._workers]
                for place, result in enumerate(pool.map(self._try, batch), start):
                    if self._promise in result.violated:
                        self._keep(result)
                        return place
        return None

    def _try(self, steps: list[PlanStep]) -> PlanResult:
        self._runs += 1
        number = self._runs
        plan = compact(self._plan.with_steps(tuple(steps)))
        result = self._run(plan, self._scratch / f"{number:03}", stop_early=True)
        how = f"violates {self._promise}" if self._promise in result.violated else f"does not ({result.verdict.status})"
        self._tell(f"run {number}: {len(steps)} of {len(self._plan.steps)} steps, {plan.time_s:g} s: {how}")
        return result

    def _keep(self, result: PlanResult) -> None:
        """The smallest yet; the one before is not needed any more."""
        if self._best is not None and len(result.plan.steps) > len(self._best.plan.steps):
            return
        shutil.rmtree(self._kept, ignore_errors=True)
        shutil.move(result.folder, self._kept)
        self._best = replace(result, folder=self._kept)
