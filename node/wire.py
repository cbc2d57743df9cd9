"""Messages to bytes and back, with limits. The only home of msgpack.

Rules
-----
1. Nothing that arrives is trusted: whatever does not decode to exactly the declared fields is `Malformed`, which the
   caller drops and counts. No input makes this module raise anything else.
2. A user's value is packed once, by the client, and travels as opaque bytes from there on.
3. What `unpack` returns equals what `pack` was given: a tuple comes back a tuple. What could not keep that promise
   (NaN, a subclass, a key twice) is refused while packing or unpacking, with a reason. A NamedTuple is the one subclass
   that passes: the plain tuple that it comes back as equals it.
4. A frame that was damaged on its way never decodes, whatever its bytes would say: a CRC-32 ends each.

Every frame is `[version, cluster, sender, incarnation, variable, type, fields]`, and four bytes of checksum. The cluster's id
is random and stands in files that only its owner may read, so it also keeps strangers out.
"""

import types
import typing
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgpack

from node.contract import BadInput, Message, NodeId, Value
from node.frames import CommandFrame, ReadFrame, Replies

VERSION: Final = 2
VALUE_BYTES_MAX: Final = 256 * 1024
VALUE_DEPTH_MAX: Final = 64
_WRAPPED_MAX: Final = 16  # how much deeper than a value that is which holds one, such as a node's status
FRAME_BYTES_MAX: Final = 4 * 1024 * 1024
TUPLE_EXT: Final = 1
CHECKSUM_BYTES: Final = 4

if msgpack.Packer.__module__ != "msgpack._cmsgpack":  # pragma: no cover - depends on the installation
    raise ImportError("msgpack is installed without its C extension, which is 10 times slower: reinstall msgpack")


class BadValue(BadInput):
    """You gave a value that cannot be proposed or stored. Nothing was sent."""


class Malformed(ValueError):
    """The peer sent something that is not a message of this cluster."""


# --- values ---------------------------------------------------------------------------------------------------------


def pack(value: object) -> bytes:
    """Encode plain data: None, bool, int of 64 bits, float, str, bytes, list, tuple, dict.

    Raises:
        BadValue: it holds something else, is nested too deep, or could not come back as it was.
    """
    _check_plain(value, 1 - _WRAPPED_MAX)
    return _pack(value)


def _pack(value: object) -> bytes:
    packed: bytes = msgpack.packb(value, strict_types=True, default=_pack_tuple)
    return packed


def _pack_tuple(value: object) -> msgpack.ExtType:
    # strict_types sends tuples, and NamedTuples such as Ballot, here: `_check_plain` has let nothing else through.
    assert isinstance(value, tuple)
    return msgpack.ExtType(TUPLE_EXT, _pack(list(value)))


_PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes, list, dict})


def _check_plain(value: object, depth: int) -> None:
    if depth > VALUE_DEPTH_MAX:
        raise BadValue(f"the value is nested more than {VALUE_DEPTH_MAX} deep: flatten it, or store a reference")
    if type(value) not in _PLAIN and (not isinstance(value, tuple) or isinstance(value, msgpack.ExtType)):
        raise BadValue(
            f"a {type(value).__name__} cannot be carried: use int, bool, float, str, bytes, list, map or tuple themselves"
        )
    match value:
        case None | bool() | bytes():
            pass
        case int():
            if not -(2**63) <= value < 2**64:
                raise BadValue(f"the integer {value} does not fit in 64 bits: store it as a string or as bytes")
        case float():
            if value != value:  # noqa: PLR0124 - only NaN differs from itself
                raise BadValue("NaN is not equal to itself, so nobody could check that it was read back: use a string")
        case str():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise BadValue(f"the string is not valid Unicode ({error.reason}): store it as bytes") from None
        case list() | tuple():
            for item in value:
                _check_plain(item, depth + 1)
        case dict():
            for key, item in value.items():
                if type(key) not in (bool, int, float, str, bytes, tuple):
                    raise BadValue(f"a map's key is a {type(key).__name__}: use int, str, bytes or a tuple of them")
                _check_plain(key, depth + 1)
                _check_plain(item, depth + 1)


def unpack(data: bytes) -> Any:
    """Decode what `pack` made.

    Raises:
        Malformed: the bytes are not such an encoding, or are built to cost memory or stack.
    """
    return _unpack_checked(data, 1 - _WRAPPED_MAX)


def _unpack_checked(data: bytes, depth: int) -> Any:
    unpacked = _unpack(data, depth - 1)
    try:
        _check_plain(unpacked, depth)  # msgpack itself takes more: NaN, timestamps, deeper nests
    except BadValue as error:
        raise Malformed(str(error)) from None
    return unpacked


def _unpack(data: bytes, depth: int) -> Any:
    if depth > VALUE_DEPTH_MAX:
        raise Malformed("tuples are nested too deep")

    def extension(code: int, content: bytes) -> tuple[Any, ...]:
        inner = _unpack(content, depth + 1) if code == TUPLE_EXT else None
        if not isinstance(inner, list):
            raise Malformed(f"unknown extension type {code}")
        return tuple(inner)

    return _unpackb(data, ext_hook=extension, object_pairs_hook=_unique_keys)


def _unique_keys(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    pairs = list(pairs)
    result = dict(pairs)
    if len(result) != len(pairs):
        raise Malformed("a map has a key twice")
    return result


def _unpackb(data: bytes, **hooks: Callable[..., Any]) -> Any:
    try:
        # Its limits are what `data` could hold: no honest array or map has more entries than its encoding has bytes.
        return msgpack.unpackb(data, strict_map_key=False, **hooks)
    except Malformed:
        raise
    # TypeError: an unhashable key. The rest: truncated, trailing, too deep, not Unicode, over a limit.
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError, OverflowError) as error:
        raise Malformed(f"not msgpack: {type(error).__name__} {error}") from None


def pack_own(value: object) -> bytes:
    """Encode plain data that this project made itself, unchecked and fast. Tuples come back as lists."""
    packed: bytes = msgpack.packb(value)
    return packed


class Packer:
    """`pack_own` for one thread, one value at a time: so what cannot be packed is found before it is with others."""

    def __init__(self) -> None:
        self._packer = msgpack.Packer()

    def pack(self, value: object) -> bytes:
        """Raises BadValue."""
        try:
            packed: bytes = self._packer.pack(value)
        except (TypeError, ValueError, OverflowError) as error:  # a type; not Unicode, or too deep; too large a number
            raise BadValue(f"{str(value)[:200]!r} cannot be sent: {error}") from None
        return packed

    def pack_list(self, packed: Sequence[bytes]) -> bytes:
        """The list of what was packed one by one."""
        header: bytes = self._packer.pack_array_header(len(packed))
        return header + b"".join(packed)


def unpack_own(data: bytes) -> Any:
    """Decode what `pack_own` made, or what a client says was made so. Raises Malformed."""
    return _unpackb(data)


def encode_value(value: object) -> Value:
    """Encode a value that somebody wants to propose.

    Raises:
        BadValue: it is None (which means undecided), too large, too deep, or not plain data.
    """
    if value is None:
        raise BadValue(
            "None cannot be proposed or put, nor JSON's null: it is how an answer says that there is nothing"
        )
    _check_plain(value, 1)
    packed = _pack(value)
    if len(packed) > VALUE_BYTES_MAX:
        raise BadValue(
            f"the value takes {len(packed):,} bytes and the limit is {VALUE_BYTES_MAX:,}: "
            "store it elsewhere and propose its name or its hash"
        )
    return Value(packed)


def decode_value(value: Value) -> Any:
    """Decode what `encode_value` made. Raises Malformed as `unpack` does, also for None and for an oversized value."""
    if len(value) > VALUE_BYTES_MAX:
        raise Malformed(f"a value of {len(value):,} bytes is over the limit of {VALUE_BYTES_MAX:,}")
    decoded = _unpack_checked(value, 1)
    if decoded is None:
        raise Malformed("None is not a value")
    return decoded


# --- messages -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProposeRequest(Message):
    """A client's `propose`. The node forgets it after `timeout_ms`; the client has given up by then."""

    number: int
    timeout_ms: int
    value: Value


@dataclass(frozen=True, slots=True)
class QueryRequest(Message):
    """A client's `query`."""

    number: int
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class StatusRequest(Message):
    """Asks a node how it is. Answered by a `StatusReply`."""

    number: int


@dataclass(frozen=True, slots=True)
class Reply(Message):
    """The answer to a `propose` or `query`: `value` is None for "undecided"; `refused` says why nothing was done."""

    number: int
    value: Value | None
    refused: str | None


@dataclass(frozen=True, slots=True)
class StatusReply(Message):
    """A packed map: see `Runtime.status`."""

    number: int
    status: bytes


CLIENT_MESSAGES: Final[tuple[type[Message], ...]] = (
    ProposeRequest, QueryRequest, StatusRequest, Reply, StatusReply, CommandFrame, ReadFrame, Replies,
)  # fmt: skip


_ENVELOPE_TYPES: Final = [int, str, str, int, str, str, list]


class Envelope(NamedTuple):
    """A message with where it comes from. `incarnation` counts the sender's boots; a client's is 0."""

    sender: NodeId
    incarnation: int
    variable: str
    message: Message


class Codec:
    """Envelopes of one cluster, to bytes and back."""

    def __init__(self, cluster: str, messages: Iterable[type[Message]]) -> None:
        self.cluster = cluster
        # An array of seven, of which the first two never differ.
        self._opening: bytes = b"\x97" + msgpack.packb(VERSION) + msgpack.packb(cluster)
        self._by_name: dict[str, _MessageCodec] = {}
        self._by_class: dict[type[Message], _MessageCodec] = {}
        for cls in (*CLIENT_MESSAGES, *messages):
            name = cls.type_name()
            if name in self._by_name:
                raise TypeError(f"two messages are called {name}: rename one, since the wire tells them by name")
            self._by_name[name] = self._by_class[cls] = _codec_of(cls)

    def encode(self, envelope: Envelope) -> bytes:
        """The frame that carries `envelope`. Raises TypeError for a message class that is not in `messages`."""
        codec = self._by_class.get(type(envelope.message))
        if codec is None:
            name = type(envelope.message).__name__
            raise TypeError(f"{name} is none of the messages that are sent here: an algorithm's `messages` lists them")

        body = codec.values(envelope.message)
        frame: bytes = msgpack.packb(
            (VERSION, self.cluster, envelope.sender, envelope.incarnation, envelope.variable, codec.name, body)
        )
        return frame + zlib.crc32(frame).to_bytes(CHECKSUM_BYTES, "big")

    def decode(self, frame: bytes) -> Envelope:
        """The envelope in `frame`.

        Raises:
            Malformed: it is not one, is of another cluster or version, or its fields are not as declared.
        """
        if len(frame) > FRAME_BYTES_MAX:
            raise Malformed(f"a frame of {len(frame):,} bytes is over the limit of {FRAME_BYTES_MAX:,}")
        if not frame.startswith(self._opening):  # so a stranger's frame is not even decoded, which could cost memory
            if frame[:1] != self._opening[:1]:
                raise Malformed("not an envelope")
            if frame[1:2] != self._opening[1:2]:
                raise Malformed(f"wire version 0x{frame[1:2].hex()}, and this is {VERSION}")
            raise Malformed("a frame of another cluster")
        content = frame[:-CHECKSUM_BYTES]
        if zlib.crc32(content) != int.from_bytes(frame[-CHECKSUM_BYTES:], "big"):
            raise Malformed("a frame that does not match its checksum: it was damaged on its way")
        parts = _unpackb(content)
        # Plain comparisons: this is done for every message, and a pattern of classes takes ten times as long.
        if type(parts) is not list or [*map(type, parts)] != _ENVELOPE_TYPES:
            raise Malformed("not an envelope")
        _, _, sender, incarnation, variable, name, body = parts
        codec = self._by_name.get(name)
        if codec is None:
            raise Malformed(f"no message is called {name[:64]!r}")
        return Envelope(sender, incarnation, variable, codec.message(body))


_Check = Callable[[Any], Any]


class _MessageCodec:
    """One message class."""

    def __init__(self, cls: type[Message]) -> None:
        names = [field.name for field in fields(cls)]
        self.name = cls.type_name()
        self.message = _Fields(cls, names, self.name)
        if len(names) == 1:
            one = attrgetter(names[0])
            self.values: Callable[[Message], tuple[Any, ...]] = lambda message: (one(message),)
        else:
            self.values = attrgetter(*names) if names else lambda _message: ()


class _Fields:
    """Makes a message, or a NamedTuple in one, of what was unpacked. The checks are derived from its annotations, once.

    Whether a plain field is as declared depends on the type of what came alone. So types that have passed are remembered,
    and need not be checked one by one again.
    """

    def __init__(self, cls: Callable[..., Any], names: Sequence[str], where: str) -> None:
        hints = typing.get_type_hints(cls)
        self._cls, self._where = cls, where
        self._checks = [_check_for(hints[name], f"{where}.{name}") for name in names]
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


_codec_of: Callable[..., _MessageCodec] = cache(_MessageCodec)


def _check_for(hint: Any, where: str) -> _Check:
    """A function that returns its argument as the declared type, or raises Malformed."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, typing.NewType):
        return _check_for(hint.__supertype__, where)
    if hint in (int, bool, str, bytes, float):
        return _exactly(hint, where)
    if origin in (typing.Union, types.UnionType) and len(args) == 2 and types.NoneType in args:
        inner = _check_for(next(arg for arg in args if arg is not types.NoneType), where)
        return lambda item: None if item is None else inner(item)
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        each, a_list = _check_for(args[0], where), _exactly(list, where)
        return lambda item: (*map(each, a_list(item)),)
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        return _Fields(hint, hint._fields, where)
    raise TypeError(f"{where}: a message field cannot be of type {hint}; see node.contract.Message")


def _is_plain(hint: Any) -> bool:
    """Whether what is declared so comes as it is."""
    if isinstance(hint, typing.NewType):
        return _is_plain(hint.__supertype__)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return all(_is_plain(arg) for arg in typing.get_args(hint))
    return hint in (int, bool, str, bytes, float, types.NoneType)


def _exactly(cls: type, where: str) -> _Check:
    def check(item: Any) -> Any:
        if type(item) is not cls:
            raise Malformed(f"{where} is a {type(item).__name__}, not a {cls.__name__}")
        return item

    return check
