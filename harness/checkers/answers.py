"""The checker of answers: each answer that a client received is the one that the log gives, by an independent model.

Theory of operation
-------------------
The chosen log fixes the order of all commands. So one pass over its slots decides whether all answers together are linearizable
(Herlihy and Wing, 1990), for every kind of call, also for those that no key of its own has, such as ranges and watches:

1. The log from slot 1 (`whole_log.py`) is applied to reference machines (`reference/`), which share no code with the nodes'.
2. A command has its place in the log. A question may have its place after any slot whose state gives its answer. The answer to a
   claim to a lock may be that of a state within a slot, since a claim is a command: the next one may hand the lock over.
3. Real time: a call may have its place only after all calls that ended before it began have theirs.
4. Each call gets the earliest place that it may have. If some assignment of places exists, this one is one: an earlier place of
   one call never takes a place from another.

A watch is answered from a state that is not older than its beginning, as any question is; but it may be late: what it saw of
the changes must be whole, in order, and each of them once.

The calls whose outcome is unknown have no place: they may have been done or not. Their commands in the log count all the same.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Final

from harness.checkers.asked import AskedCommand, AskedQuestion, asked_of, identity_of
from harness.checkers.evidence import RunEvidence
from harness.checkers.reference.log import Batch, Executed, ReferenceLog
from harness.checkers.task_tokens import contradicting_owners
from harness.checkers.verdict import Found, Verdict, checker, invalid, unknown, valid
from harness.checkers.whole_log import LogIncomplete, whole_log
from harness.records.history import Event
from harness.records.jsonable import shown, wording
from node.tuning import Tuning
from node.wording import count

#: How many calls without a place are reported: each of them is left out, and the rest is judged again.
_REPORTED: Final = 3


@checker
def answers(run: RunEvidence) -> Verdict:
    """Check that each answer, of every kind of call, is the one that the chosen log gives.

    Unknown if the evidence does not hold the whole log, or if no call was answered.
    """
    try:
        batches = whole_log(run)
    except LogIncomplete as error:
        return unknown(str(error))
    asked = [each for call in run.calls if (each := asked_of(call)) is not None]
    with Found() as found:
        found.extend(wrong_answers(asked, batches, run.tuning, run.time_of))
    if found:
        return invalid(*found)
    reason = run.why_untested([each.call for each in asked])
    if reason is not None:
        return unknown(reason)
    kinds = len({each.call.f for each in asked})
    return valid(
        f"{count(len(asked), 'answer')} of {count(kinds, 'kind')} are those of the log, up to slot {len(batches)}"
    )


def wrong_answers(
    asked: list[AskedCommand | AskedQuestion],
    batches: Sequence[Batch],
    tuning: Tuning,
    time_of: Callable[[Event], str],
) -> list[str]:
    """Return a sentence for each of the first answers that the log does not give. Removes their calls from `asked`.

    Args:
        asked: the answered calls. Each that has a place gets its slot, which is 0 before the first.
        batches: the log, from slot 1.
        tuning: the settings of the cluster.
        time_of: puts the time of an event into words.
    """
    found = []
    for _ in range(_REPORTED):
        places = _Places(asked, tuning)
        for batch in batches:
            places.apply(batch)
        misplaced = places.first_without
        if misplaced is None:
            break
        found.append(_described(misplaced, batches, tuning, time_of))
        asked.remove(misplaced)
    return [*found, *contradicting_owners([each for each in asked if each.slot is not None], time_of)]


class _Places:
    """The places of calls in the log, while it is applied."""

    def __init__(self, asked: Sequence[AskedCommand | AskedQuestion], tuning: Tuning) -> None:
        self.log = ReferenceLog(tuning)
        self._by_end = sorted(asked, key=lambda each: each.ended)
        self._by_beginning = sorted(asked, key=lambda each: each.began)
        self._commands: dict[Hashable, list[AskedCommand]] = {}
        self._questions: list[AskedQuestion] = []
        self._ended = self._begun = 0
        for each in asked:
            each.slot = None
        self._admit()
        self._place_questions()  # a question may be answered before the log has a slot

    @property
    def first_without(self) -> AskedCommand | AskedQuestion | None:
        """The call without a place that ended first; None if each call has one."""
        return self._by_end[self._ended] if self._ended < len(self._by_end) else None

    def apply(self, batch: Batch) -> None:
        """Apply the next slot, and give calls their places."""
        for executed in self.log.apply(batch):
            self._place_command(executed)
            if executed.machine == "locks":
                self._place_questions(only_claims=True)
        self._place_questions()

    def _place_questions(self, *, only_claims: bool = False) -> None:
        """Give the questions that the present state answers their places, and those that this admits."""
        while any(
            self._placed_question(question)
            for question in list(self._questions)
            if question.of_claim or not only_claims
        ):
            self._admit()

    def _place_command(self, executed: Executed) -> None:
        waiting = self._commands.get(identity_of(executed), [])
        fitting = [command for command in waiting if command.fits(executed)]
        if fitting:
            first = min(fitting, key=lambda command: command.ended)
            first.slot = self.log.slot
            waiting.remove(first)
            self._admit()

    def _placed_question(self, question: AskedQuestion) -> bool:
        if question.since is None:
            question.since = self.log.kv.version
        if not question.fits(self.log):
            return False
        question.slot = self.log.slot
        self._questions.remove(question)
        return True

    def _admit(self) -> None:
        """Admit the calls that began before the first call without a place ended."""
        while self._ended < len(self._by_end) and self._by_end[self._ended].slot is not None:
            self._ended += 1
        first = self.first_without
        while self._begun < len(self._by_beginning):
            each = self._by_beginning[self._begun]
            if first is not None and each.began > first.ended:
                return
            self._begun += 1
            if isinstance(each, AskedCommand):
                self._commands.setdefault(each.identity, []).append(each)
            else:
                each.since = None
                self._questions.append(each)


@wording
def _described(
    asked: AskedCommand | AskedQuestion, batches: Sequence[Batch], tuning: Tuning, time_of: Callable[[Event], str]
) -> str:
    call = asked.call
    assert call.completion is not None
    answer = call.completion.error if call.outcome == "fail" else shown(call.answer, 200)
    value = "" if call.invoke.value is None else f" of {shown(call.invoke.value)}"
    what = f"{call.f}{value} for {call.key or 'all'} by {call.invoke.process}, begun at {time_of(call.invoke)}"
    log = ReferenceLog(tuning)
    executions = [(log.slot, executed) for batch in batches for executed in log.apply(batch)]
    if isinstance(asked, AskedCommand):
        done = [
            f"slot {slot} gave {shown(executed.refused or executed.result)}"
            for slot, executed in executions
            if identity_of(executed) == asked.identity
        ]
    else:
        done = [f"the last state would answer {shown(asked.right(log), 200)}"]
    return (
        f"{what}, was answered {answer} at {time_of(call.completion)}, and no place in the log that real time allows gives "
        f"this answer ({'; '.join(done) or 'the log does not hold it'})"
    )
