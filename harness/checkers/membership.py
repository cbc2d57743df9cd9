"""The checker of memberships by the observer's clock: no member is lost whose heartbeats arrive in time.

A lease lasts by the log's time, which never runs faster than the clock of a node, and begins when a join or a heartbeat takes
effect, which is after that call began. So from the answer to such a call until the lease's length has passed since the call
began, or until the member's client begins to let it leave, each view holds the member. A keeper of a membership (`Joined`) says
by `stays` that it is sure of it, unless a node's clock has run fast since.

That a member is lost in time, and that each member has a lease of its own, `answers.py` judges by the log's time.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from harness.checkers.evidence import RunEvidence
from harness.checkers.keepers import sure_for_too_long
from harness.checkers.verdict import Found, Verdict, checker, invalid, unknown, valid
from harness.records.history import RecordedCall
from harness.records.receipts import Timeline
from node.wording import count


class Presence(NamedTuple):
    """A time in which every view of a group holds a member, in nanoseconds of the harness's clock."""

    group: str
    member: str
    since_ns: int
    until_ns: int


@checker
def membership(run: RunEvidence) -> Verdict:
    """Check that no view lacks a member whose lease lasts. Unknown if no view was asked for while a member had to be in it."""
    presences = list(presences_of(run.calls, run.timeline))
    judged = 0
    with Found() as found:
        found.extend(sure_for_too_long(run, "stays"))
        for call in run.calls:
            began, completion = call.invoke.time, call.completion
            if completion is None or call.outcome == "info":
                continue
            for presence in presences:
                if not presence.since_ns <= began <= completion.time <= presence.until_ns:
                    continue
                denied = _denies(call, presence)
                judged += denied is not None
                if denied:
                    until_s = run.history.seconds(presence.until_ns)
                    found.append(
                        f"{presence.member} is a member of {presence.group} until {until_s:.3f} s at least, by its last join or "
                        f"heartbeat, but {call.f} at {run.time_of(completion)} says that it is none"
                    )
    if found:
        return invalid(*found)
    reason = run.why_untested(run.calls)
    if reason is not None or not judged:
        return unknown(reason or "no view was asked for while a member had to be in it")
    return valid(f"{count(len(presences), 'lease')} of members lasted; {count(judged, 'answer')} confirm it")


def presences_of(calls: Sequence[RecordedCall], timeline: Timeline) -> Iterator[Presence]:
    """Yield the times in which members must be present."""
    gone: dict[str, int] = {}
    for call in calls:
        if call.f in ("leave", "end"):
            gone.setdefault(call.key, call.invoke.time)
    joined: dict[str, RecordedCall] = {}
    for call in calls:
        value: Any = call.invoke.value
        if call.f == "join":
            joined.setdefault(call.key, call)
        if call.outcome != "ok" or call.completion is None or call.f not in ("join", "heartbeat", "stays"):
            continue
        lease: Any = joined[call.key].invoke.value
        since_ns, until_ns = call.completion.time, call.invoke.time
        until_ns += timeline.lease_ns(until_ns, int(lease["lease_s"] * 1e9))
        if call.f == "stays":
            first = joined[call.key].completion
            if first is None or joined[call.key].outcome != "ok":
                continue
            since_ns, until_ns = first.time, call.invoke.time
            if timeline.is_clock_fast(since_ns, until_ns):
                continue
        until_ns = min(until_ns, gone.get(call.key, until_ns))
        if since_ns < until_ns:
            yield Presence(value["group"], call.key, since_ns, until_ns)


def _denies(call: RecordedCall, presence: Presence) -> bool | None:
    """Return whether an answer says that a member is absent; None if it says nothing about it."""
    answer: Any = call.answer
    value: Any = call.invoke.value
    if call.f == "view" and call.key == presence.group and call.outcome == "ok":
        return presence.member not in answer[1]
    error = (call.completion and call.completion.error) or ""
    if call.key != presence.member or not error.startswith("not_member"):
        return None
    return call.f == "mine" or (call.f in ("heartbeat", "leave") and value["group"] == presence.group) or None
