"""Logs whose entries are appended once each: whether the calls have an order, in n log n.

When it applies: no entry is appended twice. Otherwise `jit_linearizability.py` searches for an order.

The proof
---------
1. Every read's list must be a beginning of the longest list L that was read, since a log only grows.
2. So the order of the appends in L is known, and the reads of k entries stand between the k-th append and the next. The calls
   fall into stages: each append is a stage, and all reads of one length are a stage. An append that was answered and is not
   in L comes after all these stages, since a read returns every append that is in the log before it. An append of unknown
   outcome that is not in L is left out.
3. A sequence of stages has an order in real time exactly if no call of an earlier stage began after a call of a later stage
   had ended: let each call take effect as soon as it and all calls of the earlier stages have begun.
4. The answered appends that are not in L are free except for their indices, which must rise. Those with an index are stages
   in the order of their indices. One without an index is a stage of its own after L, and no other stage must follow it.
5. Along all stages the indices that the appends returned must rise.
"""

from collections.abc import Hashable, Iterable, Sequence
from itertools import pairwise

from harness.checkers.certificate import Contradiction
from harness.checkers.sequential_model import ObjectCall


def appends_are_unique(calls: Iterable[ObjectCall]) -> bool:
    """Return whether `check_log_entries` applies: no entry is appended twice."""
    arguments = [call.argument for call in calls if call.f == "append"]
    return len(set(arguments)) == len(arguments)


def check_log_entries(calls: Sequence[ObjectCall]) -> Contradiction | None:
    """Return one to three calls that contradict each other; None if the calls have an order.

    The caller must have found that `appends_are_unique`.
    """
    reads = [call for call in calls if call.f == "read"]
    reads.sort(key=lambda call: len(_entries(call)))
    longest: tuple[Hashable, ...] = _entries(reads[-1]) if reads else ()
    for shorter, longer in pairwise(reads):
        if _entries(shorter) != _entries(longer)[: len(_entries(shorter))]:
            template = (
                "{0:process} {0:action} at {0:ended} and {1:process} {1:action} at {1:ended}, "
                "but the shorter list is not a beginning of the longer one"
            )
            return Contradiction((shorter, longer), template, _appends(calls, _entries(shorter) + _entries(longer)))
    stages = _stages(calls, reads, longest)
    if isinstance(stages, Contradiction):
        return stages
    known = [call for stage in stages for call in stage]
    in_longest = set(longest)
    beyond = [call for call in calls if call.f == "append" and not call.is_pending and call.argument not in in_longest]
    indexed = sorted((call for call in beyond if isinstance(call.answer, int)), key=_index)
    found = (
        _against_real_time([*stages, beyond], reads[-1:])
        or _against_real_time([[call] for call in indexed], [])
        or _no_rise([*known, *indexed])
    )
    return None if found is None else found._replace(supporting=(*_appends(calls, longest), *reads[-1:]))


def _stages(
    calls: Sequence[ObjectCall], reads: Sequence[ObjectCall], longest: tuple[Hashable, ...]
) -> list[list[ObjectCall]] | Contradiction:
    """Return the stages up to the last entry of L, in order; or the contradiction if an entry of L has no append."""
    append_of = {call.argument: call for call in calls if call.f == "append"}
    of_length: dict[int, list[ObjectCall]] = {}
    for read in reads:
        of_length.setdefault(len(_entries(read)), []).append(read)
    stages = [of_length.get(0, [])]
    seen: set[Hashable] = set()
    for place, entry in enumerate(longest, start=1):
        append = append_of.get(entry)
        if append is None:
            template = (
                f"{{0:process}} {{0:action}} at {{0:ended}}, and no client had appended entry number {place} of it"
            )
            return Contradiction((reads[-1],), template)
        if entry in seen:
            template = (
                f"{{1:process}} {{1:action}} at {{1:ended}}, and entry number {place} of it repeats {{0:argument}}, "
                "which was appended once"
            )
            return Contradiction((append, reads[-1]), template)
        seen.add(entry)
        stages += [[append], of_length.get(place, [])]
    return stages


def _against_real_time(stages: Iterable[Sequence[ObjectCall]], longest: Sequence[ObjectCall]) -> Contradiction | None:
    """Return two calls of which the one in the later stage had ended before the other began; None if there are none.

    Args:
        stages: the calls, in the order that the `longest` read or, if it is empty, the indices prescribe.
        longest: the read that returned L, or nothing.
    """
    latest: ObjectCall | None = None
    for stage in stages:
        for call in stage:
            if latest is not None and call.ended is not None and call.ended < latest.began:
                return _order_contradiction(call, latest, longest)
        for call in stage:
            if latest is None or call.began > latest.began:
                latest = call
    return None


def _order_contradiction(call: ObjectCall, latest: ObjectCall, longest: Sequence[ObjectCall]) -> Contradiction:
    """Describe that `latest` must come before `call`, although `call` had ended when `latest` began."""
    template = "{0:process} {0:action} by {0:ended}, but {1:process}, in a call that began at {1:began}, {1:action}"
    if latest.f == "read":
        missing = call.f == "append" and call.argument not in _entries(latest)
        return Contradiction((call, latest), f"{template}, which lacks that entry" if missing else template)
    shown_by = [read for read in longest if read is not call]
    without_read = "its index is lower" if call.f == "append" else "that read contains it"
    reason = "{2:process} {2:action}" if shown_by else without_read
    return Contradiction((call, latest, *shown_by), f"{template}, which must come first because {reason}")


def _no_rise(calls: Iterable[ObjectCall]) -> Contradiction | None:
    """Return two appends whose indices do not rise along the order of the calls; None if all rise."""
    before: ObjectCall | None = None
    for call in calls:
        if call.f != "append" or not isinstance(call.answer, int):
            continue
        if before is not None and call.answer <= _index(before):
            template = (
                "{0:process} {0:action} and received index {0:token}, and {1:process} {1:action}, which comes later, and "
                "received index {1:token}, which is not higher"
            )
            return Contradiction((before, call), template)
        before = call
    return None


def _appends(calls: Iterable[ObjectCall], wanted: Iterable[Hashable]) -> tuple[ObjectCall, ...]:
    entries = set(wanted)
    return tuple(call for call in calls if call.f == "append" and call.argument in entries)


def _entries(read: ObjectCall) -> tuple[Hashable, ...]:
    assert isinstance(read.answer, tuple)
    return read.answer


def _index(call: ObjectCall) -> int:
    assert isinstance(call.answer, int)
    return call.answer
