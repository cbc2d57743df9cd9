"""Trace validation: a recorded run of real processes, replayed through the pure classes. A difference is an error.

```python
report = validate(folder)      # of a run whose nodes were traced, such as `consensus scorecard --trace` makes
report.differences             # the first message that is not what the pure class sends, and the like
```

Theory of operation
-------------------
Each node of such a run has noted what it took in, turn by turn (`harness.traced_node`). The same input, in the same order, is
given to `harness.virtual.node.SimulatedNode`, the one that explorer and simulator use. So what the simulator has shown of a
class holds of the process, as far as this run goes.

A node's own note vouches for nothing by itself. It is compared with what others saw:

| of the note | with |
|---|---|
| what came in from each peer and from clients | what the proxy delivered on that link, one by one |
| what the pure class sends to each peer | what the proxy took in on that link, one by one: type, ballots, values, all |
| what the pure class answers | the replies that the proxy took in |
| that a timer ran out | whether the pure class had set it |
| what each boot found on the disk | what the pure class had committed before |
| what the disk holds in the end | what the pure class has |

and the proxy's record must have every line. Where a life ends, the last messages may be missing, as a process that is killed
takes along what it has not handed over yet; and the last turn may be committed or not.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from cluster.spec import open_spec
from harness.hand import canonical
from harness.record import readable_fields
from harness.rules import CLIENT, DELIVERED, Link
from harness.traced_node import FOLDER_NAME, digest
from harness.virtual.node import Outcome, SimulatedNode
from harness.virtual.steps import Deliver, GiveUp, Packet, Propose, Query, Step
from node.contract import Algorithm, Message, NodeId, Request, Stored
from node.disk import DiskError, inspect
from node.settings import NAME
from node.wire import Codec, Envelope, Malformed, ProposeRequest, QueryRequest, Reply, decode_value

#: How long before the end of a life a message may have been on its way and be lost with it.
_LAST_WORDS_NS: Final = 2_000_000_000
_DIFFERENCES_MAX: Final = 20

Variables = dict[str, dict[str, Stored]]


class Difference(NamedTuple):
    """What is not as it must be. `time` is the machine's monotonic clock, in nanoseconds; 0 for what has none."""

    time: int
    text: str


@dataclass
class Validation:
    """What came of validating a run."""

    folder: Path
    why_not: str | None = None
    """Why there is nothing to validate, if so."""
    nodes: int = 0
    lives: int = 0
    turns: int = 0
    inputs: int = 0
    messages: int = 0
    """Those on the wire that are what the pure class sent."""
    differences: list[Difference] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0: no difference; 1: some; 2: nothing was validated."""
        return 1 if self.differences else 2 if self.why_not or not self.messages else 0

    def line(self) -> str:
        """For people."""
        if self.why_not:
            return f"{self.folder.name}: not validated: {self.why_not}"
        what = f"{self.lives} lives, {self.turns:,} turns, {self.inputs:,} inputs, {self.messages:,} messages"
        if not self.differences:
            return (
                f"{self.folder.name}: {what}: all as the pure class has it"
                if self.messages
                else (f"{self.folder.name}: no message was sent, so nothing is shown")
            )
        more = f" (and {len(self.differences) - 1} more)" if len(self.differences) > 1 else ""
        return f"{self.folder.name}: DIFFERS: {self.differences[0].text}{more}"

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "run": str(self.folder),
            "not_validated": self.why_not,
            "lives": self.lives,
            "turns": self.turns,
            "inputs": self.inputs,
            "messages": self.messages,
            "differences": [difference.text for difference in self.differences[:_DIFFERENCES_MAX]],
        }


def validate(folder: Path) -> Validation:
    """Validate the run in `folder`.

    Raises:
        BadSpec, UnknownAlgorithm: the run's spec cannot be read, or its algorithm is not here any more.
    """
    report = Validation(folder)
    spec = open_spec(folder)
    algorithm = _algorithm_of(spec.settings.algorithm)
    if algorithm.serves_all:
        report.why_not = f"{spec.settings.algorithm} decides a log, and only single variables are traced"
        return report
    if not (folder / FOLDER_NAME).is_dir():
        report.why_not = "its nodes were not traced: make it with --trace"
        return report
    wire = _Wire(folder / "messages.jsonl", report.differences)
    codec = Codec(spec.settings.cluster, algorithm.messages)
    for node in spec.nodes:
        replica = _Replica(algorithm, node, spec.nodes, codec, wire, report)
        replica.follow(folder / FOLDER_NAME / f"{node}.jsonl")
        replica.compare_disk(spec.settings.directory(node))
        report.nodes += 1
    report.differences.sort()
    return report


def _algorithm_of(name: str) -> type[Algorithm]:
    from node.algorithms import load_algorithm  # noqa: PLC0415 - so that the name stays free here

    return load_algorithm(name)


# --- what the proxy saw ---------------------------------------------------------------------------------------------


class Seen(NamedTuple):
    """A message as the proxy has recorded it."""

    what: str
    """Incarnation, variable, type and fields, as one text."""
    time: int
    line: int
    corrupted: bool = False


def _what(incarnation: int, variable: str, type_: str, fields: Mapping[str, Any]) -> str:
    return f"{type_} {canonical(fields)} of {variable!r} in life {incarnation}"


class _Wire:
    """The proxy's record: what each link took in, and what it delivered."""

    def __init__(self, path: Path, differences: list[Difference]) -> None:
        self.sent: dict[tuple[Link, int, str], list[Seen]] = defaultdict(list)
        """By link, incarnation and variable."""
        self.delivered: dict[Link, list[Seen]] = defaultdict(list)
        expected = 0
        for text in path.read_text(encoding="utf-8").splitlines():
            line: dict[str, Any] = json.loads(text)
            if line["index"] != expected:
                differences.append(
                    Difference(0, f"the proxy's record has line {line['index']} where {expected} belongs")
                )
            expected = line["index"] + 1
            self._add(line)

    def _add(self, line: dict[str, Any]) -> None:
        link: Link = (line["from"], line["to"])
        if line["incarnation"] is None or line["type"] in ("StatusRequest", "StatusReply"):
            return
        what = _what(line["incarnation"], line["variable"], line["type"], line["fields"])
        seen = Seen(what, line["time"], line["index"], line["fate"] == "corrupted")
        if "of" not in line:
            self.sent[link, line["incarnation"], line["variable"]].append(seen)
        if line["fate"] in DELIVERED:
            self.delivered[link].append(seen)


# --- what the pure class does ---------------------------------------------------------------------------------------


class NotSet(Exception):
    """A timer ran out that the pure class has not set."""


class TracedNode(SimulatedNode):
    """A simulated node whose turns take in as much as a real one's."""

    @property
    def stored(self) -> dict[str, Stored]:
        """What its disk holds."""
        return dict(self._disk.stored)

    def boot_from(self, stored: Mapping[str, Stored], incarnation: int) -> Outcome:
        """Boot, as the life of that number, on a disk that holds this."""
        self._disk.load(dict(stored), None)
        self.incarnation = incarnation - 1
        return self.boot()

    def begin_turn(self) -> None:
        """Hear what it has sent to itself."""
        to_self, self.to_self = self.to_self, []
        for message in to_self:
            self._made().receive(self.id, message)

    def take_in(self, step: Step) -> None:
        """One input of the turn."""
        match step:
            case Deliver(packet):
                self._made().receive(packet.sender, packet.message)
            case Propose(_, request, value) if request not in self.waiting:
                self.waiting[request] = True
                self._made().propose(request, value)
            case Query(_, request) if request not in self.waiting:
                self.waiting[request] = False
                self._made().query(request)
            case GiveUp(_, request):
                if request not in self.waiting:
                    raise NotSet(f"the time of {request}, who does not wait")
                del self.waiting[request]
                self._made().forget(request)

    def run_out(self, timer: str) -> None:
        """A timer runs out. Raises NotSet."""
        if timer not in self.timers:
            raise NotSet(f"the timer {timer!r}")
        del self.timers[timer]
        self._made().timeout(timer)

    def end_turn(self) -> Outcome:
        """Commit, and let out what the turn has gathered."""
        return self.end_turn()


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
    turns: int = 0
    time: int = 0
    received: dict[Link, list[str]] = field(default_factory=lambda: defaultdict(list))
    sent: dict[tuple[NodeId, str], list[_Expected]] = field(default_factory=lambda: defaultdict(list))
    replies: list[_Expected] = field(default_factory=list)


class _Replica:
    """One node over all its lives: a simulated node for each variable."""

    def __init__(
        self,
        algorithm: type[Algorithm],
        node: NodeId,
        members: tuple[NodeId, ...],
        codec: Codec,
        wire: _Wire,
        report: Validation,
    ) -> None:
        self._algorithm, self._node, self._members = algorithm, node, members
        self._codec, self._wire, self._report = codec, wire, report
        self._variables: dict[str, TracedNode] = {}
        self._before: Variables = {}  # what the variables of the last turn held before it
        self._known: dict[NodeId, int] = {}
        self._asked: dict[Request, str] = {}
        self._life = _Life(0)
        self._read_to: Counter[Link] = Counter()

    def follow(self, path: Path) -> None:
        """Take in the whole note."""
        if not path.exists():
            self._differs(0, "has left no trace")
            return
        for text in path.read_text().splitlines():
            line: dict[str, Any] = json.loads(text)
            try:
                match line:
                    case {"boot": int(incarnation), "disk": str(held), "time": int(time)}:
                        self._end_life()
                        self._boot(incarnation, held, time)
                    case {"turn": int(number), "in": [*frames], "timers": [*timers], "time": int(time)}:
                        self._turn(number, [self._decode(frame) for frame in frames], timers, time)
                    case {"unsent": [*frames], "time": int(time)}:
                        for to, frame in frames:
                            self._unsent(to, self._decode(frame), time)
                    case _:
                        self._differs(0, f"has a line in its trace that nobody writes: {text[:80]}")
            except (NotSet, Malformed) as error:
                self._differs(line["time"], f"let run out, or took in, what could not be: {error}")
                return
            except Exception as error:  # noqa: BLE001 - an algorithm may raise anything, and the real one has not
                self._differs(line["time"], f"went on, where the pure class fails: {type(error).__name__} {error}")
                return
        self._end_life()

    def _decode(self, frame: str) -> Envelope:
        return self._codec.decode(bytes.fromhex(frame))

    def _differs(self, time: int, text: str) -> None:
        self._report.differences.append(Difference(time, f"{self._node} {text}"))

    # --- lives ------------------------------------------------------------------------------------------------------

    def _boot(self, incarnation: int, held: str, time: int) -> None:
        for simulated in self._variables.values():
            simulated.crash()
        stored = self._stored()
        if held != digest(stored):
            stored |= self._before
            if incarnation == 1 and held == digest({}):
                stored = {name: {} for name in stored}  # its directory was lost
            elif held != digest(stored):
                self._differs(time, f"booted for the {incarnation}. time on a disk that none of its commits has left")
        self._before = {}
        self._known = {}
        self._life = _Life(incarnation, time=time)
        self._report.lives += 1
        for name, of_one in stored.items():
            self._gather(name, self._variables[name].boot_from(of_one, incarnation), time, 0)

    def _stored(self) -> Variables:
        return {name: simulated.stored for name, simulated in self._variables.items()}

    def compare_disk(self, directory: Path) -> None:
        """What the disk holds in the end must be what the pure class has, with its last turn or without."""
        try:
            held = digest(inspect(directory).variables)
        except DiskError:
            return  # damaged or gone by a fault, which is for the judges
        stored = self._stored()
        if held not in (digest(stored), digest(stored | self._before)):
            self._differs(self._life.time, "has on its disk in the end what the pure class has not")

    # --- turns ------------------------------------------------------------------------------------------------------

    def _turn(self, number: int, frames: list[Envelope], timers: Iterable[list[Any]], time: int) -> None:
        if number != self._life.turns + 1:
            self._differs(time, f"has turn {number} in its trace where {self._life.turns + 1} belongs")
        self._life.turns, self._life.time = number, time
        self._report.turns += 1
        inputs = [*self._inputs(frames, time), *self._timers(timers)]
        touched = {name for name, simulated in self._variables.items() if simulated.to_self}
        touched.update(variable for variable, _ in inputs)
        self._before = {name: self._simulated(name).stored for name in sorted(touched)}
        for name in sorted(touched):
            self._variables[name].begin_turn()
        for variable, step in inputs:
            self._report.inputs += 1
            if isinstance(step, str):
                self._variables[variable].run_out(step)
            else:
                self._variables[variable].take_in(step)
        for name in sorted(touched):
            self._gather(name, self._variables[name].end_turn(), time, number)

    def _simulated(self, name: str) -> TracedNode:
        """A variable's node, made when it is first heard of."""
        simulated = self._variables.get(name)
        if simulated is None:
            simulated = self._variables[name] = TracedNode(self._algorithm, self._node, self._members)
            simulated.boot_from({}, self._life.incarnation)
        return simulated

    def _inputs(self, frames: Iterable[Envelope], time: int) -> Iterator[tuple[str, Step | str]]:
        for envelope in frames:
            sender, variable, message = envelope.sender, envelope.variable, envelope.message
            link = (sender if sender in self._members else CLIENT, self._node)
            what = _what(envelope.incarnation, variable, type(message).__name__, readable_fields(message))
            self._life.received[link].append(what)
            match message:
                case ProposeRequest(number, _, value) if self._can_be_asked(variable, message, time):
                    self._asked[Request(sender, number)] = variable
                    yield variable, Propose(self._node, Request(sender, number), value)
                case QueryRequest(number) if self._can_be_asked(variable, message, time):
                    self._asked[Request(sender, number)] = variable
                    yield variable, Query(self._node, Request(sender, number))
                case ProposeRequest() | QueryRequest():
                    pass
                case _ if envelope.incarnation >= self._known.get(sender, 0):
                    self._known[sender] = envelope.incarnation
                    yield variable, Deliver(Packet(sender, envelope.incarnation, self._node, message))

    def _can_be_asked(self, variable: str, message: ProposeRequest | QueryRequest, time: int) -> bool:
        """Whether the node hands a request on, or refuses it itself."""
        try:
            if isinstance(message, ProposeRequest):
                decode_value(message.value)
            if NAME.fullmatch(variable):
                return True
        except Malformed:
            pass
        self._life.replies.append(_Expected(_refused(message.number), time, self._life.turns))
        return False

    def _timers(self, timers: Iterable[list[Any]]) -> Iterator[tuple[str, Step | str]]:
        for one, other in timers:
            if isinstance(other, str):
                yield one, other
            elif (variable := self._asked.get(Request(one, other))) is None:
                raise NotSet(f"the time of {one}/{other}, who has not asked")
            else:
                yield variable, GiveUp(self._node, Request(one, other))

    def _gather(self, variable: str, outcome: Outcome, time: int, turn: int) -> None:
        """What the pure class has sent and answered."""
        for packet in outcome.packets:
            self._life.sent[packet.to, variable].append(_Expected(self._told(variable, packet.message), time, turn))
        for reply in outcome.replies:
            value = None if reply.value is None else readable_fields(Reply(0, reply.value, None))["value"]
            what = (
                _refused(reply.request.number) if reply.refused is not None else _answered(reply.request.number, value)
            )
            self._life.replies.append(_Expected(what, time, turn))

    def _told(self, variable: str, message: Message) -> str:
        return _what(self._life.incarnation, variable, type(message).__name__, readable_fields(message))

    def _unsent(self, to: NodeId, envelope: Envelope, time: int) -> None:
        """A message found no connection, so the wire has none."""
        what = self._told(envelope.variable, envelope.message)
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
        for to, variable in sorted({*life.sent, *self._sent_on_the_wire(life.incarnation)}):
            seen = self._wire.sent.get(((self._node, to), life.incarnation, variable), [])
            self._compare_sent(to, life.sent.get((to, variable), []), seen)
        self._compare_replies()

    def _sent_on_the_wire(self, incarnation: int) -> Iterator[tuple[NodeId, str]]:
        for (sender, to), of_life, variable in self._wire.sent:
            if sender == self._node and to != CLIENT and of_life == incarnation:
                yield to, variable

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
            if wanted.time < self._life.time - _LAST_WORDS_NS:
                self._differs(wanted.time, f"never sent {wanted.what} to {to}, which the pure class sends")

    def _compare_replies(self) -> None:
        """By their numbers; clients share a link, and a number is known to its client alone."""
        seen = self._wire.sent.get(((self._node, CLIENT), self._life.incarnation, ""), [])
        left = Counter(one.what for one in self._life.replies)
        for got in seen:
            what = _reply_of(got.what)
            if left[what] == 0:
                self._differs(got.time, f"told a client {got.what} (line {got.line}), and the pure class does not")
                return
            left[what] -= 1
        for wanted in self._life.replies:
            if left[wanted.what] and wanted.time < self._life.time - _LAST_WORDS_NS:
                self._differs(wanted.time, f"never told a client {wanted.what}, as the pure class does")
                return

    def _compare_received(self, link: Link, received: list[str]) -> None:
        """A stretch of what the link has delivered, without a hole in it."""
        delivered = self._wire.delivered.get(link, [])
        start = self._read_to[link]
        first_life = start == 0 and self._report.lives >= 1 and self._life.incarnation == 1
        for begin in [start] if first_life else range(start, len(delivered) + 1):
            end = _stretch(received, delivered, begin)
            if end is not None:
                self._read_to[link] = end
                break
        else:
            place, got = _first_hole(received, delivered, start)
            wanted = delivered[place].what if place < len(delivered) else "nothing more"
            time = delivered[place].time if place < len(delivered) else self._life.time
            self._differs(time, f"says that {got} came from {link[0]}, and the proxy delivered {wanted}")
            return
        for missed in delivered[self._read_to[link] :]:
            if missed.time < self._life.time - _LAST_WORDS_NS and not missed.corrupted:
                text = f"says nothing of {missed.what} from {link[0]} (line {missed.line}), which the proxy delivered"
                self._differs(missed.time, text)
                return


def _stretch(received: list[str], delivered: list[Seen], begin: int) -> int | None:
    """Where the stretch ends that begins there and is what was received; None if it is not. The corrupted is passed over."""
    at = begin
    for what in received:
        while at < len(delivered) and delivered[at].corrupted and delivered[at].what != what:
            at += 1
        if at == len(delivered) or delivered[at].what != what:
            return None
        at += 1
    return at


def _first_hole(received: list[str], delivered: list[Seen], begin: int) -> tuple[int, str]:
    """Where the two first differ."""
    for place, what in enumerate(received):
        if begin + place >= len(delivered) or delivered[begin + place].what != what:
            return begin + place, what
    return begin + len(received), "nothing more"


def _answered(number: int, value: object) -> str:
    return f"{number}: {canonical(value)}"


def _refused(number: int) -> str:
    return f"{number}: refused"


def _reply_of(what: str) -> str:
    """A Reply of the record, as `_answered` and `_refused` have it."""
    fields = json.loads(what.removeprefix("Reply ").rpartition(" of ")[0])
    return _refused(fields["number"]) if fields["refused"] is not None else _answered(fields["number"], fields["value"])
