"""The parameters that several verbs have, and the types of parameters."""

import math
import os
import re
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])
_FOLDER: Final = Path(".consensus")


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


def folder_option(*, before_the_verb: bool = False) -> click.Option:
    """Return the option `--dir`, which stands before the verb or after it. It sets the context's object.

    Only the one before the verb has a default.
    """

    def chosen(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
        if value is not None:
            ctx.obj = value.absolute()

    return click.Option(
        ["--dir"],
        type=Folder(),
        default=_FOLDER if before_the_verb else None,
        envvar="CONSENSUS_DIR" if before_the_verb else None,
        show_default=before_the_verb,
        is_eager=True,  # so that the completion of other options finds the folder
        expose_value=False,
        callback=chosen,
        help="The folder of the cluster's state.",
    )


def folder_of(ctx: click.Context) -> Path:
    """Return the folder that `--dir` names, also while the shell completes a word."""
    return ctx.find_object(Path) or _FOLDER.absolute()


def algorithm_parameter(
    *,
    default: str | None = None,
    shown_default: str | None = None,
    required: bool = False,
    many: bool = False,
    choices: Sequence[str] | None = None,
) -> Callable[[Function], Function]:
    """Return a decorator that lets a verb take an algorithm, as an argument or as `--algorithm`.

    Args:
        default: what the verb's function gets if the user names none.
        shown_default: the default that `--help` names; `default` if it is None.
        required: whether it is an error to name none.
        many: whether the user may name several. The function gets a tuple, as `algorithms`.
        choices: the only names that are allowed; None for every algorithm.
    """
    kind = None if choices is None else click.Choice(choices)

    def add(function: Function) -> Function:
        @wraps(function)
        def with_one(*arguments: Any, named: Any, option: Any, **more: Any) -> Any:
            if many:
                return function(*arguments, algorithms=tuple(dict.fromkeys((*named, *option))), **more)
            if named and option and named != option:
                raise click.UsageError(f"two algorithms are given, {named} and {option}: give one")
            if required and not (named or option):
                raise click.UsageError("give an algorithm, such as paxos or module:Class")
            return function(*arguments, algorithm=named or option or default, **more)

        about = "The same as ALGORITHM" + (", may be given several times." if many else ".")
        if default or shown_default:
            about += f"  [default: {shown_default or default}]"
        attributes: dict[str, Any] = {"multiple": True} if many else {}
        with_option = click.option("--algorithm", "option", type=kind, metavar="ALGORITHM", help=about, **attributes)
        metavar = "[ALGORITHM]..." if many else "ALGORITHM" if required else "[ALGORITHM]"
        with_argument = click.argument(
            "named", required=False, type=kind, metavar=metavar, nargs=-1 if many else 1, shell_complete=_complete
        )
        decorated: Function = with_argument(with_option(with_one))  # type: ignore[assignment]  # wraps() keeps the type
        return decorated

    def _complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        from node.algorithms import BUILT_IN  # noqa: PLC0415 - only the shell's completion needs it

        return [name for name in choices or BUILT_IN if name.startswith(incomplete)]

    return add


def log_parameter(function: Function) -> Function:
    """Let a verb take an algorithm that keeps a log, as an argument or as `--algorithm`."""

    @wraps(function)
    def checked(*arguments: Any, algorithm: str, **more: Any) -> Any:
        from node.algorithms import A_LOG, load_algorithm  # noqa: PLC0415 - see harness.cli.verbs

        if not load_algorithm(algorithm).keeps_log:
            raise click.UsageError(f"{algorithm} keeps no log: measure {A_LOG}, or a log of your own")
        return function(*arguments, algorithm=algorithm, **more)

    decorated: Function = algorithm_parameter(default="multipaxos")(checked)  # type: ignore[assignment]  # wraps() keeps the type
    return decorated


class SettingValue(click.ParamType[tuple[str, int]]):
    """A parameter type: NAME=VALUE, for a setting of the cluster."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Return the name and the number.

        Raises:
            BadParameter: the text has another form, no setting has this name, or the number is out of its range.
        """
        from node.tuning import BadSetting, tuning_of  # noqa: PLC0415 - most verbs set nothing

        if isinstance(value, tuple):
            return value
        name, _, number = str(value).partition("=")
        if not re.fullmatch(r"-?\d{1,18}", number):
            self.fail(f"{value!r} is not NAME=VALUE with a whole number: write, for example, window=8", param, ctx)
        try:
            tuning_of({name: int(number)})
        except BadSetting as error:
            self.fail(str(error), param, ctx)
        return name, int(number)


def settings_option(help_: str) -> Callable[[Function], Function]:
    """Return the option `--set`. The function gets pairs of a name and a number, as `settings`."""
    return click.option("--set", "settings", type=SettingValue(), multiple=True, metavar="NAME=VALUE", help=help_)


class FloatRange(click.FloatRange):
    """A parameter type: a finite number in a range."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number.

        Raises:
            BadParameter: the text is no number, or the number is not in the range or not finite.
        """
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number


def workers_option(per_core: int, least: int, help_text: str) -> Callable[[Function], Function]:
    """Return the option --workers of a verb that works on all cores: how many clusters or runs at a time.

    Args:
        per_core: how many by default for each core.
        least: how many by default at least.
        help_text: what they are.
    """
    each = "one for each core" if per_core == 1 else f"{per_core} for each core"
    return click.option(
        "--workers",
        type=click.IntRange(1, 64),
        default=lambda: min(max(per_core * len(os.sched_getaffinity(0)), least), 64),
        show_default=f"{each}, at least {least}",
        help=help_text,
    )
