"""What a client of a virtual log asks in a frame of one command or question, and what the reply to it says."""

from typing import Any

from node.frames import CommandFrame, ReadFrame
from node.wire import decode_value, unpack


def asked_by(frame: CommandFrame | ReadFrame) -> tuple[str, str, Any]:
    """Return the operation of a frame, its key, and its value; None for no value."""
    [f, key, *value], *_ = unpack(frame.packed)
    return f, key, decode_value(value[0]) if value else None


def answer_of(f: str, payload: bytes) -> Any:
    """Return the answer to the operation `f` in the payload of a reply."""
    [result], *_ = unpack(payload)
    return result and decode_value(result[0]) if f == "get" else result
