"""Logs of messages by offsets, as Kafka has them: offsets never lost, and never two values at one offset.

`stream_calls.py` reads the calls.

Flaws
-----
*Inconsistent offsets*: two values at one offset. *Duplicate*: a value that was sent once, at two offsets. *Unexpected*: a
value that no client had sent. *Skipped*: a poll passed over an offset that is known to hold a value; *lost*: no poll has
ever returned that value. *Lost at the end*: the last poll of a reader returned nothing from an offset on, though a later
one was acknowledged. *Not in order*: offsets within a poll, from poll to poll of a process, or from send to send of a
process and key, do not rise. *Committed*: an acknowledged commit was forgotten, or an offset is listed that nobody had
committed.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from harness.checkers.client_calls import SENTENCES_MAX, CallContext, CallJudge, ClientCall, wrong_answer
from harness.checkers.stream_calls import COMMIT, COMMITTED, RESETS, Sent, StreamCalls, asked_form, key_text
from harness.checkers.verdict import Found, Verdict, invalid, unknown, valid
from node.wording import count


def judge_streams(calls: Sequence[ClientCall], context: CallContext) -> Verdict:
    """Return whether messages keep their offsets, are never passed over, and committed offsets are kept."""
    seen = StreamCalls(calls, context)
    with Found() as found:
        for sentences in (
            seen.flaws,
            _two_values(seen),
            _two_offsets(seen),
            _unexpected(seen),
            _skipped(seen),
            _lost_at_the_end(seen),
            _not_in_order(seen, calls),
            _committed(calls, context),
        ):
            found.extend(sentence for _, sentence in zip(range(SENTENCES_MAX), sentences, strict=False))
    if found:
        return invalid(*found)
    sends = sum(sent.offset is not None for sent in seen.sent)
    messages = sum(len(polled.messages) for polled in seen.polled)
    if not sends or not messages:
        return unknown(
            f"{count(sends, 'send')} and {count(messages, 'polled message')} were answered, and both are needed"
        )
    return valid(f"{count(sends, 'send')} were answered and {count(messages, 'message')} polled, each at its offset")


def _known(seen: StreamCalls) -> Iterator[tuple[str, int, str | None, ClientCall]]:
    """Yield every value whose offset a client has learnt: key, offset, value, and the call that showed it."""
    for sent in seen.sent:
        if sent.offset is not None:
            yield sent.key, sent.offset, sent.text, sent.call
    for polled in seen.polled:
        for offset, text in polled.messages:
            yield polled.key, offset, text, polled.call


def _two_values(seen: StreamCalls) -> Iterator[str]:
    at: dict[tuple[str, int], tuple[str | None, ClientCall]] = {}
    for key, offset, text, call in _known(seen):
        other, shown_by = at.setdefault((key, offset), (text, call))
        if other != text:
            one, two = (_shown_by(seen, text, call) for text, call in ((other, shown_by), (text, call)))
            yield f"inconsistent offsets: offset {offset} of {key} held {one}, and {two}"


def _two_offsets(seen: StreamCalls) -> Iterator[str]:
    sent: dict[tuple[str, str | None], int] = {}
    for one in seen.sent:
        sent[one.key, one.text] = sent.get((one.key, one.text), 0) + (one.call.outcome != "fail")
    at: dict[tuple[str, str | None], tuple[int, ClientCall]] = {}
    for key, offset, text, call in _known(seen):
        other, shown_by = at.setdefault((key, text), (offset, call))
        if other != offset and sent.get((key, text)) == 1:
            yield (
                f"duplicate: {text} was sent to {key} once, and is at offset {other} (by {seen.context.by(shown_by)}) and at "
                f"offset {offset} (by {seen.context.by(call)})"
            )


def _unexpected(seen: StreamCalls) -> Iterator[str]:
    first: dict[tuple[str, str | None], ClientCall] = {}
    failed: dict[tuple[str, str | None], ClientCall] = {}
    for sent in seen.sent:
        (failed if sent.call.outcome == "fail" else first).setdefault((sent.key, sent.text), sent.call)
    for polled in seen.polled:
        for offset, text in polled.messages:
            source = first.get((polled.key, text))
            read = f"unexpected: {seen.context.by(polled.call)} polled {text} at offset {offset} of {polled.key}"
            if source is None:
                by = failed.get((polled.key, text))
                yield f"{read}, " + (
                    "which no client had sent" if by is None else f"and the send by {by.who} had failed"
                )
            elif source.began > (polled.call.ended or 0):
                yield f"{read}, and {source.who} began to send it only at {seen.context.at(source.began)}"


def _skipped(seen: StreamCalls) -> Iterator[str]:
    """Yield a sentence for each offset that is known to hold a value, and that a poll which passed it did not return."""
    holds: dict[str, dict[int, tuple[str | None, ClientCall]]] = {}
    for key, offset, text, call in _known(seen):
        holds.setdefault(key, {}).setdefault(offset, (text, call))
    ever = {(polled.key, offset) for polled in seen.polled for offset, _ in polled.messages}
    ordered = {key: sorted(offsets) for key, offsets in holds.items()}
    place = {key: {offset: number for number, offset in enumerate(offsets)} for key, offsets in ordered.items()}
    reported = set()
    for polled in seen.polled:
        if not polled.messages:
            continue
        returned = {offset for offset, _ in polled.messages}
        key, last = polled.key, max(returned)
        first = min(returned) if polled.asked is None else polled.asked
        number = place[key][last] - 1
        while number >= 0 and ordered[key][number] >= first:
            offset = ordered[key][number]
            number -= 1
            if offset in returned or (key, offset) in reported:
                continue
            reported.add((key, offset))
            text, call = holds[key][offset]
            how = "skipped" if (key, offset) in ever else "lost"
            never = "" if how == "skipped" else ", and no poll has ever returned it"
            yield (
                f"{how}: offset {offset} of {key} held {_shown_by(seen, text, call)}, and {seen.context.by(polled.call)} polled "
                f"from {first} to {last} without it{never}"
            )


def _lost_at_the_end(seen: StreamCalls) -> Iterator[str]:
    """Yield a sentence for each reader whose last poll, after all sends, returned nothing where a message was acknowledged."""
    after = max((sent.call.began if sent.call.ended is None else sent.call.ended for sent in seen.sent), default=-1)
    last = {(polled.call.reader, polled.key): polled for polled in seen.polled if polled.call.began > after}
    highest: dict[str, Sent] = {}
    for sent in seen.sent:
        if sent.offset is not None and (sent.key not in highest or sent.offset > (highest[sent.key].offset or 0)):
            highest[sent.key] = sent
    for polled in last.values():
        top = highest.get(polled.key)
        if polled.messages or polled.asked is None or top is None or top.offset is None or top.offset < polled.asked:
            continue
        yield (
            f"lost: {seen.context.by(top.call)} had sent {top.text} to offset {top.offset} of {top.key}, and the last poll of "
            f"{polled.call.reader}, by {seen.context.by(polled.call)}, asked from {polled.asked} on and returned nothing"
        )


def _not_in_order(seen: StreamCalls, calls: Sequence[ClientCall]) -> Iterator[str]:
    resets: dict[int | str, list[int]] = {}
    for call in calls:
        if call.f in RESETS:
            resets.setdefault(call.process, []).append(call.began)
    before: dict[
        tuple[int | str, str], tuple[int, int]
    ] = {}  # process and key to the last offset, and the place of its poll
    for polled in seen.polled:
        offsets = [offset for offset, _ in polled.messages]
        if not offsets:
            continue
        by = f"not in order: {seen.context.by(polled.call)} polled offset"
        for earlier, later in pairwise(offsets):
            if later <= earlier:
                yield f"{by} {later} of {polled.key} after offset {earlier}"
                break
        if polled.asked is not None:
            if offsets[0] < polled.asked:
                yield f"{by} {offsets[0]} of {polled.key}, and had asked from {polled.asked} on"
            continue
        reader = (polled.call.process, polled.key)
        last, since = before.get(reader, (-1, polled.call.began))
        was_reset = any(since < place < polled.call.began for place in resets.get(polled.call.process, ()))
        if offsets[0] <= last and not was_reset:
            yield f"{by} {offsets[0]} of {polled.key}, and had polled offset {last} before"
        before[reader] = (offsets[-1], polled.call.began)
    sends: dict[tuple[int | str, str], Sent] = {}
    for sent in seen.sent:
        if sent.offset is None:
            continue
        earlier_send = sends.get((sent.call.process, sent.key))
        if earlier_send is not None and earlier_send.offset is not None and sent.offset <= earlier_send.offset:
            yield (
                f"not in order: {seen.context.by(sent.call)} sent {sent.text} to offset {sent.offset} of {sent.key}, and its "
                f"send of {earlier_send.text} before went to offset {earlier_send.offset}"
            )
        sends[sent.call.process, sent.key] = sent


def _committed(calls: Sequence[ClientCall], context: CallContext) -> Iterator[str]:
    commits = [
        call for call in calls if call.f == COMMIT and call.outcome != "fail" and isinstance(call.value, Mapping)
    ]
    acknowledged = [call for call in commits if call.ended is not None]
    for call in calls:
        if call.f != COMMITTED or not call.is_ok:
            continue
        if not isinstance(call.answer, Mapping):
            yield wrong_answer(call, context, "a map from keys to offsets")
            continue
        listed = {key_text(key): offset for key, offset in call.answer.items() if offset is not None}
        begun: dict[str, set[Any]] = {}
        for commit in commits:
            if commit.began < (call.ended or 0):
                for key, offset in commit.value.items():
                    begun.setdefault(key_text(key), set()).add(offset)
        for key, offset in listed.items():
            if offset not in begun.get(key, ()):
                yield f"committed: {context.by(call)} was given offset {offset} of {key}, which nobody had committed"
        asked = [key_text(key) for key in call.value] if isinstance(call.value, list | tuple) else list(begun)
        for key in asked:
            done = [
                commit
                for commit in acknowledged
                if (commit.ended or 0) < call.began and any(key_text(name) == key for name in commit.value)
            ]
            if done and key not in listed:
                yield (
                    f"committed: {context.by(done[-1])} had committed offset {_ofkey_text(done[-1].value, key)} of {key}, and "
                    f"{context.by(call)} was given none"
                )


def _ofkey_text(value: Mapping[Any, Any], key: str) -> Any:
    return next(offset for name, offset in value.items() if key_text(name) == key)


def _shown_by(seen: StreamCalls, text: str | None, call: ClientCall) -> str:
    return f"{text} (by {seen.context.by(call)})"


STREAMS: Final = CallJudge(
    ("send", "poll", "txn", COMMIT, COMMITTED, *RESETS),
    judge_streams,
    {"commit": COMMIT, "committed": COMMITTED},
    whole=True,
    asks_for=asked_form,
)
