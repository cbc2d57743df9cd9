"""The record of every message, as JSON lines.

How to read it
--------------
A line without `of` is an arrival: a message came in on the link `from` -> `to`, and `fate` says what became of it at
once. A line with `of` tells what happened later to the message whose first line has that `index`, or to a copy of it.
`index` is the line's number, from 0. `time` is in nanoseconds of the machine's monotonic clock.

| fate | meaning |
|---|---|
| passed, released, duplicated, corrupted | a delivery: it left for its receiver; each delivery is exactly one such line |
| held, delayed, reordered | it waits in the proxy; another line follows |
| dropped, discarded, undeliverable | it never reaches its receiver |

A copy has lines of its own, all with `of`; delivered, it is "duplicated". "passed" with `of` is the end of a delay or a
reordering. "undeliverable" means that nobody was connected there, or that the receiver's queue was full. `rule` is the
rule that decided, or null. `fields` are those of the message as it came in, made readable: a value is decoded and stands as
`harness.records.jsonable` writes it, bytes that do not decode are hex, a ballot is `[round, node]`. A message that
does not decode
has the type "?", null for `variable` and `incarnation`, and its first 64 bytes, in hex, as `{"bytes": ...}`.
"""

import json
import math
import os
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TextIO

from harness.records.jsonable import to_jsonable
from harness.records.links import UNKNOWN_TYPE, Fate, Link
from node.contract import Message, Value
from node.wire import Envelope, Malformed, decode_value

#: Lines that may wait to be written, so that a message is forwarded first and described later.
WAITING_MAX: Final = 256

_encode: Final = json.JSONEncoder(separators=(", ", ": "), ensure_ascii=False).encode


class Recordable(Protocol):
    """A message on its way, as far as the record is concerned. `rule_engine.Letter` is one."""

    @property
    def link(self) -> Link:
        """Its sender and its receiver."""

    @property
    def envelope(self) -> Envelope | None:
        """The decoded message, or None if it did not decode."""

    @property
    def payload(self) -> bytes:
        """Its bytes."""

    @property
    def original(self) -> "Recordable | None":
        """The message that this is a copy of, if it is one."""

    index: int | None
    """The number of its first line in the record. The recorder sets it."""


class _Entry(NamedTuple):
    line: int
    of: int | None
    time_ns: int
    link: Link
    envelope: Envelope | None
    payload: bytes
    fate: Fate
    rule: str | None


class MessageRecorder:
    """Numbers every line. Writes them to `path`, or nowhere if it is None."""

    def __init__(self, path: Path | None) -> None:
        self.count = 0
        self._waiting: list[_Entry] = []
        self._file: TextIO | None = None
        if path is not None:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            self._file = open(descriptor, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 - see close

    @property
    def writes(self) -> bool:
        """Whether lines go anywhere."""
        return self._file is not None

    @property
    def behind(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._waiting)

    def note(self, letter: Recordable, fate: Fate, rule: str | None, time_ns: int) -> None:
        """Add a line, at a time in nanoseconds. The letter's index is that of its first line."""
        of = (letter.original or letter).index
        if of is None:
            letter.index = self.count
        if self._file is not None:
            self._waiting.append(
                _Entry(self.count, of, time_ns, letter.link, letter.envelope, letter.payload, fate, rule)
            )
            if len(self._waiting) >= WAITING_MAX:
                self._write_out()
        self.count += 1

    def flush(self) -> None:
        """Have every line in the file."""
        self._write_out()
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Flush, and take no more."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write_out(self) -> None:
        if self._file is not None:
            self._file.writelines(_line(entry) for entry in self._waiting)
        self._waiting.clear()


def _line(entry: _Entry) -> str:
    envelope = entry.envelope
    line: dict[str, Any] = {
        "index": entry.line,
        "time": entry.time_ns,
        "from": entry.link[0],
        "to": entry.link[1],
        "type": UNKNOWN_TYPE if envelope is None else envelope.message.type_name(),
        "variable": None if envelope is None else envelope.variable,
        "incarnation": None if envelope is None else envelope.incarnation,
        "fields": {"bytes": entry.payload[:64].hex()} if envelope is None else readable_fields(envelope.message),
        "fate": entry.fate,
        "rule": entry.rule,
    }
    if entry.of is not None:
        line["of"] = entry.of
    return _encode(line) + "\n"


def readable_fields(message: Message) -> dict[str, Any]:
    """The fields of a message, fit for JSON and for people."""
    return {field.name: _readable(getattr(message, field.name)) for field in fields(message)}


def _readable(item: Any) -> Any:
    match item:
        case bytes():
            try:
                return to_jsonable(decode_value(Value(item)))
            except Malformed:
                return item.hex()
        case tuple():  # a Ballot, a Request, or several of a kind
            return [_readable(entry) for entry in item]
        case float() if not math.isfinite(item):
            return str(item)
    return item
