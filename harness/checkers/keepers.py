"""What must hold of clients that keep leases: none is sure of a lease for too long, and what it gives up leaves nothing behind.

1. A lease lasts for its length from the moment at which its last request began, of those that were answered. A keeper that is
   sure of it later than that may be wrong, whether another client holds it by then or not.
2. An acquire that its caller has given up, and that has ended, leaves no place in the queue of its lock.
"""

from collections.abc import Iterator
from typing import Any

from harness.checkers.evidence import RunEvidence
from harness.records.history import GIVEN_UP, RecordedCall


def sure_for_too_long(run: RunEvidence, f: str) -> Iterator[str]:
    """Yield a sentence for each time at which a keeper was sure of a lease that may have ended.

    Args:
        run: the evidence; only its history counts.
        f: by which call keepers say that they are sure: "holds" of locks, "stays" of memberships.
    """
    for call in run.calls:
        if call.f == f and call.outcome == "ok" and isinstance(call.answer, int) and call.answer < 0:
            yield (
                f"the keeper of {call.key} was sure of its lease at {run.time_of(call.invoke)}, "
                f"{-call.answer} ms after the last request that was answered had begun a lease ago"
            )


def left_behind(run: RunEvidence) -> Iterator[str]:
    """Yield a sentence for each lock in whose queue an acquire that was given up still has a place."""
    acquires = [call for call in run.calls if call.f == "acquire"]
    for question in run.calls:
        answer: Any = question.answer
        if question.f != "holder" or answer is None:
            continue
        owner, _, waiting = answer
        others = [call for call in acquires if call.key == question.key and call.invoke.index < question.invoke.index]
        gone = [call for call in others if was_given_up(call) and _ended_index(call) < question.invoke.index]
        if any(_owner(call) == owner for call in gone) or (gone and waiting > len(others) - len(gone) - 1):
            yield (
                f"{question.key} has {owner} as its holder and {waiting} waiting at {run.time_of(question.invoke)}, "
                f"although the acquire of {_owner(gone[0])} was given up before, and nobody else can wait"
            )


def was_given_up(call: RecordedCall) -> bool:
    """Return whether a call was given up by its caller, and has ended."""
    return call.completion is not None and call.completion.error == GIVEN_UP


def _ended_index(call: RecordedCall) -> int:
    assert call.completion is not None
    return call.completion.index


def _owner(acquire: RecordedCall) -> Any:
    value: Any = acquire.invoke.value
    return value["owner"]
