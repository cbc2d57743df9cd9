"""The shell that runs a node as a process: one thread, one loop.

Theory of operation
-------------------
1. Poll until a message arrives or the next timer expires.
2. Take in everything that waits, up to `intake_max` messages, and give each input to the core (`node/turn.py`).
3. Release what may leave early: it rests on nothing of this turn.
4. Commit every save of the turn in one durable transaction.
5. Only then release the other sends, and the replies.
6. Do the work that no client waits for, such as applying chosen slots. Its output belongs to the next turn.

If the commit fails, the node stops: it does not know what is durable, so it must send nothing more.
"""

import json
import logging
import os
import time
from random import Random
from typing import Final

from node.client_messages import StatusReply, StatusRequest
from node.clock import SteeredClock
from node.contract import Algorithm, NodeId
from node.dispatch import dispatch
from node.outbox import Outbox
from node.parts import SHIPPED_PARTS, Parts
from node.settings import Settings
from node.status import packed_status
from node.storage.disk import Disk
from node.transport import Route, Transport, WakeUpPipe
from node.turn import Output
from node.wire import Envelope, Malformed

_IDLE_S: Final = 1.0  # the longest wait: then the node looks whether its directory is still there

log = logging.getLogger("node")


class Runtime:
    """One node with its core, disk, timers and sockets."""

    def __init__(
        self,
        settings: Settings,
        node: NodeId,
        algorithm: type[Algorithm],
        disk: Disk,
        transport: Transport,
        parts: Parts = SHIPPED_PARTS,
    ) -> None:
        """Make a node that has not booted.

        Args:
            settings: the cluster's spec.
            node: this node's id.
            algorithm: what the node runs.
            disk: this node's open disk.
            transport: this node's sockets.
            parts: the classes of codec, timers and core.
        """
        self.id = node
        self._settings, self._disk, self._transport = settings, disk, transport
        self._intake_max = settings.tuning.intake_max
        self._codec = parts.codec(settings.cluster, algorithm.messages)
        self._clock: SteeredClock | None = None  # that of the timers, after the launcher has steered it
        self._timers = parts.timers(time.monotonic, Random(f"{settings.seed}/{node}/{disk.incarnation}"))
        self.core = parts.core(algorithm, node, settings.nodes, disk, self._timers, settings.machines, settings.tuning)
        self._outbox = Outbox(self._codec, transport, node, disk.incarnation)
        self._status_requests: list[tuple[Route, StatusRequest]] = []
        self._malformed, self._control, self._stopping = 0, b"", False
        self._retire_until: float | None = None

    def start(self) -> None:
        """Rebuild what the disk holds. Its output leaves with the first turn. Raises DiskError if what was saved is damaged."""
        self.core.boot()

    def ready_report(self) -> dict[str, object]:
        """Return what the node reports to its launcher once it listens."""
        return {"address": self._transport.address, "incarnation": self._disk.incarnation}

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
            self._disk.check_in_place()
            readable = self._transport.poll(0 if self.core.has_work else self.wait_s())
            if control in readable:
                self.take_control(os.read(control, 65536))
            if wake_up.reader in readable:
                os.read(wake_up.reader, 64)
            self.take_input()
            if self._retire_until is not None and (self.core.retire() or time.monotonic() > self._retire_until):
                self._stopping, self._retire_until = True, None
            self.finish_turn()
            self.core.after_turn()
            while self.core.new_marks:
                log.info("sometimes: %s", self.core.new_marks.pop())

    def stop(self) -> None:
        """Hand over the lead of a log, for at most `retire_ms_max`, and return from `run`. A signal handler may call it."""
        self._retire_until = time.monotonic() + self._settings.tuning.retire_ms_max / 1000

    def wait_s(self) -> float:
        """Return how long to wait for a message before the next timer expires, in real seconds."""
        wait_s = self._timers.wait_s(_IDLE_S)
        return wait_s if self._clock is None else self._clock.real_s(wait_s, _IDLE_S)

    # --- a turn -----------------------------------------------------------------------------------------------------

    def take_input(self) -> None:
        """Do step 2."""
        core = self.core
        core.take_own_messages()
        core.commit_took(self._disk.take_slow_commit_ms())
        for route, payload in self._transport.receive(self._intake_max):
            try:
                self.take_envelope(route, self._codec.decode(payload))
            except Malformed as error:
                self._malformed += 1
                if self._malformed == 1:
                    log.warning("dropped a malformed frame (%s); later ones are only counted", error)
        for peer in self._transport.lost():
            core.peer_lost(peer)
        for key in self._timers.take_expired():
            core.timer_expired(key)
        core.end_of_input()

    def take_envelope(self, route: Route, envelope: Envelope) -> None:
        """Take in one message. Raises Malformed."""
        if isinstance(envelope.message, StatusRequest):
            self._status_requests.append((route, envelope.message))
        else:
            dispatch(self.core, self._settings, route, envelope)

    def finish_turn(self) -> None:
        """Do steps 3 to 5, in the order on which every promise rests."""
        if (early := self.core.take_early()) is not None:
            self.release(early)
        self.commit()
        if (output := self.core.take_output()) is not None:
            self.release(output)
        if self._status_requests:
            self._send_statuses()  # after the commit, so that a status reports only what is on disk

    def commit(self) -> None:
        """Do step 4. Raises DiskFailed."""
        self._disk.commit()

    def release(self, output: Output) -> None:
        """Send what the turn lets out."""
        self._outbox.release(output)

    # --- control and status -----------------------------------------------------------------------------------------

    def take_control(self, data: bytes) -> None:
        """Carry out the lines of JSON that the process which launched this node has written to the control pipe.

        `{"peers": {"n2": "tcp://..."}}` holds the peers' addresses, `{"clock": {"rate": 1.0, "moved_s": 0.0}}` steers the clock.
        """
        if not data:
            log.warning("the process that launched this node has ended: stopping")
            self._stopping = True
        *lines, self._control = (self._control + data).split(b"\n")
        for line in lines:
            match json.loads(line):
                case {"peers": dict(peers)}:
                    self._transport.connect(peers)
                case {"clock": {"rate": float(rate), "moved_s": float(moved_s)}}:
                    if self._clock is None:
                        self._clock = self._timers.clock = SteeredClock(time.monotonic)
                    self._clock.steer(rate, moved_s)

    def _send_statuses(self) -> None:
        requests, self._status_requests = self._status_requests, []
        for route, request in requests:
            packed = packed_status(self.core, self.facts(), request.variables)
            self._outbox.send_back(route, StatusReply(request.number, packed))

    def facts(self) -> dict[str, object]:
        """Return the fields of a status that describe the process. `node_status` adds those of the core."""
        return {
            "pid": os.getpid(),
            "incarnation": self._disk.incarnation,
            "commits": self._disk.commits,
            "clock_s": self._timers.clock(),
            "malformed": self._malformed,
            "bad_handshakes": self._transport.bad_handshakes,
            "dropped": self._transport.dropped,
        }
