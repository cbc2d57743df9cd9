"""When a cluster owes an answer, and whether one was missing.

The opening of `properties.py` has the rules. Two functions judge by them: `is_broken_promise` judges one call, and `silences` the
cluster as a whole, since calls over slow links may be too short to be judged one by one.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from harness.checkers.evidence import RunEvidence, ended_ns, was_answered
from harness.records.history import RecordedCall

#: Parts of errors that excuse a refusal: the input was bad, or the node was full.
EXCUSED: Final = (
    "a name is 1 to 64 of",
    "the value cannot be proposed",
    "requests are waiting here already",
    "variables already",
    # Errors of the client, which sends nothing.
    "cannot be proposed or put",
    ": use 1 to 64 of a-z",
    "cannot be encoded",
    "bytes and the limit is",
    "nested more than",
    "does not fit in 64 bits",
    "NaN is not equal to itself",
    "is not valid Unicode",
    "a map's key is a",
)
#: With a shorter timeout, in seconds, no answer is owed: see `cluster/clients/client.py` for how often a client sends again.
OWED_TIMEOUT_S: Final = 1.0
#: How much longer the timeout must be for every further node that a client may have to try, in seconds.
NEXT_NODE_S: Final = 0.5
#: How long a client waits before it sends to the same node again, in seconds.
_SEND_AGAIN_S: Final = 1.0
#: How much longer than a resend the judged end of a call is, in seconds.
_SLACK_S: Final = 0.5
#: How long a log may take to elect a leader, in seconds.
ELECTION_S: Final = 2.0
#: The part of its timeout after which a call counts as timed out: a client's clock and poll may end it a little early.
_EARLY: Final = 0.95
#: The part of a time in which some call must be open, so that clients asked all the time: they pause between calls.
_ASKED: Final = 0.8
#: The part of the allowance that a call needs under a leader that leads already: two round trips of ten.
_CALL_SHARE: Final = 0.2


def is_broken_promise(run: RunEvidence, operation: RecordedCall) -> bool:
    """Return whether an operation that was not answered was owed an answer (see "When an answer is owed" above)."""
    invoke, completion = operation.invoke, operation.completion
    assert completion is not None
    if invoke.timeout_s is None or is_excused(operation):
        return False
    others = len(run.members) - 1 if invoke.node is None else 0
    allowance_s = run.allowance_s(invoke.time, completion.time)
    if invoke.timeout_s < OWED_TIMEOUT_S + NEXT_NODE_S * others + allowance_s:
        return False
    if operation.outcome == "fail":
        until = max(completion.time, invoke.time + int(invoke.timeout_s * 1e9))
    else:
        until = completion.time
        if until - invoke.time < invoke.timeout_s * _EARLY * 1e9:
            return False  # the client gave up for another reason than its timeout
    # A fault at the beginning of the call is no excuse once all has been whole for long enough to send again.
    judged_s = _judged_s(run, invoke.node) + allowance_s
    began = max(invoke.time, until - int(judged_s * 1e9))
    steady_ns = int((_settles_s(run) + allowance_s) * _EARLY * 1e9)
    return is_owed(run, invoke.node, began, until, steady_ns=steady_ns)


def _settles_s(run: RunEvidence) -> float:
    """Return how long one majority must stay reachable so that it can answer, in seconds."""
    return max(OWED_TIMEOUT_S, ELECTION_S if run.algorithm.keeps_log else 0.0)


def _judged_s(run: RunEvidence, node: str | None) -> float:
    """Return how long before the end of a call at `node` (None: any node) an answer must have been owed, in seconds."""
    sends_again_s = _SEND_AGAIN_S if node is not None else NEXT_NODE_S * (len(run.members) - 1)
    return sends_again_s + _settles_s(run) + _SLACK_S


def silences(run: RunEvidence, within_s: float | None = None) -> Iterator[str]:
    """Yield a sentence for each time in which the cluster answered no call, although it was asked and owed an answer.

    Args:
        run: the evidence.
        within_s: within how many seconds a system that is not ours answers if a majority is up and connected; None for ours.
    """
    ended = sorted(ended_ns(operation) for operation in run.calls if was_answered(operation))
    asked = [operation for operation in run.calls if operation.completion is not None and not is_excused(operation)]
    bounds = [run.history.events[0].time, *ended, run.history.events[-1].time] if run.history.events else []
    for before, after in pairwise(bounds):
        silence = _Silence(int(before), int(after), within_s)
        began_ns = next(
            (began for began in silence.starts(run, asked) if silence.is_owed_from(run, asked, began)), None
        )
        if began_ns is not None:
            seconds = (silence.ended_ns - began_ns) / 1e9
            yield (
                f"no call of any client was answered from {run.history.seconds(began_ns):.2f} s to "
                f"{run.history.seconds(silence.ended_ns):.2f} s, although a majority was up and connected and an answer was "
                f"owed within {silence.allowed_s(run, began_ns):.1f} s of these {seconds:.1f} s"
                + (f". {run.failures[0]}" if run.failures else "")
            )


class _Silence(NamedTuple):
    """A time without any answer, in nanoseconds. `within_s` is that of `silences`."""

    began_ns: int
    ended_ns: int
    within_s: float | None = None

    def usual_s(self, run: RunEvidence) -> float:
        """Return within how many seconds some call is answered where nothing is slow."""
        return _judged_s(run, None) if self.within_s is None else self.within_s

    def starts(self, run: RunEvidence, asked: list[RecordedCall]) -> list[int]:
        """Return the moments from which to judge: when a client first asks, and whenever a fault begins or ends after that."""
        if self.usual_s(run) * 1e9 > self.ended_ns - self.began_ns:
            return []  # almost every one is so short
        asks = (max(operation.invoke.time, self.began_ns) for operation in asked if ended_ns(operation) > self.began_ns)
        first = next(asks, self.ended_ns)
        changes = [at for one in run.receipts for at in (one.began_ns, one.ended_ns) if at is not None]
        return sorted({first, *(at for at in changes if first < at < self.ended_ns)})

    def allowed_s(self, run: RunEvidence, began_ns: int) -> float:
        """Return within how many seconds of `began_ns` some call must be answered."""
        return self.usual_s(run) + run.allowance_s(began_ns, self.ended_ns)

    def is_owed_from(self, run: RunEvidence, asked: list[RecordedCall], began_ns: int) -> bool:
        """Return whether an answer was owed to the calls in `asked` from `began_ns` on, for longer than it may take."""
        until_ns = began_ns + int(self.allowed_s(run, began_ns) * 1e9)
        if until_ns > self.ended_ns:
            return False
        least_s = OWED_TIMEOUT_S + run.allowance_s(began_ns, until_ns) * _CALL_SHARE
        open_ns = 0
        covered_ns = began_ns
        for operation in asked:  # in the order of their beginnings
            invoke, end_ns = operation.invoke, int(min(ended_ns(operation), until_ns))
            if (invoke.timeout_s or 0.0) < least_s or invoke.time >= until_ns or end_ns <= covered_ns:
                continue
            if invoke.node is not None and not is_owed(
                run, invoke.node, began_ns, until_ns, may_lead=self.within_s is not None
            ):
                continue
            open_ns += end_ns - max(invoke.time, covered_ns)
            covered_ns = end_ns
        steady_ns = int((until_ns - began_ns) * _EARLY)
        if open_ns < _ASKED * (until_ns - began_ns):
            return False
        return is_owed(run, None, began_ns, until_ns, steady_ns=steady_ns, may_lead=self.within_s is not None)


def is_owed(
    run: RunEvidence, node: str | None, began_ns: int, ended_ns: int, *, steady_ns: int = 0, may_lead: bool = False
) -> bool:
    """Return whether `node` (None: any node) owed a client an answer all the time, with one majority for `steady_ns` of it.

    `may_lead` says that one node of a system that is not ours may lead the others.
    """
    leads = run.algorithm.keeps_log or may_lead
    owes = run.timeline.leader_owes_answer if leads else run.timeline.owes_answer
    return owes(node, began_ns, ended_ns, steady_ns=steady_ns)


def is_excused(operation: RecordedCall) -> bool:
    """Return whether an operation was refused for a reason that breaks nothing."""
    error = operation.completion.error if operation.completion is not None else None
    return operation.outcome == "fail" and any(text in (error or "") for text in EXCUSED)
