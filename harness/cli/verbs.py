"""The table of verbs: finds a verb's module, runs the verb, and turns errors into exit codes.

Rule: a verb's module is imported only when the verb runs, and imports what only that verb needs inside the function. So
`consensus ps` does not load the benchmarks, and starts fast.
"""

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Final

import click

from harness.cli.convention import (
    EXIT_BAD_ARGUMENTS,
    EXIT_INTERNAL,
    EXIT_UNKNOWN,
    EXIT_VIOLATED,
    NotedOutput,
    Signalled,
    Verb,
    VerbGroup,
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
from harness.cli.parameters import folder_option
from harness.cli.plain_text import use_plain_text

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

#: The verbs by what people want, and the module of each verb, below `harness.cli`.
_SECTIONS: Final = {
    "Learn": {"tour": "tour"},
    "Run a cluster": {
        "up": "cluster",
        "down": "cluster",
        "ps": "look",
        "logs": "look",
        "inspect": "look",
        "member": "members",
    },
    "Use it": {
        "propose": "calls",
        "query": "calls",
        "put": "keys",
        "get": "keys",
        "del": "keys",
        "watch": "watch",
        "lock": "lock",
        "assign": "assign",
    },
    "Rescue it": {"save": "rescue", "restore": "rescue", "recover": "rescue"},
    "Break it by hand": {
        "kill": "cluster",
        "suspend": "cluster",
        "resume": "cluster",
        "restart": "cluster",
        "partition": "links",
        "isolate": "links",
        "link": "links",
        "links": "links",
        "inject": "links",
        "heal": "links",
        "faults": "faults",
    },
    "Break and judge": {
        "scorecard": "scorecard",
        "test": "plans",
        "campaign": "campaign",
        "sweep": "sweep",
        "crashpoints": "crashpoints",
        "mutants": "mutants",
        "mutate": "mutate",
        "replay": "plans",
        "shrink": "plans",
    },
    "Search without processes": {"explore": "virtual", "simulate": "virtual", "flp": "flp", "figure8": "figure8"},
    "Bring a system of your own": {"new": "new"},
    "See it": {"live": "live"},
    "See what happened": {
        "runs": "report",
        "report": "report",
        "export": "export",
        "trace": "trace",
        "check": "check",
    },
    "Measure": {"bench": "bench"},
}
_MODULES: Final = {name: module for verbs in _SECTIONS.values() for name, module in verbs.items()}
#: The verbs that end with 1 if a promise is violated, and for no other reason.
_JUDGES: Final = frozenset((*_SECTIONS["Break and judge"], *_SECTIONS["Search without processes"], "trace", "check"))

#: What other programs call some of the verbs.
_OTHER_WORDS: Final = {
    "status": "ps", "list": "ps", "ls": "ps", "start": "up", "run": "up", "stop": "down", "set": "put", "write": "put",
    "read": "get", "delete": "del", "rm": "del", "remove": "del", "pause": "suspend", "unpause": "resume",
    "log": "logs", "verify": "check",
}  # fmt: skip


class _LazyGroup(VerbGroup):
    """Imports a verb's module when the verb is needed."""

    other_words = _OTHER_WORDS

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return None
        import importlib  # noqa: PLC0415 - see the rule

        module = importlib.import_module(f"harness.cli.{_MODULES[cmd_name]}")
        # A verb whose name is a keyword of Python has an underscore after it in its module.
        command = getattr(module, cmd_name, None) or getattr(module, f"{cmd_name}_")
        assert isinstance(command, Verb | VerbGroup)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in _SECTIONS.items():
            commands = {name: self.get_command(ctx, name) for name in names}
            with formatter.section(title):
                formatter.write_dl(
                    [(name, command.get_short_help_str(limit=1000)) for name, command in commands.items() if command]
                )


@click.group(
    cls=_LazyGroup,
    params=[folder_option(before_the_verb=True)],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="consensus-lab", message="%(version)s")
def cli() -> None:
    """Run consensus algorithms as real processes, break them for real, and see which promises they kept.

    Start with `consensus scorecard`, or by hand: `consensus up -d`, `consensus propose colour blue`, `consensus kill n1`,
    `consensus query colour --at all`, `consensus down`.
    """


def run_verb(arguments: list[str], *, in_own_process: bool) -> int:
    """Run one verb, print every error, and return the exit code.

    Args:
        arguments: those of the command line.
        in_own_process: whether the process is the verb's own, so that signals are the verb's, too.
    """
    if in_own_process:
        use_plain_text()
    begin(arguments)
    with noted_stdout() as output:
        return _run_verb(arguments, output, in_own_process=in_own_process)


def _run_verb(arguments: list[str], output: NotedOutput | None, *, in_own_process: bool) -> int:
    try:
        with _signals() if in_own_process else nullcontext():
            result = cli.main(args=arguments, prog_name="consensus", standalone_mode=False)
            if sys.stdout is not None:
                sys.stdout.flush()  # so that an error of writing is reported here, and not when Python ends
    except (click.Abort, KeyboardInterrupt) as error:
        return _interrupted(error)
    except click.ClickException as error:
        return _misused(error)
    except BrokenPipeError:
        return _stdout_closed()
    except SystemExit as error:
        # rich and click raise this when the pipe at stdout is closed.
        if isinstance(error.__context__, BrokenPipeError) or type(sys.stdout).__name__.endswith("PacifyFlushWrapper"):
            return _stdout_closed()
        return _report_error(RuntimeError(f"a function has ended this process with {error!r}"))
    except Exception as error:  # noqa: BLE001 - every other error is reported, and has an exit code of its own
        if output is not None and error is output.error:
            return _output_lost(error)
        return _report_error(error)
    return result if isinstance(result, int) else 0


def _misused(error: click.ClickException) -> int:
    """Report an error of the command line, and return its exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        print_stderr(error.format_message())  # the help, which has the usage
        print_error_object(EXIT_BAD_ARGUMENTS, "no command is named")
        return EXIT_BAD_ARGUMENTS
    if isinstance(error, click.UsageError) and error.ctx is not None:
        print_stderr(f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help' for help.\n")
    print_error(EXIT_BAD_ARGUMENTS, error.format_message())
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


def _interrupted(error: BaseException) -> int:
    """Report a signal, and return its exit code. click raises Abort in the place of KeyboardInterrupt."""
    cause = error.__cause__ if isinstance(error, click.Abort) else error
    code = exit_code_of(cause if isinstance(cause, KeyboardInterrupt) else KeyboardInterrupt())
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


def _report_error(error: Exception) -> int:
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
            code, prefix = EXIT_BAD_ARGUMENTS if verb_under_way() in _JUDGES else EXIT_VIOLATED, ""
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
