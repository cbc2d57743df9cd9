"""The shell of a stepped node: a node process whose timers and messages to itself wait for a command.

`python -m harness.systems.stepped_node [--empty-disks-vote] [--time-stands-still] ...` starts one; the rest of the command
line is that of any node.

Theory of operation
-------------------
Process, disk, wire and algorithm are those of any node. Two things differ, as in a virtual node: a timer expires only on a
request of the driver, and the node takes in its messages to itself only on a request of the driver. The driver
(`harness/replay/driver.py`) sends its requests over a control socket (`cluster/control.py`), whose address and token the node
reports when it is ready.

| request | what the node does |
|---|---|
| `step` | takes in its messages to itself, in a turn of their own; then replies |
| `step`, `fire=[VARIABLE, TIMER]` | the same, and then expires the timer; refuses if the timer is not set |
| `step`, `forget=[CLIENT, NUMBER]` | the same, and then expires the deadline of the request; refuses if it is not set |
| `step`, `lost=PEER` | the same, and then takes in that its connection to a peer has closed, as a log does |
| `step`, `elect=true` | the same, and then takes in that its election timeout ends (`LogAlgorithm.election_timeout`) |
| `inputs` | replies with the number of messages of nodes and clients that it has taken in |
| `free` | behaves like any other node from now on |

With `--time-stands-still` no time passes in a log, as in an exploration: after each turn the node forgets what only counts time.
"""

import os
import secrets
import sys
import time
from dataclasses import replace
from typing import Any, Final

from cluster.control import ControlRequest, ControlServer
from cluster.errors import WrongState
from harness.systems.forgiving_disk import ForgivingDisk
from harness.systems.stepped_core import SteppedCore, SteppedTimers, TimelessCore
from node.__main__ import main
from node.client_messages import StatusRequest
from node.contract import BadInput, NodeId, Request
from node.instances import TimerKey
from node.parts import Parts
from node.runtime import Runtime
from node.transport import Route, Transport, WakeUpPipe
from node.turn import NodeCore
from node.wire import Envelope

#: The option for a node that boots as if it were new if its directory is missing.
EMPTY_DISKS_VOTE: Final = "--empty-disks-vote"
#: The option for a node in whose log no time passes.
TIME_STANDS_STILL: Final = "--time-stands-still"
#: How long a node waits for the connection over which it sends.
_CONNECT_S: Final = 5.0


class WaitingTransport(Transport):
    """A transport that waits for a connection before it sends, so that only a step of the schedule loses a message."""

    def send(self, to: NodeId, payload: bytes) -> None:
        until = time.monotonic() + _CONNECT_S
        while True:
            before = self.dropped
            super().send(to, payload)
            if self.dropped == before or time.monotonic() > until:
                return
            self.dropped = before
            time.sleep(0.001)


class SteppedRuntime(Runtime):
    """A node process that runs its turns on request of the driver."""

    core: SteppedCore
    _timers: SteppedTimers

    def __init__(self, *arguments: Any) -> None:
        """Make a node with the arguments of `Runtime`."""
        super().__init__(*arguments)
        self._token = secrets.token_hex(16)
        self._server = ControlServer(self._token)
        self._transport.watch(self._server.socket)
        self._inputs = 0
        self._stepped: list[bytes] = []
        """The callers of the `step` requests that belong to this turn."""

    def ready_report(self) -> dict[str, object]:
        control = {"address": self._server.address, "token": self._token}
        return {**super().ready_report(), "control": control}

    def run(self, control: int, wake_up: WakeUpPipe) -> None:
        # First the peers' addresses: without them the messages that the node sends as it boots would be dropped.
        self.take_control(os.read(control, 65536))
        super().run(control, wake_up)
        self._server.close()

    def take_input(self) -> None:
        for request in self._server.requests():
            self._take_request(request)
        super().take_input()

    def take_envelope(self, route: Route, envelope: Envelope) -> None:
        if not isinstance(envelope.message, StatusRequest):
            self._inputs += 1
        super().take_envelope(route, envelope)

    def finish_turn(self) -> None:
        super().finish_turn()
        for caller in self._stepped:
            self._server.answer(caller, None)
        self._stepped.clear()
        self._transport.touched(self._server.socket)

    def _take_request(self, request: ControlRequest) -> None:
        match request.verb, request.arguments:
            case "inputs", {}:
                self._server.answer(request.caller, self._inputs)
            case "free", {}:
                self.core.free = self._timers.free = True
                self._server.answer(request.caller, None)
            case "step", {"fire": [str(variable), str(timer)]}:
                self._step(request.caller, (variable, timer))
            case "step", {"forget": [str(client), int(number)]}:
                self._step(request.caller, Request(client, number))
            case "step", {"lost": str(peer)}:
                NodeCore.peer_lost(self.core, peer)
                self._step(request.caller, None)
            case "step", {"elect": True}:
                self.core.election_timeout()
                self._step(request.caller, None)
            case "step", {}:
                self._step(request.caller, None)
            case _:
                self._server.refuse(request.caller, BadInput(f"a stepped node does not understand {request}"))

    def _step(self, caller: bytes, key: TimerKey | None) -> None:
        """Begin a step. The reply follows at the end of its turn. `key` is the timer that is to expire, if any."""
        self.core.may_hear_itself = True
        if key is None or self._timers.fire(key):
            self._stepped.append(caller)
        else:
            self._server.refuse(caller, WrongState(f"{self.id} has no timer {key} set"))


if __name__ == "__main__":
    parts = Parts(transport=WaitingTransport, timers=SteppedTimers, core=SteppedCore)
    if EMPTY_DISKS_VOTE in sys.argv:
        sys.argv.remove(EMPTY_DISKS_VOTE)
        parts = replace(parts, disk=ForgivingDisk)
    if TIME_STANDS_STILL in sys.argv:
        sys.argv.remove(TIME_STANDS_STILL)
        parts = replace(parts, core=TimelessCore)
    sys.exit(main(SteppedRuntime, parts))
