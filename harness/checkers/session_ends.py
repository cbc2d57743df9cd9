"""The checker of sessions by the observer's clock: no session ends while its client uses it.

A session ends after it was idle for a time, by the log's time, which never runs faster than the clock of a node. So a client
that hears that its session has ended must not have been answered within that time, unless it has ended the session itself. That
nothing is done twice, and nothing after the end, `answers.py` judges by the log.
"""

from harness.checkers.evidence import RunEvidence
from harness.checkers.reference.sessions import IDLE_MS
from harness.checkers.verdict import Found, Verdict, checker, invalid, unknown, valid
from harness.records.history import RecordedCall
from node.wording import count

#: The calls that use no session.
_READS = (
    "get",
    "read",
    "range",
    "version",
    "watch",
    "view",
    "views",
    "mine",
    "owners",
    "holder",
    "query",
    "propose",
    "use",
)
_ENDED = ("the session has ended", "session_expired", "has ended, so it cannot be resumed")


@checker
def session_ends(run: RunEvidence) -> Verdict:
    """Check that no session has ended in the time for which a session lasts without use. Unknown if no command was answered."""
    idle_ms = next((contents.tuning.session_idle_ms for contents in run.disks.values()), IDLE_MS)
    used: dict[str, RecordedCall] = {}
    answered = 0
    ends = sorted((call for call in run.calls if call.completion is not None), key=_completed)
    with Found() as found:
        for call in ends:
            assert call.completion is not None
            client = call.invoke.process.rpartition(".")[0]
            if call.f == "end":
                used.pop(client, None)
            elif call.outcome == "ok" and call.f not in _READS:
                used[client] = call
                answered += 1
            elif client in used and any(text in (call.completion.error or "") for text in _ENDED):
                idle_s = (call.completion.time - used[client].invoke.time) / 1e9
                if idle_s * 1e9 < run.timeline.lease_ns(used[client].invoke.time, idle_ms * 1_000_000):
                    found.append(
                        f"the session of {client} had ended at {run.time_of(call.completion)}, {idle_s:.1f} s after its client "
                        f"had begun a {used[client].f} that was answered; a session lasts {idle_ms / 1000:g} s without use"
                    )
    if found:
        return invalid(*found)
    reason = run.why_untested(run.calls) or (None if answered else "no command was answered")
    if reason is not None:
        return unknown(reason)
    return valid(f"{count(len(used), 'client')} used sessions for {count(answered, 'command')}, and none ended in use")


def _completed(call: RecordedCall) -> int:
    assert call.completion is not None
    return call.completion.index
