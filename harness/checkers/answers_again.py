"""The checker of liveness for systems that are not ours: after the heal each thing that clients ask is answered at last.

Such a system may refuse calls for a while, for instance as long as it elects a leader. So the clients of the last round ask
again, and one answer to each call is enough. `liveness.py` demands more of our own algorithms: each call is answered.
"""

from collections import defaultdict
from typing import Final

from harness.checkers.evidence import RunEvidence, was_answered
from harness.checkers.verdict import Found, Verdict, checker, invalid, unknown, valid
from harness.records.history import RecordedCall
from harness.records.jsonable import canonical, shown
from node.wording import count

#: How the error of a call begins that has failed because of the class of its client, which is not the system under test.
CLIENT_FAILED: Final = "the client "


@checker
def answers_again(run: RunEvidence, healed_ns: int, within_s: float) -> Verdict:
    """Check that of each call that clients made after the heal, again and again if need be, one was answered.

    Args:
        run: the evidence; only its history counts.
        healed_ns: when every node was up and every link whole again, in nanoseconds of the harness's clock.
        within_s: how long the clients have asked, in seconds. If the machine stalled meanwhile, the verdict is unknown.
    """
    asked: dict[tuple[str, str, str | None, str], list[RecordedCall]] = defaultdict(list)
    for operation in run.calls:
        invoke = operation.invoke
        if invoke.time >= healed_ns:
            asked[invoke.f, invoke.key, invoke.node, canonical(invoke.value)].append(operation)
    stalled, failed, slowest_s = 0, list[str](), 0.0
    with Found() as found:
        for attempts in asked.values():
            first, last = attempts[0].invoke, attempts[-1]
            answers = [one.completion.time for one in attempts if was_answered(one) and one.completion is not None]
            if answers:
                slowest_s = max(slowest_s, (answers[0] - first.time) / 1e9)
                continue
            errors = [one.completion.error or "" for one in attempts if one.completion is not None]
            if errors and all(error.startswith(CLIENT_FAILED) for error in errors):
                failed.append(errors[-1])
                continue
            if run.allowance_s(first.time, first.time + int(within_s * 1e9)) > 0:
                stalled += 1
                continue
            what = first.f if first.value is None else f"{first.f} of {shown(first.value)}"
            about = f" for {first.key}" if first.key else ""
            why = last.completion.error if last.completion is not None else "no answer"
            found.append(
                f"{what}{about} at {first.node or 'any node'} had no answer within {within_s:g} s, in "
                f"{count(len(attempts), 'attempt')}, although all faults had healed by "
                f"{run.history.seconds(healed_ns):.2f} s; the last: {why}"
            )
    if found:
        return invalid(*found)
    if not asked:
        return unknown("no client made a call after all faults had healed")
    if failed:
        return unknown(f"{count(len(failed), 'call')} had no answer that a client has passed on, since {failed[-1]}")
    if stalled:
        return unknown(
            f"{count(stalled, 'call')} had no answer within {within_s:g} s, and the machine stalled meanwhile"
        )
    return valid(f"{count(len(asked), 'call')} after the heal were answered, the slowest in {slowest_s:.2f} s")
