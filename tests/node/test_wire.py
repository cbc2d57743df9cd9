import collections
import enum
import math
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from node import wire
from node.algorithms.leader import LeaderAnswer
from node.algorithms.paxos import Accept, Accepted, Decided, Inquire, Paxos, Prepare, Promise
from node.contract import Message, Request, Value
from node.quorum import Ballot
from node.wire import BadValue, Codec, Envelope, Malformed, decode_value, encode_value, pack, unpack

CLUSTER = "0123456789abcdef" * 2

# --- values ---------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
integers = st.integers(-(2**63), 2**64 - 1)
scalars = st.none() | st.booleans() | integers | st.floats(allow_nan=False) | texts | st.binary(max_size=12)
keys = st.recursive(
    st.booleans() | integers | st.floats(allow_nan=False) | texts | st.binary(max_size=12),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple) | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=20,
)


def exact(value: object) -> object:
    """Return the value with the types of its parts, because 1 == True == 1.0 and -0.0 == 0.0."""
    match value:
        case list() | tuple():
            return type(value), [exact(item) for item in value]
        case dict():
            return dict, [(exact(key), exact(item)) for key, item in value.items()]
        case float():
            return float, math.copysign(1, value), value
    return type(value), value


@given(values)
@example(-0.0)
@example(math.inf)
@example([-math.inf, 5e-324, 2**64 - 1, -(2**63)])
@example(((), [], {}, "", b"", ((),), [[]]))
@example({(1, (2, b"x")): [({},)], "1": 1, 1: "1", b"1": b"1"})
@example({True: 1, 2: False, 0: None})
@example([True, 1, 1.0, False, 0, -0.0, None])
@example("\x00\U0010ffff e\u0301 \u00e9")
def test_a_value_comes_back_as_it_was(value: object) -> None:
    assert exact(value) == exact(unpack(pack(value)))


@given(values)
def test_a_value_that_was_proposed_comes_back_as_it_was(value: object) -> None:
    if value is None:
        with pytest.raises(BadValue, match="cannot be proposed or put"):
            encode_value(value)
    else:
        assert exact(value) == exact(decode_value(encode_value(value)))


@given(values)
def test_packing_is_deterministic(value: object) -> None:
    assert pack(value) == pack(unpack(pack(value)))


class Colour(enum.IntEnum):
    RED = 1


class Word(str):
    __slots__ = ()


class Blob(bytes):
    __slots__ = ()


class Ratio(float):
    __slots__ = ()


class Items(list[int]):
    pass


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        [1, {"a": float("nan")}],
        {float("nan"): 1},
        "\ud800",
        ["\udfff"],
        {"\ud800": 1},
        2**64,
        -(2**63) - 1,
        Colour.RED,
        [Colour.RED],
        {"a": Colour.RED},
        {Colour.RED: "a"},
        (1, Colour.RED),
        {(1, Colour.RED): 1},
        Word("a"),
        {Word("a"): 1},
        Blob(b"a"),
        Ratio(1.5),
        Items([1]),
        collections.OrderedDict(a=1),
        collections.Counter("a"),
        bytearray(b"a"),
        memoryview(b"a"),
        {1, 2},
        frozenset({1}),
        {frozenset({1}): 1},
        {None: 1},
        {(1, None): 1, None: 2},
        range(3),
        1j,
        object(),
        ...,
        msgpack.ExtType(1, b"\x90"),
        msgpack.Timestamp(1),
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],  # the same in each process that collects it
)
def test_a_value_that_would_not_come_back_equal_is_refused(value: object) -> None:
    with pytest.raises(BadValue):
        pack(value)
    with pytest.raises(BadValue):
        encode_value(value)


def test_a_named_tuple_comes_back_as_the_tuple_that_it_equals() -> None:
    assert Ballot(3, "n1") == unpack(pack(Ballot(3, "n1")))
    assert (Ballot(3, "n1"), b"x") == unpack(pack((Ballot(3, "n1"), b"x")))


def nested(depth: int, wrap: Callable[[Any], Any], innermost: object) -> Any:
    """Return a value whose innermost part is nested `depth` deep."""
    value = innermost
    for _ in range(depth - 1):
        value = wrap(value)
    return value


@pytest.mark.parametrize("innermost", [1, [], (), {}], ids=repr)
@pytest.mark.parametrize(
    "wrap", [lambda inner: [inner], lambda inner: (inner,), lambda inner: {"k": inner}], ids=["list", "tuple", "dict"]
)
def test_a_value_nested_too_deep_is_refused(wrap: Callable[[Any], Any], innermost: object) -> None:
    value = nested(64, wrap, innermost)
    assert value == decode_value(encode_value(value))
    with pytest.raises(BadValue, match="64 deep"):
        encode_value(nested(65, wrap, innermost))
    with pytest.raises(Malformed):
        decode_value(Value(pack(nested(65, wrap, innermost))))


def test_a_status_that_holds_a_value_of_the_largest_depth_can_be_packed() -> None:
    status = {"variables": {"x": {"votes": {"n1": [nested(64, lambda inner: (inner,), ())]}}}}
    assert status == unpack(pack(status))
    with pytest.raises(BadValue, match="64 deep"):
        pack(nested(100, lambda inner: [inner], 1))


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(BadValue, match="64 deep"):
        pack(loop)


def test_a_value_that_cannot_be_packed_leaves_nothing_behind() -> None:
    for bad in ([1, object()], {"a": {1}}, ["\udcff"], [2**70], [b"x" * 100, [1.5, object()]]):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            wire.pack_unchecked(bad)
        assert wire.pack_unchecked([1, "a"]) == msgpack.packb([1, "a"])


def test_the_buffer_of_a_large_value_is_not_kept() -> None:
    packs = wire._pack_plain
    assert wire.pack_unchecked(b"x" * 1000) == msgpack.packb(b"x" * 1000)
    assert wire._pack_plain is packs
    large = b"x" * (wire._BUFFER_BYTES_MAX + 1)
    assert wire.pack_unchecked(large) == msgpack.packb(large)
    assert wire._pack_plain is not packs


def test_a_value_that_is_too_large_is_refused() -> None:
    header = 5  # of a msgpack bin
    largest = b"x" * (wire.VALUE_BYTES_MAX - header)
    assert largest == decode_value(encode_value(largest))
    with pytest.raises(BadValue, match="262,145 bytes and the limit is 262,144"):
        encode_value(largest + b"x")
    with pytest.raises(Malformed, match="over the limit"):
        decode_value(Value(pack(largest + b"x")))


def test_a_large_flat_value_comes_back() -> None:
    value = list(range(50_000))
    assert value == decode_value(encode_value(value))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc0",  # None
        b"\xc1",  # never used by msgpack
        b"\x01\x01",  # bytes are left over
        b"\x91",  # bytes are missing
        b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",  # NaN
        b"\x82\x01\x01\x01\x02",  # a key twice
        b"\x82\x01\x01\xc3\x02",  # keys that are equal
        b"\x81\x90\x01",  # an unhashable key
        b"\x81\xc0\x01",  # None as a key
        b"\xa1\xff",  # not UTF-8
        b"\xa3\xed\xa0\x80",  # a surrogate
        b"\xd4\x01\x01",  # a tuple extension that holds no array
        b"\xd4\x02\x90",  # an unknown extension type
        b"\xd6\xff\x00\x00\x00\x00",  # a timestamp
        b"\xd7\xff" + b"\xff" * 8,  # a timestamp out of range
        b"\xdd\xff\xff\xff\xff",  # arrays, maps, strings that claim 4 GB
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\x91" * 100 + b"\x01",  # 100 deep, which is over the limit
        b"\x91" * 100_000,
        b"\x81\x01" * 100_000,
    ],
    ids=lambda data: data[:8].hex(),
)
def test_bytes_that_pack_does_not_make_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode_value(Value(data))


def test_deeply_nested_tuples_are_malformed() -> None:
    data = b"\x01"
    for _ in range(2_000):
        data = msgpack.packb(msgpack.ExtType(wire.TUPLE_EXT, b"\x91" + data))
    with pytest.raises(Malformed, match="too deep"):
        unpack(data)
    for _ in range(
        60
    ):  # each level is far below the limit of msgpack's own stack; all together are far above our limit
        data = msgpack.packb(msgpack.ExtType(wire.TUPLE_EXT, b"\x91" * 400 + b"\x01"))
    with pytest.raises(Malformed):
        unpack(data)


# --- envelopes ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Everything(Message):
    number: int
    flag: bool
    text: str
    blob: bytes
    value: Value
    ballot: Ballot
    maybe: Ballot | None
    numbers: tuple[int, ...]
    ballots: tuple[Ballot, ...]
    maybes: tuple[Value | None, ...]


@dataclass(frozen=True, slots=True)
class Nothing(Message):
    pass


def codec(*messages: type[Message]) -> Codec:
    return Codec(CLUSTER, messages or (*Paxos.messages, Everything, Nothing))


ballots = st.builds(Ballot, integers, texts)
everything = st.builds(
    Everything,
    number=integers,
    flag=st.booleans(),
    text=texts,
    blob=st.binary(max_size=9),
    value=st.binary(max_size=9).map(Value),
    ballot=ballots,
    maybe=st.none() | ballots,
    numbers=st.lists(integers, max_size=3).map(tuple),
    ballots=st.lists(ballots, max_size=3).map(tuple),
    maybes=st.lists(st.none() | st.binary(max_size=3).map(Value), max_size=3).map(tuple),
)


@given(everything, texts, integers, texts)
def test_an_envelope_comes_back_as_it_was(message: Message, sender: str, incarnation: int, variable: str) -> None:
    envelope = Envelope(sender, incarnation, variable, message)
    back = codec().decode(codec().encode(envelope))
    assert envelope == back
    assert isinstance(back.message, Everything)
    assert Ballot is type(back.message.ballot)
    assert [Ballot] * len(back.message.ballots) == [type(ballot) for ballot in back.message.ballots]
    assert tuple is type(back.message.numbers)


PAXOS_MESSAGES: list[Message] = [
    Prepare(Ballot(1, "n1")),
    Promise(Ballot(1, "n1"), None, None),
    Promise(Ballot(9, "n2"), Ballot(3, "n1"), Value(b"v")),
    Accept(Ballot(1, "n1"), Value(b"v")),
    Inquire(Request("c", 4)),
    Nothing(),
    Decided(Value(b"")),
]


@pytest.mark.parametrize("message", PAXOS_MESSAGES, ids=lambda message: type(message).__name__)
def test_messages_of_any_number_of_fields_come_back(message: Message) -> None:
    envelope = Envelope("n1", 7, "x", message)
    assert envelope == codec().decode(codec().encode(envelope))


def parts(message: Message | None = None) -> list[Any]:
    """Return the unpacked list of a valid frame."""
    frame = codec().encode(Envelope("n1", 7, "x", message or Prepare(Ballot(1, "n1"))))
    taken: list[Any] = msgpack.unpackb(frame[: -wire.CHECKSUM_BYTES])
    return taken


def with_checksum(content: bytes) -> bytes:
    """Return `content` with a checksum that matches it, so that only the content can be wrong."""
    return content + zlib.crc32(content).to_bytes(wire.CHECKSUM_BYTES, "big")


def malformed(envelope: object, reason: str | None = None) -> None:
    with pytest.raises(Malformed, match=reason):
        codec().decode(with_checksum(msgpack.packb(envelope)))


def malformed_frame(frame: bytes) -> None:
    with pytest.raises(Malformed):
        codec().decode(frame)


def test_a_frame_of_another_cluster_or_version_is_malformed() -> None:
    stranger = Codec("f" * 32, Paxos.messages)
    with pytest.raises(Malformed, match="another cluster"):
        codec().decode(stranger.encode(Envelope("n1", 1, "x", Prepare(Ballot(1, "n1")))))
    for version in (0, 1, 127, -1):
        malformed([version, *parts()[1:]], "wire version")
    malformed([wire.VERSION, CLUSTER[:-1], *parts()[2:]], "another cluster")
    malformed([wire.VERSION, CLUSTER.encode(), *parts()[2:]], "another cluster")


@pytest.mark.parametrize("version", [True, None, 1.0, "1", [1], {}], ids=repr)
def test_a_version_that_is_not_a_number_is_malformed(version: object) -> None:
    malformed([version, *parts()[1:]], "wire version")


@pytest.mark.parametrize("position", range(2, 7))
@pytest.mark.parametrize("wrong", [None, True, False, 1.0, b"n1", {}, {"a": 1}, [None]], ids=repr)
def test_a_wrong_type_in_an_envelope_is_malformed(position: int, wrong: object) -> None:
    envelope = parts()
    envelope[position] = wrong
    malformed(envelope)


def test_too_many_and_too_few_parts_are_malformed() -> None:
    malformed([*parts(), 1], "not an envelope")
    malformed(parts()[:-1], "not an envelope")
    malformed([], "not an envelope")
    malformed({}, "not an envelope")
    malformed([*parts()[:-1], []], "Prepare has 1 fields, not 0")
    malformed([*parts()[:-1], [[1, "n1"], 2]], "Prepare has 1 fields, not 2")
    malformed([*parts(Nothing())[:-1], [1]], "Nothing has 0 fields, not 1")
    malformed([*parts()[:-2], "Unknown", []], "no message is called 'Unknown'")
    malformed([*parts()[:-2], "N" * 100_000, []], "^no message is called 'N{64}'$")


ONE_OF_EACH = Everything(
    1, True, "t", b"b", Value(b"v"), Ballot(1, "n1"), Ballot(2, "n2"), (1, 2), (Ballot(1, "n1"),), (None, Value(b"v"))
)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("number", (None, True, 1.0, "1", b"1", [1])),
        ("flag", (None, 0, 1, "t")),
        ("text", (None, b"t", 1, ["t"])),
        ("blob", (None, "b", 1)),
        ("value", (None, "v", [1])),
        ("ballot", (None, 1, [], [1], ["n1", 1], [1, "n1", 1], [True, "n1"], [1, None], {"round": 1})),
        ("maybe", (1, [], [None, "n1"], b"", False)),
        ("numbers", (None, 1, {}, [None], [1, "2"], [True], b"12")),
        ("ballots", (None, [1], [[1]], [[1, "n1"], None], [1, "n1"])),
        ("maybes", (None, [1], ["v"], [[None]])),
    ],
)
def test_a_wrong_type_in_any_field_is_malformed_and_names_it(field: str, wrong: tuple[object, ...]) -> None:
    position = list(Everything.__dataclass_fields__).index(field)
    for item in wrong:
        envelope = parts(ONE_OF_EACH)
        envelope[-1][position] = item
        malformed(envelope, f"Everything.{field}")


def test_tuples_and_extensions_in_a_frame_are_malformed() -> None:
    malformed([*parts()[:-1], [msgpack.ExtType(1, b"\x92\x01\xa2n1")]], "Prepare.ballot")
    malformed([*parts()[:2], msgpack.Timestamp(1), *parts()[3:]], "not an envelope")


def test_two_messages_of_one_name_are_a_type_error() -> None:
    with pytest.raises(TypeError, match="two messages are called Answer: rename one"):
        codec(LeaderAnswer, type("Answer", (Nothing,), {}))
    with pytest.raises(TypeError, match="two messages are called Reply"):
        codec(type("Reply", (Nothing,), {}))


class Inner(NamedTuple):
    items: list[int]


@pytest.mark.parametrize(
    "kind",
    [
        list[int],
        dict[str, int],
        set[int],
        tuple[int, str],
        tuple[int],
        int | str,
        int | str | None,
        object,
        Message,
        Inner,
    ],
    ids=str,
)
def test_a_field_type_that_cannot_be_encoded_is_a_type_error(kind: Any) -> None:
    cls = type("Odd", (Message,), {"__annotations__": {"field": kind}})
    with pytest.raises(TypeError, match=r"^Odd\.field.* cannot be of type"):
        codec(dataclass(frozen=True)(cls))


def test_a_message_class_that_is_not_listed_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        codec(Prepare).encode(Envelope("n1", 1, "x", Accepted(Ballot(1, "n1"))))


# --- hostile bytes --------------------------------------------------------------------------------------------------


def decode_or_malformed(frame: bytes) -> None:
    for decode in (codec().decode, unpack, lambda data: decode_value(Value(data))):
        try:
            decode(frame)
        except Malformed as error:
            reason = str(error)
            assert len(reason) < 500  # the message fits a log line, even for a large frame


@settings(max_examples=150)
@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_malformed(frame: bytes) -> None:
    decode_or_malformed(frame)
    decode_or_malformed(with_checksum(codec().encode(Envelope("n1", 1, "x", Nothing()))[:35] + frame))


@settings(max_examples=200)
@given(st.data())
def test_mutated_frames_raise_nothing_but_malformed(data: st.DataObject) -> None:
    message = data.draw(st.sampled_from([*PAXOS_MESSAGES, ONE_OF_EACH]))
    frame = bytearray(codec().encode(Envelope("n1", 7, "x", message))[: -wire.CHECKSUM_BYTES])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(frame) - 1))
        match data.draw(st.sampled_from(["set", "cut", "insert", "end"])):
            case "set":
                frame[at] = data.draw(st.integers(0, 255))
            case "cut" if len(frame) > 1:
                del frame[at]
            case "insert":
                frame[at:at] = data.draw(st.binary(min_size=1, max_size=6))
            case "end" if at:
                del frame[at:]
    decode_or_malformed(with_checksum(bytes(frame)))


@settings(max_examples=200)
@given(st.data())
def test_a_frame_with_a_damaged_byte_never_decodes(data: st.DataObject) -> None:
    """A CRC-32 detects every burst of up to 32 bits, and so every change of one byte. The fault "corrupt" changes one byte."""
    message = data.draw(st.sampled_from([*PAXOS_MESSAGES, ONE_OF_EACH]))
    frame = bytearray(codec().encode(Envelope("n1", 7, "x", message)))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] ^= data.draw(st.integers(1, 255))
    malformed_frame(bytes(frame))


def test_a_frame_with_a_flipped_bit_or_a_cut_end_never_decodes() -> None:
    frame = codec().encode(Envelope("n1", 7, "x", ONE_OF_EACH))
    for bit in range(len(frame) * 8):
        flipped = bytearray(frame)
        flipped[bit // 8] ^= 1 << bit % 8
        malformed_frame(bytes(flipped))
    for length in range(len(frame)):
        malformed_frame(frame[:length])
    assert Envelope("n1", 7, "x", ONE_OF_EACH) == codec().decode(frame)


@given(values)
def test_a_decoded_envelope_has_only_declared_types(value: object) -> None:
    envelope = [*parts()[:-1], [value]]
    try:
        decoded = codec().decode(
            with_checksum(msgpack.packb(envelope, default=lambda item: msgpack.ExtType(1, b""), strict_types=True))
        )
    except (Malformed, ValueError):
        return
    assert isinstance(decoded.message, Prepare)
    assert [int, str] == [type(part) for part in decoded.message.ballot]


HOSTILE = """
import resource, struct, sys
from node.wire import Codec, Malformed, Value, decode_value
from node.algorithms.paxos import Paxos
size = 4 * 1024 * 1024
claim = b"\\xdd" + struct.pack(">I", size - 5_000)
def array(filler): return b"\\xdd" + struct.pack(">I", size - 10) + filler * (size - 10)
def map_(): return b"\\xdf" + struct.pack(">I", size // 4) + b"".join(b"\\xce%b\\x80" % struct.pack(">I", n) for n in range(9999))
frames = [array(b"\\x90"), array(b"\\x80"), map_(), claim * 500, (claim * 500).ljust(size, b"\\0"), b"\\x91" * size]
codec = Codec("0" * 32, Paxos.messages)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for frame in frames:
    for decode, size in ((codec.decode, size), (decode_value, 256 * 1024)):
        small = (frame[:1] + struct.pack(">I", size - 10) + frame[5:size - 5]) if frame[0] != 0x91 else frame[:size]
        try:
            decode(Value(small))
        except Malformed:
            pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_frames_built_to_use_much_memory_use_little() -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))

    done = subprocess.run(
        [sys.executable, "-c", HOSTILE], capture_output=True, text=True, check=False, preexec_fn=limited, cwd="."
    )
    assert done.stderr == ""
    assert done.returncode == 0
    assert int(done.stdout) < 80 * 1024  # KiB


def test_a_frame_over_the_limit_is_malformed() -> None:
    with pytest.raises(Malformed, match="over the limit of 4,194,304"):
        codec().decode(b"\x97" + bytes(wire.FRAME_BYTES_MAX))
