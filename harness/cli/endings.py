"""Carries out a verb, and turns its errors into exit codes. Neither click nor a verb's own modules are imported here."""

import errno
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import TYPE_CHECKING, Final

from harness.cli.plain_text import use_plain_text
from harness.cli.printing import (
    EXIT_BAD_ARGUMENTS,
    EXIT_INTERNAL,
    EXIT_UNKNOWN,
    EXIT_VIOLATED,
    NotedOutput,
    Signalled,
    begin,
    drop_stdout,
    exit_code_of,
    is_stream,
    kind_of,
    noted_stdout,
    print_error,
    print_error_object,
    print_stderr,
    verb_under_way,
)

if TYPE_CHECKING:
    import click

#: Errors of the operating system that are no bug of this program.
_SYSTEM_ERRORS: Final = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
    }
)


def carry_out(act: Callable[[], object], arguments: list[str], judges: Collection[str], *, in_own_process: bool) -> int:
    """Do what a verb does, print every error, and return the exit code.

    Args:
        act: the verb. It may return its exit code.
        arguments: those of the command line.
        judges: the verbs that end with 1 if a promise is violated, and for no other reason.
        in_own_process: whether the process is the verb's own, so that signals are the verb's, too.
    """
    if in_own_process:
        use_plain_text()
    begin(arguments)
    with noted_stdout() as output:
        return _carried_out(act, output, judges, in_own_process=in_own_process)


def _carried_out(
    act: Callable[[], object], output: NotedOutput | None, judges: Collection[str], *, in_own_process: bool
) -> int:
    try:
        with _signals() if in_own_process else nullcontext():
            result = act()
            if sys.stdout is not None:
                sys.stdout.flush()  # so that an error of writing is reported here, and not when Python ends
    except KeyboardInterrupt as error:
        return _interrupted(error)
    except BrokenPipeError:
        return _stdout_closed()
    except SystemExit as error:
        # rich and click raise this when the pipe at stdout is closed.
        if isinstance(error.__context__, BrokenPipeError) or type(sys.stdout).__name__.endswith("PacifyFlushWrapper"):
            return _stdout_closed()
        return _report_error(RuntimeError(f"a function has ended this process with {error!r}"), judges)
    except Exception as error:  # noqa: BLE001 - every other error is reported, and has an exit code of its own
        if (code := _code_by_click(error)) is not None:
            return code
        if output is not None and error is output.error:
            return _output_lost(error)
        return _report_error(error, judges)
    return result if isinstance(result, int) else 0


def _code_by_click(error: Exception) -> int | None:
    """Report an error that click has raised, and return its exit code; None if it is another."""
    if "click" not in sys.modules:
        return None
    import click  # noqa: PLC0415 - some verbs do without

    if isinstance(error, click.Abort):
        return _interrupted(error.__cause__)  # raised in the place of KeyboardInterrupt
    return _misused(error) if isinstance(error, click.ClickException) else None


def _misused(error: "click.ClickException") -> int:
    """Report an error of the command line, and return its exit code."""
    import click  # noqa: PLC0415 - it raised the error

    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        print_stderr(error.format_message())  # the help, which has the usage
        print_error_object(EXIT_BAD_ARGUMENTS, "no command is named")
        return EXIT_BAD_ARGUMENTS
    message = error.format_message()
    if isinstance(error, click.UsageError) and error.ctx is not None:
        print_stderr(f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help' for help.\n")
        if "unexpected extra argument" in message and "nodes" in error.ctx.params:
            message += ". Write several nodes as one word, such as n1,n2"
    print_error(EXIT_BAD_ARGUMENTS, message)
    return EXIT_BAD_ARGUMENTS


@contextmanager
def _signals() -> Iterator[None]:
    """Let the signals that end a process raise KeyboardInterrupt, so that a verb ends what it has begun.

    A signal that is ignored, as SIGHUP is under nohup, stays so.
    """

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise Signalled(number)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, interrupt)
    yield


def _interrupted(error: BaseException | None) -> int:
    """Report a signal, and return its exit code."""
    code = exit_code_of(error if isinstance(error, KeyboardInterrupt) else KeyboardInterrupt())
    message = f"{kind_of(code)} before it was done"
    if is_stream():
        print_error_object(code, message)  # its user has ended it, as a stream ends
    else:
        print_error(code, message)
    return code


def _stdout_closed() -> int:
    """Drop the rest of the output: the reader of stdout has closed it, as `head` does. Return the exit code."""
    drop_stdout()
    return 0


def _output_lost(error: Exception) -> int:
    """Report that stdout cannot be written, which tells nothing of what the verb has done. Return the exit code."""
    drop_stdout()
    print_error(
        EXIT_BAD_ARGUMENTS, f"the command was carried out up to its output, and this output cannot be written: {error}"
    )
    return EXIT_BAD_ARGUMENTS


def _has_current_folder() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _report_error(error: Exception, judges: Collection[str]) -> int:
    """Print the error, and return its exit code."""
    from cluster.errors import AlgorithmFailed, CommandRefused, ConsensusError, NoSuchNode, NotUp, Unknown  # noqa: PLC0415 - only errors need them
    from node.contract import BadInput  # noqa: PLC0415
    from node.storage.disk import DiskError  # noqa: PLC0415

    match error:
        case NoSuchNode() | BadInput():
            code, prefix = EXIT_BAD_ARGUMENTS, ""
        case Unknown():
            code, prefix = EXIT_UNKNOWN, "unknown: "
        case AlgorithmFailed():
            code, prefix = EXIT_VIOLATED, ""
        case ConsensusError() | DiskError():
            # What a judge could not carry out violates nothing.
            code, prefix = EXIT_BAD_ARGUMENTS if verb_under_way() in judges else EXIT_VIOLATED, ""
        case OSError() if error.errno in _SYSTEM_ERRORS:
            code, prefix = EXIT_BAD_ARGUMENTS, ""
        case FileNotFoundError() if not _has_current_folder():
            code, prefix = EXIT_BAD_ARGUMENTS, "the current folder has been removed, go to another one: "
        case MemoryError():
            code, prefix = EXIT_BAD_ARGUMENTS, "the machine denies more memory "
        case _:
            import traceback  # noqa: PLC0415

            traceback.print_exception(error)
            bug = "this is a bug of consensus, not a mistake of yours; the lines above show where it is"
            print_stderr(f"consensus: {bug}")
            print_error_object(EXIT_INTERNAL, f"{type(error).__name__}: {error}")
            return EXIT_INTERNAL
    kind = error.kind if isinstance(error, CommandRefused) else "not_up" if isinstance(error, NotUp) else None
    print_error(code, f"{prefix}{error}", kind)
    return code
