"""Guards: ways in which a suite fools itself, each looked for in every run. A run that one of them finds has shown nothing.

| guard | what has fooled suites |
|---|---|
| every step fired | a nemesis that never fired |
| every receipt has bitten | a fault that was injected and did nothing |
| calls were in flight | faults on a cluster that nobody was using, or that was dead already |
| each kind of call succeeded | a workload of which half never worked |
| every node came back | a kill that left a node down for the rest |
| the judges judge | a checker that passes everything, or whose crash counts as a pass: see `known_bad` |
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.checkers.evidence import RunEvidence, ended_ns
from harness.checkers.known_bad import Checker, undetected
from harness.checkers.verdict import Verdict, checker, count, unknown, valid


@dataclass(frozen=True, slots=True)
class PlanExecution:
    """What became of a plan: how many steps it has, how many fired, why one did not that should have, who is down."""

    steps: int
    fired: int
    trouble: Sequence[str] = ()
    down: Sequence[str] = ()


@checker
def guards(
    run: RunEvidence,
    carried: PlanExecution,
    functions: Iterable[str],
    judges: Mapping[str, Checker],
    bad: Mapping[str, RunEvidence] | None = None,
) -> Verdict:
    """Valid if the run was a test. `bad` is what the judges are tried by, as for `undetected`."""
    for why in (
        _fired(run, carried),
        _in_flight(run),
        _succeeded(run, functions),
        None if not carried.down else f"{', '.join(carried.down)} had not come back at the end",
        undetected(judges, bad),
    ):
        if why is not None:
            return unknown(why, no_test=True)
    if not carried.steps:
        return valid("the plan has no faults, so nothing was tried by any; the judges judge")
    return valid(f"{carried.fired} of {count(carried.steps, 'step')} fired, with calls in flight, and the judges judge")


def _fired(run: RunEvidence, carried: PlanExecution) -> str | None:
    if carried.trouble:
        return carried.trouble[0]
    if carried.steps and not carried.fired:
        return f"none of {count(carried.steps, 'step')} fired"
    for receipt in run.receipts:
        if not receipt.bit:
            return f"{receipt.fault} did not bite: nobody but its injector saw it"
    return None


def _in_flight(run: RunEvidence) -> str | None:
    """One call during one fault at least; a fault that fell between two calls may have been meant to."""
    if not run.receipts:
        return None
    if any(
        receipt.during(operation.invoke.time, int(min(ended_ns(operation), 2**62)))
        for receipt in run.receipts
        for operation in run.calls
    ):
        return None
    return "no call was in flight while any fault lasted"


def _succeeded(run: RunEvidence, functions: Iterable[str]) -> str | None:
    for f in functions:
        outcomes = [operation.outcome for operation in run.calls if operation.f == f]
        if "ok" not in outcomes:
            return f"no {f} succeeded, of {len(outcomes)}"
    return None
