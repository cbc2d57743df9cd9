"""What all verbs of `consensus` have in common: their options, how they print, and their exit codes.

Rules
-----
1. Data goes to stdout, everything else to stderr.
2. Every verb is a `Verb`, and so has `-o` and `--dir`. Its function gets `as_json`.
3. With `-o json` a verb prints one JSON object to stdout, by `print_json`. A verb that streams prints one object a line.
4. An error's sentence goes to stderr. With `-o json` an object about it goes to stdout, too, unless the verb has printed its
   own object already. A stream ends with that object. The exit code is the same as without `-o json`.
5. Exit codes: 0 success; 1 a property is violated, or the operation was refused; 2 unknown; 129 hung up; 130 interrupted; 143
   terminated; 254 bad arguments; 255 internal error.
"""

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from harness.cli.parameters import folder_option
from harness.cli.printing import (
    EXIT_BAD_ARGUMENTS,
    EXIT_INTERNAL,
    EXIT_INTERRUPTED,
    EXIT_UNKNOWN,
    EXIT_VIOLATED,
    SCHEMA,
    NotedOutput,
    ProgressTimer,
    Signalled,
    began_verb,
    begin,
    chose_json,
    drop_stdout,
    end_of,
    ends_with_its_user,
    exit_code_of,
    exit_interrupted,
    is_stream,
    json_text,
    kind_of,
    noted_stdout,
    print_error,
    print_error_object,
    print_json,
    print_stderr,
    print_wrapped,
    verb_under_way,
)
from node.wording import nearest

__all__ = [
    "EXIT_BAD_ARGUMENTS",
    "EXIT_INTERNAL",
    "EXIT_INTERRUPTED",
    "EXIT_UNKNOWN",
    "EXIT_VIOLATED",
    "NotedOutput",
    "ProgressTimer",
    "SCHEMA",
    "Signalled",
    "Verb",
    "VerbGroup",
    "begin",
    "drop_stdout",
    "end_of",
    "ends_with_its_user",
    "exit_code_of",
    "exit_interrupted",
    "is_stream",
    "json_text",
    "kind_of",
    "noted_stdout",
    "print_error",
    "print_error_object",
    "print_json",
    "print_stderr",
    "print_wrapped",
    "shown_path",
    "verb",
    "verb_under_way",
]


class Verb(click.Command):
    """A command of `consensus`. It has the options that every verb has, and its function gets `as_json`.

    Args:
        streams: whether the verb prints any number of JSON objects with `-o json`, one a line, and not exactly one.
    """

    def __init__(self, *arguments: Any, streams: bool = False, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.streams = streams
        self.params += [_output_option(), folder_option()]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb, and return what its function returns: the exit code, or None for 0."""
        began_verb(self.name or "", streams=self.streams)
        return super().invoke(ctx)


class VerbGroup(click.Group):
    """A group of verbs. A mistyped verb's error names those that look like it."""

    command_class = Verb
    #: Words that other programs have for a verb, to the verb.
    other_words: Mapping[str, str] = MappingProxyType({})

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb that the arguments name. Raises UsageError if there is none."""
        name = args[0]
        if not (ctx.resilient_parsing or name.startswith("-")) and self.get_command(ctx, name) is None:
            other = self.other_words.get(name.lower())
            otherwise = f"`{ctx.command_path} --help` lists them"
            hint = f"did you mean {other}?" if other else nearest(name, self.list_commands(ctx), otherwise)
            raise click.UsageError(f"there is no command {name!r}: {hint}", ctx)
        return super().resolve_command(ctx, args)


def verb(name: str | None = None, **attributes: Any) -> Callable[[Callable[..., Any]], Verb]:
    """Make a verb of a function, as `click.command` makes a command. `streams` is the argument of `Verb`."""
    return click.command(name, cls=Verb, **attributes)


def _output_option() -> click.Option:
    def chosen(_ctx: click.Context, _param: click.Parameter, value: str) -> bool:
        if value == "json":
            chose_json()
        return value == "json"

    return click.Option(
        ["-o", "--output", "as_json"],
        type=click.Choice(["text", "json"]),
        default="text",
        is_eager=True,  # so that an error in another option is printed as this one says
        callback=chosen,
        help="text for people, json for programs.",
    )


def shown_path(path: Path) -> str:
    """Return a path for people: relative to the current folder if it lies below it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def consensus_in(root: Path) -> str:
    """Return what a command about a folder begins with: `consensus`, and `--dir` unless that is the usual folder."""
    usual = Path(os.environ.get("CONSENSUS_DIR") or ".consensus").absolute()
    return "consensus" if root == usual else f"consensus --dir {shlex.quote(shown_path(root))}"
