"""Options that are declared once, and read without click or by it.

Importing click takes half as long as Python itself, and a verb that is called a hundred times in a script pays it each time. A
verb whose options are declared here is carried out without click if its command line is a plain one: `read` understands it
completely, or not at all. All else, such as help, mistakes and completion, is click's.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class BadUse(Exception):
    """The options do not fit each other. It is raised before anything is printed."""


class PlainOption(NamedTuple):
    """An option of a verb.

    Attributes:
        name: how the user writes it, such as `--model`.
        help: what it is for.
        kind: what its value is; a flag has none.
        choices: the only values of a text; None for all.
        least: the least number.
        above: whether a number must be above `least`.
        most: the greatest number.
        default: its value if the user does not give it.
        shows_default: whether the help names the default.
        required: whether the user has to give it.
    """

    name: str
    help: str
    kind: Literal["flag", "text", "int", "float"] = "text"
    choices: Sequence[str] | None = None
    least: int | None = None
    above: bool = False
    most: int | None = None
    default: Any = None
    shows_default: bool = False
    required: bool = False

    @property
    def parameter(self) -> str:
        """The name of the function's parameter."""
        return self.name.removeprefix("--").replace("-", "_")

    def value_of(self, text: str) -> Any:
        """Return the value of a text. Raises ValueError if it is none that is certainly right."""
        if self.kind == "text":
            if self.choices is not None and text not in self.choices:
                raise ValueError
            return text
        number = int(text) if self.kind == "int" else float(text)
        low = self.least is not None and (number <= self.least if self.above else number < self.least)
        if low or not number < float("inf") or (self.most is not None and number > self.most):
            raise ValueError
        return number

    def by_click(self) -> "Callable[[Any], Any]":
        """Return click's decorator for this option."""
        import click  # noqa: PLC0415 - see above

        if self.kind == "flag":
            return click.option(self.name, is_flag=True, help=self.help)
        kind: Any = str if self.choices is None else click.Choice(self.choices)
        if self.kind == "int":
            kind = click.IntRange(self.least, self.most, min_open=self.above)
        elif self.kind == "float":
            kind = click.FloatRange(self.least, self.most, min_open=self.above)
        return click.option(
            self.name,
            type=kind,
            required=self.required,
            help=self.help,
            **({} if self.required else {"default": self.default, "show_default": self.shows_default}),
        )


_OUTPUT = PlainOption("--output", "", choices=("text", "json"), default="text")


def read(options: Sequence[PlainOption], words: Sequence[str]) -> dict[str, Any] | None:
    """Return the parameters of a verb that takes files, from the words after its name; None if they need click.

    The files stand under `files`, and whether JSON is wanted under `as_json`. They are checked as click does it.
    """
    by_name = {option.name: option for option in (*options, _OUTPUT)} | {"-o": _OUTPUT}
    found: dict[str, Any] = {
        option.parameter: False if option.kind == "flag" else option.default for option in by_name.values()
    }
    files: list[str] = []
    given = set()
    rest = iter(words)
    for word in rest:
        if word == "-" or not word.startswith("-"):
            files.append(word)
            continue
        name, equals, value = word.partition("=")
        option = by_name.get(name)
        if option is None or (equals and (option.kind == "flag" or name == "-o")):
            return None
        try:
            text = "" if option.kind == "flag" else value if equals else next(rest)
            found[option.parameter] = option.kind == "flag" or option.value_of(text)
        except (ValueError, StopIteration):
            return None
        given.add(option)
    if not files or any(option.required and option not in given for option in options):
        return None
    if not all(map(_is_plain_file, files)):
        return None
    as_json = found.pop(_OUTPUT.parameter) == "json"
    return {**found, "files": tuple(files), "as_json": as_json}


def _is_plain_file(name: str) -> bool:
    """Return whether this is a file that can be read, no folder, with a name that `pathlib` would not change."""
    if name == "-":
        return True
    return not ("//" in name or "./" in name or os.path.isdir(name)) and os.access(name, os.R_OK)
