"""The comparison of one traced node, over all its lives, with a pure node that takes in the same input.

`harness.replay.trace_validation` lists what is compared with what.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, NamedTuple

from harness.records.links import CLIENT, Link
from harness.records.messages import readable_fields
from harness.replay.pure_node import NOTHING, DiskContents, NotSet, PureNode
from harness.replay.trace_report import Validation
from harness.replay.trace_wire import (
    Difference,
    RecordedMessage,
    Wire,
    end_of_stretch,
    first_difference,
    reply_text,
    text_of,
)
from harness.systems.disk_digest import digest
from node.client_messages import Reply
from node.contract import Algorithm, NodeId, Request, Value
from node.settings import Settings
from node.storage.disk import DiskError, inspect
from node.turn import Output
from node.wire import Codec, Envelope, Malformed

#: A message of the last nanoseconds of a life may have been on its way when the node ended, and be lost.
_LOST_AT_THE_END_NS: Final = 2_000_000_000


class _Expected(NamedTuple):
    """A message or a reply that the pure class has sent. `time` is in nanoseconds, as in the trace."""

    text: str
    time: int
    turn: int


@dataclass
class _Life:
    """One life of a node, as its trace and the pure node have it. Times are in nanoseconds, as in the trace."""

    incarnation: int
    booted: int = 0
    turns: int = 0
    time: int = 0
    """The time of the last turn."""
    received: dict[Link, list[str]] = field(default_factory=lambda: defaultdict(list))
    """What the node has received, according to the trace, by link."""
    sent: dict[tuple[NodeId, str], list[_Expected]] = field(default_factory=lambda: defaultdict(list))
    """What the pure node has sent, by receiver and variable."""
    replies: list[_Expected] = field(default_factory=list)
    """What the pure node has replied to clients."""


class Replica:
    """One node of a traced run beside the pure node that takes in the same input.

    Differences are appended to the `differences` of the report, and what was compared is counted there.
    """

    def __init__(
        self,
        settings: Settings,
        algorithm: type[Algorithm],
        node: NodeId,
        wire: Wire,
        report: Validation,
    ) -> None:
        self._settings, self._algorithm, self._node = settings, algorithm, node
        self._wire, self._report = wire, report
        self._codec = Codec(settings.cluster, algorithm.messages)
        self._pure = PureNode(settings, algorithm, node)
        self._life = _Life(0)
        self._read_to: Counter[Link] = Counter()

    def follow(self, path: Path) -> None:
        """Take in the node's whole trace, the file at `path`, and compare each life when it is over."""
        if not path.exists():
            if self._wire.has_sent(self._node):
                self._differs(0, "has left no trace, and has sent messages")
            return  # the node never started
        for line in _lines(path):
            try:
                self._take(line)
            except (NotSet, Malformed) as error:
                self._differs(line["time"], f"took in a frame or an expired timer that cannot be: {error}")
                return
            except Exception as error:  # noqa: BLE001 - an algorithm may raise anything, and the real one did not
                self._differs(line["time"], f"continued where the pure class raises {type(error).__name__}: {error}")
                return
        self._end_life()

    def _take(self, line: dict[str, Any]) -> None:
        match line:
            case {"boot": int(incarnation), "disk": str(disk_digest), "time": int(time)}:
                self._end_life()
                self._boot(incarnation, disk_digest, time)
            case {"turn": int(number), "time": int(time)}:
                self._turn(number, line, time)
            case {"unsent": [*frames], "time": int(time)}:
                for to, frame in frames:
                    self._unsent(to, self._decode(frame), time)
            case _:
                self._differs(0, f"has a line in its trace that no traced node writes: {str(line)[:80]}")

    def _decode(self, frame: str) -> Envelope:
        return self._codec.decode(bytes.fromhex(frame))

    def _differs(self, time: int, text: str) -> None:
        self._report.differences.append(Difference(time, f"{self._node} {text}"))

    # --- lives and disks --------------------------------------------------------------------------------------------

    def _boot(self, incarnation: int, disk_digest: str, time: int) -> None:
        contents = self._pure.contents()
        if disk_digest == _digest(self._pure.contents_before()):
            contents = self._pure.contents_before()
        elif incarnation == 1 and disk_digest == _digest(NOTHING):
            contents = NOTHING  # the directory was lost
        elif disk_digest != _digest(contents):
            self._differs(time, f"found in incarnation {incarnation} a disk that none of its commits has left")
        self._life = _Life(incarnation, booted=time, time=time)
        self._report.lives += 1
        self._collect(self._pure.boot(contents), time, 0)

    def compare_disk(self, directory: Path) -> None:
        """Compare what the disk holds in the end with the pure node's disk, with or without its last turn.

        Args:
            directory: the node's data directory.
        """
        try:
            contents = inspect(directory)
        except DiskError as error:
            if self._life.incarnation and not self._report.disk_broken:  # a broken disk is the judges' affair
                self._differs(self._life.time, f"has no disk that can be compared in the end: {error}")
            return
        disk_digest = digest(contents.variables, contents.log.records, contents.log.parts)
        if disk_digest not in (_digest(self._pure.contents()), _digest(self._pure.contents_before())):
            self._differs(self._life.time, "has another disk in the end than the pure class")

    # --- turns ------------------------------------------------------------------------------------------------------

    def _turn(self, number: int, line: dict[str, Any], time: int) -> None:
        if number != self._life.turns + 1:
            self._differs(time, f"has turn {number} in its trace where {self._life.turns + 1} belongs")
        self._life.turns, self._life.time = number, time
        self._report.turns += 1
        self._pure.begin_turn(line["commit_ms"])
        for frame in line["in"]:
            envelope = self._decode(frame)
            link = (envelope.sender if envelope.sender in self._settings.nodes else CLIENT, self._node)
            self._life.received[link].append(text_of(envelope.incarnation, envelope.variable, envelope.message))
            self._pure.take(envelope)
        for peer in line["lost"]:
            self._pure.lose(peer)
        for one, other in line["timers"]:
            self._pure.expire((one, other) if isinstance(other, str) else Request(one, other))
        self._report.inputs += len(line["in"]) + len(line["lost"]) + len(line["timers"])
        self._collect(self._pure.end_turn(retires=line["retires"]), time, number)

    def _collect(self, outputs: list[Output], time: int, turn: int) -> None:
        """Keep what the pure node has sent and replied, for the comparison at the end of the life."""
        for output in outputs:
            for to, variable, message in output.sends:
                text = text_of(self._life.incarnation, variable, message)
                self._life.sent[to, variable].append(_Expected(text, time, turn))
            for reply in output.replies:
                self._expect_reply(_reply_text(reply.request.number, reply.value, reply.refused), time)
            for number, payload, refused, leader in (each for one in output.frame_replies.values() for each in one):
                value = None if payload is None else Value(payload)
                self._expect_reply(_reply_text(number, value, refused, leader), time)

    def _expect_reply(self, text: str, time: int) -> None:
        self._life.replies.append(_Expected(text, time, self._life.turns))

    def _unsent(self, to: NodeId, envelope: Envelope, time: int) -> None:
        """Expect a message no longer that found no connection: it cannot be on the wire."""
        text = text_of(envelope.incarnation, envelope.variable, envelope.message)
        expected = self._life.sent[to, envelope.variable]
        for place in range(len(expected) - 1, -1, -1):
            if expected[place].text == text and expected[place].turn == self._life.turns:
                del expected[place]
                return
        self._differs(
            time, f"has in its trace that it could not send {text} to {to}, which the pure class has not sent"
        )

    # --- a life against the record of the proxy -----------------------------------------------------------------------

    def _end_life(self) -> None:
        life = self._life
        if not life.incarnation:
            return
        for link in sorted({*life.received, *(link for link in self._wire.delivered if link[1] == self._node)}):
            self._compare_received(link, life.received.get(link, []))
        on_the_wire = {
            (link[1], variable)
            for link, incarnation, variable in self._wire.sent
            if link[0] == self._node and incarnation == life.incarnation
        }
        for to, variable in sorted({*life.sent, *on_the_wire}):
            seen = self._wire.sent.get(((self._node, to), life.incarnation, variable), [])
            self._compare_sent(to, life.sent.get((to, variable), []), seen)
        self._compare_replies()

    def _compare_sent(self, to: NodeId, expected: list[_Expected], recorded: list[RecordedMessage]) -> None:
        """Compare the messages to one receiver in order. The last ones may be lost with the node."""
        for wanted, got in zip(expected, recorded, strict=False):
            if wanted.text != got.text:
                text = (
                    f"sent {got.text} to {to} (line {got.line} of the record), and the pure class sends {wanted.text}"
                )
                self._differs(got.time, text)
                return
            self._report.messages += 1
        for got in recorded[len(expected) :][:1]:
            self._differs(
                got.time, f"sent {got.text} to {to} (line {got.line} of the record), and the pure class sends nothing"
            )
        for wanted in expected[len(recorded) :][:1]:
            if self._is_before_the_end(wanted.time):
                self._differs(wanted.time, f"never sent {wanted.text} to {to}, which the pure class sends")

    def _compare_replies(self) -> None:
        """Compare the replies by request number, in any order: several clients share the link."""
        left = Counter(one.text for one in self._life.replies)
        for got in self._wire.replies.get((self._node, self._life.incarnation), []):
            if left[got.text] == 0:
                self._differs(
                    got.time,
                    f"replied to a client {got.text} (line {got.line} of the record), and the pure class does not",
                )
                return
            left[got.text] -= 1
        for wanted in self._life.replies:
            if left[wanted.text] and self._is_before_the_end(wanted.time):
                self._differs(wanted.time, f"never replied to a client {wanted.text}, as the pure class does")
                return

    def _compare_received(self, link: Link, received: list[str]) -> None:
        """Check that `received` is a stretch without gaps of what the proxy delivered on `link`.

        The first life's stretch begins at the link's first message. A later life's may begin anywhere after the last stretch.
        """
        delivered = self._wire.delivered.get(link, [])
        start = self._read_to[link]
        first_life = start == 0 and self._life.incarnation == 1
        while start < len(delivered) and delivered[start].time < self._life.booted:
            start += 1  # delivered to the process before this one, which had ended
        self._read_to[link] = start
        for begin in [start] if first_life else range(start, len(delivered) + 1):
            end = end_of_stretch(received, delivered, begin)
            if end is not None:
                self._read_to[link] = end
                break
        else:
            place, got = first_difference(received, delivered, start)
            at = delivered[place] if place < len(delivered) else RecordedMessage("nothing more", self._life.time, 0)
            self._differs(at.time, f"has in its trace {got} from {link[0]}, and the proxy delivered {at.text}")
            return
        for missed in delivered[self._read_to[link] :]:
            if self._is_before_the_end(missed.time) and not missed.corrupted:
                text = (
                    f"lacks in its trace {missed.text} from {link[0]} (line {missed.line}), which the proxy delivered"
                )
                self._differs(missed.time, text)
                return

    def _is_before_the_end(self, time: int) -> bool:
        return time < self._life.time - _LOST_AT_THE_END_NS


def _digest(contents: DiskContents) -> str:
    return digest(contents.variables, contents.records, contents.parts)


def _reply_text(number: int, value: Value | None, refused: str | None, leader: NodeId | None = None) -> str:
    # As in the proxy's record, values are decoded, and other bytes are hex.
    readable = readable_fields(Reply(0, value, None))["value"]
    return reply_text(number, readable, refused, leader)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a trace.

    A line that SIGKILL has cut short is left out: its turn was not committed, and nothing of it had left the node.
    """
    texts = [text for text in path.read_bytes().split(b"\n") if text]
    for text, after in zip_longest(texts, texts[1:]):
        try:
            line = json.loads(text)
        except ValueError:
            if after is None or after.startswith(b'{"boot": '):
                continue
            line = None
        yield line if isinstance(line, dict) else {"damaged": text.decode(errors="replace")}
