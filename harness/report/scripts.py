"""The page's script: the ES modules in `assets/`, put together as one script that imports nothing.

A page that a server serves loads the same modules as they stand. The page of a run is one file, so its modules become functions:
each returns what it exports, and an import takes names from what an earlier one has returned.

Rules
-----
1. An import stands on one line, as `import { a, b } from "./name.js";`. An export stands before a `function`, `const` or `class`.
2. A module imports only those that stand before it in `MODULES`.
"""

import re
from pathlib import Path
from typing import Final

ASSETS: Final = Path(__file__).parent / "assets"
#: The modules, each after those that it imports. The last one begins.
MODULES: Final = (
    "dom.js",
    "marks.js",
    "store.js",
    "picture.js",
    "ring.js",
    "messages.js",
    "spacetime.js",
    "player.js",
    "diagram.js",
    "report.js",
)
#: The styles, in their order.
STYLES: Final = ("theme.css", "picture.css", "report.css")

_IMPORT: Final = re.compile(r'^import (\{[^}]*\}) from "\./([\w.]+)";$', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:async )?(?:function|const|class) (\w+))", re.MULTILINE)


def script() -> str:
    """Return the whole script."""
    return "\n".join(('"use strict";', "const modules = {};", *map(_as_function, MODULES)))


def _as_function(name: str) -> str:
    source = (ASSETS / name).read_text(encoding="utf-8")
    names = ", ".join(_EXPORT.findall(source))
    body = _EXPORT.sub("", _IMPORT.sub(r'const \1 = modules["\2"];', source))
    return f'modules["{name}"] = (() => {{\n{body}return {{ {names} }};\n}})();'


def style() -> str:
    """Return the whole style sheet."""
    return "".join((ASSETS / name).read_text(encoding="utf-8") for name in STYLES)
