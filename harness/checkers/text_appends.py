"""Keys whose texts grow by appends: all texts that no call observes count as one state, and stale texts are found in n log n.

One state for all unobserved texts
----------------------------------
Of a text, calls observe only whether it equals the answer of a `get` or the old value of a `cas`. An append can lead to such an
*observed* text only from one of its beginnings. So a text that begins no observed text stays unobserved, whatever is appended,
until it is written or deleted; and all such texts answer every call alike.

Without this, every order in which open appends can take effect is a state of its own.

Stale texts
-----------
Let there be only puts, appends and gets, and let no text be put or appended twice. An observed text ends with what one call has
put or appended, and that call took effect immediately before the text could be observed. So the observed texts are the values
of a register that these calls write, each once: the other calls only end the time in which a text can be read. If that register
has no order (`unique_writes.py`), neither has the key. That it has one proves nothing.
"""

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Sequence
from typing import Final

from harness.checkers.certificate import Contradiction, describe_value
from harness.checkers.models import KvModel
from harness.checkers.sequential_model import Model, ModelState, ObjectCall
from harness.checkers.unique_writes import check_unique_writes

#: The state of a text that no call observes. It begins as a text does, and ends as none does.
_UNOBSERVED: Final = '"unobserved'


class ObservedTextModel(KvModel):
    """A `KvModel` for some calls, with one state for all texts that none of them observes."""

    def __init__(self, model: Model, calls: Iterable[ObjectCall]) -> None:
        self.initial = model.initial  # type: ignore[misc]  # of this model only
        compared = [call.argument[0] for call in calls if call.f == "cas" and isinstance(call.argument, tuple)]
        answered = [call.answer for call in calls if call.f == "get"]
        self._observed = sorted({text for text in (*compared, *answered) if isinstance(text, str)})

    def step(self, state: ModelState, call: ObjectCall) -> tuple[ModelState, Hashable]:
        if call.f != "append":
            return super().step(state, call)
        if state == _UNOBSERVED:
            return state, None
        after, answer = super().step(state, call)
        assert isinstance(after, str)
        return after if answer is not None or self._begins_observed(after[:-1]) else _UNOBSERVED, answer

    def _begins_observed(self, beginning: str) -> bool:
        place = bisect_left(self._observed, beginning)
        return place < len(self._observed) and self._observed[place].startswith(beginning)


def find_stale_text(calls: Sequence[ObjectCall], initial: ModelState) -> Contradiction | None:
    """Return one to four calls that contradict each other; None if it finds none. See "Stale texts" above."""
    pieces = {call.argument: call for call in calls if call.f in ("put", "append")}
    reads = [call for call in calls if call.f == "get" and call.ended is not None]
    if len(pieces) + sum(call.f == "get" for call in calls) < len(calls) or not all(map(_is_text, pieces)):
        return None
    lengths = sorted({len(piece) for piece in pieces if isinstance(piece, str)})
    written: dict[
        ModelState, ObjectCall
    ] = {}  # an observed text to the call that made it, as a write of the whole text
    original: dict[ObjectCall, ObjectCall] = {}
    reader_of: dict[ObjectCall, ObjectCall] = {}
    for read in reads:
        text = read.answer
        if text == initial or text in written:
            continue
        last = _last_pieces(text, pieces, lengths) if isinstance(text, str) else []
        if len(last) > 1:
            return None
        if not last:
            return Contradiction((read,), "{0:process} {0:action} at {0:ended}, whose end no client had written")
        (call,) = last
        if call in reader_of:
            template = (
                "{0:process} {0:action}, and {1:process} {1:action}: both end with what {2:process} {2:action} once"
            )
            return Contradiction((reader_of[call], read, call), template)
        reader_of[call] = read
        written[text] = call.changed(f="put", argument=text, answer=None)
        original[written[text]] = call
    found = check_unique_writes([*written.values(), *reads], initial)
    if found is None:
        return None
    template = found.template
    for place, call in enumerate(found.calls):
        if call in original:
            shown = describe_value(call.argument).replace("{", "{{").replace("}", "}}")
            template = template.replace(f"{{{place}:value}}", shown)
    observed = [
        text for call in found.calls if isinstance(text := call.answer if call.f == "get" else call.argument, str)
    ]
    needed = [
        call for piece, call in pieces.items() if isinstance(piece, str) and any(piece[1:-1] in one for one in observed)
    ]
    return Contradiction(tuple(original.get(call, call) for call in found.calls), template, tuple(needed))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.startswith('"') and len(value) > 2


def _last_pieces(text: str, pieces: dict[Hashable, ObjectCall], lengths: Sequence[int]) -> list[ObjectCall]:
    """Return the calls with which a text can have ended: appends of its last characters, or a put of all of them."""
    found = []
    for length in lengths:
        call = pieces.get(f'"{text[len(text) - length + 1 :]}') if length <= len(text) else None
        if call is not None and (call.f == "append" or call.argument == text):
            found.append(call)
    return found
