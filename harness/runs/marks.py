"""The marks of an algorithm's author: every `Node.sometimes` in its source, so that those never reached can be named."""

import ast
import inspect
import sys
from pathlib import Path

from node.contract import Algorithm


def marks_of(algorithm: type[Algorithm]) -> tuple[str, ...]:
    """Return every mark in the source of an algorithm, in order: of the modules of its classes, and of a package of its own."""
    found: dict[str, None] = {}
    for path in sorted(_files_of(algorithm)):
        for at in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match at:
                case ast.Call(func=ast.Attribute(attr="sometimes"), args=[ast.Constant(value=str(mark))]):
                    found[mark] = None
    return tuple(sorted(found))


def _files_of(algorithm: type[Algorithm]) -> set[Path]:
    found: set[Path] = set()
    for cls in algorithm.__mro__:
        if not issubclass(cls, Algorithm) or inspect.isabstract(cls):
            continue
        module = sys.modules.get(cls.__module__)
        package = sys.modules.get(getattr(module, "__package__", None) or "")
        if package is not None and getattr(package, cls.__name__, None) is cls and package.__file__ is not None:
            found.update(Path(package.__file__).parent.glob("*.py"))
        elif module is not None and module.__file__ is not None:
            found.add(Path(module.__file__))
    return found
