"""The last lines of the record of messages, in memory: for a reader that looks often, such as the live page.

Rules
-----
1. The number of lines and the bytes of their payloads are bounded. The oldest go first.
2. A reader that asks for fewer lines than there are gets an even selection of them, and the number of those left out.
3. Fields are cut to a bounded size: a reader shows them, and judges nothing. Long bytes stand as `{"bytes": 262144}`.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import fields
from itertools import islice
from typing import Any, Final

from harness.records.links import UNKNOWN_TYPE
from harness.records.messages import JsonMessage, RecordLine, readable
from node.contract import Message
from node.wire import Envelope

#: How many lines are kept.
LINES_MAX: Final = 20_000
#: How many bytes of payload the lines may hold.
BYTES_MAX: Final = 16 * 1024 * 1024
#: The longest bytes and texts that are shown, and the most entries of a list.
_SHOWN_BYTES_MAX: Final = 512
_SHOWN_ENTRIES_MAX: Final = 8


class RecentLines:
    """Keeps the last lines."""

    def __init__(self, lines_max: int = LINES_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._max, self._bytes_max = lines_max, bytes_max
        self._lines: deque[RecordLine] = deque()
        self._bytes = 0

    def add(self, line: RecordLine) -> None:
        """Add a line, whose number is one above that of the line before."""
        self._lines.append(line)
        self._bytes += len(line.payload)
        while self._lines and (len(self._lines) > self._max or self._bytes > self._bytes_max):
            self._bytes -= len(self._lines.popleft().payload)

    def since(self, after: int, most: int) -> tuple[list[dict[str, Any]], int]:
        """Return up to `most` lines with numbers from `after` on, for people, and how many such lines are left out."""
        if not self._lines or self._lines[-1].line < after:
            return [], 0
        first = self._lines[0].line
        begin = max(after - first, 0)
        there = len(self._lines) - begin
        step = max(1, -(-there // most))
        chosen = [_shown(line) for line in islice(self._lines, begin, None, step)]
        return chosen, there - len(chosen) + max(first - after, 0)


def shown_message(envelope: Envelope | None, payload: bytes) -> dict[str, Any]:
    """Return a message for people: its type, variable, incarnation and fields, cut to a bounded size."""
    if envelope is None:
        return {"type": UNKNOWN_TYPE, "variable": None, "incarnation": None, "fields": {"bytes": payload[:64].hex()}}
    return {
        "type": envelope.message.type_name(),
        "variable": envelope.variable,
        "incarnation": envelope.incarnation,
        "fields": _cut_fields(envelope.message),
    }


def _shown(line: RecordLine) -> dict[str, Any]:
    shown = {
        "index": line.line,
        "time": line.time_ns,
        "from": line.link[0],
        "to": line.link[1],
        "fate": line.fate,
        "rule": line.rule,
    }
    return {**shown, "of": line.of} if line.of is not None else {**shown, **shown_message(line.envelope, line.payload)}


def _cut_fields(message: Message) -> dict[str, Any]:
    if isinstance(message, JsonMessage):
        return {name: _cut(item) for name, item in message.body.items() if name != "type"}
    return {field.name: _cut(getattr(message, field.name)) for field in fields(message)}


def _cut(item: Any) -> Any:
    match item:
        case bytes() if len(item) > _SHOWN_BYTES_MAX:
            return {"bytes": len(item)}
        case str() if len(item) > _SHOWN_BYTES_MAX:
            return f"{item[:_SHOWN_BYTES_MAX]}…"
        case tuple():
            rest = len(item) - _SHOWN_ENTRIES_MAX
            return [_cut(entry) for entry in item[:_SHOWN_ENTRIES_MAX]] + ([f"and {rest} more"] if rest > 0 else [])
        case Mapping():
            return f"{len(item)} entries"
    return readable(item)
