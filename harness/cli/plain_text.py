"""Output to a terminal or a pipe whose encoding lacks some characters, such as ASCII.

No verb may fail at a character that it cannot print. The marks of the tables have an ASCII character each. Any other character is
printed as Python escapes it.
"""

import codecs
import io
import sys
from typing import Final

_ERRORS: Final = "consensus_plain"
#: ASCII under a name of its own: click prints UTF-8 to a stream whose encoding is called ASCII.
_ASCII: Final = "consensus_ascii"
#: Each has one character where it stands in a table, so that the columns stay.
_PLAIN: Final = {
    **dict(zip("✓✗→—━•─│┐└┘├▲▼►◄", "+x>--*-|++++^v><", strict=True)),
    "…": "...",
}


def replace(error: UnicodeError) -> tuple[str, int]:
    """Return what to print in the place of characters that cannot be encoded, as `codecs.register_error` wants it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(_PLAIN.get(each) or each.encode("ascii", "backslashreplace").decode() for each in missing), error.end


def exact(text: str) -> str:
    """Return a text of the user for stdout: what stdout cannot encode is escaped, and never printed as another character."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    encoding = "ascii" if encoding == _ASCII else encoding
    return text.encode(encoding, "backslashreplace").decode(encoding)


def find_ascii(name: str) -> codecs.CodecInfo | None:
    """Return the encoding of the name `_ASCII`, as `codecs.register` wants it."""
    if name != _ASCII:
        return None
    ascii_ = codecs.lookup("ascii")
    return codecs.CodecInfo(
        ascii_.encode,
        ascii_.decode,
        incrementalencoder=ascii_.incrementalencoder,
        incrementaldecoder=ascii_.incrementaldecoder,
        name=_ASCII,
    )


def use_plain_text() -> None:
    """Let no character that stdout or stderr cannot encode raise an error in this process."""
    codecs.register_error(_ERRORS, replace)
    codecs.register(find_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            is_ascii = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=_ASCII if is_ascii else None, errors=_ERRORS)
