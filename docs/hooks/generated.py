"""A MkDocs hook: writes the reference pages for which the code itself is the source.

It also takes `no-run="why"` and `whole="file"` from the blocks: they are for the tests (`tests/docs/pages.py`).

A line `<!-- generated: NAME ARGUMENTS -->` in a page is replaced with the text of the generator NAME below, at each build. So
those pages cannot go out of date.
"""

import ast
import inspect
import io
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

import click
from mkdocs.exceptions import PluginError

from harness.cli.main import run
from harness.cli.verbs import cli
from harness.faults.catalogue import CatalogueEntry, catalogue
from node.tuning import SETTINGS

sys.path.insert(0, str(Path(__file__).parent))  # MkDocs loads a hook as a file, without its folder
import python_reference

_MARK = re.compile(r"^<!-- generated: (\S+)((?: \S+)*) -->$", re.MULTILINE)
_FOR_TESTS = re.compile(r'^( *```\w+.*?) (?:no-run|whole)="[^"]*"', re.MULTILINE)
_LOADED_FROM_ELSEWHERE = re.compile(r'<(?:link|script|img|iframe|source)\b[^>]*\b(?:src|href)="(?:https?:)?//[^>]*>')
_STATED_DEFAULT = re.compile(r"\s*\[default: (.*?)\]")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this for each page. Returns the page with every mark replaced. Raises KeyError for an unknown mark."""
    shown = _FOR_TESTS.sub(r"\1", markdown)
    return _MARK.sub(lambda found: "\n".join(GENERATORS[found[1]](*found[2].split())), shown)


def on_post_build(config: Any, **_: Any) -> None:
    """MkDocs calls this at the end. Raises PluginError if a built page loads anything from another host."""
    found = [
        f"{page}: {tag[0]}"
        for page in sorted(Path(config["site_dir"]).rglob("*.html"))
        for tag in _LOADED_FROM_ELSEWHERE.finditer(page.read_text())
    ]
    if found:
        raise PluginError("pages must load nothing from other hosts: " + "; ".join(found))


# --- the command line -------------------------------------------------------------------------------------------------


def command_line() -> Iterator[str]:
    """Every verb of `consensus`: its usage, its help text, its arguments and options."""
    yield from _command(cli, "consensus", None, 2)


def _command(command: click.Command, path: str, parent: click.Context | None, level: int) -> Iterator[str]:
    context = click.Context(command, info_name=path.rpartition(" ")[2], parent=parent, **command.context_settings)
    yield from (f"{'#' * level} {path}", "")
    yield from ("```text", f"{path} {' '.join(command.collect_usage_pieces(context))}", "```", "")
    yield from _help(command)
    yield from _options(command, context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _command(child, f"{path} {name}", context, min(level + 1, 4) if parent else level)


def _help(command: click.Command) -> Iterator[str]:
    """The help text. Its paragraphs are flowed, except those that click keeps as they stand."""
    text = inspect.cleandoc(command.help or "").partition("\f")[0]
    for paragraph in text.split("\n\n"):
        if paragraph.startswith("\b"):
            yield from ("```text", *paragraph.removeprefix("\b").strip("\n").splitlines(), "```", "")
        else:
            yield from (" ".join(line.strip() for line in paragraph.splitlines()), "")


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    arguments = [argument for argument in command.params if isinstance(argument, click.Argument)]
    if arguments:
        yield from ("| argument | value |", "|---|---|")
        for argument in arguments:
            needed = "required" if argument.required else "optional"
            many = ", one or more" if argument.nargs == -1 else ""
            yield f"| `{argument.make_metavar(context)}` | {_type(argument)}, {needed}{many} |"
        yield ""
    if not options:
        return
    yield from ("| option | value | default | meaning |", "|---|---|---|---|")
    for option in options:
        names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
        value = "" if option.is_flag else _type(option)
        meaning = _STATED_DEFAULT.sub("", option.help or "")
        yield f"| {names} | {_cell(value)} | {_cell(_default(option))} | {_cell(meaning)} |"
    yield ""


def _type(parameter: click.Parameter) -> str:
    match parameter.type:
        case click.Choice(choices=choices):
            return "one of " + ", ".join(f"`{choice}`" for choice in choices)
        case click.IntRange() | click.FloatRange() as bounded:
            kind = "integer" if isinstance(bounded, click.IntRange) else "number"
            match bounded.min, bounded.max:
                case None, None:
                    return kind
                case least, None:
                    return f"{kind}, {least:g} or more"
                case None, most:
                    return f"{kind}, at most {most:g}"
                case least, most:
                    return f"{kind}, {least:g} to {most:g}"
        case click.Path(file_okay=False):
            return "a directory"
        case click.Path():
            return "a file"
        case kind:
            return {"integer": "integer", "float": "number", "text": "text"}.get(kind.name, kind.name)


def _default(option: click.Option) -> str:
    if stated := _STATED_DEFAULT.search(option.help or ""):
        return stated[1]
    if option.is_flag or option.default is None:
        return ""
    default = option.default() if callable(option.default) else option.default
    # click marks a missing default with an object of its own, and an empty tuple says that nothing is given.
    if isinstance(default, str | int | float) or hasattr(default, "__fspath__"):
        return f"`{default}`"
    return ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# --- the faults -------------------------------------------------------------------------------------------------------


def _excuse(entry: CatalogueEntry) -> str:
    return f"{entry.excuse}, since {entry.excuse.because}"


def fault_catalogue() -> Iterator[str]:
    """Every fault by its family, with its arguments and their defaults."""
    for family, entries in groupby(catalogue(), key=lambda entry: entry.family):
        yield from (f"## Family `{family}`", "", "| fault | what it does | arguments | excuses |", "|---|---|---|---|")
        for entry in entries:
            arguments = ", ".join(_argument(name, parameter) for name, parameter in entry.parameters.items())
            yield f"| `{entry.name}` | {_cell(entry.fault.summary)}. | {arguments} | {_cell(_excuse(entry))} |"
        yield ""


def _argument(name: str, parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return f"`{name}` (required)"
    if parameter.default is None:
        return f"`{name}` (drawn)"
    return f"`{name}={parameter.default!r}`"


def settings() -> Iterator[str]:
    """Every setting with its default, its range and the values that runs draw."""
    yield from ("| setting | default | range | unit | drawn | what it is |", "|---|---|---|---|---|---|")
    for each in SETTINGS.values():
        drawn = ", ".join(f"{value:,}" for value in each.drawn)
        meaning = f"{each.meaning}{' *Replicated.*' if each.replicated else ''}"
        least_to_most = f"{each.least:,} to {each.most:,}"
        yield f"| `{each.name}` | {each.default:,} | {least_to_most} | {each.unit} | {drawn} | {_cell(meaning)} |"
    yield ""


def mutants() -> Iterator[str]:
    """Every deliberately broken copy of the shipped code, as `consensus mutants --list` prints them."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert run(["mutants", "--list"]) == 0
    yield from ("```text", printed.getvalue().rstrip(), "```", "")


# --- Python -----------------------------------------------------------------------------------------------------------


def clients() -> Iterator[str]:
    """The groups of methods that a client of a log has: `kv`, `locks`, `members`, `assignment`, `configuration`."""
    module = import_module("cluster.clients.log_client")
    constructor = textwrap.dedent(inspect.getsource(module.LogClient.__init__))
    for statement in ast.walk(ast.parse(constructor)):
        match statement:
            case ast.Assign(
                targets=[ast.Attribute(attr=name)], value=ast.Call(func=ast.Name(id=kind), args=[ast.Name(id="self")])
            ) if not name.startswith("_"):
                yield from python_reference.methods(name, getattr(module, kind), 2)


def fixtures() -> Iterator[str]:
    """Every fixture of the plugin, in the order in which it defines them."""
    plugin = import_module("harness.pytest_plugin")
    for name, member in vars(plugin).items():
        function = getattr(member, "_fixture_function", None)
        if function is not None:
            yield from python_reference.fixture(name, function, 3)


GENERATORS: dict[str, Callable[..., Iterator[str]]] = {
    "command-line": command_line,
    "fault-catalogue": fault_catalogue,
    "mutants": mutants,
    "settings": settings,
    "python": lambda name, *names: python_reference.module(name, names or None),
    "class": lambda module, name: python_reference.entry(name, getattr(import_module(module), name), 2),
    "clients": clients,
    "fixtures": fixtures,
}
