"""Logs in which entries repeat: the model of a log whose entries are known from its longest read.

Theory of operation
-------------------
A log only grows. So every read must be a beginning of the longest one, L, and until L is complete, the log is always a
beginning of L. Its state is then the number of its entries, and an append fits only where L has its entry. Once the log has
more entries than L, no read fits any more, and every further append does: that is one state. `LogModel` would hold all
entries in each state.
"""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import ClassVar, Final

from harness.checkers.certificate import Contradiction
from harness.checkers.jit_linearizability import search
from harness.checkers.models import LogModel
from harness.checkers.sequential_model import NO_ANSWER, NO_SINGLE_STATE, ModelState, ObjectCall

#: The number of entries of a log that is longer than L.
_BEYOND: Final = -1


class LogLengthModel(LogModel):
    """A log whose longest read is known. The state is a pair: the number of entries, and the highest index."""

    initial: ClassVar[ModelState] = (0, None)

    def __init__(self, longest: tuple[Hashable, ...], *, has_indices: bool) -> None:
        self.longest, self.has_indices = longest, has_indices

    def step(self, state: ModelState, call: ObjectCall) -> tuple[ModelState, Hashable]:
        assert isinstance(state, tuple)
        length, highest = state
        if call.f == "read":
            assert isinstance(call.answer, tuple)
            return state, call.answer if length == len(call.answer) else NO_ANSWER
        if 0 <= length < len(self.longest):
            if self.longest[length] != call.argument:
                return state, NO_ANSWER if not call.is_pending else None
            length += 1
        else:
            length = _BEYOND
        index = call.answer
        if index is None:
            return (length, highest), None
        if highest is not None and index <= highest:
            return state, NO_ANSWER
        return (length, index), index

    def required_state(self, call: ObjectCall) -> ModelState:
        if call.f != "read" or self.has_indices:
            return NO_SINGLE_STATE
        assert isinstance(call.answer, tuple)
        return len(call.answer), None

    def accepts_all(self, state: ModelState) -> bool:
        assert isinstance(state, tuple)
        return state[0] == _BEYOND and not self.has_indices


def search_by_length(
    calls: Sequence[ObjectCall], model: LogModel, configurations_max: int, until: float | None
) -> Contradiction | None:
    """Search for an order of the calls on a log. The arguments and the result are those of `search`.

    Two reads of which neither is a beginning of the other have no common order; `search` finds that with `model`.
    """
    reads = {call: call.answer for call in calls if call.f == "read" and isinstance(call.answer, tuple)}
    longest = max(reads, key=lambda read: len(reads[read]), default=None)
    entries: tuple[Hashable, ...] = () if longest is None else reads[longest]
    if any(some != entries[: len(some)] for some in reads.values()):
        return search(calls, model, configurations_max, until=until)
    has_indices = any(call.f == "append" and isinstance(call.answer, int) for call in calls)
    by_length = LogLengthModel(entries, has_indices=has_indices)
    found = search(calls, by_length, configurations_max, until=until)
    return found if found is None or longest is None else replace(found, supporting=(longest,))
