"""Variables that are set once: `propose` and `query` on a replicated log.

```
["propose", name, value]   command: sets the variable if it is not set; returns the value that it has then
["query", name]            question: the value, or None
```

Refused, without a change: "full".
"""

from collections.abc import Mapping
from typing import Final

from node.machine import Command, Machine, Moment, Plain, Refusal, no_such_operation

VARIABLES_MAX: Final = 100_000


class OnceMachine(Machine):
    """A map from names to encoded values. An entry never changes."""

    name = "once"

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def apply(self, at: Moment, command: Command) -> Plain:
        match command:
            case ["propose", str(name), bytes(value)]:
                if name not in self.values and len(self.values) >= VARIABLES_MAX:
                    raise Refusal("full", f"there are {VARIABLES_MAX:,} variables already")
                return self.values.setdefault(name, value)
        raise no_such_operation(self, command)

    def query(self, question: Command) -> Plain:
        match question:
            case ["query", str(name)]:
                return self.values.get(name)
        raise no_such_operation(self, question)

    def figures(self) -> Mapping[str, int]:
        return {"variables": len(self.values)}

    def snapshot(self) -> Plain:
        return dict(self.values)

    def restore(self, state: Plain) -> None:
        self.values = dict(state)
