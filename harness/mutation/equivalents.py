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
    """A change that makes no difference to any run. `line` is the text of the line that it changes."""

    module: str
    function: str
    kind: str
    old: str
    new: str
    line: str
    reason: str

    def matches(self, change: SourceChange, source: str) -> bool:
        """Return whether this is the change, wherever its line has moved to."""
        return (
            (self.module, self.function, self.kind) == (change.module, change.function, change.kind)
            and self.old == " ".join(change.old.split())
            and self.new == " ".join(change.new.split())
            and self.line == source.splitlines()[change.line - 1].strip()
        )


def load_equivalents(path: Path) -> list[Equivalent]:
    """Read a file of equivalent changes.

    Raises:
        BadInput: the file cannot be read, or an entry lacks a field, has one too many, or gives no reason.
    """
    try:
        entries = tomllib.loads(path.read_text()).get("equivalent", [])
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from error
    wanted = {field.name for field in fields(Equivalent)}
    found = []
    for number, entry in enumerate(entries, 1):
        if set(entry) != wanted or not all(isinstance(text, str) for text in entry.values()) or not entry["reason"]:
            raise BadInput(f"{path}: entry {number} must have the texts {', '.join(sorted(wanted))}, and a reason")
        found.append(Equivalent(**entry))
    return found


def equivalent_of(change: SourceChange, source: str, known: Iterable[Equivalent]) -> Equivalent | None:
    """Return the entry that says that a change makes no difference; None if there is none."""
    return next((entry for entry in known if entry.matches(change, source)), None)
