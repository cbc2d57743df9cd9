"""Guards: checks that a run was a test at all. If a guard fails, the run has shown nothing.

Each guard looks for a mistake that test suites have made:

| guard | the mistake |
|---|---|
| every step fired | a nemesis that never fired |
| every receipt has bitten | a fault that was injected and had no effect |
| calls were in flight | faults on a cluster that no client was using, or that was dead already |
| each kind of call succeeded | a workload of which half never worked: a kind that was not asked, or `_OFTEN` times in vain |
| every node came back | a kill that left a node down for the rest of the run |
| the checkers work | a checker that passes everything, or whose crash counts as a pass: see `known_bad.py` |
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from harness.checkers.evidence import Checker, RunEvidence, ended_ns
from harness.checkers.known_bad import BadRuns, undetected
from harness.checkers.verdict import Verdict, checker, unknown, valid
from harness.records.history import RecordedCall
from node.wording import count

#: So many calls of one kind without any success are no accident. Fewer may each have met a fault, or have been refused rightly.
_OFTEN: Final = 5


@dataclass(frozen=True, slots=True)
class PlanExecution:
    """What a run carried out of its plan.

    Attributes:
        steps: how many steps the plan has.
        fired: how many of them fired.
        trouble: one sentence for each step that should have fired and did not, with the reason.
        down: the nodes that were down when the run ended.
    """

    steps: int
    fired: int
    trouble: Sequence[str] = ()
    down: Sequence[str] = ()


@checker
def guards(
    run: RunEvidence,
    execution: PlanExecution,
    functions: Iterable[str],
    checkers: Mapping[str, Checker],
    bad_runs: Mapping[str, BadRuns] | None = None,
) -> Verdict:
    """Check that a run was a test.

    Args:
        run: the evidence of the run.
        execution: what the run carried out of its plan.
        functions: the kinds of calls that must have been asked, and have succeeded if they were asked often.
        checkers: the checkers that judge the run, by name.
        bad_runs: the known bad runs of each checker, as for `undetected`.

    Returns:
        Valid if every guard passes; otherwise unknown with `no_test`, and the first guard that failed.
    """
    for why in (
        _faults_bit(run, execution),
        _calls_in_flight(run),
        _calls_succeeded(run, functions),
        None if not execution.down else f"{', '.join(execution.down)} had not come back when the run ended",
        undetected(checkers, bad_runs),
    ):
        if why is not None:
            return unknown(why, no_test=True)
    if not execution.steps:
        return valid("the plan has no faults, so the run tested none; the checkers find their known bad runs")
    fired = f"{execution.fired} of {count(execution.steps, 'step')} fired"
    return valid(f"{fired} while calls were in flight, and the checkers find their known bad runs")


def _faults_bit(run: RunEvidence, execution: PlanExecution) -> str | None:
    if execution.trouble:
        return execution.trouble[0]
    if execution.steps and not execution.fired:
        return f"none of {count(execution.steps, 'step')} fired"
    if execution.fired and not run.receipts:
        return f"{count(execution.fired, 'step')} fired and left no receipt"
    return run.why_unbitten()


def _calls_in_flight(run: RunEvidence) -> str | None:
    """Return why no call was in flight. One call during one fault is enough: a plan may place a fault between two calls."""
    if not run.receipts:
        return None
    if any(
        receipt.during(operation.invoke.time, int(min(ended_ns(operation), 2**62)))
        for receipt in run.receipts
        for operation in run.calls
    ):
        return None
    return "no call was in flight while any fault was in force"


def _calls_succeeded(run: RunEvidence, functions: Iterable[str]) -> str | None:
    for f in functions:
        asked = [operation for operation in run.calls if operation.f == f]
        if not any(_succeeded(operation) for operation in asked) and not 0 < len(asked) < _OFTEN:
            return f"no {f} succeeded, of {len(asked)}"
    return None


def _succeeded(operation: RecordedCall) -> bool:
    """Return whether a call worked. A log may keep no history at all: then a watch has worked that is told so."""
    error = operation.completion.error if operation.completion is not None else None
    return operation.outcome == "ok" or (error or "").startswith("compacted:")
