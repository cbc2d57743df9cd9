"""Tries one change: runs the cases that reach it, until one shows it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from harness.mutation.cases import Case, first_failure, simulated
from harness.mutation.changes import SourceChange
from harness.mutation.patched_module import patch

#: How many of the cheapest seeds come before the tests: most changes break at once.
_FIRST_SEEDS: Final = 8


class Fate(StrEnum):
    """What became of a change."""

    KILLED = "killed"
    SURVIVED = "survived"
    NOT_REACHED = "not reached"
    EQUIVALENT = "equivalent"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a change, and by what: the case that has shown it, or the reason why none can."""

    change: SourceChange
    fate: Fate
    by: str
    cases: int = 0
    """How many cases ran on it."""


@dataclass(frozen=True, slots=True)
class CasePlan:
    """The cases that a change is tried with, in this order: some seeds, the tests, more seeds."""

    first: tuple[Case, ...]
    tests: tuple[Case, ...]
    more: tuple[Case, ...]

    @property
    def cpu_s(self) -> float:
        """The processor time that the cases take without the change, in seconds."""
        return sum(case.cpu_s for case in (*self.first, *self.tests, *self.more))

    def __len__(self) -> int:
        return len(self.first) + len(self.tests) + len(self.more)


def cases_for(change: SourceChange, cases: Sequence[Case], seconds: float) -> CasePlan:
    """Choose the cases that reach a change, for `seconds` of seeds and as much of tests.

    The cheapest of each group comes first, then the second of each group, and so on: the tests of a file, or the seeds of an
    algorithm, are alike, and many cheap ones of one group show less than one of another.

    A case that runs anything of the module reaches what runs when it is imported.
    """
    reaching = [
        case
        for case in cases
        if (change.at_import and change.module in case.lines)
        or case.reaches(change.module, change.line, change.last_line)
    ]
    chosen = {kind: _within([case for case in reaching if case.kind == kind], seconds) for kind in ("seed", "test")}
    return CasePlan(tuple(chosen["seed"][:_FIRST_SEEDS]), tuple(chosen["test"]), tuple(chosen["seed"][_FIRST_SEEDS:]))


def _within(cases: list[Case], seconds: float) -> list[Case]:
    places: Counter[str] = Counter()
    ranked: list[tuple[int, float, Case]] = []
    for case in sorted(cases, key=lambda case: case.cpu_s):
        ranked.append((places[case.group], case.cpu_s, case))
        places[case.group] += 1
    chosen, used = [], 0.0
    for _, cpu_s, case in sorted(ranked, key=lambda one: one[:2]):
        if used + cpu_s <= seconds:
            chosen.append(case)
            used += cpu_s
    return chosen


def try_change(change: SourceChange, source: str, plan: CasePlan) -> dict[str, Any]:
    """Run the cases on the changed module, and return the first that shows the change, as `by`.

    It runs in a process that ends afterwards.
    """
    patch(change.module, change.applied(source))
    if by := _first_seed(plan.first):
        return {"by": by}
    if plan.tests and (failed := first_failure(plan.tests)):
        return {"by": f"test {failed}"}
    return {"by": _first_seed(plan.more)}


def _first_seed(cases: Sequence[Case]) -> str:
    for case in cases:
        case.limit()
        algorithm, _, seed = case.name.rpartition(" ")
        if new := set(simulated(algorithm, int(seed))) - set(case.findings):
            return f"simulate {algorithm}, seed {seed}: {', '.join(sorted(new))}"
    return ""
