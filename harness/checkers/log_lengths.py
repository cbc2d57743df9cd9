"""Logs in which entries repeat: the model of a log whose entries are known from its longest read.

Theory of operation
-------------------
A log only grows. So every read must be a beginning of the longest one, L, and until L is complete, the log is always a
beginning of L. Its state is then the number of its entries, and an append fits only where L has its entry. Once the log has
more entries than L, no read fits any more, and every further append does: that is one state. `LogModel` would hold all
entries in each state.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from itertools import pairwise
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


def search_by_length(calls: Sequence[ObjectCall], configurations_max: int, until: float | None) -> Contradiction | None:
    """Search for an order of the calls on a log. The arguments and the result are those of `search`."""
    reads = {call: call.answer for call in calls if call.f == "read" and isinstance(call.answer, tuple)}
    found = _against_reads(calls, reads)
    if found is not None:
        return found
    longest = max(reads, key=lambda read: len(reads[read]), default=None)
    entries: tuple[Hashable, ...] = () if longest is None else reads[longest]
    has_indices = any(call.f == "append" and isinstance(call.answer, int) for call in calls)
    by_length = LogLengthModel(entries, has_indices=has_indices)
    found = search(calls, by_length, configurations_max, until=until)
    return found if found is None or longest is None else found._replace(supporting=(longest,))


def _against_reads(calls: Sequence[ObjectCall], reads: dict[ObjectCall, tuple[Hashable, ...]]) -> Contradiction | None:
    """Return one or two reads that no log can have given; None if there are none such.

    Of two reads one must be a beginning of the other, and the one that had ended before the other began is not the longer one.
    A read has an entry at most as often as appends of it had begun.
    """
    begun: dict[Hashable, list[int]] = {}
    for call in sorted((call for call in calls if call.f == "append"), key=lambda call: call.began):
        begun.setdefault(call.argument, []).append(call.began)
    by_length = sorted(reads, key=lambda read: len(reads[read]))
    for shorter, longer in pairwise(by_length):
        if reads[longer][: len(reads[shorter])] != reads[shorter]:
            template = (
                "{0:process} {0:action} from {0:began} to {0:ended}, and {1:process} {1:action} from {1:began} to {1:ended}, "
                "but the shorter list is not a beginning of the longer one"
            )
            return Contradiction((shorter, longer), template, _appended(calls, reads[shorter] + reads[longer]))
    latest: ObjectCall | None = None  # of the shorter reads, the one that began last
    for read in by_length:
        if latest is not None and (read.ended or 0) < latest.began and len(reads[latest]) < len(reads[read]):
            template = (
                "{0:process} {0:action} by {0:ended}, but {1:process}, in a call that began at {1:began}, {1:action}"
            )
            return Contradiction((read, latest), template, _appended(calls, reads[read]))
        if latest is None or read.began > latest.began:
            latest = read
    for read, entries in reads.items():
        for entry, number in Counter(entries).items():
            had_begun = bisect_left(begun.get(entry, []), read.ended or 0)
            if had_begun < number:
                template = (
                    f"{{0:process}} {{0:action}} at {{0:ended}}: {number} of these are one, appended {had_begun} times"
                )
                return Contradiction((read,), template, _appended(calls, entries))
    return None


def _appended(calls: Sequence[ObjectCall], wanted: Iterable[Hashable]) -> tuple[ObjectCall, ...]:
    entries = set(wanted)
    return tuple(call for call in calls if call.f == "append" and call.argument in entries)
