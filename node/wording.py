"""Words of messages to people that all floors use."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

_NEAREST_MAX: Final = 3


def count(number: int, noun: str) -> str:
    """Return a number and its noun in the right form, such as "1 variable" or "2,000 variables"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def nearest(word: str, names: Iterable[str]) -> str:
    """Return a question for the end of an error, such as "did you mean kill?"; "" if no name looks like the word."""
    lowered = {name.lower(): name for name in names}
    found = [lowered[match] for match in get_close_matches(word.lower(), lowered, _NEAREST_MAX)]
    return f"did you mean {' or '.join(found)}?" if found else ""
