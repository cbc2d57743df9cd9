"""Sets to which clients only add: sets that are linearizable, sets that agree in the end, and broadcasts.

Flaws
-----
*Lost*: an element that was acknowledged or read, and that no later read has. *Stale*: a read lacks it, and a later one has
it again. *Unexpected*: nobody had begun to add it. *Duplicate*: a read has it twice.

The proof for linearizable sets
-------------------------------
An element is in the set from the first add of it that takes effect. Adding it again changes nothing, so several adds count as
one that began with the first of them and ended with the first that ended. An add of unknown outcome that no read shows never
took effect. Then reads must be ordered by inclusion, since the set only grows, and this order makes stages: the reads of the
smallest set, the adds of what the next larger set has more, the reads of that set, and so on; the acknowledged adds that no
read has come last. Calls of one stage may have any order. So an order exists exactly if no call of an earlier stage began
after a call of a later stage had ended: let each call take effect as soon as it and all calls of earlier stages have begun.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from harness.checkers.client_calls import SENTENCES_MAX, CallContext, CallJudge, ClientCall, wrong_answer
from harness.checkers.final_reads import final_reads
from harness.checkers.sequential_model import text_of
from harness.checkers.verdict import Found, Verdict, invalid, unknown, valid
from node.wording import count

READ: Final = "read"


class _Read(NamedTuple):
    """An answered read, and the elements that it returned, as bits."""

    call: ClientCall
    elements: int


@dataclass(slots=True)
class AddedElement:
    """An element: the add that began first, and the first that was acknowledged."""

    text: str | None
    number: int
    first: ClientCall | None = None
    acknowledged: ClientCall | None = None
    failed: ClientCall | None = None

    @property
    def bit(self) -> int:
        """The element as a bit. It is not kept: a hundred thousand of them would take a gigabyte."""
        return 1 << self.number


@dataclass(slots=True)
class CollectedSet:
    """What the calls added and read, and the sentences about answers that no set gives."""

    elements: dict[str | None, AddedElement] = field(default_factory=dict)
    reads: list[_Read] = field(default_factory=list)
    flaws: list[str] = field(default_factory=list)

    def acknowledge(self, element: AddedElement, call: ClientCall) -> None:
        """Note that an add of the element ended, if that was the first."""
        before = element.acknowledged
        if call.ended is not None and (before is None or before.ended is None or call.ended < before.ended):
            element.acknowledged = call

    def names(self, bits: int) -> str:
        """Return elements as text, such as "3, 5 and 4 others"."""
        texts = [str(element.text) for element in self.elements.values() if element.bit & bits]
        more = len(texts) - SENTENCES_MAX
        return ", ".join(texts[:SENTENCES_MAX]) + (f" and {count(more, 'other')}" if more > 0 else "")


def judge_set(calls: Sequence[ClientCall], context: CallContext, kind: type["CollectedSet"] | None = None) -> Verdict:
    """Return whether the adds and reads of a set have an order: each read shows all adds that ended before it began.

    Args:
        calls: all calls, in the order in which they began.
        context: the times.
        kind: what collects the elements and the reads; None for `CollectedSet`.
    """
    seen = _collect(calls, context, kind)
    with Found() as found:
        found.extend(seen.flaws)
        found.extend(_missing(seen, context))
        if not found:
            found.extend(_no_order(seen, context))
    if found:
        return invalid(*found)
    if not seen.reads:
        return unknown(f"none of {count(len(calls), 'call')} was a read that was answered")
    return valid(
        f"{count(len(seen.reads), 'read')} and the adds of {count(len(seen.elements), 'element')} have an order"
    )


def judge_eventual_set(calls: Sequence[ClientCall], context: CallContext) -> Verdict:
    """Return whether every reader has every element in the end: what was acknowledged, and what an earlier read has shown."""
    seen = _collect(calls, context)
    finals = final_reads(calls, READ, context)
    shown_before = 0
    for read in seen.reads:
        if read.call.ended is not None and read.call.ended <= finals.after:
            shown_before |= read.elements
    required = shown_before
    for element in seen.elements.values():
        if element.acknowledged is not None:
            required |= element.bit
    last = set(map(id, finals.reads))
    with Found() as found:
        found.extend(seen.flaws)
        for read in seen.reads:
            missing = required & ~read.elements if id(read.call) in last else 0
            if missing:
                found.append(_lost_in_the_end(seen, read, missing, context))
    if found:
        return invalid(*found)
    if finals.too_little is not None:
        return unknown(finals.too_little)
    return valid(
        f"all of {count(required.bit_count(), 'element')} are in the last read of {count(len(finals.reads), 'reader')}"
    )


def _collect(calls: Sequence[ClientCall], context: CallContext, kind: type[CollectedSet] | None = None) -> CollectedSet:
    """Return the elements and the reads. Adds of all calls count, since a read may overtake the add's answer."""
    seen = (kind or CollectedSet)()
    for call in calls:
        if call.f == READ:
            continue
        text = text_of(call.value)
        element = seen.elements.setdefault(text, AddedElement(text, len(seen.elements)))
        if call.outcome == "fail":
            element.failed = call
            continue
        if element.first is None:
            element.first = call
        seen.acknowledge(element, call)
    size = len(seen.elements) // 8 + 1
    for call in calls:
        if call.f != READ or not call.is_ok:
            continue
        if not isinstance(call.answer, list | tuple):
            seen.flaws.append(wrong_answer(call, context, "the list of all elements"))
            continue
        bits, twice = bytearray(size), []
        for value in call.answer:
            found = seen.elements.get(text_of(value))
            if found is None or found.first is None or found.first.began > (call.ended or 0):
                seen.flaws.append(_unexpected(call, text_of(value), found, context))
                continue
            byte, bit = found.number >> 3, 1 << (found.number & 7)
            if bits[byte] & bit:
                twice.append(found.text)
            bits[byte] |= bit
        seen.flaws += [
            f"duplicate: {context.by(call)} read {text} twice in one answer" for text in dict.fromkeys(twice)
        ]
        seen.reads.append(_Read(call, int.from_bytes(bits, "little")))
    return seen


def _unexpected(call: ClientCall, text: str | None, element: AddedElement | None, context: CallContext) -> str:
    read = f"unexpected: {context.by(call)} read {text}"
    if element is None:
        return f"{read}, which no client had added"
    if element.first is None:
        assert element.failed is not None
        return f"{read}, and the add of it by {context.by(element.failed)} had failed"
    return f"{read}, and the first add of it, by {element.first.who}, began only at {context.at(element.first.began)}"


def _missing(seen: CollectedSet, context: CallContext) -> Iterator[str]:
    """Yield a sentence for each element that was acknowledged or read before a read began that lacks it."""
    known: list[tuple[ClientCall, AddedElement | _Read]] = [
        (element.acknowledged, element) for element in seen.elements.values() if element.acknowledged is not None
    ]
    known += [(read.call, read) for read in seen.reads]
    known.sort(key=lambda one: _end(one[0]))
    texts = [element.text for element in seen.elements.values()]
    reported = place = required = 0
    for number, read in enumerate(seen.reads):
        while place < len(known) and _end(known[place][0]) < read.call.began:
            required |= _bits(known[place][1])
            place += 1
        missing = required & ~read.elements & ~reported
        while missing:
            bit = missing & -missing
            missing &= ~bit
            reported |= bit
            shown = next(call for call, what in known if _bits(what) & bit)
            later = next((other for other in seen.reads[number + 1 :] if other.elements & bit), None)
            what = (
                f"{'read' if shown.f == READ else 'added'} {texts[bit.bit_length() - 1]} by {context.at(shown.ended)}"
            )
            sentence = f"{shown.who} {what}, and {context.by(read.call)} did not read it"
            if later is None:
                yield f"lost: {sentence}, nor did any later read"
            else:
                yield f"stale: {sentence}; {context.by(later.call)} did again"


def _bits(what: AddedElement | _Read) -> int:
    return what.elements if isinstance(what, _Read) else what.bit


class _Staged(NamedTuple):
    """A call at its stage; for an element, `began` and `ended` may be those of two adds."""

    call: ClientCall
    began: int
    ended: float
    what: str


def _no_order(seen: CollectedSet, context: CallContext) -> Iterator[str]:
    """Yield a sentence about two calls that contradict the order which inclusion prescribes."""
    reads = sorted(seen.reads, key=lambda read: read.elements.bit_count())
    stages: list[list[_Staged]] = []
    before = _Read(ClientCall(READ), 0)
    for read in reads:
        if before.elements & ~read.elements:
            yield (
                f"{context.by(before.call)} read {seen.names(before.elements & ~read.elements)} and not "
                f"{seen.names(read.elements & ~before.elements)}, and {context.by(read.call)} read it the other way round"
            )
            return
        if read.elements != before.elements or not stages:
            stages += [_adds(seen, read.elements & ~before.elements), []]
        call = read.call
        stages[-1].append(_Staged(call, call.began, _end(call), f"read {count(read.elements.bit_count(), 'element')}"))
        before = read
    everything = (1 << len(seen.elements)) - 1
    unread = _adds(seen, everything & ~before.elements)
    stages.append([add for add in unread if add.ended != float("inf")])
    latest: _Staged | None = None
    for stage in stages:
        for one in stage:
            if latest is not None and one.ended < latest.began:
                yield (
                    f"{one.call.who} {one.what} by {context.at(int(one.ended))}, and {latest.call.who} {latest.what} from "
                    f"{context.at(latest.began)} on, which a read shows to have come first"
                )
                return
        for one in stage:
            if latest is None or one.began > latest.began:
                latest = one


def _adds(seen: CollectedSet, elements: int) -> list[_Staged]:
    every = list(seen.elements.values())
    found = []
    while elements:
        element = every[(elements & -elements).bit_length() - 1]
        elements &= elements - 1
        if element.first is not None:
            ended = float("inf") if element.acknowledged is None else _end(element.acknowledged)
            found.append(_Staged(element.first, element.first.began, ended, f"added {element.text}"))
    return found


def _lost_in_the_end(seen: CollectedSet, read: _Read, missing: int, context: CallContext) -> str:
    bit = missing & -missing
    (element,) = (element for element in seen.elements.values() if element.bit == bit)
    others = missing.bit_count() - 1
    more = f" (and {count(others, 'other')})" if others else ""
    if element.acknowledged is not None:
        how = f"{element.acknowledged.who} added {element.text} by {context.at(element.acknowledged.ended)}"
    else:
        shown = next(one for one in seen.reads if one.elements & bit)
        how = f"{context.by(shown.call)} read {element.text}"
    return f"lost: {how}, and the last read of {read.call.reader}, by {context.by(read.call)}, lacks it{more}"


def _end(call: ClientCall) -> float:
    return float("inf") if call.ended is None else call.ended


SET: Final = CallJudge(("add", READ), judge_set, {"insert": "add", "r": READ})
EVENTUAL_SET: Final = CallJudge(("add", READ), judge_eventual_set, {"insert": "add", "r": READ})
BROADCAST: Final = CallJudge(("broadcast", READ), judge_eventual_set, {"add": "broadcast"})
