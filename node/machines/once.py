"""Variables that are set once: `propose` and `query` on a replicated log.

```
["propose", name, value]   command: sets the variable if it is not set; returns the value that it has then
["query", name]            question: the value, or None
```

Refused, without a change: "full".
"""

from collections.abc import Mapping
from typing import Self

from node.machine import Command, Machine, Moment, Plain, Refusal, no_such_operation
from node.tuning import SHIPPED, Tuning


class OnceMachine(Machine):
    """A map from names to encoded values. An entry never changes."""

    name = "once"

    def __init__(self, tuning: Tuning = SHIPPED) -> None:
        self._most = tuning.once_max
        self.values: dict[str, bytes] = {}

    @classmethod
    def made_with(cls, tuning: Tuning) -> Self:
        return cls(tuning)

    def apply(self, at: Moment, command: Command) -> Plain:
        match command:
            case ["propose", str(name), bytes(value)]:
                if name not in self.values and len(self.values) >= self._most:
                    raise Refusal("full", f"there are {self._most:,} variables already")
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
