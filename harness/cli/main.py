"""The command line: `consensus …`. Data goes to stdout, everything else to stderr.

Exit codes: 0 good; 1 a property is violated or the operation was refused; 2 unknown; 254 bad arguments; 255 internal error.
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

#: What the machine denies, which is nobody's mistake in here.
_THE_MACHINES: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
)

_Command = TypeVar("_Command", bound=Callable[..., Any])

#: Where each verb lives. A module is imported when its verb is asked for, so that `consensus ps` does not pay for the rest.
_VERBS: Final = {
    "up": "harness.cli.cluster",
    "down": "harness.cli.cluster",
    "ps": "harness.cli.look",
    "propose": "harness.cli.calls",
    "query": "harness.cli.calls",
    "put": "harness.cli.keys",
    "get": "harness.cli.keys",
    "del": "harness.cli.keys",
    "watch": "harness.cli.watch_and_assign",
    "lock": "harness.cli.lock",
    "assign": "harness.cli.watch_and_assign",
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


class _Verbs(click.Group):
    """Finds a verb's module when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        import importlib  # noqa: PLC0415 - see _VERBS

        module = importlib.import_module(_VERBS[cmd_name])
        # A verb that is a word of Python's has an underscore after it there.
        command = getattr(module, cmd_name, None) or getattr(module, f"{cmd_name}_")
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--dir",
    "root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".consensus"),
    envvar="CONSENSUS_DIR",
    show_default=True,
    help="Where the cluster's state lives.",
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
    """`-o json` for a verb; it arrives as `as_json`."""
    return click.option(
        "-o",
        "--output",
        "as_json",
        type=click.Choice(["text", "json"]),
        default="text",
        callback=lambda _ctx, _param, value: value == "json",
        help="text for people, json for programs.",
    )(command)


def print_json(**content: Any) -> None:
    """One JSON object to stdout, with the schema's version."""
    print(json.dumps({"schema": SCHEMA, **content}, ensure_ascii=False), flush=True)


def say(text: str) -> None:
    """A line for people, to stderr."""
    print(text, file=sys.stderr, flush=True)


class FloatRange(click.FloatRange):
    """A number between two. NaN is between none, and infinity is no number of seconds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Raises BadParameter."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number


class NowAndThen:
    """Called often in long work: true when it is time to tell people how far it is."""

    def __init__(self, every_s: float = 5.0) -> None:
        self._every_s, self._told = every_s, time.monotonic()

    def __call__(self) -> bool:
        """Whether so many seconds are over since it was last true, or since the beginning."""
        now = time.monotonic()
        if now < self._told + self._every_s:
            return False
        self._told = now
        return True


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command. Returns the exit code; every error has been told on stderr by then."""
    try:
        result = cli.main(args=arguments, prog_name="consensus", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()  # what it cannot write is told here, and not when Python ends
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        return EXIT_BAD_ARGUMENTS
    except BrokenPipeError:
        return _nobody_reads()
    except SystemExit as error:
        # What rich, and what click, make of a closed pipe.
        if isinstance(error.__context__, BrokenPipeError) or type(sys.stdout).__name__.endswith("PacifyFlushWrapper"):
            return _nobody_reads()
        return _told(RuntimeError(f"something has ended this process with {error!r}"))
    except Exception as error:  # noqa: BLE001 - the last resort: it is told, and has a code of its own
        return _told(error)
    return result if isinstance(result, int) else 0


def _nobody_reads() -> int:
    """Whoever read our output has had enough."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
    return 0


def _told(error: Exception) -> int:
    """Tell people what went wrong, and return the exit code for it."""
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
        case OSError() if error.errno in _THE_MACHINES:
            code, prefix = EXIT_BAD_ARGUMENTS, "" if error.filename else "what was to be printed, or written: "
        case _:
            import traceback  # noqa: PLC0415

            traceback.print_exception(error)
            say("consensus: this is a mistake of ours, not of yours; the lines above say where")
            return EXIT_INTERNAL
    say(f"consensus: {prefix}{error}")
    return code


if __name__ == "__main__":
    main()
