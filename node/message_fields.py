"""Encode and decode the fields of one message class. `Codec` in `node/wire.py` uses it.

Theory of operation
-------------------
The annotations of a message class declare its fields. A `FieldsCodec` reads them once and makes a check for each field. To
decode a message, it applies the checks to an unpacked list, and calls the class with the results.

Rules
-----
1. A list that does not have exactly the declared fields raises `Malformed`.
2. A class with a field that cannot be encoded raises `TypeError` when its codec is made, not when a message arrives.
"""

import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import cache
from operator import attrgetter
from typing import Any

from node.contract import Message


class Malformed(ValueError):
    """The bytes from a peer or a client are not a message of this cluster."""


#: Returns its argument converted to the declared type of a field, or raises Malformed.
_FieldCheck = Callable[[Any], Any]


class FieldsCodec:
    """Encodes and decodes the fields of one message class, whose wire name is `name`.

    `field_values` returns the fields of a message as a tuple. `message_of` builds a message from an unpacked list, and raises
    `Malformed` if the list does not have the declared fields.
    """

    def __init__(self, cls: type[Message]) -> None:
        names = [field.name for field in fields(cls)]
        self.name = cls.type_name()
        self.message_of = _FieldsDecoder(cls, names, self.name)
        if len(names) == 1:
            only = attrgetter(names[0])
            self.field_values: Callable[[Message], tuple[Any, ...]] = lambda message: (only(message),)
        else:
            self.field_values = attrgetter(*names) if names else lambda _message: ()


#: Returns the codec of a message class, the same one in each call. Raises TypeError if a field cannot be encoded.
fields_codec: Callable[..., FieldsCodec] = cache(FieldsCodec)


class _FieldsDecoder:
    """Builds a message, or a NamedTuple inside one, from an unpacked list.

    Whether a plain field is as declared depends only on the type of the unpacked item. So the decoder remembers each
    combination of types that has passed, and checks only the nested fields of the next list with the same types.
    """

    def __init__(self, cls: Callable[..., Any], names: Sequence[str], where: str) -> None:
        hints = typing.get_type_hints(cls)
        self._cls, self._where = cls, where
        self._checks = [_field_check(hints[name], f"{where}.{name}") for name in names]
        self._nested = [(place, self._checks[place]) for place, name in enumerate(names) if not _is_plain(hints[name])]
        self._passed: set[tuple[type, ...]] = set()

    def __call__(self, body: Any) -> Any:
        if type(body) is not list:
            raise Malformed(f"{self._where} is a {type(body).__name__}, not a list")
        types_ = (*map(type, body),)
        if types_ in self._passed:
            for place, check in self._nested:
                body[place] = check(body[place])
            return self._cls(*body)
        if len(body) != len(self._checks):
            raise Malformed(f"{self._where} has {len(self._checks)} fields, not {len(body)}")
        made = self._cls(*[check(item) for check, item in zip(self._checks, body, strict=True)])
        self._passed.add(types_)
        return made


def _field_check(hint: Any, where: str) -> _FieldCheck:
    """Make the check for a field that is annotated with `hint`. `where` names the field in error messages."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, typing.NewType):
        return _field_check(hint.__supertype__, where)
    if hint in (int, bool, str, bytes, float):
        return _type_check(hint, where)
    if origin in (typing.Union, types.UnionType) and len(args) == 2 and types.NoneType in args:
        inner = _field_check(next(arg for arg in args if arg is not types.NoneType), where)
        return lambda item: None if item is None else inner(item)
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        check_item, check_list = _field_check(args[0], where), _type_check(list, where)
        return lambda items: (*map(check_item, check_list(items)),)
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        return _FieldsDecoder(hint, hint._fields, where)
    raise TypeError(f"{where}: a message field cannot be of type {hint}; see node.contract.Message")


def _is_plain(hint: Any) -> bool:
    """Return whether msgpack decodes a field with this annotation to its declared type, so that only its type matters."""
    if isinstance(hint, typing.NewType):
        return _is_plain(hint.__supertype__)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return all(_is_plain(arg) for arg in typing.get_args(hint))
    return hint in (int, bool, str, bytes, float, types.NoneType)


def _type_check(cls: type, where: str) -> _FieldCheck:
    def check(item: Any) -> Any:
        if type(item) is not cls:
            raise Malformed(f"{where} is a {type(item).__name__}, not a {cls.__name__}")
        return item

    return check
