"""The checker of how long calls last: a call of the API returns when its time is up, whatever other threads of its client do.

A call without an answer raises then, and one with an answer returns at once. So a call that lasts for longer was not returned to
its caller, or was not ended: both are mistakes of the client, and no fault of a node or a link excuses them.
"""

from typing import Final

from harness.checkers.evidence import RunEvidence
from harness.checkers.verdict import Found, Verdict, checker, invalid, unknown, valid
from harness.records.history import API, RecordedCall
from node.wording import count

#: How much later than its time a call may return, in seconds. The stalls of the machine meanwhile count on top of it.
_LATE_S: Final = 2.0


def timed_calls(run: RunEvidence) -> list[RecordedCall]:
    """Return the calls of the API that have ended, and whose caller had a time to wait."""
    return [
        call
        for call in run.calls
        if call.invoke.process.startswith(API) and call.invoke.timeout_s is not None and call.completion is not None
    ]


@checker
def late_returns(run: RunEvidence) -> Verdict:
    """Check that no call of the API has lasted for longer than its caller was ready to wait."""
    calls = timed_calls(run)
    with Found() as found:
        for call in calls:
            assert call.completion is not None
            assert call.invoke.timeout_s is not None
            began_ns, ended_ns = call.invoke.time, call.completion.time
            stalled_ns = sum(
                one.ended_ns - one.began_ns for one in run.stalls if one.began_ns < ended_ns and one.ended_ns > began_ns
            )
            if ended_ns - began_ns > (call.invoke.timeout_s + _LATE_S) * 1e9 + stalled_ns:
                found.append(
                    f"the {call.f} that {call.invoke.process} began at {run.time_of(call.invoke)} returned after "
                    f"{(ended_ns - began_ns) / 1e9:.1f} s, and its caller was ready to wait for {call.invoke.timeout_s:g} s"
                )
    if found:
        return invalid(*found)
    if not calls:
        return unknown("no client of the run calls the API and has a time to wait")
    return valid(f"{count(len(calls), 'call')} of the API returned in time")
