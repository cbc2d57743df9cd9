"""`python -m harness.systems.stepped_node FOLDER ODDITIES …`: a node that is driven by hand. The rest of the command
line is its own.

Theory of operation
-------------------
Process, disk, wire and algorithm are those of any node. Two things are taken from it, as `harness.virtual.node` has it: no
time passes, so a timer runs out when it is told to, and what the node sends to itself it hears when it is told to. It is told
by lines of JSON in `FOLDER/ID.told`, and after each turn in which something happened it adds a line to `FOLDER/ID.did`.

| told | does |
|---|---|
| `{"hear": true}` | takes in, in a turn of its own, what it has sent to itself |
| `{"fire": [VARIABLE, TIMER]}` | the timer runs out, if it is set, after the node has heard what it has sent to itself |
| `{"forget": [CLIENT, NUMBER]}` | the request's time is up, likewise |
| `{"free": true}` | from now on it is a node like any other |

A line of `ID.did` holds the process id and, counted since its boot, `turns` in which something was told or came in, `inputs`
that came in from outside, what it was told to do (`told`), and `unset`: timers that were to run out and were not set.

`ODDITIES` are names, with commas between, or `-`: faults of the disk that `harness.virtual.node.Oddities` knows, too.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import node.__main__
import node.runtime
from node.clock import LOOK_EVERY_S
from node.contract import Message, NodeId, Request
from node.runtime import Runtime
from node.timers import Timers
from node.transport import Route, Transport, WakeUpPipe
from node.variables import TimerKey
from node.wire import Envelope, StatusRequest

NO_ODDITIES: Final = "-"
EMPTY_DISKS_VOTE: Final = "empty-disks-vote"
DISKS_SYNC_LATE: Final = "disks-sync-late"
#: How long a node waits for the connection over which it sends.
_PATIENCE_S: Final = 5.0


class HandFired(Timers[TimerKey]):
    """Timers that run out when they are told to, until `free` is set."""

    free = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._told: list[tuple[TimerKey, float]] = []

    def fire(self, key: TimerKey) -> bool:
        """Have `key` run out at the end of this turn, if it is set now and neither cancelled nor set again by then."""
        if key not in self._due:
            return False
        self._told.append((key, self._due[key]))
        return True

    def wait_s(self, most_s: float) -> float:
        return super().wait_s(most_s) if self.free else most_s

    def run_out(self) -> Iterator[TimerKey]:
        if self.free:
            yield from super().run_out()
        told, self._told = self._told, []
        for key, due in told:
            if self._due.get(key) == due:
                del self._due[key]
                yield key


class SteppedRuntime(Runtime):
    """A turn loop whose turns are told."""

    folder: Path

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._idle_s = LOOK_EVERY_S
        self._free = False
        self._kept: list[tuple[str, Message]] = []
        self._todo = self.folder / f"{self._id}.told"
        self._did = self.folder / f"{self._id}.did"
        self._todo.touch()
        self._read_to = self._todo.stat().st_size  # what its last life was told is not for this one
        self._turns = self._told = self._inputs = 0
        self._unset: list[Any] = []
        self._noted = 0

    def run(self, control: int, wake_up: WakeUpPipe) -> None:
        self._take_control(os.read(control, 65536))  # or what it says as it boots would find nobody
        super().run(control, wake_up)

    def _take_in(self) -> None:
        if not self._free:
            self._look()
        super()._take_in()

    def _finish_turn(self) -> None:
        super()._finish_turn()
        if self._free:
            return
        self._kept, self._to_self = self._kept + self._to_self, []
        if self._noted != (noted := self._inputs + self._told):
            self._noted = noted
            self._turns += 1
            self._note()

    def _dispatch(self, route: Route, envelope: Envelope) -> None:
        if not isinstance(envelope.message, StatusRequest):
            self._inputs += 1
        super()._dispatch(route, envelope)

    def _look(self) -> None:
        """Take in what this node is told."""
        with self._todo.open("rb") as file:
            file.seek(self._read_to)
            data = file.read()
        whole, _, _ = data.rpartition(b"\n")  # half a line is read when it is whole
        for line in whole.splitlines():
            self._read_to += len(line) + 1
            self._told += 1
            self._to_self, self._kept = self._to_self + self._kept, []
            match json.loads(line):
                case {"fire": [str(variable), str(timer)]}:
                    self._fire((variable, timer))
                case {"forget": [str(client), int(number)]}:
                    self._fire(Request(client, number))
                case {"free": True}:
                    self._free = True
                    assert isinstance(self._timers, HandFired)
                    self._timers.free = True
                    self._note()

    def _fire(self, key: TimerKey) -> None:
        assert isinstance(self._timers, HandFired)
        if not self._timers.fire(key):
            self._unset.append(key)

    def _note(self) -> None:
        line = {
            "pid": os.getpid(),
            "turns": self._turns,
            "inputs": self._inputs,
            "told": self._told,
            "unset": self._unset,
        }
        with self._did.open("a") as file:
            file.write(json.dumps(line) + "\n")


def _send_patiently() -> None:
    """A message that finds no connection yet waits for it: nothing is lost but by a step of the schedule."""
    send = Transport.send

    def patient(self: Transport, to: NodeId, payload: bytes) -> None:
        until = time.monotonic() + _PATIENCE_S
        while True:
            before = self.dropped
            send(self, to, payload)
            if self.dropped == before or time.monotonic() > until:
                return
            self.dropped = before
            time.sleep(0.001)

    setattr(Transport, "send", patient)  # noqa: B010 - in this process alone


def _empty_disks_vote() -> None:
    """A node whose directory has gone starts on a new one."""
    if "--must-exist" in sys.argv:
        sys.argv.remove("--must-exist")


def _disks_sync_late() -> None:
    """What a commit wrote is synced by the next commit, so a power cut loses the last one."""
    from harness.faults import power_loss_vfs as powerloss  # noqa: PLC0415 - registers an SQLite VFS, for the nodes that need it

    flush = powerloss._File._flush

    def sync_what_was_written_before(self: Any, _flags: int) -> None:
        # Only the log's file is late: were the others, too, SQLite would notice that it had been lied to.
        if self._path is None or not self._path.name.endswith("-wal"):
            flush(self)
            self._forget_changes()
            return
        written, already = list(self._changes), getattr(self, "_written_before", 0)
        self._changes = written[:already]
        flush(self)
        self._forget_changes()
        for change in written[already:]:
            self._add_unsynced(change)
        self._written_before = len(self._changes)

    setattr(powerloss._File, "xSync", sync_what_was_written_before)  # noqa: B010


_ODDITIES: Final = {
    EMPTY_DISKS_VOTE: _empty_disks_vote,
    DISKS_SYNC_LATE: _disks_sync_late,
}


def main() -> int:
    """Run the node. Returns its exit status."""
    SteppedRuntime.folder = Path(sys.argv.pop(1))
    odd = sys.argv.pop(1)
    SteppedRuntime.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in odd.split(",") if odd != NO_ODDITIES else ():
        _ODDITIES[name]()
    _send_patiently()
    setattr(node.runtime, "Timers", HandFired)  # noqa: B010 - what the runtime makes one of
    return node.__main__.main(SteppedRuntime)


if __name__ == "__main__":
    sys.exit(main())
