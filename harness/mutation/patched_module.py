"""Loads one module with a change in it, and forgets what was loaded before."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

from node.contract import BadInput


def source_of(module: str) -> Path:
    """Return the file of a module.

    Raises:
        BadInput: there is no such module, or it is not a file of Python source.
    """
    try:
        spec = find_spec(module)
    except (ImportError, AttributeError, ValueError):
        spec = None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise BadInput(f"there is no module {module!r} with a source in Python on the import path")
    return Path(spec.origin)


def modules_of(name: str) -> list[str]:
    """Return `name`, or every module of the package `name`.

    Raises:
        BadInput: there is no such module.
    """
    origin = source_of(name)
    if origin.name != "__init__.py":
        return [name]
    root = origin.parent
    found = []
    for path in sorted(root.rglob("*.py")):
        parts = (name, *path.relative_to(root).with_suffix("").parts)
        found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


class _ChangedSource(SourceFileLoader):
    """Compiles another text in the place of a file's."""

    def __init__(self, module: str, path: str, text: str) -> None:
        super().__init__(module, path)
        self._text = text

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._text, self.get_filename(fullname), "exec", dont_inherit=True)


class _Patch(MetaPathFinder):
    """Finds one module, and loads another text as its source."""

    def __init__(self, module: str, text: str) -> None:
        self._module, self._text = module, text

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._module:
            return None
        found = PathFinder.find_spec(fullname, path, target)
        if found is None or found.origin is None:
            return None
        loader = _ChangedSource(fullname, found.origin, self._text)
        return spec_from_file_location(
            fullname, found.origin, loader=loader, submodule_search_locations=found.submodule_search_locations
        )


def patch(module: str, text: str) -> None:
    """Have this process import `module` from `text` from now on. The process must be one that ends with the trial."""
    forget({"node", "cluster", "harness", "tests", module.partition(".")[0]})
    sys.meta_path.insert(0, _Patch(module, text))


def forget(packages: set[str]) -> None:
    """Forget every imported module of these packages, so that the next import loads it again."""
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[name]
