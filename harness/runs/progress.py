"""Lines about the progress of a run, for people."""

from collections.abc import Callable
from typing import TypeAlias

#: Shows a person one line about the progress of a run. Any thread may call it.
ShowLine: TypeAlias = Callable[[str], None]


def show_nothing(_line: str) -> None:
    """Return a `ShowLine` that shows nothing."""
