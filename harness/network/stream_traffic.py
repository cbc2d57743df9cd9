"""What crosses links that carry streams, as lines of the record of messages: for people, since the bytes are not read.

| type | line |
|---|---|
| connection | a connection was dialed on the link `from` -> `to`; "undeliverable" if the receiver did not accept it |
| bytes | so many bytes have left on the link |
| close, reset | the end of a connection, if a rule keeps it |

Rules
-----
1. The first bytes after a silence are a line at once. What follows within `WINDOW_S` is one line more, at the end of that time.
2. A piece that a rule keeps is a line, with the fate "held" and the rule; another line says when it has left, or is gone.
3. The judges ask the meter (`stream_rules.py`) and never this: a line is bounded in number and size, and may be missing.
"""

import time
from pathlib import Path
from typing import Final

from harness.network.in_transit import InTransit
from harness.network.stream_rules import Piece
from harness.network.switchboard import HELD_SHOWN_MAX, LOOKING_S, Seen
from harness.records.links import Fate, Link
from harness.records.messages import SOME_BYTES_MAX, JsonMessage, MessageRecorder
from harness.records.recent_lines import RecentLines, shown_message
from node.wire import Envelope

#: For how long what leaves on a link is one line, in seconds.
WINDOW_S: Final = 0.05


class StreamTraffic:
    """Describes the links' traffic, to a file and to a reader that looks often. Times are of the monotonic clock, in seconds."""

    def __init__(self, path: Path | None) -> None:
        """Begin a record. `path` is its file, which has at most `SOME_BYTES_MAX` bytes; None: there is none."""
        self._recorder = MessageRecorder(path, SOME_BYTES_MAX)
        self._recent = RecentLines()
        self._looked_s = 0.0
        self._windows: dict[tuple[Link, str], tuple[float, int]] = {}  # until when, and how much has left in it
        self._kept: dict[Piece, tuple[InTransit, str | None]] = {}

    # --- what happens on the links ----------------------------------------------------------------------------------

    def left(self, piece: Piece, size: int, now_s: float) -> None:
        """Note that so many bytes of a piece have left."""
        if piece.is_described:
            self._freed(piece, "released")
        elif size:
            self._count(piece.link, "bytes", size, now_s)

    def connected(self, piece: Piece, now_s: float) -> None:
        """Note that a connection has begun, of which this is the piece that went from its dialer."""
        if not piece.is_described:
            self._count(piece.link, "connection", 1, now_s)

    def _count(self, link: Link, type_: str, amount: int, now_s: float) -> None:
        until_s, more = self._windows.get((link, type_), (0.0, 0))
        if now_s < until_s:
            self._windows[link, type_] = until_s, more + amount
            return
        self._end(link, type_, more)
        self._windows[link, type_] = now_s + WINDOW_S, 0
        self._note(_message(link, type_, amount), "passed")

    def refused(self, link: Link) -> None:
        """Note that a receiver has not accepted a connection."""
        self._note(_message(link, "connection", 1), "undeliverable")

    def keeps(self, piece: Piece, rule: str | None) -> None:
        """Note that a rule keeps a piece. It may be noted again and again."""
        if not piece.is_described:
            piece.is_described = True
            message = _message(piece.link, piece.what, piece.size)
            self._note(message, "held", rule)
            self._kept[piece] = message, rule

    def forget(self, piece: Piece) -> None:
        """Note that a piece is gone with its connection."""
        self._freed(piece, "discarded")

    def _freed(self, piece: Piece, fate: Fate) -> None:
        if (kept := self._kept.pop(piece, None)) is not None:
            self._note(kept[0], fate, kept[1])

    def do_due_work(self, now_s: float) -> None:
        """Write the lines of the windows that are over, and keep no lines in memory for a reader that is gone."""
        for (link, type_), (until_s, amount) in list(self._windows.items()):
            if now_s >= until_s:
                del self._windows[link, type_]
                self._end(link, type_, amount)
        self._recorder.flush()
        if self._recorder.on_line is not None and now_s > self._looked_s + LOOKING_S:
            self._recorder.on_line, self._recent = None, RecentLines()

    def _end(self, link: Link, type_: str, amount: int) -> None:
        if amount:
            self._note(_message(link, type_, amount), "passed")

    def _note(self, message: InTransit, fate: Fate, rule: str | None = None) -> None:
        self._recorder.note(message, fate, rule, time.monotonic_ns())

    # --- its readers ------------------------------------------------------------------------------------------------

    def look(self, after: int, most: int) -> Seen:
        """Return what is new since line `after`, as `harness.network.switchboard.Switchboard` does for messages."""
        self._looked_s, self._recorder.on_line = time.monotonic(), self._recent.add
        lines, left_out = self._recent.since(after, most)
        held = [_shown(*kept) for kept in list(self._kept.values())[:HELD_SHOWN_MAX]]
        return {
            "lines": lines,
            "left_out": left_out,
            "next": self._recorder.count,
            "held": held,
            "held_count": len(self._kept),
        }

    def close(self) -> None:
        """Write what has not been written, and close the file."""
        self.do_due_work(float("inf"))
        self._recorder.close()


def _message(link: Link, type_: str, amount: int) -> InTransit:
    body = {"connections" if type_ == "connection" else "bytes": amount} if amount else {}
    return InTransit(link, b"", Envelope(link[0], 0, "", JsonMessage(type_, body)))


def _shown(message: InTransit, rule: str | None) -> dict[str, object]:
    about = {"rule": rule or "", "index": message.index, "from": message.link[0], "to": message.link[1]}
    return {**about, **shown_message(message.envelope, b"")}
