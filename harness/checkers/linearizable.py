"""The checker of linearizability: whether all answers that the clients of a run received fit one order.

`object_linearizability.py` decides it for each object.
"""

from typing import Final

from harness.checkers.evidence import RunEvidence
from harness.checkers.jit_linearizability import TooHard
from harness.checkers.models import ConsensusModel
from harness.checkers.object_linearizability import certify, find_contradiction
from harness.checkers.sequential_model import Model, calls_of
from harness.checkers.verdict import Found, Verdict, checker, invalid, unknown, valid
from node.wording import count

_CONSENSUS: Final = ConsensusModel()


@checker
def linearizable(run: RunEvidence, model: Model = _CONSENSUS) -> Verdict:
    """Check, key by key, that the calls of a run have an order that real time and the model allow.

    Args:
        run: the evidence; only its history counts, and its receipts if faults were expected.
        model: the sequential model of one key. Calls with other functions are ignored.

    Returns:
        Invalid with one sentence for each key that has no order. Unknown if no call was answered, if an expected fault did
        not bite, or if a key was too hard to search.
    """
    operations = [operation for operation in run.history.operations if operation.f in model.functions]
    times = {event.index: run.history.seconds(event.time) for event in run.history.events}
    too_hard = []
    with Found() as found:
        for key, calls in calls_of(operations, model).items():
            try:
                violation = find_contradiction(calls, model)
            except TooHard as error:
                too_hard.append(f"{key}: {error}")
                continue
            if violation is not None:
                found.append(f"{key}: {certify(calls, model, violation, times.get).sentence}")
    if found:
        return invalid(*found)
    reason = run.why_untested(operations) or next(iter(too_hard), None)
    if reason is not None:
        return unknown(reason)
    answered = sum(operation.outcome == "ok" for operation in operations)
    name = type(model).__name__.removesuffix("Model")
    return valid(f"the calls have an order that the model {name} allows ({count(answered, 'answer')})")
