"""The command line: `consensus …`. It finds a command's module, runs the command, and turns errors into exit codes.

Rules
-----
1. Data goes to stdout, everything else to stderr.
2. Exit codes: 0 success; 1 a property is violated, or the operation was refused; 2 unknown; 130 interrupted; 143 terminated;
   254 bad arguments; 255 internal error.
3. A command's module is imported only when the command runs, and imports what only that command needs inside the function.
   So `consensus ps` does not load the benchmarks, and starts fast.
"""

import errno
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

EXIT_VIOLATED: Final = 1
EXIT_UNKNOWN: Final = 2
EXIT_BAD_ARGUMENTS: Final = 254
EXIT_INTERNAL: Final = 255
EXIT_INTERRUPTED: Final = 130
SCHEMA: Final = 1

#: Errors of the operating system that are no bug of this program.
_SYSTEM_ERRORS: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
)

_Command = TypeVar("_Command", bound=Callable[..., Any])

#: The module of each command.
_COMMANDS: Final = {
    "up": "harness.cli.cluster",
    "down": "harness.cli.cluster",
    "ps": "harness.cli.look",
    "propose": "harness.cli.calls",
    "query": "harness.cli.calls",
    "put": "harness.cli.keys",
    "get": "harness.cli.keys",
    "del": "harness.cli.keys",
    "watch": "harness.cli.watch",
    "lock": "harness.cli.lock",
    "assign": "harness.cli.assign",
    "kill": "harness.cli.cluster",
    "suspend": "harness.cli.cluster",
    "resume": "harness.cli.cluster",
    "restart": "harness.cli.cluster",
    "partition": "harness.cli.links",
    "isolate": "harness.cli.links",
    "link": "harness.cli.links",
    "links": "harness.cli.links",
    "heal": "harness.cli.links",
    "inject": "harness.cli.links",
    "member": "harness.cli.members",
    "logs": "harness.cli.look",
    "inspect": "harness.cli.look",
    "scorecard": "harness.cli.scorecard",
    "test": "harness.cli.plans",
    "replay": "harness.cli.plans",
    "shrink": "harness.cli.plans",
    "faults": "harness.cli.faults",
    "sweep": "harness.cli.sweep",
    "crashpoints": "harness.cli.crashpoints",
    "mutants": "harness.cli.mutants",
    "campaign": "harness.cli.campaign",
    "check": "harness.cli.check",
    "explore": "harness.cli.virtual",
    "simulate": "harness.cli.virtual",
    "trace": "harness.cli.trace",
    "flp": "harness.cli.flp",
    "bench": "harness.cli.bench",
    "report": "harness.cli.report",
    "runs": "harness.cli.report",
    "export": "harness.cli.export",
}


class _LazyGroup(click.Group):
    """Imports a command's module when the command is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        import importlib  # noqa: PLC0415 - see _COMMANDS

        module = importlib.import_module(_COMMANDS[cmd_name])
        # A command whose name is a keyword of Python has an underscore after it in its module.
        command = getattr(module, cmd_name, None) or getattr(module, f"{cmd_name}_")
        assert isinstance(command, click.Command)
        return command


class Folder(click.Path):
    """A parameter type: a folder. An empty name would be the current folder, with all that is in it."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path. Raises BadParameter if the name is empty."""
        if not str(value):
            self.fail(
                "the name of the folder is empty: is a variable of the shell unset? The current folder is .", param, ctx
            )
        return super().convert(value, param, ctx)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--dir",
    "root",
    type=Folder(),
    default=Path(".consensus"),
    envvar="CONSENSUS_DIR",
    show_default=True,
    help="The folder of the cluster's state.",
)
@click.version_option(package_name="consensus-lab", message="%(version)s")
@click.pass_context
def cli(ctx: click.Context, root: Path) -> None:
    """Run consensus algorithms as real processes, break them for real, and see which promises they kept.

    Start with `consensus scorecard`, or by hand: `consensus up -d`, `consensus propose colour blue`, `consensus kill n1`,
    `consensus query colour --at all`, `consensus down`.
    """
    ctx.obj = root.absolute()


def output_option(command: _Command) -> _Command:
    """Add the option `-o json` to a command. The command gets it as `as_json`."""
    return click.option(
        "-o",
        "--output",
        "as_json",
        type=click.Choice(["text", "json"]),
        default="text",
        callback=lambda _ctx, _param, value: value == "json",
        help="text for people, json for programs.",
    )(command)


def shown_path(path: Path) -> str:
    """Return a path for people: relative to the current folder if it lies below it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def print_json(**content: Any) -> None:
    """Print one JSON object to stdout, with the version of the schema."""
    print(json.dumps({"schema": SCHEMA, **content}, ensure_ascii=False), flush=True)


def print_stderr(text: str) -> None:
    """Print a line for people to stderr."""
    print(text, file=sys.stderr, flush=True)


class FloatRange(click.FloatRange):
    """A parameter type: a finite number in a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number.

        Raises:
            BadParameter: the text is no number, or the number is not in the range or not finite.
        """
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number


class ProgressTimer:
    """Limits how often long work prints its progress."""

    def __init__(self, interval_s: float = 5.0) -> None:
        self._interval_s, self._last = interval_s, time.monotonic()

    def is_due(self) -> bool:
        """Return whether `interval_s` seconds have passed since this was last true, or since the timer was made."""
        now = time.monotonic()
        if now < self._last + self._interval_s:
            return False
        self._last = now
        return True


def main() -> None:
    """Run the command line, and exit with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command, print every error to stderr, and return the exit code."""
    try:
        result = cli.main(args=arguments, prog_name="consensus", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()  # so that an error of writing is reported here, and not when Python ends
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        return EXIT_BAD_ARGUMENTS
    except BrokenPipeError:
        return _stdout_closed()
    except SystemExit as error:
        # rich and click raise this when the pipe at stdout is closed.
        if isinstance(error.__context__, BrokenPipeError) or type(sys.stdout).__name__.endswith("PacifyFlushWrapper"):
            return _stdout_closed()
        return _report_error(RuntimeError(f"a function has ended this process with {error!r}"))
    except Exception as error:  # noqa: BLE001 - every other error is reported, and has an exit code of its own
        return _report_error(error)
    return result if isinstance(result, int) else 0


def _stdout_closed() -> int:
    """Drop the rest of the output: the reader of stdout has closed it, as `head` does. Return the exit code."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
    return 0


def _report_error(error: Exception) -> int:
    """Print the error to stderr, and return its exit code."""
    from cluster.errors import ConsensusError, NoSuchNode, Unknown  # noqa: PLC0415 - only errors need them
    from node.contract import BadInput  # noqa: PLC0415
    from node.storage.disk import DiskError  # noqa: PLC0415

    match error:
        case NoSuchNode() | BadInput():
            code, prefix = EXIT_BAD_ARGUMENTS, ""
        case Unknown():
            code, prefix = EXIT_UNKNOWN, "unknown: "
        case ConsensusError() | DiskError():
            code, prefix = EXIT_VIOLATED, ""
        case OSError() if error.errno in _SYSTEM_ERRORS:
            code, prefix = EXIT_BAD_ARGUMENTS, "" if error.filename else "the output cannot be written: "
        case _:
            import traceback  # noqa: PLC0415

            traceback.print_exception(error)
            print_stderr(
                "consensus: this is a bug of consensus, not a mistake of yours; the lines above show where it is"
            )
            return EXIT_INTERNAL
    print_stderr(f"consensus: {prefix}{error}")
    return code


if __name__ == "__main__":
    main()
