"""Breaks clusters for real, and judges them from evidence.

The names below are the public API for programs, beside the command line and the pytest fixtures. Python imports a name's module
when a program first uses the name, because most commands need few rooms.
"""

TYPE_CHECKING = False  # as typing has it, whose import takes a while: see harness/cli/main.py
if TYPE_CHECKING:
    from harness.runs.experiment import Experiment

__all__ = ["Experiment"]

_MODULE_OF = {"Experiment": "harness.runs.experiment"}


def __getattr__(name: str) -> object:
    """Import a public name's module at the first use of the name."""
    from importlib import import_module  # noqa: PLC0415 - only a program that uses a name needs it

    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
    return value
