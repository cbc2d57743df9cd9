"""How a break is put into this process's copy of the shipped code, and taken out again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

Break = Callable[[], None]

#: By name.
BREAKS: Final[dict[str, Break]] = {}

_replaced: Final[list[tuple[Any, str, Any]]] = []


def listed(function: Break) -> Break:
    """Have a break listed under its function's name."""
    BREAKS[function.__name__.replace("_", "-")] = function
    return function


def replace(owner: Any, name: str, value: Any) -> None:
    """Put another thing in the place of a class's or a module's own."""
    _replaced.append((owner, name, vars(owner)[name]))
    setattr(owner, name, value)


@contextmanager
def broken(name: str) -> Iterator[None]:
    """The code with that break, and as it was afterwards."""
    before = len(_replaced)
    BREAKS[name]()
    try:
        yield
    finally:
        while len(_replaced) > before:
            owner, attribute, value = _replaced.pop()
            setattr(owner, attribute, value)
