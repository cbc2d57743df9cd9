"""Encode messages and values as bytes, and decode them again, with limits. No other module imports msgpack.

Theory of operation
-------------------
`pack` and `unpack` encode plain data. `encode_value` and `decode_value` do the same for the values that clients
propose, and apply the limits on values. A `Codec` encodes an `Envelope`, which is a message with its sender, as one
frame.

A frame is the msgpack array `[version, cluster, sender, incarnation, variable, type, fields]`, then a checksum of four
bytes. The cluster's id is random and stands in files that only their owner may read, so frames of other users do not decode.

Rules
-----
1. This module trusts no bytes that arrive. Bytes that do not decode to exactly the declared fields raise `Malformed`;
   the caller drops the frame and counts it. No input makes a decoding function raise anything else.
2. The client packs a user's value once. From there on the value travels as opaque bytes.
3. `unpack` returns a value that equals the value given to `pack`: a tuple comes back as a tuple. Data that could not
   keep this promise (NaN, an instance of a subclass, a key that occurs twice) is refused, with a reason, while packing
   or unpacking. A NamedTuple is the one subclass that is accepted, because the plain tuple that comes back equals it.
4. A frame that was damaged on its way does not decode: the CRC-32 at its end does not match.
"""

import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import msgpack

from node.client_messages import CLIENT_MESSAGES
from node.contract import BadInput, Message, NodeId, Value
from node.message_fields import FieldsCodec, Malformed, fields_codec

__all__ = [
    "BadValue", "Codec", "Envelope", "FRAME_BYTES_MAX", "Malformed", "Packer", "TUPLE_EXT", "VALUE_BYTES_MAX",
    "VALUE_DEPTH_MAX", "VERSION", "decode_value", "encode_value", "pack", "pack_unchecked", "unpack", "unpack_unchecked",
]  # fmt: skip

VERSION: Final = 2
VALUE_BYTES_MAX: Final = 256 * 1024
VALUE_DEPTH_MAX: Final = 64
#: `pack` accepts data that is this many levels deeper than a value, because a node's status holds values inside maps.
_WRAPPER_DEPTH_MAX: Final = 16
FRAME_BYTES_MAX: Final = 4 * 1024 * 1024
TUPLE_EXT: Final = 1
CHECKSUM_BYTES: Final = 4

if msgpack.Packer.__module__ != "msgpack._cmsgpack":  # pragma: no cover - depends on the installation
    raise ImportError("msgpack is installed without its C extension, which is 10 times slower: reinstall msgpack")


class BadValue(BadInput):
    """The caller gave a value that cannot be proposed or stored. Nothing was sent."""


# --- values ---------------------------------------------------------------------------------------------------------


def pack(value: object) -> bytes:
    """Encode plain data: None, bool, int of 64 bits, float, str, bytes, list, tuple, dict.

    Raises:
        BadValue: `value` holds something else, is nested too deep, or `unpack` could not return an equal value.
    """
    _check_plain(value, 1 - _WRAPPER_DEPTH_MAX)
    return _pack(value)


def _pack(value: object) -> bytes:
    packed: bytes = msgpack.packb(value, strict_types=True, default=_pack_tuple)
    return packed


def _pack_tuple(value: object) -> msgpack.ExtType:
    # With strict_types, msgpack calls this for tuples and NamedTuples such as Ballot. `_check_plain` has refused the
    # rest.
    assert isinstance(value, tuple)
    return msgpack.ExtType(TUPLE_EXT, _pack(list(value)))


_PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes, list, dict})


def _check_plain(value: object, depth: int) -> None:
    if depth > VALUE_DEPTH_MAX:
        raise BadValue(f"the value is nested more than {VALUE_DEPTH_MAX} deep: flatten it, or store a reference")
    if type(value) not in _PLAIN and (not isinstance(value, tuple) or isinstance(value, msgpack.ExtType)):
        raise BadValue(
            f"a {type(value).__name__} cannot be encoded: use int, bool, float, str, bytes, list, map or tuple, "
            "not a subclass of them"
        )
    match value:
        case None | bool() | bytes():
            pass
        case int():
            if not -(2**63) <= value < 2**64:
                raise BadValue(f"the integer {value} does not fit in 64 bits: store it as a string or as bytes")
        case float():
            if value != value:  # noqa: PLR0124 - only NaN differs from itself
                raise BadValue("NaN is not equal to itself, so no reader could check that it came back: use a string")
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
    """Decode bytes that `pack` returned.

    Raises:
        Malformed: `data` is not such an encoding, or is built to use much memory or stack.
    """
    return _unpack_checked(data, 1 - _WRAPPER_DEPTH_MAX)


def _unpack_checked(data: bytes, depth: int) -> Any:
    unpacked = _unpack(data, depth - 1)
    try:
        _check_plain(unpacked, depth)  # msgpack itself decodes more: NaN, timestamps, deeper nesting
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

    return _unpackb(partial(msgpack.unpackb, ext_hook=extension, object_pairs_hook=_unique_keys), data)


def _unique_keys(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    pairs = list(pairs)
    result = dict(pairs)
    if len(result) != len(pairs):
        raise Malformed("a map has a key twice")
    return result


def _unpackb(unpackb: Callable[..., Any], data: bytes) -> Any:
    try:
        # msgpack limits the length of an array or a map by the size of `data`: each entry takes at least one byte.
        return unpackb(data, strict_map_key=False)
    except Malformed:
        raise
    # TypeError: an unhashable key. The others: bytes missing, bytes left over, too deep, not Unicode, over a limit.
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError, OverflowError) as error:
        raise Malformed(f"not msgpack: {type(error).__name__} {error}") from None


def pack_unchecked(value: object) -> bytes:
    """Encode plain data that this project made itself: fast, without the checks of `pack`. Tuples come back as lists."""
    global _pack_plain  # noqa: PLW0603 - one packer for the whole process, until its buffer has grown
    packed: bytes = _pack_plain(value)
    if len(packed) > _BUFFER_BYTES_MAX:
        _pack_plain = _new_packer()
    return packed


def _new_packer() -> Callable[[object], bytes]:
    """Return what `msgpack.packb` does, with a buffer that is used again. `packb` makes one for each call, which takes 0.3 µs.

    The buffer keeps the size of the largest value. The interpreter's lock makes each call atomic, since it runs no Python.
    """
    new: Callable[[object], bytes] = msgpack.Packer().pack
    return new


#: A packer that has packed more than this is replaced, so that a snapshot's size is not kept for ever.
_BUFFER_BYTES_MAX: Final = 1024 * 1024
_pack_plain: Callable[[object], bytes] = _new_packer()


class Packer:
    """Packs single values, like `pack_unchecked`, and joins them into a list. For one thread.

    A client packs each command by itself, so a command that cannot be packed does not affect the others of its frame.
    """

    def __init__(self) -> None:
        self._packer = msgpack.Packer()

    def pack(self, value: object) -> bytes:
        """Encode one value.

        Raises:
            BadValue: msgpack cannot encode `value`.
        """
        try:
            packed: bytes = self._packer.pack(value)
        # TypeError: an unknown type. ValueError: not Unicode, or nested too deep. OverflowError: a number too large.
        except (TypeError, ValueError, OverflowError) as error:
            raise BadValue(f"{str(value)[:200]!r} cannot be sent: {error}") from None
        return packed

    def pack_list(self, packed: Sequence[bytes]) -> bytes:
        """Encode the list whose items are the values that `pack` encoded one by one."""
        header: bytes = self._packer.pack_array_header(len(packed))
        return header + b"".join(packed)


def unpack_unchecked(data: bytes) -> Any:
    """Decode bytes that `pack_unchecked` returned, or that a client sent as such.

    Raises:
        Malformed: `data` is not msgpack. The types in it are not checked.
    """
    return _unpackb(msgpack.unpackb, data)


def encode_value(value: object) -> Value:
    """Encode a value that a client wants to propose or put.

    Raises:
        BadValue: `value` is None (which means undecided), too large, nested too deep, or not plain data.
    """
    if value is None:
        raise BadValue("null (Python's None) cannot be proposed or put: in an answer it means that there is no value")
    _check_plain(value, 1)
    packed = _pack(value)
    if len(packed) > VALUE_BYTES_MAX:
        raise BadValue(
            f"the value takes {len(packed):,} bytes and the limit is {VALUE_BYTES_MAX:,}: "
            "store it elsewhere and propose its name or its hash"
        )
    return Value(packed)


def decode_value(value: Value) -> Any:
    """Decode a value that `encode_value` returned.

    Raises:
        Malformed: as `unpack`, and also for None and for a value over `VALUE_BYTES_MAX`.
    """
    if len(value) > VALUE_BYTES_MAX:
        raise Malformed(f"a value of {len(value):,} bytes is over the limit of {VALUE_BYTES_MAX:,}")
    decoded = _unpack_checked(value, 1)
    if decoded is None:
        raise Malformed("None is not a value")
    return decoded


# --- frames ---------------------------------------------------------------------------------------------------------


_ENVELOPE_TYPES: Final = [int, str, str, int, str, str, list]


class Envelope(NamedTuple):
    """A message with its sender.

    `incarnation` counts the boots of the sending node; a client's is 0. `variable` is the variable that the message is
    about.
    """

    sender: NodeId
    incarnation: int
    variable: str
    message: Message


class Codec:
    """Encodes and decodes the envelopes of one cluster."""

    def __init__(self, cluster: str, messages: Iterable[type[Message]]) -> None:
        """Prepare a codec for each message class.

        Args:
            cluster: the cluster's id. Frames of other clusters do not decode.
            messages: the message classes of the algorithm. The messages of clients are always included.

        Raises:
            TypeError: two classes have the same wire name, or a field has a type that cannot be encoded.
        """
        self.cluster = cluster
        # Each frame begins with the header of an array of seven, the version and the cluster.
        self._opening: bytes = b"\x97" + msgpack.packb(VERSION) + msgpack.packb(cluster)
        self._by_name: dict[str, FieldsCodec] = {}
        self._by_class: dict[type[Message], FieldsCodec] = {}
        for cls in (*CLIENT_MESSAGES, *messages):
            name = cls.type_name()
            if name in self._by_name:
                raise TypeError(f"two messages are called {name}: rename one, since a frame names its message class")
            self._by_name[name] = self._by_class[cls] = fields_codec(cls)

    def encode(self, envelope: Envelope) -> bytes:
        """Encode `envelope` as a frame.

        Raises:
            TypeError: its message is of a class that is not in `messages`.
        """
        codec = self._by_class.get(type(envelope.message))
        if codec is None:
            name = type(envelope.message).__name__
            raise TypeError(f"{name} is not in the `messages` of the algorithm: add the class there")

        body = codec.field_values(envelope.message)
        frame = pack_unchecked(
            (VERSION, self.cluster, envelope.sender, envelope.incarnation, envelope.variable, codec.name, body)
        )
        return frame + zlib.crc32(frame).to_bytes(CHECKSUM_BYTES, "big")

    def decode(self, frame: bytes) -> Envelope:
        """Decode the envelope in `frame`.

        Raises:
            Malformed: `frame` is no frame, is damaged, is of another cluster or version, or its fields are not as
                declared.
        """
        if len(frame) > FRAME_BYTES_MAX:
            raise Malformed(f"a frame of {len(frame):,} bytes is over the limit of {FRAME_BYTES_MAX:,}")
        if not frame.startswith(self._opening):  # a foreign frame is refused before msgpack allocates memory for it
            if frame[:1] != self._opening[:1]:
                raise Malformed("not an envelope")
            if frame[1:2] != self._opening[1:2]:
                raise Malformed(f"wire version 0x{frame[1:2].hex()}, expected {VERSION}")
            raise Malformed("the frame belongs to another cluster")
        content = frame[:-CHECKSUM_BYTES]
        if zlib.crc32(content) != int.from_bytes(frame[-CHECKSUM_BYTES:], "big"):
            raise Malformed("the frame does not match its checksum: it was damaged on its way")
        parts = unpack_unchecked(content)
        # Plain comparisons, because this runs for every message and a class pattern takes ten times as long.
        if type(parts) is not list or [*map(type, parts)] != _ENVELOPE_TYPES:
            raise Malformed("not an envelope")
        _, _, sender, incarnation, variable, name, body = parts
        codec = self._by_name.get(name)
        if codec is None:
            raise Malformed(f"no message is called {name[:64]!r}")
        return Envelope(sender, incarnation, variable, codec.message_of(body))
