"""The shell of a stepped node: a node process whose timers and messages to itself wait for a command.

`python -m harness.systems.stepped_node FOLDER [--empty-disks-vote] ...` starts one; the rest of the command line is that of any
node.

Theory of operation
-------------------
Process, disk, wire and algorithm are those of any node. Two things differ, as in a virtual node: no time passes, so a timer
expires when the driver says so, and the node hears what it sent to itself when the driver says so. The driver
(`harness/replay/driver.py`) appends lines of JSON to `FOLDER/ID.told`. After each turn in which something happened the node
appends a line to `FOLDER/ID.did`.

| line | what the node does |
|---|---|
| `{"hear": true}` | takes in, in a turn of its own, what it has sent to itself |
| `{"fire": [VARIABLE, TIMER]}` | has the timer expire, if it is set, after it has heard what it has sent to itself |
| `{"forget": [CLIENT, NUMBER]}` | has the deadline of the request expire, likewise |
| `{"free": true}` | is a node like any other from now on |

A line of `ID.did` holds the process id and, counted since the boot, the `turns` in which a line was carried out or a message
came in, the `inputs` that came in from outside, the lines that were carried out (`told`), and `unset`: timers that were to
expire and were not set.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from harness.records.tail import FileTail
from harness.systems.forgiving_disk import ForgivingDisk
from node.__main__ import main
from node.clock import LOOK_EVERY_S
from node.contract import NodeId, Request
from node.instances import TimerKey
from node.runtime import Parts, Runtime
from node.timers import Timers
from node.transport import Route, Transport, WakeUpPipe
from node.turn import NodeCore
from node.wire import Envelope, StatusRequest

#: An option: a node whose directory has gone starts as if it were new.
EMPTY_DISKS_VOTE: Final = "--empty-disks-vote"
#: How long a node waits for the connection over which it sends.
_PATIENCE_S: Final = 5.0


class SteppedTimers(Timers[TimerKey]):
    """Timers that expire on command, until `free` is set."""

    free = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._commanded: list[tuple[TimerKey, float]] = []

    def fire(self, key: TimerKey) -> bool:
        """Have `key` expire at the end of this turn, if it is set now and neither cancelled nor set again by then."""
        if key not in self._due:
            return False
        self._commanded.append((key, self._due[key]))
        return True

    def wait_s(self, most_s: float) -> float:
        return super().wait_s(most_s) if self.free else most_s

    def run_out(self) -> Iterator[TimerKey]:
        if self.free:
            yield from super().run_out()
        commanded, self._commanded = self._commanded, []
        for key, due in commanded:
            if self._due.get(key) == due:
                del self._due[key]
                yield key


class SteppedCore(NodeCore):
    """The core of a node that hears itself on command, until `free` is set."""

    free = False
    may_hear_itself = False

    def hear_itself(self) -> None:
        if self.free or self.may_hear_itself:
            super().hear_itself()
        self.may_hear_itself = False

    @property
    def has_work(self) -> bool:
        if self.free or self.may_hear_itself:
            return super().has_work
        return self.has_output or self.disk.dirty


class PatientTransport(Transport):
    """A transport that waits for a connection: only a step of the schedule loses a message."""

    def send(self, to: NodeId, payload: bytes) -> None:
        until = time.monotonic() + _PATIENCE_S
        while True:
            before = self.dropped
            super().send(to, payload)
            if self.dropped == before or time.monotonic() > until:
                return
            self.dropped = before
            time.sleep(0.001)


class SteppedRuntime(Runtime):
    """A node process whose turns are commanded."""

    def __init__(self, folder: Path, *arguments: Any) -> None:
        """Make a node. `folder` is where the driver writes; `arguments` are those of `Runtime`."""
        super().__init__(*arguments)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._idle_s = LOOK_EVERY_S
        self._free = False
        self._commands = folder / f"{self.id}.told"
        self._reports = folder / f"{self.id}.did"
        self._commands.touch()
        self._new_commands = FileTail(
            self._commands, from_now=True
        )  # what its last life was commanded is not for this one
        self._turns = self._told = self._inputs = 0
        self._unset: list[Any] = []
        self._reported = 0

    def run(self, control: int, wake_up: WakeUpPipe) -> None:
        self.take_control(os.read(control, 65536))  # or what it says as it boots would find no peer
        super().run(control, wake_up)

    def take_input(self) -> None:
        if not self._free:
            self._look()
        super().take_input()

    def finish_turn(self) -> None:
        super().finish_turn()
        if not self._free and self._reported != (happened := self._inputs + self._told):
            self._reported = happened
            self._turns += 1
            self._report()

    def take_envelope(self, route: Route, envelope: Envelope) -> None:
        if not isinstance(envelope.message, StatusRequest):
            self._inputs += 1
        super().take_envelope(route, envelope)

    def _look(self) -> None:
        """Carry out the commands that have come."""
        assert isinstance(self.core, SteppedCore)
        assert isinstance(self._timers, SteppedTimers)
        for command in self._new_commands.new_objects():
            self._told += 1
            self.core.may_hear_itself = True
            match command:
                case {"fire": [str(variable), str(timer)]}:
                    self._fire((variable, timer))
                case {"forget": [str(client), int(number)]}:
                    self._fire(Request(client, number))
                case {"free": True}:
                    self._free = self.core.free = self._timers.free = True
                    self._report()

    def _fire(self, key: TimerKey) -> None:
        assert isinstance(self._timers, SteppedTimers)
        if not self._timers.fire(key):
            self._unset.append(key)

    def _report(self) -> None:
        line = {
            "pid": os.getpid(),
            "turns": self._turns,
            "inputs": self._inputs,
            "told": self._told,
            "unset": self._unset,
        }
        with self._reports.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    runtime = partial(SteppedRuntime, Path(sys.argv.pop(1)))
    parts = Parts(transport=PatientTransport, timers=SteppedTimers, core=SteppedCore)
    if EMPTY_DISKS_VOTE in sys.argv:
        sys.argv.remove(EMPTY_DISKS_VOTE)
        parts = replace(parts, disk=ForgivingDisk)
    sys.exit(main(runtime, parts))
