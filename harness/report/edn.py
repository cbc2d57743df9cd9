"""A history in EDN, as Jepsen writes it: one operation map on each line.

Rules
-----
1. `:process` is a number, as Jepsen's checkers expect, in the order of first appearance; `:name` is the name in our history.
   `:time` is in nanoseconds since the first line. `:index` is the number of the line: faults have lines too, so it differs from
   the index in our history.
2. Faults are lines of Jepsen's nemesis: an `:info` when a fault begins and another when it has healed, whose `:value` holds what
   the observer saw.
3. Values that EDN lacks are maps: `{:bytes "00ff"}`, `{:tuple [1 2]}`. An integer beyond 64 bits ends in N. So different values
   stay different, except for the kinds of NaN.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from harness.records.history import History
from harness.records.receipts import Receipt

_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True, slots=True)
class Keyword:
    """An EDN keyword, `:name`."""

    name: str


def edn(value: object) -> str:
    """Return a value as EDN text.

    Raises:
        TypeError: the value holds something that is not plain data.
    """
    match value:
        case Keyword(name):
            text = f":{name}"
        case None:
            text = "nil"
        case bool():
            text = "true" if value else "false"
        case int():
            text = str(value) if -(2**63) <= value < 2**63 else f"{value}N"
        case float():
            text = _float(value)
        case str():
            text = f'"{"".join(map(_character, value))}"'
        case bytes():
            text = f'{{:bytes "{value.hex()}"}}'
        case tuple():
            text = f"{{:tuple [{' '.join(map(edn, value))}]}}"
        case list():
            text = f"[{' '.join(map(edn, value))}]"
        case Mapping():
            text = "{" + ", ".join(f"{edn(key)} {edn(item)}" for key, item in value.items()) + "}"
        case _:
            raise TypeError(f"a {type(value).__name__} cannot be written as EDN: it is not plain data")
    return text


def _float(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "##NaN" if math.isnan(value) else "##Inf" if value > 0 else "##-Inf"


def _character(character: str) -> str:
    escaped = _ESCAPES.get(character)
    if escaped is None and (ord(character) < 32 or 0xD800 <= ord(character) < 0xE000 or ord(character) == 127):
        escaped = f"\\u{ord(character):04x}"
    return escaped or character


def history_as_edn(history: History, receipts: list[Receipt]) -> Iterator[str]:
    """Yield the lines of the file, without line ends."""
    rows = [(event.time, 1, _event(event.to_json(), event.value)) for event in history.events]
    rows += [row for receipt in receipts for row in _nemesis(receipt)]
    rows.sort(key=lambda row: row[:2])
    first = rows[0][0] if rows else 0
    processes: dict[str, int] = {}
    for index, (time, _, row) in enumerate(rows):
        name = row.pop("process")
        process = Keyword("nemesis") if name is None else processes.setdefault(name, len(processes))
        named = {} if name is None else {"name": name}
        line = {"index": index, "time": time - first, "process": process, **row, **named}
        yield edn({Keyword(key): item for key, item in line.items()})


def _event(line: Mapping[str, Any], value: object) -> dict[str, Any]:
    row = {"process": line["process"], "type": Keyword(line["type"]), "f": Keyword(line["f"]), "value": value}
    row |= {name: line[name] for name in ("key", "error", "node") if line.get(name) is not None}
    return row | ({"timeout-s": line["timeout_s"]} if line.get("timeout_s") is not None else {})


def _nemesis(receipt: Receipt) -> Iterator[tuple[int, int, dict[str, Any]]]:
    broken = {
        "nodes": list(receipt.nodes_down),
        "cut": [list(link) for link in receipt.links_cut],
        "disturbed": [list(link) for link in receipt.links_disturbed],
    }
    value: dict[Any, Any] = {Keyword(key): item for key, item in broken.items() if item}
    name = "".join(character if character.isalnum() else "-" for character in receipt.fault)
    yield receipt.began_ns, 0, {"process": None, "type": Keyword("info"), "f": Keyword(f"start-{name}"), "value": value}
    if receipt.ended_ns is not None:
        seen = {**value, Keyword("bit"): receipt.bit, Keyword("evidence"): receipt.evidence}
        yield (
            receipt.ended_ns,
            2,
            {"process": None, "type": Keyword("info"), "f": Keyword(f"stop-{name}"), "value": seen},
        )
