"""Which value has which colour in a run: the same in the picture, the charts and the tables."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from harness.report.changes import NodeChange, text_of
from harness.report.drawn_run import DrawnCall, RunFolder
from harness.report.events import value_text

#: Up to this number of different answers, each has a colour of its own.
COLOURED_MAX: Final = 12
#: A value with one of these names, as in the article, has that colour.
NAMED_COLOURS: Final = ("blue", "red", "green", "yellow", "orange", "purple", "pink", "brown")


def coloured_values(run: RunFolder, every_change: Iterable[NodeChange]) -> dict[str, str]:
    """Return the text of each value that has a colour, with its class, in the order in which they appear."""
    every_change = list(every_change)
    colours = _with_held_values(answer_colours(run), every_change)
    values = [call.answer for call in run.operations if call.outcome == "ok"]
    values += [change.value for change in every_change if change.field in ("holds", "decided")]
    found = ((value_text(value), value_colour(value, colours)) for value in values)
    return {text: colour for text, colour in found if colour is not None}


def answer_colours(run: RunFolder) -> dict[str, int]:
    """Return a number for each different answer.

    If there are too many for colours, only the answers of witnesses have a number. If those are too many too, no answer has one.
    """
    answers = [call for call in run.operations if call.outcome == "ok" and call.answer is not None]
    numbers = _numbered(answers)
    if len(numbers) > COLOURED_MAX:
        numbers = _numbered(call for call in answers if call.index in run.witnesses)
    return numbers if len(numbers) <= COLOURED_MAX else {}


def _numbered(answers: Iterable[DrawnCall]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for call in answers:
        numbers.setdefault(text_of(call.answer), len(numbers))
        if len(numbers) > COLOURED_MAX:
            break
    return numbers


def _with_held_values(colours: Mapping[str, int], every_change: Iterable[NodeChange]) -> dict[str, int]:
    """Return the colours of answers, and further ones for what nodes hold, as long as there are enough."""
    numbers = dict(colours)
    for change in every_change:
        if change.field in ("holds", "decided") and len(numbers) < COLOURED_MAX:
            numbers.setdefault(text_of(change.value), len(numbers))
    return numbers


def value_colour(value: Any, colours: Mapping[str, int]) -> str | None:
    """Return the class of a value's colour in the style sheet, such as `v-blue` or `v-3`; None for no colour."""
    if value is None or not colours:
        return None
    if isinstance(value, str) and value in NAMED_COLOURS:
        return f"v-{value}"
    number = colours.get(text_of(value))
    return None if number is None else f"v-{number % 8}"
