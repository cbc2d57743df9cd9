"""The turn, in this process: a scripted transport supplies frames turn by turn, and the test records all events in order."""

import enum
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from harness.mutants.broken_parts import BREAKS
from harness.runs.campaigns.features import marks_met
from node import runtime as runtime_module
from node.algorithms.majority import Majority
from node.algorithms.paxos import Accepted, Decided, Paxos, Prepare, Promise
from node.client_messages import STATUS_VARIABLES_MAX, ProposeRequest, QueryRequest, Reply, StatusReply, StatusRequest
from node.contract import Algorithm, ContractBroken, Message, Node, NodeId, Request, Status, Value
from node.frames import CommandFrame, FrameReply, ReadFrame, Replies
from node.parts import SHIPPED_PARTS, Parts
from node.quorum import Ballot
from node.runtime import Runtime
from node.settings import Settings
from node.storage.disk import Disk, DiskFailed
from node.transport import Route, Transport, WakeUpPipe, Watched
from node.tuning import SHIPPED, Tuning
from node.wire import Codec, Envelope, encode_value, unpack
from tests.node.idle_log import IdleLog

CLUSTER = "0123456789abcdef" * 2
RED, BLUE = encode_value("red"), encode_value("blue")
CLIENT: Route = (b"client's connection",)


@dataclass(frozen=True)
class Sent:
    to: NodeId
    message: Message


@dataclass(frozen=True)
class Answered:
    route: Route
    message: Message


@dataclass(frozen=True)
class Committed:
    pass


class Scripted(Transport):
    """Returns one list of frames per turn, then stops the node."""

    def __init__(self, events: list[object], codec: Codec, tick: Callable[[float], None]) -> None:
        self.dropped = self.bad_handshakes = 0
        self.address = "tcp://127.0.0.1:1"
        self.events, self.codec, self.tick = events, codec, tick
        self.turns: list[list[tuple[Route, bytes]] | float | int] = []
        self.arriving: list[tuple[Route, bytes]] = []
        self.waits: list[float] = []
        self.payloads: list[bytes] = []
        self.addresses: dict[NodeId, str] = {}
        self.stop: Callable[[], None] = lambda: None
        self.most = 0

    def watch(self, source: Watched) -> None:
        pass

    def connect(self, addresses: Mapping[NodeId, str]) -> None:
        self.addresses |= addresses

    def poll(self, wait_s: float) -> list[Watched]:
        self.waits.append(wait_s)
        match self.turns.pop(0) if self.turns else None:
            case None:
                self.stop()
            case float(seconds):
                self.tick(seconds)
            case int(descriptor):
                return [descriptor]
            case frames:
                self.arriving += frames
        return []

    def receive(self, most: int) -> Iterator[tuple[Route, bytes]]:
        self.most = most
        for _ in range(min(most, len(self.arriving))):
            yield self.arriving.pop(0)

    def send(self, to: NodeId, payload: bytes) -> None:
        self.payloads.append(payload)
        self.events.append(Sent(to, self.codec.decode(payload).message))

    def send_back(self, route: Route, payload: bytes) -> None:
        self.events.append(Answered(route, self.codec.decode(payload).message))

    def close(self) -> None:
        pass


class NotedDisk(Disk):
    """A real disk that records its commits."""

    events: list[object]
    failing = False

    def commit(self) -> None:
        if self.dirty:
            if self.failing:
                raise DiskFailed("as the test wants it")
            self.events.append(Committed())
        super().commit()


class Bench:
    """One node of three, with its disk, transport and clock, and the events that it has caused."""

    def __init__(
        self,
        directory: Path,
        monkeypatch: pytest.MonkeyPatch,
        algorithm: type[Algorithm],
        runtime_class: type[Runtime] = Runtime,
        parts: Parts = SHIPPED_PARTS,
        nodes: tuple[NodeId, ...] = ("n1", "n2", "n3"),
        tuning: Tuning = SHIPPED,
    ) -> None:
        self.now = 1000.0
        monkeypatch.setattr(runtime_module, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.events: list[object] = []
        self.codec = Codec(CLUSTER, algorithm.messages)
        self.transport = Scripted(self.events, self.codec, self.tick)
        self.disk = NotedDisk(directory, cluster=CLUSTER, node="n1")
        self.disk.events = self.events
        self.settings = Settings(CLUSTER, "tested", nodes, 7, directory, tuning=tuning)
        self.runtime = runtime_class(self.settings, "n1", algorithm, self.disk, self.transport, parts)
        self.transport.stop = self.runtime.stop
        self.wake_up = WakeUpPipe()
        self.started = False

    def tick(self, seconds: float) -> None:
        self.now += seconds

    def close(self) -> None:
        self.disk.close()
        os.close(self.wake_up.reader)
        os.close(self.wake_up.writer)

    def run(self, *turns: list[tuple[Route, bytes]] | float | int, quiet: int = 3, control: int = -1) -> list[object]:
        """Take these turns and a few empty ones: frames arrive, or so many seconds pass. Returns the events."""
        self.transport.turns = [*turns, *[[] for _ in range(quiet)]]
        self.runtime._stopping = False
        before = len(self.events)
        if not self.started:
            self.started = True
            self.runtime.start()
        self.runtime.run(control, self.wake_up)
        return self.events[before:]

    # --- frames ---

    def propose(self, number: int, value: bytes = BLUE, timeout_ms: int = 5000, **where: Any) -> tuple[Route, bytes]:
        return self.client(ProposeRequest(number, timeout_ms, Value(value)), **where)

    def query(self, number: int, timeout_ms: int = 5000, **where: Any) -> tuple[Route, bytes]:
        return self.client(QueryRequest(number, timeout_ms), **where)

    def client(
        self, message: Message, variable: str = "x", client: str = "c", route: Route = CLIENT
    ) -> tuple[Route, bytes]:
        return route, self.codec.encode(Envelope(client, 0, variable, message))

    def peer(self, sender: NodeId, message: Message, variable: str = "x", incarnation: int = 1) -> tuple[Route, bytes]:
        return (sender.encode(),), self.codec.encode(Envelope(sender, incarnation, variable, message))

    def status(self, variables: int = STATUS_VARIABLES_MAX) -> dict[str, Any]:
        happened = self.run([self.client(StatusRequest(99, variables))])
        (reply,) = [event.message for event in happened if isinstance(event, Answered)]
        assert isinstance(reply, StatusReply)
        status: dict[str, Any] = unpack(reply.status)
        return status


MakeBench = Callable[..., Bench]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeBench]:
    made: list[Bench] = []

    def make(algorithm: type[Algorithm], *args: Any, directory: str = "n1", **kwargs: Any) -> Bench:
        made.append(Bench(tmp_path / directory, monkeypatch, algorithm, *args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.close()


def answers(events: list[object]) -> list[Reply]:
    return [event.message for event in events if isinstance(event, Answered) and isinstance(event.message, Reply)]


# --- the order of a turn --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Note(Message):
    text: str


class Saver(Algorithm):
    """Sends and replies before it saves, in one turn."""

    messages: ClassVar[tuple[type[Message], ...]] = (Note,)

    def propose(self, request: Request, value: Value) -> None:
        self.node.reply(request, value)
        self.node.send("n2", Note("first"))
        self.node.broadcast(Note("all"))
        self.node.disk["value"] = value

    def query(self, request: Request) -> None:
        stored = self.node.disk.get("value")
        self.node.reply(request, Value(stored) if isinstance(stored, bytes) else None)

    def receive(self, sender: NodeId, message: Message) -> None:
        assert isinstance(message, Note)
        self.node.disk[f"from {sender}"] = message.text

    def status(self) -> Status:
        return Status(details={"value": self.node.disk.get("value")})


def released_before_its_commit(events: list[object]) -> bool:
    """Return whether a message or a reply left before the first commit."""
    first = events.index(Committed())
    return any(isinstance(event, Sent | Answered) for event in events[:first])


def test_the_commit_comes_before_the_release(bench: MakeBench) -> None:
    one = bench(Saver)
    events = one.run([one.propose(1)])
    assert events == [
        Committed(),
        Sent("n2", Note("first")),
        Sent("n2", Note("all")),
        Sent("n3", Note("all")),
        Answered(CLIENT, Reply(1, BLUE, None)),
        Committed(),  # the message to itself came after the commit, in a turn of its own
    ]
    assert one.disk.variable("x") == {"value": BLUE, "from n1": "all"}
    assert not released_before_its_commit(events)


class Early(IdleLog):
    """Sends and replies before it saves, early where it may, and does deferred work after the turn."""

    messages: ClassVar[tuple[type[Message], ...]] = (Note,)

    def propose(self, request: Request, value: Value) -> None:
        self.node.reply_early(request, value)  # it rests on the next line, and no frame asked for it
        self.node.disk["value"] = value

    def command(self, request: Request, frame: CommandFrame | ReadFrame) -> None:
        if request.number == 1:
            return
        self.node.reply(request, Value(b"late"))
        self.node.send("n2", Note("late"))
        self.node.disk["asked"] = True
        self.node.reply_early(Request(request.client, 1), Value(b"early"))
        self.node.send_early("n2", Note("early"))

    def after_turn(self) -> None:
        if self.node.disk.pop("asked", False):
            self.node.send("n3", Note("afterwards"))


def test_early_output_leaves_before_the_commit_and_deferred_work_comes_last(bench: MakeBench) -> None:
    one = bench(Early)
    events = one.run([one.client(CommandFrame(number, 0, 0, 0, "kv", b"")) for number in (1, 2)])
    assert events == [
        Sent("n2", Note("early")),
        Answered(CLIENT, Replies((FrameReply(1, b"early", None, None),))),
        Committed(),
        Sent("n2", Note("late")),
        Answered(CLIENT, Replies((FrameReply(2, b"late", None, None),))),
        Committed(),  # what was asked for afterwards is in a turn of its own, which comes at once
        Sent("n3", Note("afterwards")),
    ]
    assert one.transport.waits[1] == 0


def test_only_the_answer_to_a_frame_leaves_early(bench: MakeBench) -> None:
    one = bench(Early)
    assert one.run([one.propose(1)]) == [Committed(), Answered(CLIENT, Reply(1, BLUE, None))]


def test_a_runtime_that_releases_first_is_caught(bench: MakeBench) -> None:
    broken = BREAKS["replies-before-the-commit"]
    one = bench(Saver, broken.runtime, broken.parts)
    events = one.run([one.propose(1)])
    assert Answered(CLIENT, Reply(1, BLUE, None)) in events
    assert released_before_its_commit(events)


def test_a_status_reports_only_what_is_on_disk(bench: MakeBench) -> None:
    one = bench(Saver)
    events = one.run([one.propose(1), one.client(StatusRequest(2))])
    (at,) = [
        n for n, event in enumerate(events) if isinstance(event, Answered) and isinstance(event.message, StatusReply)
    ]
    assert b"blue" in events[at].message.status  # type: ignore[attr-defined]
    assert Committed() in events[:at]
    assert not released_before_its_commit(events)


def test_many_inputs_of_a_turn_share_one_commit(bench: MakeBench) -> None:
    one = bench(Saver)
    events = one.run([one.propose(number, variable=f"x{number}") for number in range(100)])
    assert one.disk.commits == 2  # the proposals, then the messages to itself
    assert events[0] == Committed()
    assert len(answers(events)) == 100


class Marking(Saver):
    """Marks its queries."""

    def query(self, request: Request) -> None:
        self.node.sometimes("a query")
        super().query(request)


def test_a_mark_is_logged_once_as_campaigns_read_it(
    bench: MakeBench, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    one = bench(Marking)
    with caplog.at_level(logging.INFO, "node"):
        one.run([one.query(1), one.query(2)], [one.query(3)])
    assert [record.getMessage() for record in caplog.records if "sometimes" in record.message] == ["sometimes: a query"]
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    (tmp_path / "n1.log").write_text("".join(f"{formatter.format(record)}\n" for record in caplog.records))
    assert marks_met(tmp_path) == {"a query"}


def test_a_mark_that_is_no_text_is_refused(bench: MakeBench) -> None:
    one = bench(Marking)
    with pytest.raises(ContractBroken, match="a mark is a text"):
        one.runtime.core.node_for("x").sometimes(7)  # type: ignore[arg-type]


def test_a_turn_takes_in_no_more_than_its_bound(bench: MakeBench) -> None:
    one = bench(Saver)
    waiting = [one.query(number) for number in range(SHIPPED.intake_max + 10)]
    one.transport.turns = []
    events = one.run(waiting, quiet=0)
    assert one.transport.most == SHIPPED.intake_max
    assert len(answers(events)) == len(waiting)  # the rest came with the next turn


def test_after_a_failed_commit_nothing_leaves(bench: MakeBench) -> None:
    one = bench(Saver)
    one.disk.failing = True
    with pytest.raises(DiskFailed):
        one.run([one.propose(1), one.client(StatusRequest(2))])
    assert one.events == []


def test_a_broadcast_is_encoded_once(bench: MakeBench) -> None:
    one = bench(Saver)
    one.run([one.propose(1)])
    _, *broadcast = one.transport.payloads
    assert len(broadcast) == 2
    assert broadcast[0] is broadcast[1]


def test_one_node_alone_decides_by_messages_to_itself(bench: MakeBench) -> None:
    one = bench(Paxos, nodes=("n1",))
    events = one.run([one.propose(1)], quiet=9)
    assert answers(events) == [Reply(1, BLUE, None)]
    assert one.disk.variable("x")["decided"] == BLUE
    assert one.transport.waits.count(0) == 4  # it does not wait while it has a message for itself


class Starter(Saver):
    """Does its work at the start."""

    def start(self) -> None:
        self.node.disk["starts"] = 1
        self.node.broadcast(Note("started"))
        self.node.send("n1", Note("started"))


def test_the_output_of_start_leaves_before_the_first_wait(bench: MakeBench) -> None:
    first = bench(Saver)
    first.run([first.propose(1)])
    first.disk.close()
    one = bench(Starter)
    events = one.run(quiet=0)
    assert events == [Committed(), Sent("n2", Note("started")), Sent("n3", Note("started")), Committed()]
    assert one.transport.waits[0] == 0
    assert list(one.disk.variables()) == ["x"]


# --- requests -------------------------------------------------------------------------------------------------------


class Holder(Algorithm):
    """Keeps its requests until a note comes, and then answers each of them twice."""

    messages: ClassVar[tuple[type[Message], ...]] = (Note,)

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.held: list[Request] = []
        self.forgotten: list[Request] = []
        self.drains = 0

    def propose(self, request: Request, value: Value) -> None:
        self.held.append(request)

    def query(self, request: Request) -> None:
        self.held.append(request)

    def receive(self, sender: NodeId, message: Message) -> None:
        match message:
            case Note("timer"):
                self.node.set_timer("answer", 1, 1)
            case Note("answer"):
                self.timeout("answer")

    def timeout(self, name: str) -> None:
        for request in [*self.held, *self.held]:
            self.node.reply(request, RED)

    def forget(self, request: Request) -> None:
        self.held.remove(request)
        self.forgotten.append(request)

    def status(self) -> Status:
        return Status(details={"held": len(self.held), "forgotten": self.forgotten})


def test_a_repeated_request_reaches_the_algorithm_once_and_is_answered_once(bench: MakeBench) -> None:
    one = bench(Holder)
    asked = [one.propose(1), one.propose(1), one.query(2), one.query(2)]
    assert one.run(asked, asked) == []
    assert one.status()["variables"]["x"]["held"] == 2
    assert answers(one.run([one.peer("n2", Note("answer"))])) == [Reply(1, RED, None), Reply(2, RED, None)]


def test_clients_with_one_request_number_are_distinguished(bench: MakeBench) -> None:
    one = bench(Holder)
    one.run([one.query(1, client="a", route=(b"a",)), one.query(1, client="b", route=(b"proxy", b"b"))])
    events = one.run([one.peer("n2", Note("answer"))])
    assert events == [Answered((b"a",), Reply(1, RED, None)), Answered((b"proxy", b"b"), Reply(1, RED, None))]


def test_after_its_deadline_a_request_is_forgotten_and_not_answered(bench: MakeBench) -> None:
    one = bench(Holder)
    one.run([one.propose(1, timeout_ms=2000), one.query(2, timeout_ms=3000)], 1.999)
    assert one.status()["variables"]["x"]["held"] == 2
    one.run(0.5)
    status = one.status()["variables"]["x"]
    assert (status["held"], status["forgotten"]) == (1, [["c", 1]])
    assert answers(one.run([one.peer("n2", Note("answer"))])) == [Reply(2, RED, None)]
    one.run(5.0)
    assert one.status()["variables"]["x"]["forgotten"] == [["c", 1]]  # an answered one has no deadline any more


@pytest.mark.parametrize(("timeout_ms", "at_most_s"), [(-5, 0.0), (0, 0.0), (1, 0.001), (2**63, 3600.0)])
def test_a_deadline_is_never_negative_nor_for_ever(bench: MakeBench, timeout_ms: int, at_most_s: float) -> None:
    one = bench(Holder)
    one.run([one.query(1, timeout_ms=timeout_ms)], at_most_s + 1e-6)
    assert one.status()["variables"]["x"]["forgotten"] == [["c", 1]]


def test_an_answer_and_a_deadline_that_fall_due_together(bench: MakeBench) -> None:
    one = bench(Holder)
    one.run([one.peer("n2", Note("timer"))], [one.query(1, timeout_ms=1000)])
    assert answers(one.run(9.0)) == [Reply(1, RED, None)]
    assert one.status()["variables"]["x"]["forgotten"] == []


def test_a_deadline_first_and_an_answer_after_it(bench: MakeBench) -> None:
    one = bench(Holder)
    one.run([one.query(1, timeout_ms=999)], [one.peer("n2", Note("timer"))])
    assert answers(one.run(9.0)) == []


def test_too_many_waiting_are_refused(bench: MakeBench) -> None:
    one = bench(Holder, tuning=Tuning(requests_max=3))
    (refused,) = answers(one.run([one.query(number) for number in range(4)]))
    assert refused == Reply(3, None, "3 requests are waiting here already: slow down")
    one.run([one.peer("n2", Note("answer"))])
    assert answers(one.run([one.query(9)], [one.peer("n2", Note("answer"))]))[-1] == Reply(9, RED, None)


def test_too_many_variables_are_refused(bench: MakeBench) -> None:
    one = bench(Saver, tuning=Tuning(variables_max=2))
    frames = [one.query(1, variable="a"), one.peer("n2", Note("hi"), "b"), one.peer("n2", Note("hi"), "c")]
    one.run(frames)
    assert one.status()["variable_count"] == 2
    events = one.run([one.query(2, variable="c"), one.query(3, variable="a")])
    assert {reply.number: reply.refused for reply in answers(events)} == {2: "there are 2 variables already", 3: None}


@pytest.mark.parametrize("name", ["", " ", "a b", "é", "a" * 65, "a/b", "a\n", "\0"])
def test_a_variable_with_a_bad_name_is_refused(bench: MakeBench, name: str) -> None:
    one = bench(Saver)
    events = one.run([one.propose(1, variable=name), one.query(2, variable=name), one.peer("n2", Note("hi"), name)])
    assert [(reply.number, reply.value) for reply in answers(events)] == [(1, None), (2, None)]
    assert all("a name is 1 to 64 of" in str(reply.refused) for reply in answers(events))
    status = one.status()
    assert (status["variable_count"], status["malformed"]) == (0, 1)


@pytest.mark.parametrize("value", [b"", b"\xc0", b"\xc1", b"\x91", b"x" * 300_000, b"\x91" * 99 + b"\x01"], ids=len)
def test_a_value_that_is_none_is_refused(bench: MakeBench, value: bytes) -> None:
    one = bench(Saver)
    (reply,) = answers(one.run([one.propose(1, value)]))
    assert (reply.number, reply.value) == (1, None)
    assert str(reply.refused).startswith("the value cannot be proposed: ")
    assert one.status()["variable_count"] == 0


class Counting(IdleLog):
    """Counts its turns."""

    ends = 0

    def end_of_input(self) -> None:
        self.ends += 1

    def status(self) -> Status:
        return Status(details={"ends": self.ends})


def test_the_end_of_input_comes_once_a_turn_whatever_came_in(bench: MakeBench) -> None:
    one = bench(Counting)
    one.run([one.query(1), one.query(2)], [one.query(3)], quiet=0)
    assert (
        one.runtime.core.latest_instances(1)[""].status().details["ends"] == 4
    )  # the boot's turn, two with input, and the last


# --- frames that are not for this node ------------------------------------------------------------------------------


def test_a_message_of_an_earlier_incarnation_is_dropped(bench: MakeBench) -> None:
    one = bench(Saver)
    one.run(
        [one.peer("n2", Note("two"), incarnation=2)],
        [one.peer("n2", Note("one"), incarnation=1), one.peer("n3", Note("three"), incarnation=1)],
    )
    assert dict(one.disk.variable("x")) == {"from n2": "two", "from n3": "three"}
    one.run([one.peer("n2", Note("again"), incarnation=2), one.peer("n2", Note("newer"), incarnation=5)])
    one.run([one.peer("n2", Note("late"), incarnation=4)])
    assert one.disk.variable("x")["from n2"] == "newer"
    assert one.status()["stale"] == 2


def test_what_is_not_for_this_node_is_counted_and_the_node_goes_on(bench: MakeBench) -> None:
    one = bench(Saver)
    stranger = Codec("f" * 32, (Note,))
    hostile = [
        b"",
        b"\xc1",
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(5_000_000),
        stranger.encode(Envelope("n2", 1, "x", Note("foreign"))),
        one.peer("n9", Note("of no member"))[1],
        one.peer("n1", Note("of myself"))[1],
        one.peer("", Note("of no sender"))[1],
        one.client(Reply(1, BLUE, None))[1],
        one.client(StatusReply(1, b""))[1],
        one.peer("n2", Note("cut"))[1][:-1],
        one.peer("n2", Note("long"))[1] + b"\0",
    ]
    events = one.run([((b"r",), frame) for frame in hostile])
    assert events == []
    assert one.status()["malformed"] == len(hostile)
    assert dict(one.disk.variable("x")) == {}
    assert answers(one.run([one.propose(1)])) == [Reply(1, BLUE, None)]


def test_the_algorithm_of_another_cluster_is_not_understood(bench: MakeBench) -> None:
    one = bench(Paxos)
    other = Codec(CLUSTER, (Note,))
    one.run([((b"r",), other.encode(Envelope("n2", 1, "x", Note("hi"))))])
    assert one.status()["malformed"] == 1


# --- an author's mistakes -------------------------------------------------------------------------------------------


class Mistaken(Saver):
    """Makes the mistake that its variable is named after."""

    def propose(self, request: Request, value: Value) -> None:
        match value:
            case b"\x01":
                self.node.send("n9", Note("to no node"))
            case b"\x02":
                self.node.reply(request, None)
            case b"\x03":
                self.node.set_timer("t", 2, 1)
            case b"\x04":
                self.node.set_timer("t", -1, 1)
            case b"\x05":
                self.node.set_timer("t", float("nan"), 1)
            case b"\x06":
                raise ZeroDivisionError


@pytest.mark.parametrize(
    ("value", "reason"),
    [(1, "was sent to 'n9'"), (2, "answered a proposal with None"), (3, "least_s"), (4, "least_s"), (5, "least_s")],
)
def test_a_broken_contract_stops_the_node_with_the_reason(bench: MakeBench, value: int, reason: str) -> None:
    one = bench(Mistaken)
    with pytest.raises(ContractBroken, match=reason):
        one.run([one.propose(1, encode_value(value))])
    assert one.events == []


class MistakenEarly(Early):
    """Sends what its class does not declare, before the commit."""

    def command(self, request: Request, frame: CommandFrame | ReadFrame) -> None:
        self.node.send_early("n2", Note(7))  # type: ignore[arg-type]


def test_an_early_message_is_checked_before_it_leaves(bench: MakeBench) -> None:
    one = bench(MistakenEarly)
    with pytest.raises(ContractBroken, match="Note"):
        one.run([one.client(CommandFrame(1, 0, 0, 0, "kv", b""))])
    assert one.events == []


def test_an_exception_in_an_algorithm_is_not_suppressed(bench: MakeBench) -> None:
    one = bench(Mistaken)
    with pytest.raises(ZeroDivisionError):
        one.run([one.propose(1, encode_value(6))])
    assert one.events == []


# --- what people see ------------------------------------------------------------------------------------------------


class Role(enum.StrEnum):
    LEADER = enum.auto()


class Level(enum.IntEnum):
    HIGH = 3


class OddStatus(Saver):
    """Has a status with items of many types."""

    def status(self) -> Status:
        return Status(
            details={
                "value": self.node.disk.get("value"),
                "role": Role.LEADER,
                "level": Level.HIGH,
                "large": 2**80,
                "nan": float("nan"),
                "text": "\ud800",
                "raw": b"\xc1",
                "set": {1},
                "ballot": Ballot(1, "n1"),
                "nested": {"a": ({"b": [Role.LEADER]},)},
                "none": None,
                "odd": object,
            }
        )


def test_a_status_may_hold_anything(bench: MakeBench) -> None:
    one = bench(OddStatus)
    one.run([one.propose(1)])
    assert one.status()["variables"]["x"] == {
        "value": "blue",
        "role": "leader",
        "level": "3",
        "large": str(2**80),
        "nan": "nan",
        "text": "?",
        "raw": "c1",
        "set": [1],
        "ballot": [1, "n1"],
        "nested": {"a": [{"b": ["leader"]}]},
        "none": None,
        "odd": "<class 'object'>",
        "decided": None,
        "waiting": 0,
    }


def test_a_status_shows_a_value_as_deep_as_any_that_can_be_proposed(bench: MakeBench) -> None:
    one = bench(Majority)
    value: object = 1
    for _ in range(63):
        value = [value]
    one.run([one.propose(1, encode_value(value))])
    assert one.status()["variables"]["x"]["votes"] == {"n1": value}


def test_a_status_of_many_large_values_fits_in_a_frame(bench: MakeBench) -> None:
    one = bench(Majority)
    one.run([one.propose(number, encode_value(b"v" * 200_000), variable=f"large{number}") for number in range(40)])
    status = one.status()
    assert (status["variable_count"], len(status["variables"])) == (40, 40)
    assert status["variables"]["large7"]["vote"].startswith("200,005 bytes, ")
    one.run([one.propose(number, encode_value(b"v" * 4000), variable=f"x{number}") for number in range(200)], quiet=1)
    one.run(
        [one.propose(number, encode_value(b"v" * 4000), variable=f"x{number}", client="d") for number in range(200)]
    )
    status = one.status()
    assert status["variable_count"] == 240
    assert 20 < len(status["variables"]) <= STATUS_VARIABLES_MAX
    assert status["latest"] == "x199"
    assert "x199" in status["variables"]
    assert list(one.status(variables=1)["variables"]) == ["x199"]
    few = one.status(variables=0)
    assert (few["variable_count"], few["variables"]) == (240, {})


def test_a_status_counts(bench: MakeBench) -> None:
    one = bench(Saver)
    one.run([one.propose(1, variable="a")], [one.propose(2, variable="b")])
    one.transport.dropped, one.transport.bad_handshakes = 5, 6
    status = one.status()
    expected = {"node": "n1", "pid": os.getpid(), "incarnation": 1, "variable_count": 2, "latest": "b"}
    assert expected == {key: status[key] for key in expected}
    assert (status["dropped"], status["bad_handshakes"], status["malformed"], status["stale"]) == (5, 6, 0, 0)
    assert list(status["variables"]) == ["b", "a"]


# --- the launcher's pipe --------------------------------------------------------------------------------------------


def test_peers_come_through_the_control_pipe_and_its_end_stops_the_node(bench: MakeBench) -> None:
    one = bench(Saver)
    reader, writer = os.pipe()
    try:
        os.write(writer, b'{"peers": {"n2": "tcp://127.0.0.1:2"}}\n{"peers": {"n3"')
        one.run(reader, quiet=0, control=reader)
        assert one.transport.addresses == {"n2": "tcp://127.0.0.1:2"}
        os.write(writer, b': "tcp://127.0.0.1:3"}}\n')
        one.run(reader, quiet=0, control=reader)
        assert one.transport.addresses == {"n2": "tcp://127.0.0.1:2", "n3": "tcp://127.0.0.1:3"}
    finally:
        os.close(writer)
    events = one.run(reader, [one.query(1)], quiet=50, control=reader)
    os.close(reader)
    assert events == []
    assert len(one.transport.turns) == 51  # it stopped at the turn in which the pipe ended


def test_the_control_pipe_steers_the_clock(bench: MakeBench) -> None:
    class Sleeping(Saver):
        def query(self, request: Request) -> None:
            self.node.set_timer("awake", 0.5, 0.5)

    one = bench(Sleeping)
    reader, writer = os.pipe()
    os.write(writer, b'{"clock": {"rate": 4.0, "moved_s": 0.0}}\n')
    one.run(reader, [one.query(1, timeout_ms=60_000)], quiet=1, control=reader)
    assert one.transport.waits[-1] == 0.125  # half a second of this clock
    os.write(writer, b'{"clock": {"rate": 0.0, "moved_s": 0.0}}\n')
    one.run(reader, quiet=1, control=reader)
    assert one.transport.waits[-1] == 1.0  # it stands still, so no timer will expire
    os.close(reader)
    os.close(writer)


def test_stop_finishes_the_turn(bench: MakeBench) -> None:
    class Stopping(Saver):
        def propose(self, request: Request, value: Value) -> None:
            super().propose(request, value)
            one.runtime.stop()  # as a signal handler would, in mid-turn

    one = bench(Stopping)
    events = one.run([one.propose(1)], [one.query(2)])
    assert Committed() in events
    assert answers(events) == [Reply(1, BLUE, None)]


# --- randomness -----------------------------------------------------------------------------------------------------


def test_timers_draw_from_the_seed_the_node_and_the_incarnation(bench: MakeBench) -> None:
    def waits(directory: str) -> list[float]:
        one = bench(Paxos, directory=directory)
        one.run([one.propose(1)], quiet=5)
        one.disk.close()
        return [wait for wait in one.transport.waits if 0 < wait < 1]

    first, second = waits("a"), waits("b")
    assert first
    assert first == second
    assert waits("a") != first


# --- Paxos through the real runtime ---------------------------------------------------------------------------------


def test_a_promise_is_on_disk_before_it_is_sent(bench: MakeBench) -> None:
    one = bench(Paxos)
    ballot = Ballot(3, "n2")
    events = one.run([one.peer("n2", Prepare(ballot))])
    assert events == [Committed(), Sent("n2", Promise(ballot, None, None))]
    one.disk.close()
    again = bench(Paxos)
    assert again.run([again.peer("n2", Decided(RED)), again.query(1)])[-1] == Answered(CLIENT, Reply(1, RED, None))
    assert again.disk.variable("x")["promised"] == (3, "n2")
    assert not any(isinstance(event, Sent) and isinstance(event.message, Accepted) for event in again.events)
