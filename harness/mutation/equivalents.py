"""The changes that no run can show, each with its reason, as a TOML file.

```toml
[[equivalent]]
module = "node.machines.kv"
function = "KeyValueMachine.apply"
kind = "comparison"
old = "<"
new = "<="
line = "if waited < limit:"     # the text of the changed line, without what surrounds it
reason = "the two are never equal, since ..."
```

An entry that leaves out some of these, except `module` and `reason`, is a rule: it is about every change that has the others.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from harness.mutation.changes import SourceChange
from node.contract import BadInput

#: The changes of the shipped modules that no run can show.
SHIPPED: Final = Path(__file__).with_name("equivalents.toml")


@dataclass(frozen=True, slots=True)
class Equivalent:
    """Changes that make no difference to any run. `line` is the text of the line that they change; None stands for any text."""

    module: str
    reason: str
    function: str | None = None
    kind: str | None = None
    old: str | None = None
    new: str | None = None
    line: str | None = None

    def matches(self, change: SourceChange, source: str) -> bool:
        """Return whether a change is one of these, wherever its line has moved to."""
        if change.module != self.module:
            return False
        wanted = (self.function, self.kind, self.old, self.new, self.line)
        line = source.splitlines()[change.line - 1].strip()
        found = (change.function, change.kind, " ".join(change.old.split()), " ".join(change.new.split()), line)
        return all(text in (None, other) for text, other in zip(wanted, found, strict=True))


def load_equivalents(path: Path) -> list[Equivalent]:
    """Read a file of equivalent changes.

    Raises:
        BadInput: the file cannot be read, or an entry names no module, gives no reason, or has another field.
    """
    try:
        entries = tomllib.loads(path.read_text()).get("equivalent", [])
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from error
    known = {field.name for field in fields(Equivalent)}
    found = []
    for number, entry in enumerate(entries, 1):
        named = entry.get("module") and entry.get("reason")
        if not named or not set(entry) <= known or not all(isinstance(text, str) for text in entry.values()):
            raise BadInput(
                f"{path}: entry {number} must have a module and a reason, and may have {', '.join(sorted(known))}"
            )
        found.append(Equivalent(**entry))
    return found


def equivalent_of(change: SourceChange, source: str, known: Iterable[Equivalent]) -> Equivalent | None:
    """Return the entry that says that a change makes no difference; None if there is none."""
    return next((entry for entry in known if entry.matches(change, source)), None)
