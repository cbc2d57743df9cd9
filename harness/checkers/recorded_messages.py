"""The messages of a record, as the objects that nodes sent: only a log's algorithm can read them (`LogAlgorithm.leader_message`).

A record shows bytes as the value that they decode to, or in hex if they decode to none. So a text in a field of bytes is taken
for hex: no batch of a log is a text.
"""

import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, Final, NamedTuple

from harness.records.jsonable import from_jsonable
from node.contract import Message, NodeId
from node.log_contract import LeaderMessage, LogAlgorithm
from node.quorum import Ballot
from node.wire import pack_unchecked

#: Returns what a field holds, from what a record shows.
_Reader = Callable[[Any], Any]


class SaidByLeader(NamedTuple):
    """What a leader's message in a record says."""

    sender: NodeId
    incarnation: int
    said: LeaderMessage


class LogReader:
    """Reads the recorded messages of one log."""

    def __init__(self, algorithm: type[LogAlgorithm]) -> None:
        self._algorithm = algorithm
        self._classes = {message.type_name(): message for message in algorithm.messages}
        self._of_others: dict[str, None] = {}  # the types that not only leaders send

    def said(self, type_: str, fields: Mapping[str, Any]) -> LeaderMessage | None:
        """Return what a leader says by a message; None if not only leaders send it, or if it cannot be read."""
        if type_ in self._of_others or (message := self._message(type_, fields)) is None:
            return None
        said = self._algorithm.leader_message(message)
        if said is None:
            self._of_others[type_] = None  # the class decides
        return said

    def candidacy(self, type_: str, fields: Mapping[str, Any]) -> Ballot | None:
        """Return the ballot for which a message asks for promises; None if it asks for none, or if it cannot be read."""
        message = self._message(type_, fields)
        return None if message is None else self._algorithm.candidacy_in(message)

    def _message(self, type_: str, fields: Mapping[str, Any]) -> Message | None:
        cls = self._classes.get(type_)
        try:
            message: Message | None = None if cls is None else _reader(cls)(fields)
        except (ValueError, TypeError, KeyError):
            return None
        return message


def said_by_leaders(algorithm: type[LogAlgorithm], messages: Iterable[Mapping[str, Any]]) -> Iterator[SaidByLeader]:
    """Yield what the messages say that only leaders send, in the order of the record. Those that cannot be read are left out."""
    reader = LogReader(algorithm)
    for line in messages:
        if "of" not in line and (said := reader.said(line["type"], line["fields"])) is not None:
            yield SaidByLeader(line["from"], line["incarnation"], said)


def _new_reader(cls: type[Message]) -> _Reader:
    hints = typing.get_type_hints(cls)
    readers = {field.name: _field_reader(hints[field.name]) for field in fields(cls)}
    return lambda shown: cls(**{name: read(shown[name]) for name, read in readers.items()})


#: Returns the reader of a message class, the same one in each call.
_reader: Final[Callable[..., _Reader]] = cache(_new_reader)


def _field_reader(hint: Any) -> _Reader:
    """Return the reader of a field that is annotated with `hint`, as `node.message_fields` allows hints."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, typing.NewType):
        return _field_reader(hint.__supertype__)
    if origin in (typing.Union, types.UnionType):
        inner = _field_reader(next(arg for arg in args if arg is not types.NoneType))
        return lambda shown: None if shown is None else inner(shown)
    if origin is tuple:
        each = _field_reader(args[0])
        return lambda shown: tuple(map(each, shown))
    if hasattr(hint, "_fields"):
        hints = typing.get_type_hints(hint)
        parts = [_field_reader(hints[name]) for name in hint._fields]
        return lambda shown: hint(*[read(part) for read, part in zip(parts, shown, strict=True)])
    return _packed if hint is bytes else lambda shown: shown


def _packed(shown: Any) -> bytes:
    return bytes.fromhex(shown) if isinstance(shown, str) else pack_unchecked(from_jsonable(shown))
