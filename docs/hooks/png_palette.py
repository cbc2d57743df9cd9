"""Makes a PNG file smaller: with a palette of its 256 most frequent colours. A page has few colours, so nobody sees it.

Source: the PNG specification (W3C, third edition), sections 9 (filters) and 11 (chunks).
"""

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

Colour = tuple[int, ...]


def with_palette(path: Path) -> None:
    """Write the file again with a palette. It must have 8 bits a channel, as the pictures of browsers have."""
    data = path.read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    raw = zlib.decompress(b"".join(body for kind, body in _chunks(data) if kind == b"IDAT"))
    size = {2: 3, 6: 4}[data[25]]  # bytes of a pixel: RGB, or RGB with alpha
    rows = list(_rows(raw, width, height, size))
    counts = Counter(colour for row in rows for colour in row)
    palette = [colour for colour, _ in counts.most_common(256)]
    number = {colour: place for place, colour in enumerate(palette)}
    for colour in counts:
        if colour not in number:
            number[colour] = min(range(len(palette)), key=lambda place: _distance(palette[place], colour))
    plain = b"".join(b"\0" + bytes(number[colour] for colour in row) for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = ((b"IHDR", header), (b"PLTE", bytes(sum(palette, ()))), (b"IDAT", zlib.compress(plain, 9)), (b"IEND", b""))
    path.write_bytes(data[:8] + b"".join(_chunk(kind, body) for kind, body in parts))


def _distance(one: Colour, other: Colour) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        yield data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        place += 12 + length


def _rows(raw: bytes, width: int, height: int, size: int) -> Iterator[list[Colour]]:
    """Undo the filter of each row, and yield its colours."""
    length = width * size
    before = bytearray(length)
    for number in range(height):
        start = number * (length + 1)
        row = bytearray(raw[start + 1 : start + 1 + length])
        for x in range(length):
            left, up = row[x - size] if x >= size else 0, before[x]
            match raw[start]:
                case 1:
                    row[x] = (row[x] + left) & 255
                case 2:
                    row[x] = (row[x] + up) & 255
                case 3:
                    row[x] = (row[x] + (left + up) // 2) & 255
                case 4:
                    row[x] = (row[x] + _paeth(left, up, before[x - size] if x >= size else 0)) & 255
        before = row
        yield [tuple(row[x : x + 3]) for x in range(0, length, size)]


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda near: abs(guess - near))
