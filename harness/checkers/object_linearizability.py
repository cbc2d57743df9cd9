"""Linearizability of the calls on one object: which decision procedure applies, and how its result is explained.

Calls are *linearizable* if they can be put in one order in which each takes effect at one moment between its beginning and
its end, and in which the model gives every answer. Source: Herlihy and Wing, *Linearizability* (1990).

Rules
-----
1. Each key is an object of its own: a history is linearizable exactly if the calls on each object are (locality, same
   paper).
2. Where a theorem decides, no order is searched: `write_once.py`, `unique_writes.py`, `lock_holds.py` and `log_entries.py`,
   each with its proof. `stale_values.py`, `value_counts.py` and `text_appends.py` find usual flaws of other registers before a
   search starts, and two holds of a lock that overlap are found among all answers.
3. Elsewhere `jit_linearizability.py` searches, up to a bound. Beyond it the verdict is unknown, never valid.
4. A few calls that contradict each other explain a violation. A violation that a search found is minimised first. If many
   calls remain, the sentence names the last ones. The violation stands if it cannot be explained.

The tests compare every decision procedure here with a brute force that tries all orders.
"""

from collections.abc import Sequence
from typing import NamedTuple

from harness.checkers.certificate import Clock, Contradiction, sentence_of
from harness.checkers.jit_linearizability import CONFIGURATIONS_MAX, search
from harness.checkers.lock_holds import check_lock_holds, holds_can_be_paired
from harness.checkers.log_entries import appends_are_unique, check_log_entries
from harness.checkers.log_lengths import search_by_length
from harness.checkers.minimise import explain
from harness.checkers.models import (
    CasRegisterModel,
    ConsensusModel,
    KvModel,
    LockModel,
    LogModel,
    RegisterModel,
)
from harness.checkers.sequential_model import Model, ObjectCall
from harness.checkers.stale_values import find_stale_value
from harness.checkers.text_appends import ObservedTextModel, find_stale_text
from harness.checkers.unique_writes import check_unique_writes, writes_are_unique
from harness.checkers.value_counts import find_overdrawn_value
from harness.checkers.write_once import check_write_once
from harness.records.jsonable import describe_error


class Certificate(NamedTuple):
    """A violation, explained."""

    sentence: str
    """The contradiction in one sentence."""
    contradiction: Contradiction
    """The calls that contradict each other, one to four."""
    history: list[ObjectCall]
    """A small part of the calls that is not linearizable by itself."""


def find_contradiction(
    calls: Sequence[ObjectCall],
    model: Model,
    configurations_max: int = CONFIGURATIONS_MAX,
    *,
    until: float | None = None,
) -> Contradiction | None:
    """Return why the calls on one object are not linearizable; None if they are.

    Args:
        calls: all calls on the object, in the order in which they began.
        model: the sequential model of the object.
        configurations_max: how many configurations a search may visit.
        until: when a search gives up, by `time.monotonic`; None for never.

    Raises:
        TooHard: a search visited more configurations, or its time was over, so the question is open.
    """
    kind = type(model)  # a subclass may answer differently, so no theorem is known to hold for it
    if kind is ConsensusModel:
        return check_write_once(calls)
    if kind in (RegisterModel, CasRegisterModel, KvModel):
        if writes_are_unique(calls, model.initial):
            return check_unique_writes(calls, model.initial)
        if grows := any(call.f == "append" for call in calls):
            found = find_stale_text(calls, model.initial)
        else:
            found = find_stale_value(calls, model) or find_overdrawn_value(calls, model)
        if found is not None:
            return found
        model = ObservedTextModel(model, calls) if grows else model
    if kind is LockModel:
        changes = [call for call in calls if not model.is_read(call)]
        if holds_can_be_paired(changes) and ((found := check_lock_holds(changes)) or len(changes) == len(calls)):
            return found  # calls that change nothing can only add contradictions
    if isinstance(model, LogModel) and kind is LogModel:
        if appends_are_unique(calls):
            return check_log_entries(calls)
        return search_by_length(calls, configurations_max, until)
    return search(calls, model, configurations_max, until=until)


def certify(
    calls: Sequence[ObjectCall], model: Model, violation: Contradiction, clock: Clock, until: float | None = None
) -> Certificate:
    """Explain a violation that `find_contradiction` returned for these calls. Never raises: see `_unexplained`.

    Args:
        calls: all calls on the object.
        model: the sequential model of the object.
        violation: the violation.
        clock: the times of the events.
        until: when the explanation must do with what it has, by `time.monotonic`; None for never.
    """

    def check(some: Sequence[ObjectCall]) -> Contradiction | None:
        return find_contradiction(some, model, CONFIGURATIONS_MAX // 10, until=until)

    try:
        explained = explain(calls, model, violation, check, until)
    except Exception as error:  # noqa: BLE001 - however the explanation failed, the violation was found
        return _unexplained(calls, violation, error)
    return Certificate(sentence_of(explained.contradiction, clock), explained.contradiction, explained.history)


def _unexplained(calls: Sequence[ObjectCall], violation: Contradiction, error: Exception) -> Certificate:
    """Return the certificate of a violation whose explanation raised `error`: all calls, and the reason."""
    sentence = f"these {len(calls):,} calls have no order, and the explanation of this failed: {describe_error(error)}"
    return Certificate(sentence, violation, list(calls))
