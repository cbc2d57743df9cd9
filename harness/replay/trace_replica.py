"""One node of a traced run, over all its lives: `harness.replay.trace_validation` says what is compared with what."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from harness.records.links import CLIENT, Link
from harness.records.messages import readable_fields
from harness.replay.pure_node import NOTHING, DiskContents, NotSet, PureNode
from harness.replay.trace_report import Validation
from harness.replay.trace_wire import Difference, Seen, Wire, answer_of, first_hole, stretch, what_of
from harness.systems.traced_node import digest
from node.client_messages import Reply
from node.contract import Algorithm, NodeId, Request, Value
from node.settings import Settings
from node.storage.disk import DiskError, inspect
from node.turn import Output
from node.wire import Codec, Envelope, Malformed

#: How long before the end of a life a message may have been on its way and be lost with it.
_LAST_WORDS_NS: Final = 2_000_000_000


@dataclass(slots=True)
class _Expected:
    """A message that the pure class has sent."""

    what: str
    time: int
    turn: int


@dataclass
class _Life:
    """One life of a node, as its note tells it."""

    incarnation: int
    born: int = 0
    turns: int = 0
    time: int = 0
    """Of the last turn."""
    received: dict[Link, list[str]] = field(default_factory=lambda: defaultdict(list))
    sent: dict[tuple[NodeId, str], list[_Expected]] = field(default_factory=lambda: defaultdict(list))
    answers: list[_Expected] = field(default_factory=list)


class Replica:
    """One node, over all its lives, beside the pure node that gets the same input."""

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
        """Take in the node's whole trace."""
        if not path.exists():
            if self._wire.has_heard(self._node):
                self._differs(0, "has left no trace, and has spoken")
            return  # it never came up
        for line in _lines(path):
            try:
                self._take(line)
            except (NotSet, Malformed) as error:
                self._differs(line["time"], f"let run out, or took in, what could not be: {error}")
                return
            except Exception as error:  # noqa: BLE001 - an algorithm may raise anything, and the real one has not
                self._differs(line["time"], f"went on, where the pure class fails: {type(error).__name__} {error}")
                return
        self._end_life()

    def _take(self, line: dict[str, Any]) -> None:
        match line:
            case {"boot": int(incarnation), "disk": str(held), "time": int(time)}:
                self._end_life()
                self._boot(incarnation, held, time)
            case {"turn": int(number), "time": int(time)}:
                self._turn(number, line, time)
            case {"unsent": [*frames], "time": int(time)}:
                for to, frame in frames:
                    self._unsent(to, self._decode(frame), time)
            case _:
                self._differs(0, f"has a line in its trace that nobody writes: {str(line)[:80]}")

    def _decode(self, frame: str) -> Envelope:
        return self._codec.decode(bytes.fromhex(frame))

    def _differs(self, time: int, text: str) -> None:
        self._report.differences.append(Difference(time, f"{self._node} {text}"))

    # --- lives and disks --------------------------------------------------------------------------------------------

    def _boot(self, incarnation: int, held: str, time: int) -> None:
        contents = self._pure.contents()
        if held == _digest(self._pure.contents_before()):
            contents = self._pure.contents_before()
        elif incarnation == 1 and held == _digest(NOTHING):
            contents = NOTHING  # its directory was lost
        elif held != _digest(contents):
            self._differs(time, f"booted for the {incarnation}. time on a disk that none of its commits has left")
        self._life = _Life(incarnation, born=time, time=time)
        self._report.lives += 1
        self._gather(self._pure.boot(contents), time, 0)

    def compare_disk(self, directory: Path) -> None:
        """Compare what the disk holds in the end with what the pure node has, with its last turn or without."""
        try:
            contents = inspect(directory)
        except DiskError as error:
            if self._life.incarnation and not self._report.disk_broken:  # by a fault, which is for the judges
                self._differs(self._life.time, f"has no disk that can be compared in the end: {error}")
            return
        held = digest(contents.variables, contents.log.records, contents.log.parts)
        if held not in (_digest(self._pure.contents()), _digest(self._pure.contents_before())):
            self._differs(self._life.time, "has on its disk in the end what the pure class has not")

    # --- turns ------------------------------------------------------------------------------------------------------

    def _turn(self, number: int, line: dict[str, Any], time: int) -> None:
        if number != self._life.turns + 1:
            self._differs(time, f"has turn {number} in its trace where {self._life.turns + 1} belongs")
        self._life.turns, self._life.time = number, time
        self._report.turns += 1
        self._pure.begin_turn()
        for frame in line["in"]:
            envelope = self._decode(frame)
            link = (envelope.sender if envelope.sender in self._settings.nodes else CLIENT, self._node)
            what = what_of(envelope.incarnation, envelope.variable, envelope.message)
            self._life.received[link].append(what)
            self._pure.take(envelope)
        for peer in line["lost"]:
            self._pure.lose(peer)
        for one, other in line["timers"]:
            self._pure.expire((one, other) if isinstance(other, str) else Request(one, other))
        self._report.inputs += len(line["in"]) + len(line["lost"]) + len(line["timers"])
        self._gather(self._pure.end_turn(retires=line["retires"]), time, number)

    def _gather(self, outputs: list[Output], time: int, turn: int) -> None:
        """Note what the pure node has sent and answered."""
        for output in outputs:
            for to, variable, message in output.sends:
                what = what_of(self._life.incarnation, variable, message)
                self._life.sent[to, variable].append(_Expected(what, time, turn))
            for reply in output.replies:
                self._expect_answer(_answer(reply.request.number, reply.value, reply.refused), time)
            for number, payload, refused, leader in (each for one in output.frame_replies.values() for each in one):
                value = None if payload is None else Value(payload)
                self._expect_answer(_answer(number, value, refused, leader), time)

    def _expect_answer(self, what: str, time: int) -> None:
        self._life.answers.append(_Expected(what, time, self._life.turns))

    def _unsent(self, to: NodeId, envelope: Envelope, time: int) -> None:
        """A message found no connection, so the wire has none."""
        what = what_of(envelope.incarnation, envelope.variable, envelope.message)
        expected = self._life.sent[to, envelope.variable]
        for place in range(len(expected) - 1, -1, -1):
            if expected[place].what == what and expected[place].turn == self._life.turns:
                del expected[place]
                return
        self._differs(time, f"says that it could not send {what} to {to}, which the pure class has not sent")

    # --- a life against what others saw -----------------------------------------------------------------------------

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
        self._compare_answers()

    def _compare_sent(self, to: NodeId, expected: list[_Expected], seen: list[Seen]) -> None:
        """One by one; the last ones may have died with the node."""
        for wanted, got in zip(expected, seen, strict=False):
            if wanted.what != got.what:
                text = (
                    f"sent {got.what} to {to} (line {got.line} of the record), and the pure class sends {wanted.what}"
                )
                self._differs(got.time, text)
                return
            self._report.messages += 1
        for got in seen[len(expected) :][:1]:
            self._differs(
                got.time, f"sent {got.what} to {to} (line {got.line} of the record), and the pure class nothing"
            )
        for wanted in expected[len(seen) :][:1]:
            if self._is_before_the_end(wanted.time):
                self._differs(wanted.time, f"never sent {wanted.what} to {to}, which the pure class sends")

    def _compare_answers(self) -> None:
        """By their numbers: clients share a link, and a number is known to its client alone."""
        left = Counter(one.what for one in self._life.answers)
        for got in self._wire.answers.get((self._node, self._life.incarnation), []):
            if left[got.what] == 0:
                self._differs(
                    got.time, f"told a client {got.what} (line {got.line} of the record), and the pure class does not"
                )
                return
            left[got.what] -= 1
        for wanted in self._life.answers:
            if left[wanted.what] and self._is_before_the_end(wanted.time):
                self._differs(wanted.time, f"never told a client {wanted.what}, as the pure class does")
                return

    def _compare_received(self, link: Link, received: list[str]) -> None:
        """A stretch of what the link has delivered, without a hole in it. Only the first life begins where the link does."""
        delivered = self._wire.delivered.get(link, [])
        start = self._read_to[link]
        first_life = start == 0 and self._life.incarnation == 1
        while start < len(delivered) and delivered[start].time < self._life.born:
            start += 1  # that went to whoever had just died
        self._read_to[link] = start
        for begin in [start] if first_life else range(start, len(delivered) + 1):
            end = stretch(received, delivered, begin)
            if end is not None:
                self._read_to[link] = end
                break
        else:
            place, got = first_hole(received, delivered, start)
            at = delivered[place] if place < len(delivered) else Seen("nothing more", self._life.time, 0)
            self._differs(at.time, f"says that {got} came from {link[0]}, and the proxy delivered {at.what}")
            return
        for missed in delivered[self._read_to[link] :]:
            if self._is_before_the_end(missed.time) and not missed.corrupted:
                text = f"says nothing of {missed.what} from {link[0]} (line {missed.line}), which the proxy delivered"
                self._differs(missed.time, text)
                return

    def _is_before_the_end(self, time: int) -> bool:
        return time < self._life.time - _LAST_WORDS_NS


def _digest(contents: DiskContents) -> str:
    return digest(contents.variables, contents.records, contents.parts)


def _answer(number: int, value: Value | None, refused: str | None, leader: NodeId | None = None) -> str:
    # As the record has it: what is a value is decoded, other bytes are hex.
    readable = readable_fields(Reply(0, value, None))["value"]
    return answer_of(number, readable, refused, leader)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Those of a note. What SIGKILL has cut short is none: the turn was not committed, and nothing of it had left."""
    texts = [text for text in path.read_bytes().split(b"\n") if text]
    for text, after in zip_longest(texts, texts[1:]):
        try:
            line = json.loads(text)
        except ValueError:
            if after is None or after.startswith(b'{"boot": '):
                continue
            line = None
        yield line if isinstance(line, dict) else {"damaged": text.decode(errors="replace")}
