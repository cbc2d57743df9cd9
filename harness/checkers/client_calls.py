"""Calls of clients with their plain values, for judges that need no sequential model, and what such a judge is.

Theory of operation
-------------------
A linearizability checker sees calls through a model, which turns values into texts. The judges of sets, counters, queues,
streams and transactions need the values themselves: a list that was read, a map of offsets. A `ClientCall` holds them. The
calls come from the history of a run (`calls_of_run`), or from a file of any system (`external_history.py`).

A `CallJudge` takes the calls on one key, and returns a `Verdict`. `as_checker` makes a checker of runs out of it.

Rules
-----
1. `began` and `ended` are places in the order of events. A call of unknown outcome (`info`) has no end: it may have taken effect,
   may do so later, or never. A call that failed never took effect.
2. The values of an answer come from the system under test, so they may be of any type. A judge calls `wrong_answer` on one that
   it cannot read: an answer of the wrong shape is a violation, not an error of the judge.
3. Values are compared as `text_of` writes them, so 1, 1.0 and True differ.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from harness.checkers.certificate import Clock
from harness.checkers.verdict import Verdict, VerdictStatus, checker, invalid, unknown
from harness.records.history import CallOutcome, RecordedCall
from harness.records.jsonable import shown, wording

if TYPE_CHECKING:  # `consensus check` judges files, and imports nothing that only runs need
    from harness.checkers.evidence import Checker, RunEvidence


@dataclass(slots=True, eq=False)
class ClientCall:
    """One call of a client.

    Attributes:
        f: what the client called.
        value: the value of the invoke.
        answer: the value of the `ok`; None for every other outcome.
        outcome: how the call ended: `ok`, `fail` or `info`.
        began: the place of the invoke in the order of events.
        ended: the place of the completion in the order of events; None if the outcome is unknown.
        process: the client.
        node: the node that answered or was asked, if that is known.
        is_final: whether the history marks the call as one after the end of all writes.
        error: why the call failed or has no outcome, if the history says so.
    """

    f: str
    value: Any = None
    answer: Any = None
    outcome: CallOutcome = "ok"
    began: int = 0
    ended: int | None = None
    process: int | str = ""
    node: str | None = None
    is_final: bool = False
    error: Any = None

    @property
    def is_ok(self) -> bool:
        """Whether the call was answered with `ok`."""
        return self.outcome == "ok"

    @property
    def reader(self) -> int | str:
        """The node, or the process if the node is not known: whose view of the state an answer shows."""
        return self.process if self.node is None else self.node

    @property
    def who(self) -> str:
        """The client, and the node if it is known, such as "c1 at n2"."""
        process = f"process {self.process}" if isinstance(self.process, int) else self.process
        return process if self.node is None else f"{process} at {self.node}"


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a judge knows besides the calls.

    Attributes:
        clock: the time of a place, in seconds.
        nodes: the nodes that must each have been read; empty if the history does not say.
    """

    clock: Clock = field(default=lambda _place: None)
    nodes: tuple[str, ...] = ()

    @wording
    def at(self, place: int | None) -> str:
        """Return when something happened, such as "1.204 s", or "line 7" if the history has no times."""
        if place is None:
            return "the end"
        time = self.clock(place)
        return f"line {place + 1}" if time is None else f"{time:.3f} s"

    @wording
    def by(self, call: ClientCall) -> str:
        """Return who made a call and when it ended or, if it never did, began: "c1 at n2 at 1.204 s"."""
        return f"{call.who} at {self.at(call.began if call.ended is None else call.ended)}"


@dataclass(frozen=True, slots=True)
class CallJudge:
    """A judge of the calls on one key.

    Attributes:
        functions: the calls that it judges.
        judge: returns the verdict on the calls, which are in the order in which they began.
        aliases: other names of the functions: alias to function.
        whole: whether all keys are judged together, since calls are about several keys.
        asks_for: takes a function and the value of an invoke, and says what that value must be; empty if it is that. A file with
            another value is a mistake of the program that wrote it, and nothing is judged.
    """

    functions: tuple[str, ...]
    judge: Callable[[Sequence[ClientCall], CallContext], Verdict]
    aliases: Mapping[str, str] = field(default_factory=dict)
    whole: bool = False
    asks_for: Callable[[str, Any], str] = lambda _f, _value: ""


def calls_of_run(operations: Iterable[RecordedCall], functions: Sequence[str]) -> dict[str, list[ClientCall]]:
    """Return the calls of these functions in a run's history, by key."""
    found: dict[str, list[ClientCall]] = {}
    for operation in operations:
        if operation.f in functions:
            found.setdefault(operation.key, []).append(_client_call(operation))
    return found


def _client_call(operation: RecordedCall) -> ClientCall:
    outcome, completion = operation.outcome, operation.completion
    ended = completion.index if completion is not None and outcome != "info" else None
    invoke, error = operation.invoke, None if completion is None else completion.error
    node, answer = operation.node, operation.answer
    return ClientCall(invoke.f, invoke.value, answer, outcome, invoke.index, ended, invoke.process, node, error=error)


def as_checker(judge: CallJudge) -> "Checker":
    """Return a checker of runs: the judge on each key of the history, or on all keys together."""

    @checker
    def check(run: "RunEvidence") -> Verdict:
        times = {event.index: run.history.seconds(event.time) for event in run.history.events}
        context = CallContext(times.get, run.members)
        by_key = calls_of_run(run.history.operations, judge.functions)
        verdict = judge_keys(judge, by_key, context)
        if verdict.status is not VerdictStatus.VALID:
            return verdict
        judged = [operation for operation in run.history.operations if operation.f in judge.functions]
        reason = run.why_untested(judged)
        return verdict if reason is None else unknown(reason)

    return check


def judge_keys(judge: CallJudge, by_key: Mapping[str, Sequence[ClientCall]], context: CallContext) -> Verdict:
    """Return the verdict of a judge on all keys: invalid before unknown, unknown before valid."""
    if judge.whole:
        together = sorted((call for calls in by_key.values() for call in calls), key=lambda call: call.began)
        return judge.judge(together, context)
    verdicts = {key: judge.judge(calls, context) for key, calls in by_key.items()}
    bad = [
        f"{key}: {sentence}" if key and len(verdicts) > 1 else sentence
        for key, verdict in verdicts.items()
        if verdict.status is VerdictStatus.INVALID
        for sentence in (verdict.evidence, *verdict.more)
    ]
    if bad:
        return invalid(*bad)
    undecided = [verdict for verdict in verdicts.values() if verdict.status is VerdictStatus.UNKNOWN]
    if undecided:
        return undecided[0]
    return next(iter(verdicts.values()), unknown("no call was made"))


def wrong_answer(call: ClientCall, context: CallContext, wanted: str) -> str:
    """Return the sentence about an answer of a shape that the call never has; `wanted` says what it should be."""
    return f"{context.by(call)} received {shown(call.answer)} from {call.f}, which must be {wanted}"


#: How many sentences of one kind a judge writes.
SENTENCES_MAX: Final = 5
