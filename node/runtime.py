"""The turn loop: one thread, one loop, and the order in which a turn ends.

1. Poll until a message or the next timer.
2. Take in everything that is waiting, up to a bound.
3. Hand each input to its variable's algorithm, which gathers what it wants.
4. Release what was asked to leave early: it rests on nothing of this turn.
5. Commit every save of the turn in one durable transaction.
6. Only then release the other sends, and the replies.
7. Do what nobody waited for, such as applying what is known as chosen. What that asks for belongs to the next turn.

If the commit fails the node stops: it cannot tell what is durable, so it must not speak again.
"""

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Final

from node.clock import LOOK_EVERY_S, SteeredClock
from node.contract import Algorithm, Message, NodeId, Request, Value
from node.frames import CommandFrame, FrameReply, ReadFrame, Replies
from node.settings import NAME, Settings
from node.storage.disk import Disk
from node.timers import Timers
from node.transport import Route, Transport, WakeUpPipe
from node.variables import TimerKey, Variables
from node.wire import (
    CLIENT_MESSAGES,
    BadValue,
    Codec,
    Envelope,
    Malformed,
    ProposeRequest,
    QueryRequest,
    Reply,
    StatusReply,
    StatusRequest,
    decode_value,
    pack,
)

INTAKE_MAX: Final = 512  # messages a turn: enough to fill a group commit, few enough that timers are not starved
TIMEOUT_S_MAX: Final = 3600.0
RETIRE_S_MAX: Final = 2.0
STATUS_VARIABLES_MAX: Final = 100
STATUS_BYTES_MAX: Final = 1024 * 1024
SHOWN_BYTES_MAX: Final = 4096
_IDLE_S: Final = 60.0

log = logging.getLogger("node")


class Runtime:
    """One node at work."""

    def __init__(
        self,
        settings: Settings,
        node: NodeId,
        algorithm: type[Algorithm],
        disk: Disk,
        transport: Transport,
        clock: SteeredClock | None = None,
    ) -> None:
        self._id = node
        self._settings = settings
        self._disk = disk
        self._transport = transport
        self._codec = Codec(settings.cluster, algorithm.messages)
        rng = Random(f"{settings.seed}/{node}/{disk.incarnation}")
        self._clock = clock or time.monotonic
        self._idle_s = LOOK_EVERY_S if clock else _IDLE_S
        self._timers: Timers[TimerKey] = Timers(self._clock, rng)
        self._variables = Variables(algorithm, node, settings.nodes, disk, self._timers, settings.machines)
        self._serves_all = algorithm.serves_all
        self._counters: Counter[str] = Counter()
        self._to_self: list[tuple[str, Message]] = []
        self._status_asked: list[tuple[Route, int]] = []
        self._incarnations: dict[NodeId, int] = {}
        self._control = b""
        self._stopping = False
        self._retire_until: float | None = None

    def start(self) -> None:
        """Rebuild what the disk holds, before the node says that it is ready. What that asks for leaves with the first turn.

        Raises:
            DiskError: what was saved is damaged.
        """
        self._variables.start()

    def run(self, control: int, wake_up: WakeUpPipe) -> None:
        """Work until `stop`, or until the control pipe closes because whoever launched this node has gone."""
        self._transport.watch(control)
        self._transport.watch(wake_up.reader)
        self._finish_turn()
        while not self._stopping:
            in_hand = self._to_self or self._variables.has_gathered
            pipes = self._transport.poll(0 if in_hand else self._timers.wait_s(self._idle_s))
            if pipes:
                if control in pipes:
                    self._take_control(os.read(control, 65536))
                if wake_up.reader in pipes:
                    os.read(wake_up.reader, 64)
            self._take_in()
            if self._retire_until is not None and (self._variables.retire() or time.monotonic() > self._retire_until):
                self._stopping, self._retire_until = True, None
            self._finish_turn()
            self._variables.released()

    def stop(self) -> None:
        """Hand over what others wait for and return from `run`. Safe to call from a signal handler."""
        self._retire_until = time.monotonic() + RETIRE_S_MAX

    # --- a turn -----------------------------------------------------------------------------------------------------

    def _take_in(self) -> None:
        """Steps 2 and 3."""
        if self._to_self:
            to_self, self._to_self = self._to_self, []
            for variable, message in to_self:
                self._variables.receive(variable, self._id, message)
        for route, payload in self._transport.receive(INTAKE_MAX):
            try:
                self._dispatch(route, self._codec.decode(payload))
            except Malformed as error:
                self._counters["malformed"] += 1
                if self._counters["malformed"] == 1:
                    log.warning("dropped a malformed frame (%s); more are only counted", error)
        for peer in self._transport.lost():
            self._variables.peer_lost(peer)
        for key in self._timers.run_out():
            self._variables.timeout(key)
        self._variables.drained()

    def _finish_turn(self) -> None:
        """Steps 4 to 6, in the order on which every promise rests."""
        self._release_early()
        self._disk.commit()
        self._release()

    def _release_early(self) -> None:
        turn = self._variables.turn
        if turn.early:
            early, turn.early = turn.early, []
            self._send(early)
        if turn.early_replies:
            replies, turn.early_replies = turn.early_replies, {}
            self._send_replies(replies)

    def _release(self) -> None:
        if self._variables.turn:
            turn = self._variables.take_turn()
            self._send(turn.sends)
            for answer in turn.answers:
                self._send_back(answer.route, Reply(answer.number, answer.value, answer.refused))
            self._send_replies(turn.replies)
        if self._status_asked:
            status_asked, self._status_asked = self._status_asked, []
            for route, number in status_asked:  # it, too, tells only what is on disk
                self._send_back(route, StatusReply(number, self._packed_status()))

    def _send(self, sends: list[tuple[NodeId, str, Message]]) -> None:
        last: tuple[str, Message] | None = None
        frame = b""
        for to, variable, message in sends:
            if to == self._id:
                self._to_self.append((variable, message))
                continue
            if last is None or last[1] is not message or last[0] != variable:  # a broadcast is encoded once
                frame = self._codec.encode(Envelope(self._id, self._disk.incarnation, variable, message))
                last = (variable, message)
            self._transport.send(to, frame)

    def _send_replies(self, replies: dict[Route, list[FrameReply]]) -> None:
        for route, of_route in replies.items():
            self._send_back(route, Replies(tuple(of_route)))

    def _send_back(self, route: Route, message: Message) -> None:
        frame = self._codec.encode(Envelope(self._id, self._disk.incarnation, "", message))
        self._transport.send_back(route, frame)

    # --- inputs -----------------------------------------------------------------------------------------------------

    def _dispatch(self, route: Route, envelope: Envelope) -> None:
        message = envelope.message
        if isinstance(message, CLIENT_MESSAGES):
            self._serve(route, envelope)
        elif envelope.sender == self._id or not (self._serves_all or envelope.sender in self._settings.nodes):
            raise Malformed(f"{message.type_name()} from {envelope.sender!r}, which is no peer of {self._id}")
        elif envelope.variable != "" if self._serves_all else not NAME.fullmatch(envelope.variable):
            raise Malformed(f"a variable called {envelope.variable!r}")
        elif envelope.incarnation < self._incarnations.get(envelope.sender, 0):
            self._counters["stale"] += 1  # sent by an earlier life of a node that has booted since
        else:
            self._incarnations[envelope.sender] = envelope.incarnation
            self._variables.receive(envelope.variable, envelope.sender, message)

    def _serve(self, route: Route, envelope: Envelope) -> None:
        match envelope.message:
            case CommandFrame(number) | ReadFrame(number):
                self._variables.command(Request(envelope.sender, number), route, envelope.message)
            case StatusRequest(number):
                self._status_asked.append((route, number))
            case ProposeRequest(number) | QueryRequest(number) if not NAME.fullmatch(envelope.variable):
                self._send_back(route, Reply(number, None, "a name is 1 to 64 of a-z, A-Z, 0-9, '.', '_' and '-'"))
            case ProposeRequest(number, timeout_ms, value):
                try:
                    decode_value(value)
                except Malformed as error:
                    self._send_back(route, Reply(number, None, f"the value cannot be proposed: {error}"))
                    return
                request = Request(envelope.sender, number)
                self._variables.propose(envelope.variable, request, route, _timeout_s(timeout_ms), value)
            case QueryRequest(number, timeout_ms):
                request = Request(envelope.sender, number)
                self._variables.query(envelope.variable, request, route, _timeout_s(timeout_ms))
            case other:
                raise Malformed(f"{type(other).__name__} is for clients")

    def _take_control(self, data: bytes) -> None:
        """Lines of JSON from whoever launched this node: {"peers": {"n2": "tcp://…"}}."""
        if not data:
            log.warning("whoever launched this node has gone: stopping")
            self._stopping = True
        *lines, self._control = (self._control + data).split(b"\n")
        for line in lines:
            peers: dict[str, str] = json.loads(line)["peers"]
            self._transport.connect(peers)

    # --- what people see --------------------------------------------------------------------------------------------

    def _packed_status(self) -> bytes:
        """The status, of fewer variables if theirs is too much for a frame."""
        most = STATUS_VARIABLES_MAX
        while len(packed := pack(self.status(most))) > STATUS_BYTES_MAX and most > 0:
            most //= 2
        return packed

    def status(self, most: int) -> dict[str, object]:
        """How this node is and up to `most` of its variables are, as plain data."""
        variables = self._variables.status(most)
        return {
            "node": self._id,
            "pid": os.getpid(),
            "incarnation": self._disk.incarnation,
            "commits": self._disk.commits,
            "clock_s": self._clock(),
            "latest": self._variables.latest,
            "variable_count": len(self._variables),
            "variables": {name: _plain(dict(status)) for name, status in variables.items()},
            "malformed": self._counters["malformed"],
            "bad_handshakes": self._transport.bad_handshakes,
            "stale": self._counters["stale"],
            "dropped": self._transport.dropped,
        }


def _timeout_s(timeout_ms: int) -> float:
    return min(max(timeout_ms / 1000, 0.0), TIMEOUT_S_MAX)


def _plain(item: object) -> object:
    """What a status may hold, as data that `pack` takes. An algorithm's values are decoded for people, unless too large."""
    match item:
        case bytes() if len(item) > SHOWN_BYTES_MAX:
            return f"{len(item):,} bytes"
        case bytes():
            try:
                return decode_value(Value(item))
            except Malformed:
                return item.hex()
        case Mapping():
            return {str(key): _plain(entry) for key, entry in item.items()}
        case None | bool() | int() | float() | str():
            try:
                pack(item)
            except BadValue:  # an enumeration's member, NaN
                return str(item).encode(errors="replace").decode()
            return item
        case tuple() | list() | set() | frozenset():
            return [_plain(entry) for entry in item]
    return str(item)
