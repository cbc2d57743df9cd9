"""The record of messages: every message that crossed a link, and its fate, as JSON lines.

How to read it
--------------
A line without `of` is an arrival: a message came in on the link `from` -> `to`, and `fate` says what the proxy did with it
at once. A line with `of` reports what happened later to the message whose first line has that `index`, or to a copy of
it. `index` is the line's number, from 0. `time` is in nanoseconds of the machine's monotonic clock.

| fate | meaning |
|---|---|
| passed, released, duplicated, corrupted | a delivery: the message left for its receiver; each delivery is one such line |
| held, delayed, reordered | the message waits in the proxy; another line follows |
| dropped, discarded, undeliverable | the message never reaches its receiver |

A copy has lines of its own, all with `of`; its delivery is "duplicated". "passed" with `of` is the end of a delay or a
reordering. "undeliverable" means that the receiver was not connected, or that its queue was full. `rule` names the rule
that decided, or is null.

`fields` are the fields of the message as it came in, made readable: a value is decoded and stands as
`harness.records.jsonable` writes it, bytes that do not decode are hex, a ballot is `[round, node]`. A message that does
not decode has the type "?", null for `variable` and `incarnation`, and its first 64 bytes, in hex, as `{"bytes": ...}`.
"""

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from harness.records.jsonable import read_lines, to_jsonable
from harness.records.links import UNKNOWN_TYPE, Fate, Link
from harness.records.record_file import RecordFile
from node.contract import Message, Value
from node.wire import Envelope, Malformed, decode_value

#: How large a record becomes that is for people alone, in bytes: 32 MiB. A record for judges has no limit.
SOME_BYTES_MAX: Final = 2**25
#: How large the record of a session becomes that the live page starts, in bytes: 128 MiB. Judges use it if it is whole.
PAGE_BYTES_MAX: Final = 2**27
#: How near to its limit a record ends: the next line did not fit.
_LINE_BYTES_MAX: Final = 2**20
#: Lines that may wait to be written. The proxy forwards a message first and describes it later.
WAITING_MAX: Final = 256


def limit_reached(path: Path, *limits: int) -> int | None:
    """Return the limit, of these, at which the record in a file has ended; None if it is whole. Raises OSError."""
    size = path.stat().st_size
    return next((limit for limit in limits if limit - _LINE_BYTES_MAX < size <= limit), None)


_PLAIN: Final = (int, str, bool)
#: How many values are kept readable, and how large such a value may be, in bytes.
_KEPT_VALUES: Final = 1024
_KEPT_VALUE_BYTES_MAX: Final = 512

log = logging.getLogger("proxy")

_encode: Final = json.JSONEncoder(separators=(", ", ": "), ensure_ascii=False).encode
#: The names of nodes and rules recur in each line.
_encoded: Final[Callable[[str | None], str]] = lru_cache(_KEPT_VALUES)(_encode)


class Recordable(Protocol):
    """What the record needs of a message that the proxy handles. `in_transit.InTransit` has it."""

    @property
    def link(self) -> Link:
        """The message's sender and receiver."""

    @property
    def envelope(self) -> Envelope | None:
        """The decoded message, or None if it did not decode."""

    @property
    def payload(self) -> bytes:
        """The message's bytes."""

    @property
    def original(self) -> "Recordable | None":
        """The message that this one is a copy of, or None."""

    index: int | None
    """The number of the message's first line in the record. The recorder sets it."""


def load(path: Path) -> Iterator[dict[str, Any]]:
    """Read the record: yield each line's object, in order.

    Raises:
        BadFile: the file cannot be read, or a line is not a JSON object.
    """
    return (line for _, line in read_lines(path))


@dataclass(frozen=True, slots=True)
class JsonMessage(Message):
    """A message of nodes that are not ours: a type, and a body that is a JSON object."""

    type: str
    body: Mapping[str, Any]

    def type_name(self) -> str:  # type: ignore[override]  # the type is not known before the message comes
        return self.type


class RecordLine(NamedTuple):
    """A line of the record, before it is written.

    `of` is the line that says that the message arrived; None in that line itself.
    """

    line: int
    of: int | None
    time_ns: int
    link: Link
    envelope: Envelope | None
    payload: bytes
    fate: Fate
    rule: str | None


class MessageRecorder:
    """Numbers every line, and writes them to `path`; without a path it only counts.

    If the file cannot be written any more, it counts, and `lost` is the reason.
    """

    def __init__(self, path: Path | None, bytes_max: int | None = None) -> None:
        """Begin a record. The file has at most `bytes_max` bytes; None for no limit."""
        self.count = 0
        #: Called with each line as it is added, if it is set: a reader in this process that does not wait for the file.
        self.on_line: Callable[[RecordLine], None] | None = None
        self._waiting: list[RecordLine] = []
        self._file = None if path is None else RecordFile(path, bytes_max)
        self.lost = ""

    @property
    def writes(self) -> bool:
        """Whether lines are written to a file."""
        return self._file is not None

    @property
    def behind(self) -> bool:
        """Whether lines wait to be written."""
        return bool(self._waiting)

    def note(self, message: Recordable, fate: Fate, rule: str | None, time_ns: int) -> None:
        """Add a line. The first line of a message sets the message's `index`.

        Args:
            message: the message, or a copy of one.
            fate: what the proxy did with it.
            rule: the name of the rule that decided, or None.
            time_ns: when, in nanoseconds of the machine's monotonic clock.
        """
        of = (message.original or message).index
        if of is None:
            message.index = self.count
        if self._file is not None or self.on_line is not None:
            line = RecordLine(self.count, of, time_ns, message.link, message.envelope, message.payload, fate, rule)
            if self.on_line is not None:
                self.on_line(line)
            if self._file is not None:
                self._waiting.append(line)
                if len(self._waiting) >= WAITING_MAX:
                    self._write_out()
        self.count += 1

    def flush(self) -> None:
        """Write every line that waits to the file."""
        self._write_out()

    def close(self) -> None:
        """Flush and close the file. Later lines are counted and not written."""
        self._write_out()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write_out(self) -> None:
        if self._file is not None and self._waiting:
            described: dict[int, str] = {}
            self._file.write("".join([_line(entry, described) for entry in self._waiting]))
            if self._file.lost:
                log.warning("the record of messages ends here: %s", self._file.lost)
                self.lost, self._file = self._file.lost, None
            elif self._file.is_full:
                log.info("the record of messages ends here: it has reached its limit")
                self._file = None
        self._waiting.clear()


def _line(entry: RecordLine, described: dict[int, str]) -> str:
    """Return a line of the file.

    `described` has what lines say of a message, by the identity of its envelope: all copies of a broadcast are described once.
    It serves lines of which each keeps its envelope alive.
    """
    envelope, link = entry.envelope, entry.link
    about = described.get(id(envelope)) if envelope is not None else None
    if about is None:
        about = _described(envelope, entry.payload)
        if envelope is not None:
            described[id(envelope)] = about
    of = "" if entry.of is None else f', "of": {entry.of}'
    return (
        f'{{"index": {entry.line}, "time": {entry.time_ns}, "from": {_encoded(link[0])}, "to": {_encoded(link[1])}, {about}, '
        f'"fate": "{entry.fate}", "rule": {_encoded(entry.rule)}{of}}}\n'
    )


def _described(envelope: Envelope | None, payload: bytes) -> str:
    """Return what a line says of a message itself, as the entries of an object of JSON."""
    said = {
        "type": UNKNOWN_TYPE if envelope is None else envelope.message.type_name(),
        "variable": None if envelope is None else envelope.variable,
        "incarnation": None if envelope is None else envelope.incarnation,
        "fields": {"bytes": payload[:64].hex()} if envelope is None else readable_fields(envelope.message),
    }
    return _encode(said)[1:-1]


def readable_fields(message: Message) -> dict[str, Any]:
    """Return the fields of a message as JSON that people can read. The module's opening describes the encoding."""
    if isinstance(message, JsonMessage):
        return {name: item for name, item in message.body.items() if name != "type"}
    return {name: readable(getattr(message, name)) for name in _names_of(type(message))}


def _field_names(cls: type[Message]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls))


_names_of: Final[Callable[..., tuple[str, ...]]] = cache(_field_names)


def readable(item: Any) -> Any:
    """Return what a field of a message holds as JSON that people can read."""
    if item is None or type(item) in _PLAIN:  # first, because this runs for each field of each message
        return item
    match item:
        case bytes():
            return _readable_value(item) if len(item) <= _KEPT_VALUE_BYTES_MAX else _readable_bytes(item)
        case tuple():  # a Ballot, a Request, or several of a kind
            return [readable(entry) for entry in item]
        case float() if not math.isfinite(item):
            return str(item)
    return item


def _readable_bytes(item: bytes) -> Any:
    try:
        return to_jsonable(decode_value(Value(item)))
    except Malformed:
        return item.hex()


#: Most values travel in several messages, to several nodes. Nothing changes what this returns.
_readable_value: Final = lru_cache(_KEPT_VALUES)(_readable_bytes)
