"""Prepares the process for a verb, and runs it. The program `consensus` beside this file calls `main`.

Rule: nothing here imports more than Python has imported already, until Ctrl-C is handled. The imports of a verb take a tenth of a
second, in which a user may press it. `_signal` is the part of `signal` that is built in; the other part imports `enum`.
"""

import _signal  # type: ignore[import-not-found]  # typeshed does not list it
import gc
import os
import sys

TYPE_CHECKING = False  # as typing has it, whose import takes a while
if TYPE_CHECKING:
    from types import FrameType


def main() -> None:
    """Run the command line, and exit with its exit code."""
    _signal.signal(_signal.SIGINT, _end)
    code = run(sys.argv[1:], in_own_process=True)
    _signal.signal(_signal.SIGINT, _end)  # while Python ends
    gc.freeze()  # so that Python visits no object for that, which takes a tenth of a short verb's time
    sys.exit(code)


def run(arguments: list[str], *, in_own_process: bool = False) -> int:
    """Run one verb, print every error, and return the exit code.

    Args:
        arguments: those of the command line.
        in_own_process: whether the process is the verb's own, so that signals are the verb's, too.
    """
    from harness.cli.quick_verbs import run_quickly  # noqa: PLC0415 - see the rule

    code = run_quickly(arguments, in_own_process=in_own_process)
    if code is not None:
        return code
    from harness.cli.verbs import run_verb  # noqa: PLC0415

    return run_verb(arguments, in_own_process=in_own_process)


def _end(_number: int, _frame: "FrameType | None") -> None:
    os._exit(130)  # nothing has begun


if __name__ == "__main__":
    main()
