"""Certificates: the few calls that contradict each other, told in one sentence.

Rules
-----
1. A violation names two to four calls; fewer only where one alone is enough ("nobody had written that").
2. `why` is a template of `str.format` over those calls, and tells only what they prove: `{0:who}`, `{0:value}`, `{0:began}`,
   `{0:ended}`, `{0:by}` ("read by c3"), `{0:did}` ("read 7"), `{0:token}`. Values never stand in the template itself.
3. Times are in seconds, with as many decimals as it takes to tell those of one sentence apart; without times, line numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from harness.checkers.models import HELD, MISMATCH, NOT_FOUND, NOT_HELD, ObjectCall

#: A place in the order of events to seconds; None if the history does not say.
Clock = Callable[[int], float | None]

_SHOWN_MAX: Final = 60
_VERBS: Final = {"write": "written", "put": "written", "append": "appended", "propose": "proposed", "cas": "swapped in"}
_NOTHING: Final = {"query": "undecided", "propose": "undecided"}


@dataclass(frozen=True, slots=True)
class Contradiction:
    """No order exists. `calls` contradict each other, as `why` tells; `support` are others that it takes to see it.

    A violation of a search names the call that nothing explained, and `searched` is set: the rest is for `minimise`.
    """

    calls: tuple[ObjectCall, ...]
    why: str
    support: tuple[ObjectCall, ...] = ()
    searched: bool = False


def tell(violation: Contradiction, clock: Clock) -> str:
    """The certificate in one sentence."""
    times = {place: clock(place) for call in violation.calls for place in (call.began, call.ended) if place is not None}
    decimals = _decimals([time for time in times.values() if time is not None])
    said = [_Told(call, times, decimals) for call in violation.calls]
    return violation.why.format(*said)


def phrase(call: ObjectCall) -> str:  # noqa: PLR0911 - one return for each kind of call
    """What one call did, in words: "read 7"."""
    answer = shown(call.answer, call.f)
    argument = f"{shown(call.argument)}"
    if call.is_pending:
        return f"asked to {call.f}{'' if call.f in ('acquire', 'release', 'delete') else f' {argument}'}, unanswered"
    match call.f, call.answer:
        case ("cas" | "delete" | "acquire" | "release", "mismatch" | "not found" | "held" | "not held"):
            return f"{call.f}{f' {argument}' if call.f == 'cas' else ''} was told {call.answer}"
        case ("acquire", int()):
            return f"acquired the lock with token {call.answer}"
        case ("acquire" | "release", _):
            return f"{call.f}d the lock"
        case ("read" | "get", tuple() as entries):
            many = "1 entry" if len(entries) == 1 else f"{len(entries)} entries"
            return f"read {many}{f', the last {shown(entries[-1])}' if entries else ''}"
        case ("read" | "get", _):
            return f"read {answer}"
        case ("propose" | "query", _):
            return f"was told {answer}"
        case ("cas", _):
            return f"swapped {argument}"
        case ("delete", _):
            return "deleted it"
        case _:
            return f"{'appended' if call.f == 'append' else 'wrote'} {argument}"


def shown(value: object, f: str = "") -> str:
    """A value's text for people, cut if it is long."""
    if isinstance(value, tuple):
        text = " for ".join(shown(item) for item in reversed(value)) if len(value) == 2 else f"{len(value)} entries"
    else:
        text = _NOTHING.get(f, "nothing") if value is None else str(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 1]}…"


def who(call: ObjectCall) -> str:
    """The process, and the node that answered if that is known."""
    process = f"process {call.process}" if isinstance(call.process, int) else str(call.process)
    node = call.operation.node if call.operation is not None else None
    return process if node is None else f"{process} at {node}"


class _Told:
    """A call that formats itself."""

    def __init__(self, call: ObjectCall, times: dict[int, float | None], decimals: int) -> None:
        self.call, self.times, self.decimals = call, times, decimals

    def __format__(self, wanted: str) -> str:
        call = self.call
        is_told = call.f in ("read", "get", "query") or (call.f == "propose" and not call.is_pending)
        match wanted:
            case "who":
                return who(call)
            case "value":
                return shown(call.answer if is_told else call.argument, call.f)
            case "asked":
                return shown(call.argument)
            case "token":
                return str(call.answer)
            case "did":
                return phrase(call)
            case "by":
                return f"{'read' if is_told else _VERBS.get(call.f, call.f)} by {who(call)}"
            case "began":
                return self._at(call.began)
            case "ended":
                return "the end" if call.ended is None else self._at(call.ended)
        raise ValueError(f"{wanted!r} cannot be told of a call")

    def _at(self, place: int) -> str:
        time = self.times.get(place)
        return f"line {place + 1}" if time is None else f"{time:.{self.decimals}f} s"


def _decimals(times: list[float]) -> int:
    different = len(set(times))
    for decimals in range(2, 9):
        if len({f"{time:.{decimals}f}" for time in times}) == different:
            return decimals
    return 9


assert {MISMATCH, NOT_FOUND, HELD, NOT_HELD} == {"mismatch", "not found", "held", "not held"}  # the patterns above
