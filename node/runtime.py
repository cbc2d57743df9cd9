"""The shell that runs a node as a process: one thread, one loop.

1. Poll until a message arrives or the next timer expires.
2. Take in everything that waits, up to `INTAKE_MAX` messages, and hand each input to the core (`node/turn.py`).
3. Release what may leave early: it rests on nothing of this turn.
4. Commit every save of the turn in one durable transaction.
5. Only then release the other sends, and the replies.
6. Do the work that no client waits for, such as applying chosen slots. Its output belongs to the next turn.

If the commit fails the node stops: it cannot know what is durable, so it must not speak again.
"""

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from node.clock import LOOK_EVERY_S, SteeredClock
from node.contract import Algorithm, Message, NodeId
from node.dispatch import dispatch
from node.frames import Replies
from node.instances import Send, TimerKey
from node.settings import Settings
from node.status import BYTES_MAX, VARIABLES_MAX, replica_status
from node.storage.disk import Disk
from node.timers import Timers
from node.transport import Route, Transport, WakeUpPipe
from node.turn import NodeCore, Output
from node.wire import Codec, Envelope, Malformed, Reply, StatusReply, StatusRequest, pack

INTAKE_MAX: Final = 512  # messages a turn: enough to fill a group commit, few enough that timers are not starved
RETIRE_S_MAX: Final = 2.0
_IDLE_S: Final = 60.0

log = logging.getLogger("node")


@dataclass(frozen=True, slots=True)
class Parts:
    """The classes that a node process is made of. A broken, stepped or traced node replaces one of them by a subclass."""

    disk: type[Disk] = Disk
    transport: Callable[[], Transport] = Transport
    codec: type[Codec] = Codec
    timers: Callable[[Callable[[], float], Random], Timers[TimerKey]] = Timers
    core: type[NodeCore] = NodeCore


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
        parts: Parts = Parts(),
    ) -> None:
        """Make a node that has not booted.

        Args:
            settings: the cluster's spec.
            node: this node's id.
            algorithm: what the node runs.
            disk: this node's open disk.
            transport: this node's sockets.
            clock: what the timers read, in seconds; None for the machine's monotonic clock.
            parts: the classes of codec, timers and core.
        """
        self.id = node
        self._settings, self._disk, self._transport = settings, disk, transport
        self._codec = parts.codec(settings.cluster, algorithm.messages)
        self._clock = clock or time.monotonic
        self._idle_s = LOOK_EVERY_S if clock else _IDLE_S
        self._timers = parts.timers(self._clock, Random(f"{settings.seed}/{node}/{disk.incarnation}"))
        self.core = parts.core(algorithm, node, settings.nodes, disk, self._timers, settings.machines, settings.limits)
        self._counters: Counter[str] = Counter()
        self._status_requests: list[tuple[Route, int]] = []
        self._control = b""
        self._stopping = False
        self._retire_until: float | None = None

    def start(self) -> None:
        """Rebuild what the disk holds, before the node reports that it is ready. Its output leaves with the first turn.

        Raises:
            DiskError: what was saved is damaged.
        """
        self.core.boot()

    def run(self, control: int, wake_up: WakeUpPipe) -> None:
        """Work until `stop`, or until the control pipe closes because the process that launched this node has ended.

        Args:
            control: the descriptor of the control pipe.
            wake_up: a pipe to which signal handlers write.
        """
        self._transport.watch(control)
        self._transport.watch(wake_up.reader)
        self.core.end_of_input()
        self.finish_turn()
        while not self._stopping:
            pipes = self._transport.poll(0 if self.core.has_work else self._timers.wait_s(self._idle_s))
            if pipes:
                if control in pipes:
                    self.take_control(os.read(control, 65536))
                if wake_up.reader in pipes:
                    os.read(wake_up.reader, 64)
            self.take_input()
            if self._retire_until is not None and (self.core.retire() or time.monotonic() > self._retire_until):
                self._stopping, self._retire_until = True, None
            self.finish_turn()
            self.core.after_turn()

    def stop(self) -> None:
        """Hand over what others wait for and return from `run`. A signal handler may call it."""
        self._retire_until = time.monotonic() + RETIRE_S_MAX

    # --- a turn -----------------------------------------------------------------------------------------------------

    def take_input(self) -> None:
        """Do step 2."""
        core = self.core
        core.hear_itself()
        for route, payload in self._transport.receive(INTAKE_MAX):
            try:
                self.take_envelope(route, self._codec.decode(payload))
            except Malformed as error:
                self._counters["malformed"] += 1
                if self._counters["malformed"] == 1:
                    log.warning("dropped a malformed frame (%s); later ones are only counted", error)
        for peer in self._transport.lost():
            core.peer_lost(peer)
        for key in self._timers.run_out():
            core.timer_expired(key)
        core.end_of_input()

    def take_envelope(self, route: Route, envelope: Envelope) -> None:
        """Take in one message. Raises Malformed."""
        if isinstance(envelope.message, StatusRequest):
            self._status_requests.append((route, envelope.message.number))
        else:
            dispatch(self.core, self._settings, route, envelope)

    def finish_turn(self) -> None:
        """Do steps 3 to 5, in the order on which every promise rests."""
        early = self.core.take_early()
        if early is not None:
            self.release(early)
        self.commit()
        output = self.core.take_output()
        if output is not None:
            self.release(output)
        if self._status_requests:
            self._send_statuses()  # a status, too, says only what is on disk

    def commit(self) -> None:
        """Do step 4. Raises DiskFailed."""
        self._disk.commit()

    def release(self, output: Output) -> None:
        """Send what the turn lets out."""
        if output.sends:
            self._send(output.sends)
        for route, request, value, refused in output.replies:
            self._send_back(route, Reply(request.number, value, refused))
        for route, replies in output.frame_replies.items():
            self._send_back(route, Replies(tuple(replies)))

    def _send(self, sends: list[Send]) -> None:
        last: tuple[str, Message] | None = None
        frame = b""
        for to, variable, message in sends:
            if last is None or last[1] is not message or last[0] != variable:  # a broadcast is encoded once
                frame = self._codec.encode(Envelope(self.id, self._disk.incarnation, variable, message))
                last = (variable, message)
            self._transport.send(to, frame)

    def _send_back(self, route: Route, message: Message) -> None:
        frame = self._codec.encode(Envelope(self.id, self._disk.incarnation, "", message))
        self._transport.send_back(route, frame)

    # --- control and status -----------------------------------------------------------------------------------------

    def take_control(self, data: bytes) -> None:
        """Carry out lines of JSON from the process that launched this node: {"peers": {"n2": "tcp://..."}}."""
        if not data:
            log.warning("the process that launched this node has ended: stopping")
            self._stopping = True
        *lines, self._control = (self._control + data).split(b"\n")
        for line in lines:
            peers: dict[str, str] = json.loads(line)["peers"]
            self._transport.connect(peers)

    def _send_statuses(self) -> None:
        requests, self._status_requests = self._status_requests, []
        most = VARIABLES_MAX
        while len(packed := pack(self.status(most))) > BYTES_MAX and most > 0:
            most //= 2  # fewer variables, so that the status fits in a frame
        for route, number in requests:
            self._send_back(route, StatusReply(number, packed))

    def status(self, most: int) -> dict[str, object]:
        """Return the status of this node and of up to `most` of its variables, as plain data."""
        return {
            "node": self.id,
            "pid": os.getpid(),
            "incarnation": self._disk.incarnation,
            "commits": self._disk.commits,
            "clock_s": self._clock(),
            "latest": self.core.latest,
            "variable_count": len(self.core.instances),
            "variables": {name: replica_status(status) for name, status in self.core.status(most).items()},
            "malformed": self._counters["malformed"],
            "bad_handshakes": self._transport.bad_handshakes,
            "stale": self.core.stale,
            "dropped": self._transport.dropped,
        }
