"""Liveness: once everything is whole again, every node answers, within a stated time.

This asks more than fault tolerance, which is about the time while things are broken: an algorithm that a fault has left
stuck for ever, though every node is up and every link is whole, fails here.
"""

from harness.checkers.evidence import RunEvidence, was_answered
from harness.checkers.verdict import Verdict, checker, count, invalid, unknown, valid
from harness.records.jsonable import shown


@checker
def liveness(run: RunEvidence, healed_ns: int, within_s: float) -> Verdict:
    """Whether every call that began after `healed_ns` was answered within `within_s` seconds."""
    asked = [operation for operation in run.calls if operation.invoke.time >= healed_ns]
    found = []
    slowest_s = 0.0
    for operation in asked:
        invoke, completion = operation.invoke, operation.completion
        took_s = None if completion is None else (completion.time - invoke.time) / 1e9
        if was_answered(operation) and took_s is not None and took_s <= within_s:
            slowest_s = max(slowest_s, took_s)
            continue
        what = invoke.f if invoke.value is None else f"{invoke.f} of {shown(invoke.value)}"
        how = f"was refused ({completion.error})" if completion and operation.outcome == "fail" else "had no answer"
        found.append(
            f"{what} for {operation.key} at {invoke.node or 'any node'} {how} within {within_s:g} s, "
            f"and everything had been whole since {run.history.seconds(healed_ns):.2f} s"
        )
    if found:
        return invalid(*found)
    if not asked:
        return unknown("nothing was asked once everything was whole")
    return valid(f"{count(len(asked), 'call')} after the heal were answered, the slowest in {slowest_s:.2f} s")
