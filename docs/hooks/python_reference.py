"""Writes the Python reference from the objects themselves: their signatures and their docstrings.

The objects are imported, because some methods are made from the functions that define them, and because some names are
imported when they are first used. A docstring's Google sections (`Args:`, `Returns:`, `Raises:`, `Yields:`) become lists.
"""

import ast
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

_OURS = ("node", "cluster", "harness")
_SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields):$")
_ITEM = re.compile(r"^([\w*.`, |]+?)(?: \([^)]*\))?: (.*)$")
_MODULE_PREFIX = re.compile(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])")
_WIDE = 100


def module(name: str, names: Iterable[str] | None = None, level: int = 2) -> Iterator[str]:
    """The public names of a module: those given, or its `__all__`, or all that it defines."""
    found = importlib.import_module(name)
    wanted = names or getattr(found, "__all__", None) or [each for each in vars(found) if not each.startswith("_")]
    for each in wanted:
        member = getattr(found, each)
        if inspect.ismodule(member) or (names is None and not _is_ours(member)):
            continue
        yield from entry(each, member, level)


def entry(name: str, member: Any, level: int) -> Iterator[str]:
    """One class, function, exception or constant."""
    if inspect.isclass(member):
        yield from _class(name, member, level)
    elif callable(member) and inspect.getdoc(member):
        yield from (
            f"{'#' * level} {name}",
            "",
            *_code(_signature(name, member)),
            "",
            *_docstring(inspect.getdoc(member)),
        )


def fixture(name: str, function: Any, level: int) -> Iterator[str]:
    """A pytest fixture. Its arguments are other fixtures, so they are left out; its type is what a test gets."""
    yield from (f"{'#' * level} {name}", "")
    returned = _annotation(inspect.signature(function).return_annotation)
    if inner := re.fullmatch(r"Iterator\[(.*)\]", returned):
        returned = inner[1]
    yield from (f"A test gets: `{returned}`", "", *_docstring(inspect.getdoc(function)))


def _is_ours(member: Any) -> bool:
    return str(getattr(member, "__module__", "")).partition(".")[0] in _OURS


# --- classes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    what: str
    doc: str


def _class(name: str, cls: type, level: int) -> Iterator[str]:
    yield from (f"{'#' * level} {name}", "")
    if issubclass(cls, Exception):
        bases = ", ".join(f"`{base.__name__}`" for base in cls.__bases__)
        yield from (f"An exception; a kind of {bases}.", "")
    elif (call := _constructor(name, cls)) is not None:
        yield from (*_code(call), "")
    yield from _docstring(inspect.getdoc(cls) if cls.__doc__ else None)
    if "__init__" in vars(cls):
        yield from _docstring(vars(cls)["__init__"].__doc__)
    if issubclass(cls, Exception):
        return
    yield from _rendered(name, cls, level)


def methods(name: str, cls: type, level: int) -> Iterator[str]:
    """The methods of an object that users reach as `name`, such as `client.kv`."""
    yield from (f"{'#' * level} {name}", "", *_docstring(inspect.getdoc(cls) if cls.__doc__ else None))
    yield from _rendered(name, cls, level)


def _rendered(name: str, cls: type, level: int) -> Iterator[str]:
    for member in _members(cls):
        yield from (f"{'#' * (level + 1)} {name}.{member.name}", "", *_code(member.what), "", *_docstring(member.doc))


def _constructor(name: str, cls: type) -> str | None:
    if inspect.isabstract(cls) or "Protocol" in {base.__name__ for base in cls.__mro__}:
        return None
    try:
        return _signature(name, cls)
    except (TypeError, ValueError):
        return None


def _members(cls: type) -> Iterator[_Member]:
    """The public members with a docstring, of the class and of its bases of ours, each once."""
    seen: set[str] = set()
    for base in cls.__mro__:
        if not _is_ours(base):
            continue
        documented = _attribute_docstrings(base)
        for name, doc in documented.items():
            if name not in seen and not name.startswith("_"):
                seen.add(name)
                yield _Member(name, f"{name}: {_annotation(base.__annotations__.get(name, ''))}".rstrip(": "), doc)
        for name, raw in vars(base).items():
            if name in seen or name.startswith("_"):
                continue
            member = raw.__func__ if isinstance(raw, classmethod | staticmethod) else raw
            doc = inspect.getdoc(member) if isinstance(member, property) or callable(member) else None
            if isinstance(member, property) and doc:
                kind = _annotation(inspect.signature(member.fget).return_annotation) if member.fget else ""
                seen.add(name)
                yield _Member(name, f"{name}: {kind}", doc)
            elif callable(member) and not inspect.isclass(member) and doc:
                seen.add(name)
                yield _Member(name, _signature(name, member, skip_self=not isinstance(raw, staticmethod)), doc)


def _attribute_docstrings(cls: type) -> dict[str, str]:
    """The strings that stand below annotated attributes."""
    try:
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError, ValueError):
        return {}
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for statement, after in zip(definition.body, definition.body[1:], strict=False):
        match statement, after:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(doc))),
            ):
                found[name] = inspect.cleandoc(doc)
    return found


# --- signatures -------------------------------------------------------------------------------------------------------


def _signature(name: str, member: Callable[..., Any], *, skip_self: bool = False) -> str:
    signature = inspect.signature(member)
    parameters = list(signature.parameters.values())
    if skip_self and parameters and parameters[0].name in ("self", "cls"):
        parameters = parameters[1:]
    shown = list(_parameters(parameters))
    returned = _annotation(signature.return_annotation)
    arrow = f" -> {returned}" if returned and not inspect.isclass(member) else ""
    asynchronous = "async " if inspect.iscoroutinefunction(member) else ""
    line = f"{asynchronous}{name}({', '.join(shown)}){arrow}"
    if len(line) <= _WIDE:
        return line
    return "\n".join([f"{asynchronous}{name}(", *(f"    {each}," for each in shown), f"){arrow}"])


def _parameters(parameters: Iterable[inspect.Parameter]) -> Iterator[str]:
    starred = False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        starred |= parameter.kind is parameter.VAR_POSITIONAL
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        kind = _annotation(parameter.annotation)
        text = f"{stars}{parameter.name}{f': {kind}' if kind else ''}"
        if parameter.default is not parameter.empty:
            default = repr(parameter.default)
            if default.startswith("<") or sys.executable in default:  # an object, or a path of the machine that builds
                default = "…"
            text += f" = {default}" if kind else f"={default}"
        yield text


def _annotation(annotation: Any) -> str:
    if annotation in (inspect.Parameter.empty, ""):
        return ""
    if isinstance(annotation, str):
        text = annotation
    elif isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        text = annotation.__name__
    elif annotation is None:
        text = "None"
    else:
        text = str(annotation)
    text = re.sub(r"ForwardRef\('([^']*)'\)", r"\1", text).replace("NoneType", "None")
    return _MODULE_PREFIX.sub("", text).strip("'\"")


def _code(text: str) -> list[str]:
    return ["```python", text, "```"]


# --- docstrings -------------------------------------------------------------------------------------------------------


def _docstring(doc: str | None) -> Iterator[str]:
    """A docstring as Markdown, with an empty line at its end."""
    section: list[str] | None = None
    fenced = False
    for line in (inspect.cleandoc(doc) if doc else "").splitlines():
        fenced ^= line.lstrip().startswith("```")
        if not fenced and (found := _SECTION.match(line)):
            section = []
            yield from ("", f"**{found[1]}**", "")
        elif section is not None and line.startswith("    "):
            yield from _item(line[4:])
        elif section is not None and line.strip():
            section = None
            yield from ("", line)
        else:
            yield line
    yield ""


def _item(line: str) -> Iterator[str]:
    if line.startswith(" "):
        yield f"  {line.strip()}"
    elif found := _ITEM.match(line):
        yield f"- `{found[1].strip('`')}`: {found[2]}"
    else:
        yield f"- {line}"
