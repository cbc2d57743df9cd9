"""The checker of liveness: after all faults have healed, every node answers within a stated time.

Fault tolerance is about the time during which faults are in force. Liveness asks for more: an algorithm that a fault has left
stuck for ever, although every node is up and every link is whole, breaks liveness.
"""

from typing import Final

from harness.checkers.evidence import RunEvidence, was_answered
from harness.checkers.verdict import Found, Verdict, checker, invalid, unknown, valid
from harness.records.history import API, GIVEN_UP
from harness.records.jsonable import shown
from node.wording import count

#: The part of the time for an answer that the machine may take before nothing is owed. The rest suffices for an election.
_SPARE: Final = 0.4


@checker
def liveness(run: RunEvidence, healed_ns: int, within_s: float) -> Verdict:
    """Check that every call that began after the heal was answered in time.

    Args:
        run: the evidence; only its history counts.
        healed_ns: when every node was up and every link whole again, in nanoseconds of the harness's clock.
        within_s: how long an answer may take, in seconds. A call without one is not judged if the machine has taken much of it.
    """
    later = [operation for operation in run.calls if operation.invoke.time >= healed_ns]
    slowest_s, stalled = 0.0, 0
    with Found() as found:
        for operation in later:
            invoke, completion = operation.invoke, operation.completion
            took_s = None if completion is None else (completion.time - invoke.time) / 1e9
            if was_answered(operation) and took_s is not None and took_s <= within_s:
                slowest_s = max(slowest_s, took_s)
                continue
            # A client that stays at one node, or that loses messages by itself, is owed no answer. A call of the API that takes
            # several steps has no time of its own either, but must end.
            error = (completion and completion.error) or ""
            if invoke.timeout_s is None and (
                operation.outcome == "fail" or error == GIVEN_UP or not invoke.process.startswith(API)
            ):
                continue
            # A call that its client could not send in time has waited for an answer as one that was sent. So has one that is
            # refused too late: its lease may have ended meanwhile.
            is_late = took_s is not None and took_s > within_s
            waited = operation.outcome != "fail" or error.startswith("not_sent:") or is_late
            if waited and run.allowance_s(invoke.time, invoke.time + int(within_s * 1e9)) > within_s * _SPARE:
                stalled += 1
                continue
            what = invoke.f if invoke.value is None else f"{invoke.f} of {shown(invoke.value)}"
            how = f"was refused ({error})" if operation.outcome == "fail" else "had no answer"
            found.append(
                f"{what} for {operation.key} at {invoke.node or 'any node'} {how} within {within_s:g} s, "
                f"although all faults had healed by {run.history.seconds(healed_ns):.2f} s"
            )
    if found:
        return invalid(*found)
    if not later:
        return unknown("no client made a call after all faults had healed")
    if stalled:
        return unknown(
            f"{count(stalled, 'call')} had no answer within {within_s:g} s, and the machine stalled meanwhile"
        )
    return valid(f"{count(len(later), 'call')} after the heal were answered, the slowest in {slowest_s:.2f} s")
