"""Where two runs of one plan part: the first difference in what struck, in what clients were answered, and in what was sent.

Theory of operation
-------------------
Two runs on real processes never have the same times, and messages of different links overtake each other. So what is compared
does not depend on the pace: the faults, the calls of each client, what each node got to know as decided, and the messages of each
directed link. Of each kind the first difference is the one that comes first.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import zip_longest
from typing import Final, NamedTuple

from harness.report.events import Event

_NOTHING: Final = "nothing more"


class RunDifference(NamedTuple):
    """The first difference of a kind."""

    kind: str
    """faults, calls, decisions or messages."""
    where: str
    """On which link, of which client or node, and its number there, from 1."""
    texts: tuple[str, str]
    """What stands there in either run."""
    times: tuple[int | None, int | None]
    """When, in microseconds; None if there is nothing more."""

    def seen_from(self, side: int) -> dict[str, object]:
        """Return the difference as the page of one of the two runs shows it: 0 for the first, 1 for the second."""
        other = 1 - side
        return {
            "kind": self.kind,
            "where": self.where,
            "here": self.texts[side],
            "there": self.texts[other],
            "t": self.times[side],
            "t_there": self.times[other],
        }


def first_differences(one: Iterable[Event], other: Iterable[Event]) -> list[RunDifference]:
    """Return the first difference of each kind in which two runs differ, by their events."""
    runs = (list(one), list(other))
    found = []
    for kind, read in _KINDS.items():
        sequences = (read(runs[0]), read(runs[1]))
        each = [
            difference
            for where in dict.fromkeys((*sequences[0], *sequences[1]))
            if (difference := _first(kind, where, sequences[0].get(where, []), sequences[1].get(where, [])))
        ]
        found += sorted(each, key=lambda one: min(t for t in one.times if t is not None))[:1]
    return found


#: A sequence: the time and the text of each.
Sequence = list[tuple[int, str]]


def _first(kind: str, where: str, one: Sequence, other: Sequence) -> RunDifference | None:
    for number, (mine, theirs) in enumerate(zip_longest(one, other), 1):
        texts = tuple(_NOTHING if item is None else item[1] for item in (mine, theirs))
        if texts[0] != texts[1]:
            times = (mine and mine[0], theirs and theirs[0])
            return RunDifference(kind, f"{where}, number {number}" if where else f"number {number}", texts, times)  # type: ignore[arg-type]
    return None


def _by(events: Iterable[tuple[str, int, str]]) -> dict[str, Sequence]:
    found: dict[str, Sequence] = {}
    for where, t, text in events:
        found.setdefault(where, []).append((t, text))
    return found


def _faults(events: list[Event]) -> dict[str, Sequence]:
    return _by(("", event["t"], f"{event['name']} {event['what']}") for event in events if event["k"] == "fault")


def _calls(events: list[Event]) -> dict[str, Sequence]:
    calls = (event for event in events if event["k"] == "call")
    return _by(
        (
            event["process"],
            event["t"] if event["t1"] is None else event["t1"],
            f"{event['asked']} ({event['key']}) at {event['at'] or 'any node'}: {event['answer'] or 'no answer'}",
        )
        for event in calls
    )


def _decisions(events: list[Event]) -> dict[str, Sequence]:
    known: dict[tuple[str, str], str] = {}
    found = []
    for event in events:
        if event["k"] == "node":
            for variable, facts in event["vars"].items():
                value = facts.get("decided")
                if value is not None and known.get((event["node"], variable)) != value:
                    known[event["node"], variable] = value
                    found.append((event["node"], event["t"], f"{variable} is {value}"))
    return _by(found)


def _messages(events: list[Event]) -> dict[str, Sequence]:
    messages = (event for event in events if event["k"] == "msg")
    return _by(
        (f"{event['from']} → {event['to']}", event["t"], f"{event['label']}, {event['fate']}") for event in messages
    )


_KINDS: Final[Mapping[str, Callable[[list[Event]], dict[str, Sequence]]]] = {
    "faults": _faults,
    "calls": _calls,
    "decisions": _decisions,
    "messages": _messages,
}
