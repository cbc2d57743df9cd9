"""Words of messages to people that all floors use, and the error that carries one to a caller."""

from collections.abc import Iterable
from typing import Final

_NEAREST_MAX: Final = 3
#: From 0 to 1, as difflib counts it. Its own default, 0.6, misses a swap of letters in a short name.
_SIMILARITY_MIN: Final = 0.5


class BadInput(ValueError):
    """The caller gave what cannot be used. The message says what is wanted; nothing was changed."""


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number and its noun in the right form, such as "1 variable" or "2,000 variables".

    Args:
        number: the number.
        noun: the noun for one.
        plural: the noun for more; with an s if it is None.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def nearest(word: str, names: Iterable[str], otherwise: str | None = None) -> str:
    """Return the end of an error about a name that does not exist: "did you mean kill or killer?".

    Args:
        word: what was written in the place of a name.
        names: those that exist. The three that look most like the word are named.
        otherwise: what to return if none of them looks like it; None to return "there are ..." with all names.
    """
    from difflib import get_close_matches  # noqa: PLC0415 - only errors need it

    lowered = {name.lower(): name for name in names}
    found = [lowered[match] for match in get_close_matches(word.lower(), lowered, _NEAREST_MAX, _SIMILARITY_MIN)]
    if found:
        return f"did you mean {' or '.join(filter(None, [', '.join(found[:-1]), found[-1]]))}?"
    return f"there are {', '.join(lowered.values())}" if otherwise is None else otherwise
