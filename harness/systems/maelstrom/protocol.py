"""Maelstrom's protocol: messages as lines of JSON, and errors that are definite or not.

The rules are those of Maelstrom's documentation, `doc/protocol.md`: a message is an object with `src`, `dest` and `body`; a
body has a `type`, and a request a `msg_id`, which its reply repeats as `in_reply_to`.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from cluster.clients.outcomes import NotDone, NotKnown

#: What a message carries: its type, and what belongs to the type.
Body: TypeAlias = dict[str, Any]

#: The longest line that a node may write, in bytes. A longer one is no message.
LINE_MAX: Final = 16 * 1024 * 1024

#: The errors after which a call was not done, and never will be: what the history calls each, and its name in Maelstrom.
DEFINITE: Final[Mapping[int, tuple[str, str]]] = {
    1: ("node not found", "node-not-found"),
    10: ("not supported", "not-supported"),
    11: ("unavailable", "temporarily-unavailable"),
    12: ("malformed request", "malformed-request"),
    14: ("abort", "abort"),
    20: ("not found", "key-does-not-exist"),
    21: ("exists", "key-already-exists"),
    22: ("mismatch", "precondition-failed"),
    30: ("conflict", "txn-conflict"),
}
#: Those of them that matter by their number.
NOT_SUPPORTED: Final = 10
KEY_DOES_NOT_EXIST: Final = 20
PRECONDITION_FAILED: Final = 22
_INDEFINITE: Final = {0: "timeout", 13: "crash"}


class Misread(ValueError):
    """A line is no message of the protocol. The message says why."""


class JsonLine(NamedTuple):
    """A message as it stands on a line."""

    src: str
    dest: str
    body: Body

    @property
    def type(self) -> str:
        """The type of its body."""
        return str(self.body["type"])

    def to_bytes(self) -> bytes:
        """Return the line, without its line break."""
        return json.dumps(self._asdict(), separators=(",", ":")).encode()


def parse(line: bytes) -> JsonLine:
    """Parse a line. Raises Misread."""
    if len(line) > LINE_MAX:
        raise Misread(f"it has {len(line):,} bytes, and the limit is {LINE_MAX:,}")
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise Misread("it is not JSON") from None
    match data:
        case {"src": str(src), "dest": str(dest), "body": {"type": str(), **more} as body}:
            for name in ("msg_id", "in_reply_to"):
                if name in more and (not isinstance(more[name], int) or isinstance(more[name], bool)):
                    raise Misread(f"its {name} is {more[name]!r}, where a whole number is wanted")
            return JsonLine(src, dest, body)
        case dict():
            raise Misread("it lacks a text as src, a text as dest, or a body with a type")
    raise Misread("it is no JSON object")


def outcome_of_error(body: Body) -> NotDone | NotKnown:
    """Return what a reply of type "error" says of a call. Errors that are not known to be definite are not."""
    code, text = body.get("code"), body.get("text")
    said = f": {text}" if text else ""
    if isinstance(code, int) and code in DEFINITE:
        kind, name = DEFINITE[code]
        return NotDone(kind, f"error {code}, {name}{said}")
    name = _INDEFINITE.get(code, "unknown") if isinstance(code, int) else "no code"
    return NotKnown(f"error {code}, {name}{said}")
