"""Is all that clients were told in a run linearizable? `decide.py` does it, object by object."""

from typing import Final

from harness.checkers.decide import certificate, decide
from harness.checkers.evidence import RunEvidence
from harness.checkers.jit_linearizability import TooHard
from harness.checkers.models import ConsensusModel, Model, calls_of
from harness.checkers.verdict import Verdict, checker, count, invalid, unknown, valid

_CONSENSUS: Final = ConsensusModel()


@checker
def linearizable(run: RunEvidence, model: Model = _CONSENSUS) -> Verdict:
    """Whether all that clients were told has an order, key by key."""
    operations = [operation for operation in run.history.operations if operation.f in model.functions]
    times = {event.index: run.history.seconds(event.time) for event in run.history.events}
    found, too_hard = [], []
    for key, calls in calls_of(operations, model).items():
        try:
            violation = decide(calls, model)
        except TooHard as error:
            too_hard.append(f"{key}: {error}")
            continue
        if violation is not None:
            found.append(f"{key}: {certificate(calls, model, violation, times.get)[0]}")
    if found:
        return invalid(*found)
    reason = run.shows_nothing(operations) or next(iter(too_hard), None)
    if reason is not None:
        return unknown(reason)
    answered = sum(operation.outcome == "ok" for operation in operations)
    return valid(f"{type(model).__name__.removesuffix('Model')} allows an order of {count(answered, 'answer')}")
