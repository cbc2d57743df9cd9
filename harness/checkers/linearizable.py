"""Linearizability: is there an order of all calls, each taking effect at once between its beginning and its end, that the
model allows? Herlihy and Wing, *Linearizability* (1990).

Rules
-----
1. Each key is judged alone: a history is linearizable exactly if each object's is (locality, same paper).
2. Where a theorem decides, no order is searched: `consensus` and `blocks` below, with their proofs.
3. Elsewhere `search` tries the orders, up to a bound. Beyond it the verdict is unknown, never valid.

Every decision procedure here is compared in the tests with a brute force that tries all orders.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from harness.checkers.evidence import Run, count, told
from harness.checkers.verdict import Verdict, checker, invalid, unknown, valid
from harness.jsonable import shown
from harness.models import Call, Consensus, Model, Register, State, calls_of

CONFIGURATIONS_MAX: Final = 500_000
_NEVER: Final = float("inf")
_CONSENSUS: Final = Consensus()


class TooHard(Exception):
    """The search was given up: there are too many orders."""


@dataclass(frozen=True, slots=True)
class Violation:
    """No order exists. `calls` are those that contradict each other, as far as that can be told."""

    calls: tuple[Call, ...]
    why: str


@checker
def linearizable(run: Run, model: Model = _CONSENSUS) -> Verdict:
    """Whether all that clients were told has an order, key by key."""
    operations = [operation for operation in run.history.operations if operation.f in model.functions]
    found, too_hard = [], []
    for key, calls in calls_of(operations, model).items():
        try:
            violation = decide(calls, model)
        except TooHard as error:
            too_hard.append(f"{key}: {error}")
            continue
        if violation is not None:
            found.append(f"{_words(run, violation)}: {violation.why} for {key}")
    if found:
        return invalid(*found)
    reason = run.shows_nothing(operations) or next(iter(too_hard), None)
    if reason is not None:
        return unknown(reason)
    answered = sum(operation.outcome == "ok" for operation in operations)
    return valid(f"{count(answered, 'answer')} have an order that {type(model).__name__} allows")


def decide(calls: Sequence[Call], model: Model) -> Violation | None:
    """Why the calls on one object have no order; None if they have one.

    Raises:
        TooHard: it was not found out.
    """
    if type(model) is Consensus:  # a subclass may answer otherwise
        return consensus(calls)
    if type(model) is Register and writes_are_unique(calls):
        return blocks(calls)
    return search(calls, model)


def _words(run: Run, violation: Violation) -> str:
    return ", ".join(_say(run, call) for call in violation.calls)


def _say(run: Run, call: Call) -> str:
    operation = call.operation
    assert operation is not None
    if call.is_pending or call.f == "write":
        return f"{operation.invoke.process} asked to {call.f} {shown(operation.invoke.value)} at {run.at(operation.invoke)}"
    return told(run.history, operation)


# --- a variable that is set once ------------------------------------------------------------------------------------


def consensus(calls: Sequence[Call]) -> Violation | None:
    """The proof for `Consensus`.

    If nobody was told a value, all queries were told undecided: they come first, in any order, and every proposal is
    pending and never happens. Otherwise all answers are one value v, and some proposal of v is the first to take effect,
    at a time t: after it began, after every query that was told undecided began, and before any call that was told v
    ended. Such a t exists exactly if the latest of those beginnings is before the earliest of those ends. Then all else
    fits: what was told undecided goes to its own beginning, what was told v to its own end, and other pending proposals
    never happen. The proposal of v that began first serves if any does.
    """
    told_value = [call for call in calls if call.answer is not None]
    undecided = [call for call in calls if call.answer is None and not call.is_pending]
    proposed_undecided = [call for call in undecided if call.f == "propose"]
    if proposed_undecided:
        return Violation((proposed_undecided[0],), "a proposal was answered with no value")
    if not told_value:
        return None
    first = min(told_value, key=_end)
    for call in told_value:
        if call.answer != first.answer:
            return Violation((first, call), "two values were decided")
    winners = [call for call in calls if call.f == "propose" and call.argument == first.answer]
    if not winners:
        return Violation((first,), "nobody had proposed that")
    winner = min(winners, key=lambda call: call.began)
    if winner.began > _end(first):
        return Violation((first, winner), "it was proposed only later")
    late = max(undecided, key=lambda call: call.began, default=None)
    if late is not None and late.began > _end(first):
        return Violation((first, late), "a decision was seen, and then none")
    return None


# --- a register whose values are written once each ------------------------------------------------------------------


def writes_are_unique(calls: Sequence[Call]) -> bool:
    """Whether no value is written twice, nor the initial one at all, so that a read tells whose write it saw."""
    written = Counter(call.argument for call in calls if call.f == "write")
    return all(times == 1 for times in written.values()) and Register.initial not in written


@dataclass(frozen=True, slots=True)
class _Block:
    """A write and the reads that saw it: whose end came first, and which began last."""

    first_end: float
    last_began: float
    ended_first: Call | None
    began_last: Call | None


def blocks(calls: Sequence[Call]) -> Violation | None:
    """The proof for `Register` with unique writes: Gibbons and Korach, *Testing Shared Memories* (1997), section 4.

    Between a write and the next one there can be only reads of its value, so each block (a write and its reads) is
    contiguous in any order. Block a must come before block b if some call of a ended before some call of b began, that
    is, if a's first end is before b's last beginning. No order exists if that holds both ways round. If it never does,
    there is one, since there is no longer cycle either: in a cycle let m have the latest last beginning of all, and let p
    come next. So m must come before p. And p's first end is before the last beginning of the one after it, so before
    m's: p must come before m, both ways round. Within a block the write goes first, which fits unless a read ended before
    the write began.

    A write that nobody saw to end and nobody read is left out. One that was read did happen, and has no end.
    """
    gathered: dict[State, list[Call]] = {Register.initial: []}
    for call in calls:
        if call.f == "write":
            gathered[call.argument] = [call]
    for call in calls:
        if call.f != "read" or call.is_pending:
            continue
        block = gathered.get(call.answer)
        if block is None:
            return Violation((call,), "nobody had written that")
        if block and block[0].f == "write" and call.precedes(block[0]):
            return Violation((call, block[0]), "it was read before it was written")
        block.append(call)
    zones = []
    for value, members in gathered.items():
        if value == Register.initial:
            latest = max(members, key=lambda call: call.began, default=None)
            zones.append(_Block(-_NEVER, -_NEVER if latest is None else latest.began, None, latest))
        elif not (members[0].is_pending and len(members) == 1):
            ended, began = min(members, key=_end), max(members, key=lambda call: call.began)
            zones.append(_Block(_end(ended), began.began, ended, began))
    return _both_ways_round(zones)


def _both_ways_round(zones: list[_Block]) -> Violation | None:
    """Two blocks that must each come before the other, if there are any, in n log n.

    A block is forward if its first end is before its last beginning: then these bound a time throughout which its value
    was the register's. Two forward blocks clash if those times overlap. Another block clashes with a forward one if all
    of it lies within that time. Two that are not forward never clash: a.end < b.began <= b.end < a.began <= a.end.
    """
    forward = sorted((zone for zone in zones if zone.first_end < zone.last_began), key=lambda zone: zone.first_end)
    for before, after in pairwise(forward):
        if after.first_end < before.last_began:
            return _clash(before, after)
    starts = [zone.first_end for zone in forward]
    for zone in zones:
        place = bisect_left(starts, zone.last_began) - 1
        if zone.first_end >= zone.last_began and place >= 0 and zone.first_end < forward[place].last_began:
            return _clash(forward[place], zone)
    return None


def _clash(one: _Block, other: _Block) -> Violation:
    shown_calls = (one.ended_first, other.began_last, other.ended_first, one.began_last)
    calls = tuple(dict.fromkeys(call for call in shown_calls if call is not None))
    return Violation(calls, "each of two values must have come before the other")


def _end(call: Call) -> float:
    return _NEVER if call.ended is None else call.ended


# --- any model ------------------------------------------------------------------------------------------------------


def search(calls: Sequence[Call], model: Model, configurations_max: int = CONFIGURATIONS_MAX) -> Violation | None:
    """Try the orders, depth first: Wing and Gong (1993), remembering where one has been, as Lowe (2017) does.

    A configuration is which calls have taken effect, as bits, and the state. A call can be next if no other that has not
    taken effect was over before it began. A read that is answered rightly is taken at once, without trying others: any
    order from here on stays one if the read is moved to its front. (A write of what is there already is no such call: it
    may be needed later.) A pending call that would change nothing is not taken: it can be left out.

    Raises:
        TooHard: there are more than `configurations_max`.
    """
    calls = sorted(calls, key=lambda call: call.began)
    wanted = sum(1 << place for place, call in enumerate(calls) if not call.is_pending)
    stack: list[tuple[int, State]] = [(0, model.initial)]
    seen = set(stack)
    deepest, stuck = -1, 0
    while stack:
        done, state = stack.pop()
        if done & wanted == wanted:
            return None
        depth = (done & wanted).bit_count()
        if depth > deepest:
            deepest, stuck = depth, done
        for configuration in _next(calls, model, done, state):
            if configuration not in seen:
                seen.add(configuration)
                stack.append(configuration)
        if len(seen) > configurations_max:
            raise TooHard(f"more than {configurations_max:,} orders of {len(calls)} calls were tried")
    return Violation((_due(calls, stuck & wanted),), f"of {len(calls)} calls no order explains more than {deepest}")


def _next(calls: Sequence[Call], model: Model, done: int, state: State) -> list[tuple[int, State]]:
    """What a configuration can become by one more call, those that end first coming last, to be tried first."""
    found = []
    first_end = _NEVER
    place = (~done & (done + 1)).bit_length() - 1  # the first that has not taken effect
    while place < len(calls) and calls[place].began < first_end:
        call = calls[place]
        bit = 1 << place
        place += 1
        if done & bit:
            continue
        first_end = min(first_end, _end(call))
        after, answer = model.step(state, call)
        if call.is_pending:
            if after != state:
                found.append((_NEVER, (done | bit, after)))
        elif answer == call.answer:
            if call.f in model.reads:
                return [(done | bit, after)]
            found.append((_end(call), (done | bit, after)))
    found.sort(key=lambda entry: -entry[0])
    return [configuration for _, configuration in found]


def _due(calls: Sequence[Call], done: int) -> Call:
    """Of the calls that were answered and have not taken effect, the one that ended first."""
    left = [call for place, call in enumerate(calls) if not call.is_pending and not done >> place & 1]
    return min(left, key=_end)
