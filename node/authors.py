"""The mistakes of an algorithm's author: in which line of his code an algorithm failed, and whether its status is one.

An author needs a line of his own, and not that of the check in this project, or in Python's library, that noticed the mistake.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from inspect import unwrap
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

from node.contract import Algorithm, Ballot, ContractBroken, Status

_HOUSE: Final = Path(__file__).resolve().parent.parent
_OURS: Final = tuple(f"{_HOUSE / floor}{os.sep}" for floor in ("node", "cluster", "harness"))
#: Algorithms and machines of this project: what fails there is the mistake of their author, too.
_AUTHORS: Final = tuple(
    f"{_HOUSE / room}{os.sep}" for room in ("node/algorithms", "node/machines", "node/replication", "harness/mutants")
)
_LOADERS: Final = tuple(str(_HOUSE / "node" / room / "__init__.py") for room in ("algorithms", "machines"))
_PYTHON: Final = f"{Path(os.__file__).resolve().parent}{os.sep}"

#: The types of the fields of a `Status`, in their order.
_FIELD_TYPES: Final = (str, Ballot | None, Ballot | None, bytes | None, bool, int, Mapping)


class CodePlace(NamedTuple):
    """A line of code."""

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        within = "" if self.function.startswith("<") else f"in {self.function}, "
        return f"{within}{Path(self.file).name}, line {self.line}"


def place_of(trace: TracebackType | None) -> CodePlace | None:
    """Return the last line of an author's code in a traceback, or else its last line; None if it has no line."""
    places = list(_places(trace))
    return next((place for place in reversed(places) if is_authors(place.file)), places[-1] if places else None)


def place_of_function(function: Callable[..., object]) -> CodePlace:
    """Return where a function of an author is defined."""
    code = unwrap(function).__code__
    return CodePlace(code.co_name, code.co_filename, code.co_firstlineno)


def is_authors(file: str) -> bool:
    """Return whether a file of code belongs to an author of algorithms: neither to this project's floors nor to Python."""
    if file.startswith("<") or file in _LOADERS:
        return False
    if file.startswith(_OURS):
        return file.startswith(_AUTHORS)
    return not file.startswith(_PYTHON) or "site-packages" in file or "dist-packages" in file


def describe_failure(error: BaseException) -> str:
    """Return what an algorithm failed of, on one line, with the place in its author's code.

    Such as "KeyError: 'x' (in propose, mine.py, line 7)". What broke the contract is described by its message alone.
    """
    text = " ".join(str(error).split())
    kind = type(error).__name__
    what = text if isinstance(error, ContractBroken) else f"{kind}: {text}" if text else kind
    own = error.place if isinstance(error, ContractBroken) else None
    found = place_of(error.__traceback__)
    if found is None or (isinstance(error, ContractBroken) and not is_authors(found.file)):
        return f"{what} ({own})" if own else what
    return f"{what} ({own or found})"


def status_of(instance: Algorithm) -> Status:
    """Return one replica's status.

    Raises:
        ContractBroken: the algorithm returned something else than a `Status`, or a field of it has another type than declared.
    """
    status: object = instance.status()
    name = type(instance).__name__
    if not isinstance(status, Status):
        what = f"status() of {name} returned a {type(status).__name__}: return a node.contract.Status"
    elif not all(map(isinstance, status, _FIELD_TYPES)):
        parts = zip(Status._fields, status, _FIELD_TYPES, strict=True)
        field, item = next((field, item) for field, item, types in parts if not isinstance(item, types))
        what = f"status() of {name} has the {type(item).__name__} {item!r} as its {field}: see node.contract.Status"
    else:
        return status
    broken = ContractBroken(what)
    broken.place = str(place_of_function(type(instance).status))
    raise broken


def _places(trace: TracebackType | None) -> Iterator[CodePlace]:
    while trace is not None:
        code = trace.tb_frame.f_code
        yield CodePlace(code.co_name, code.co_filename, trace.tb_lineno)
        trace = trace.tb_next
