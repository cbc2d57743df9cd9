"""Certificates: the few calls that contradict each other, in one sentence.

Rules
-----
1. A `Contradiction` names two to four calls, and one only where one is enough (a value that no client wrote).
2. Its `template` is a `str.format` template over these calls, and states only what the calls prove. The fields are
   `{0:process}`, `{0:value}`, `{0:argument}`, `{0:token}`, `{0:began}`, `{0:ended}`, `{0:action}` ("read 7") and
   `{0:done_by}` ("read by c3"). A value never stands in the template itself, since it may contain braces.
3. Times are in seconds, with as many decimals as the sentence needs to keep its times apart. If the history has no times,
   line numbers stand in their place.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

from harness.checkers.other_models import Permits, Versioned
from harness.checkers.sequential_model import HELD, MISMATCH, NOT_FOUND, NOT_HELD, ObjectCall
from harness.records.jsonable import wording
from node.wording import count

#: Takes a place in the order of events. Returns its time in seconds, or None if the history has no time for it.
Clock = Callable[[int], float | None]

#: How many calls a sentence names at most.
NAMED_MAX: Final = 4
#: The longest text of a value, in characters.
_SHOWN_MAX: Final = 60
#: The most steps of a transaction that are named.
_STEPS_MAX: Final = 6
_PARTICIPLES: Final = {
    "write": "written",
    "put": "written",
    "append": "appended",
    "propose": "proposed",
    "cas": "swapped in",
}
#: What no value means, by function.
_NO_VALUE: Final = {"query": "undecided", "propose": "undecided"}


class Contradiction(NamedTuple):
    """The proof that some calls on one object have no order, or the place where a search found none.

    Attributes:
        calls: the calls that contradict each other, as `template` states.
        template: the sentence, see rule 2 of this module.
        supporting: further calls that a reader needs in order to check the contradiction, such as the writes of the values.
        from_search: True if `search` found it. `calls` then holds the one call that no order explains, and `minimise`
            finds the calls that contradict it.
        is_window: True if the calls and the supporting ones have no order, whatever state they began in (`suspect_windows.py`).
    """

    calls: tuple[ObjectCall, ...]
    template: str
    supporting: tuple[ObjectCall, ...] = ()
    from_search: bool = False
    is_window: bool = False


@wording
def sentence_of(contradiction: Contradiction, clock: Clock) -> str:
    """Return the contradiction as one sentence, with the times from `clock`."""
    places = [place for call in contradiction.calls for place in (call.began, call.ended) if place is not None]
    times = {place: clock(place) for place in places}
    decimals = _decimals([time for time in times.values() if time is not None])
    return contradiction.template.format(*(_FormattedCall(call, times, decimals) for call in contradiction.calls))


def actions_of(number: int) -> str:
    """Return a template that says of each of so many calls what it did, and when."""
    return ", ".join(
        f"{{{place}:process}} {{{place}:action}} from {{{place}:began}} to {{{place}:ended}}" for place in range(number)
    )


@wording
def describe_action(call: ObjectCall) -> str:  # noqa: PLR0911 - one return for each kind of call
    """Return what one call did, in the past tense, such as "read 7"."""
    if call.f == "txn" or isinstance(call.argument, Permits) or isinstance(call.answer, Versioned):
        return _describe_other(call)
    answer = describe_value(call.answer, call.f)
    argument = f"{describe_value(call.argument)}"
    if call.is_pending:
        value = "" if call.f in ("acquire", "release", "delete") else f" {argument}"
        return f"called {call.f}{value} and received no answer"
    match call.f, call.answer:
        case ("cas" | "delete" | "acquire" | "release", "mismatch" | "not found" | "held" | "not held"):
            return f'called {call.f}{f" {argument}" if call.f == "cas" else ""} and received "{call.answer}"'
        case ("acquire", int()):
            return f"acquired the lock with token {call.answer}"
        case ("acquire" | "release", _):
            return f"{call.f}d the lock"
        case ("read" | "get", tuple() as entries):
            number = "1 entry" if len(entries) == 1 else f"{len(entries)} entries"
            last = f" ({'' if len(entries) == 1 else 'the last is '}{describe_value(entries[-1])})" if entries else ""
            return f"read {number}{last}"
        case ("read" | "get", _):
            return f"read {answer}"
        case ("propose" | "query", _):
            return f"received {answer}"
        case ("cas", _):
            return f"swapped {argument}{_as_version(call)}"
        case ("delete", _):
            return "deleted the value"
        case _:
            return f"{'appended' if call.f == 'append' else 'wrote'} {argument}{_as_version(call)}"


def _as_version(call: ObjectCall) -> str:
    """Return which version a change of a versioned register has made, if its answer says so."""
    return f" as version {call.answer}" if call.f in ("write", "cas") and isinstance(call.answer, int) else ""


def _describe_other(call: ObjectCall) -> str:
    """Return what a transaction, a call on a semaphore, or a read of a versioned register did."""
    if isinstance(call.answer, Versioned):
        version, value = call.answer
        return f"read {describe_value(value)} as version {version}" if version else f"read {describe_value(value)}"
    if isinstance(call.argument, Permits):
        permits = count(call.argument, "permit")
        if call.is_pending:
            return f"called {call.f} of {permits} and received no answer"
        return (
            f"{call.f}d {permits}"
            if call.answer is None
            else f'called {call.f} of {permits} and received "{call.answer}"'
        )
    assert isinstance(call.argument, tuple)
    read = iter(call.answer if isinstance(call.answer, tuple) else ())
    verbs = {"r": "read", "w": "write" if call.is_pending else "wrote"}
    text, kind_before = "", ""
    for kind, key, written in call.argument[:_STEPS_MAX]:
        name = describe_value(key)
        if kind == "w":
            what = f"{describe_value(written)} to {name}"
        else:
            what = name if call.is_pending else f"{describe_value(next(read))} from {name}"
        verb = "" if kind == kind_before else f"{verbs[kind]} "
        text += f"{' and ' if text else ''}{verb}{what}"
        kind_before = kind
    if (more := len(call.argument) - _STEPS_MAX) > 0:
        text += f" and {count(more, 'step')} more"
    if call.is_pending:
        return f"called txn to {text or 'do nothing'} and received no answer"
    return f"{text or 'did nothing'} in one transaction" if len(call.argument) != 1 else text


@wording
def describe_value(value: object, f: str = "") -> str:
    """Return a value's text for people, cut to 60 characters. `f` is the function of the call, if the value is its answer."""
    if isinstance(value, tuple):
        both = len(value) == 2
        text = " for ".join(describe_value(item) for item in reversed(value)) if both else f"{len(value)} entries"
    else:
        text = _NO_VALUE.get(f, "nothing") if value is None else _in_words(str(value))
    return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 1]}…"


def _in_words(text: str) -> str:
    """Return a value's text as it stands in all other evidence: a string of JSON in single quotes, and all else as it is."""
    if text.startswith('"'):
        with suppress(ValueError):
            return repr(json.loads(text))
    return text


@wording
def describe_process(call: ObjectCall) -> str:
    """Return the process, and the node that answered if the history names it, such as "c1 at n2"."""
    process = f"process {call.process}" if isinstance(call.process, int) else str(call.process)
    node = call.operation.node if call.operation is not None else None
    return process if node is None else f"{process} at {node}"


class _FormattedCall:
    """A call as an argument of `str.format` (rule 2)."""

    def __init__(self, call: ObjectCall, times: dict[int, float | None], decimals: int) -> None:
        self.call, self.times, self.decimals = call, times, decimals

    def __format__(self, field: str) -> str:
        call = self.call
        is_answer = call.f in ("read", "get", "query") or (call.f == "propose" and not call.is_pending)
        match field:
            case "process":
                return describe_process(call)
            case "value":
                return describe_value(call.answer if is_answer else call.argument, call.f)
            case "argument":
                return describe_value(call.argument)
            case "token":
                return str(call.answer)
            case "action":
                return describe_action(call)
            case "done_by":
                return f"{'read' if is_answer else _PARTICIPLES.get(call.f, call.f)} by {describe_process(call)}"
            case "began":
                return self._time_at(call.began)
            case "ended":
                return "the end" if call.ended is None else self._time_at(call.ended)
        raise ValueError(f"a template of a contradiction has the field {field!r}, and no call has one of this name")

    def _time_at(self, place: int) -> str:
        time = self.times.get(place)
        return f"line {place + 1}" if time is None else f"{time:.{self.decimals}f} s"


def _decimals(times: list[float]) -> int:
    different = len(set(times))
    for decimals in range(2, 9):
        if len({f"{time:.{decimals}f}" for time in times}) == different:
            return decimals
    return 9


assert {MISMATCH, NOT_FOUND, HELD, NOT_HELD} == {"mismatch", "not found", "held", "not held"}  # the patterns above
