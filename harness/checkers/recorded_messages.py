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
from node.wire import pack_unchecked

#: Returns what a field holds, from what a record shows.
_Reader = Callable[[Any], Any]


class SaidByLeader(NamedTuple):
    """What a leader's message in a record says."""

    sender: NodeId
    incarnation: int
    said: LeaderMessage


def said_by_leaders(algorithm: type[LogAlgorithm], messages: Iterable[Mapping[str, Any]]) -> Iterator[SaidByLeader]:
    """Yield what the messages say that only leaders send, in the order of the record. Those that cannot be read are left out."""
    classes = {message.type_name(): message for message in algorithm.messages}
    for line in messages:
        cls = classes.get(line["type"])
        if cls is None or "of" in line:
            continue
        try:
            said = algorithm.leader_message(_reader(cls)(line["fields"]))
        except (ValueError, TypeError, KeyError):
            continue
        if said is None:
            del classes[line["type"]]  # the class decides
        else:
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
