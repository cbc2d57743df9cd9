"""Encode and decode the fields of one message class. `Codec` in `node/wire.py` uses it.

Theory of operation
-------------------
The annotations of a message class declare its fields. A `FieldsCodec` reads them once and makes a check for each field. To
decode a message, it applies the checks to an unpacked list, and calls the class with the results.

Rules
-----
1. A list that does not have exactly the declared fields raises `Malformed`.
2. A class with a field that cannot be encoded raises `TypeError` when its codec is made, not when a message arrives.
3. `check_message` finds a field of another type than declared when its author's algorithm sends it. Otherwise only the receiver
   would notice, as a malformed frame.
"""

import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import Field, fields
from functools import cache
from operator import attrgetter
from typing import Any, Final

from node.contract import Algorithm, ContractBroken, Message


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


# --- before a message is sent -----------------------------------------------------------------------------------------

_INT_LEAST: Final = -(2**63)
_INT_MOST: Final = 2**64 - 1


def check_message(algorithm: type[Algorithm], message: object) -> None:
    """Raise ContractBroken if `algorithm` cannot send `message`: no message, one that it does not list, or a wrong field."""
    if not isinstance(message, Message):
        what = f"the class {message.__name__}" if isinstance(message, type) else _described(message)
        raise ContractBroken(f"{what} was sent, which is no message: send an object of a subclass of Message")
    if type(message) not in algorithm.messages:
        name = type(message).__name__
        raise ContractBroken(f"{name} is not in the `messages` of the algorithm: add the class there")
    for name, hint, fits in _field_rules(type(message)):
        item = getattr(message, name)
        if not fits(item):
            where = f"{type(message).__name__}.{name}"
            raise ContractBroken(f"the field {where} is {_described(item)}, and it is declared as {_hint_name(hint)}")


def _rules_of(cls: type[Message]) -> list[tuple[str, Any, Callable[[Any], bool]]]:
    """Return, for each field of a message class, its name, its annotation, and whether an item fits it."""
    hints = typing.get_type_hints(cls)
    declared: tuple[Field[Any], ...] = fields(cls)
    return [(field.name, hints[field.name], _fits(hints[field.name])) for field in declared]


#: What `_rules_of` returns for a message class, the same in each call.
_field_rules: Callable[..., list[tuple[str, Any, Callable[[Any], bool]]]] = cache(_rules_of)


def _fits(hint: Any) -> Callable[[Any], bool]:
    """Return the test whether an item may stand in a field that is annotated with `hint`, as `_field_check` allows hints."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, typing.NewType):
        return _fits(hint.__supertype__)
    if hint is int:
        return lambda item: isinstance(item, int) and type(item) is not bool and _INT_LEAST <= item <= _INT_MOST
    if origin in (typing.Union, types.UnionType):
        inner = _fits(next(arg for arg in args if arg is not types.NoneType))
        return lambda item: item is None or inner(item)
    if origin is tuple:
        each = _fits(args[0])
        return lambda item: isinstance(item, tuple) and all(map(each, item))
    if hasattr(hint, "_fields"):
        hints = typing.get_type_hints(hint)
        tests = [_fits(hints[name]) for name in hint._fields]
        return lambda item: isinstance(item, hint) and all(test(part) for test, part in zip(tests, item, strict=True))
    return lambda item: isinstance(item, hint)


def _described(item: object) -> str:
    """Return an item with its type, such as "the str 'blue'"."""
    text = repr(item)
    return f"the {type(item).__name__} {text if len(text) <= 60 else f'{text[:59]}…'}"


def _hint_name(hint: Any) -> str:
    return str(getattr(hint, "__name__", hint)) if typing.get_origin(hint) is None else str(hint)


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
