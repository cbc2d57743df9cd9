"""Logs whose entries are appended once each: whether what was read and answered has an order, in n log n.

When it applies: no entry is appended twice. Else an order is searched (`harness/checkers/jit_linearizability.py`).

The proof
---------
1. Every read's list must begin the longest one, L, of all that were read: a log only grows.
2. So the order of the appends in L is known, and the reads of k entries stand between the k-th and the next: the calls fall
   into stages, each append one of its own, the reads of one length one together. A call that was answered and does not
   appear in L comes after the last of these, as every append that is in the log before a read is in its list. One of unknown
   outcome that does not appear is left out.
3. A sequence of stages has an order in real time exactly if no call of an earlier stage began after one of a later stage
   ended: let each call take effect as soon as it and all of the earlier stages have begun.
4. The answered appends beyond L are free but for their indices, which must rise: they are stages in the order of their
   indices; one without an index is a stage of its own after L, with no other after it.
5. Along all stages the indices that appends were answered with must rise.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from harness.checkers.certificate import Contradiction
from harness.checkers.models import ObjectCall


def appends_are_unique(calls: Iterable[ObjectCall]) -> bool:
    """Whether no entry is appended twice."""
    arguments = [call.argument for call in calls if call.f == "append"]
    return len(set(arguments)) == len(arguments)


def entries(calls: Sequence[ObjectCall]) -> Contradiction | None:
    """Two calls that contradict each other; None if there are none. Call it only if `appends_are_unique`."""
    reads = [call for call in calls if call.f == "read"]
    reads.sort(key=lambda call: len(_list(call)))
    longest: tuple[Hashable, ...] = _list(reads[-1]) if reads else ()
    for shorter, longer in pairwise(reads):
        if _list(shorter) != _list(longer)[: len(_list(shorter))]:
            why = "{0:who} {0:did} at {0:ended}, and {1:who} {1:did} at {1:ended}: neither list begins the other"
            return Contradiction((shorter, longer), why, _appends(calls, _list(shorter) + _list(longer)))
    stages = _stages(calls, reads, longest)
    if isinstance(stages, Contradiction):
        return stages
    known = [call for stage in stages for call in stage]
    in_longest = set(longest)
    beyond = [call for call in calls if call.f == "append" and not call.is_pending and call.argument not in in_longest]
    indexed = sorted((call for call in beyond if isinstance(call.answer, int)), key=_index)
    found = (
        _backwards([*stages, beyond], reads[-1:])
        or _backwards([[call] for call in indexed], [])
        or _no_rise([*known, *indexed])
    )
    return None if found is None else replace(found, support=(*_appends(calls, longest), *reads[-1:]))


def _stages(
    calls: Sequence[ObjectCall], reads: Sequence[ObjectCall], longest: tuple[Hashable, ...]
) -> list[list[ObjectCall]] | Contradiction:
    """Every call whose place is known, in order; or an entry that nobody appended."""
    append_of = {call.argument: call for call in calls if call.f == "append"}
    of_length: dict[int, list[ObjectCall]] = {}
    for read in reads:
        of_length.setdefault(len(_list(read)), []).append(read)
    stages = [of_length.get(0, [])]
    seen: set[Hashable] = set()
    for place, entry in enumerate(longest, start=1):
        append = append_of.get(entry)
        if append is None:
            return Contradiction(
                (reads[-1],), f"{{0:who}} {{0:did}} at {{0:ended}}, and nobody had appended number {place}"
            )
        if entry in seen:
            why = f"{{1:who}} {{1:did}} at {{1:ended}}, number {place} being {{0:asked}} again, which was appended once"
            return Contradiction((append, reads[-1]), why)
        seen.add(entry)
        stages += [[append], of_length.get(place, [])]
    return stages


def _backwards(stages: Iterable[Sequence[ObjectCall]], longest: Sequence[ObjectCall]) -> Contradiction | None:
    """Two calls of which the one that comes later in the order was over before the other began.

    The order is that of the `longest` read, or that of the indices if there is none.
    """
    late: ObjectCall | None = None
    for stage in stages:
        for call in stage:
            if late is not None and call.ended is not None and call.ended < late.began:
                return _told_backwards(call, late, longest)
        for call in stage:
            if late is None or call.began > late.began:
                late = call
    return None


def _told_backwards(call: ObjectCall, late: ObjectCall, longest: Sequence[ObjectCall]) -> Contradiction:
    """`late` must come before `call`, which was over when it began."""
    why = "{0:who} {0:did} by {0:ended}, but {1:who} {1:did} from {1:began} on"
    if late.f == "read":
        missing = call.f == "append" and call.argument not in _list(late)
        return Contradiction((call, late), f"{why}, without it" if missing else why)
    shown_by = [read for read in longest if read is not call]
    order = "as {2:who} {2:did}" if shown_by else "as its index is lower" if call.f == "append" else "as it was read"
    return Contradiction((call, late, *shown_by), f"{why}, and the latter comes first, {order}")


def _no_rise(calls: Iterable[ObjectCall]) -> Contradiction | None:
    """Two appends whose indices do not rise along the order."""
    before: ObjectCall | None = None
    for call in calls:
        if call.f != "append" or not isinstance(call.answer, int):
            continue
        if before is not None and call.answer <= _index(before):
            why = "{0:who} {0:did}, at index {0:token}, and {1:who} {1:did}, which comes later, at index {1:token}"
            return Contradiction((before, call), why)
        before = call
    return None


def _appends(calls: Iterable[ObjectCall], wanted: Iterable[Hashable]) -> tuple[ObjectCall, ...]:
    names = set(wanted)
    return tuple(call for call in calls if call.f == "append" and call.argument in names)


def _list(read: ObjectCall) -> tuple[Hashable, ...]:
    assert isinstance(read.answer, tuple)
    return read.answer


def _index(call: ObjectCall) -> int:
    assert isinstance(call.answer, int)
    return call.answer
