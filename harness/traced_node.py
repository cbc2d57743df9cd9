"""`python -m harness.traced_node FOLDER …`: a node that also notes what it takes in. The rest of the command line is its own.

`FOLDER/ID.jsonl` gets a line at each boot, and one for each turn that took in anything, before the turn's commit: so whatever
a node has sent, the line of what made it do so stands there, however it ended. `harness.trace` reads it.

| field | what it holds |
|---|---|
| `boot`, `disk` | the incarnation, and a digest of what the disk held |
| `turn` | the turn's number since the boot, from 1 |
| `in` | the frames that were taken in, of nodes and clients, in order, in hex |
| `timers` | what ran out after that: `[variable, name]`, or `[client, number]` for a request whose time was up |
| `unsent` | a line of its own: frames of the turn that found no connection, with whom they were for |
| `time` | nanoseconds of the machine's monotonic clock |

The node's code is that of any node; all that is added is here. Only nodes of single variables note: a log's turns have more.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import node.__main__
import node.runtime
from cluster.processes import NODE_COMMAND
from node.contract import BadInput, NodeId, Stored
from node.runtime import Runtime
from node.timers import Timers
from node.transport import Route, Transport
from node.variables import TimerKey
from node.wire import Envelope, StatusRequest, pack

FOLDER_NAME: Final = "traces"

#: What this process has noted in the present turn.
_ran_out: Final[list[TimerKey]] = []
_unsent: Final[list[tuple[NodeId, bytes]]] = []


def traced(folder: Path, command: tuple[str, ...]) -> tuple[str, ...]:
    """What starts such a node instead of the plain one of `command`. `folder` is the experiment's. Raises BadInput."""
    if command[: len(NODE_COMMAND)] != NODE_COMMAND:
        raise BadInput(f"only plain nodes can be traced, and these are started by {' '.join(command)}")
    start = (sys.executable, "-P", "-m", "harness.traced_node", str(folder / FOLDER_NAME))
    return (*start, *command[len(NODE_COMMAND) :])


def digest(variables: Mapping[str, Mapping[str, Stored]]) -> str:
    """Equal for disks that hold the same."""
    held = [[name, sorted(stored.items())] for name, stored in sorted(variables.items()) if stored]
    return sha256(pack([[name, [list(item) for item in items]] for name, items in held])).hexdigest()[:16]


class _NotedTimers(Timers[TimerKey]):
    def run_out(self) -> Iterator[TimerKey]:
        for key in super().run_out():
            _ran_out.append(key)
            yield key


class TracedRuntime(Runtime):
    """A turn loop that notes its input."""

    folder: Path

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._file = -1
        self._turns = 0
        self._heard = False
        self._in: list[bytes] = []
        if not self._serves_all:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self.folder / f"{self._id}.jsonl"
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            held = {name: dict(self._disk.variable(name)) for name in self._disk.variables()}
            self._write(boot=self._disk.incarnation, disk=digest(held))

    def _take_in(self) -> None:
        self._heard = bool(self._to_self)
        super()._take_in()

    def _dispatch(self, route: Route, envelope: Envelope) -> None:
        super()._dispatch(route, envelope)  # raises for what is no message of anybody's, which then counts for nothing
        if not isinstance(envelope.message, StatusRequest):
            self._in.append(self._codec.encode(envelope))

    def _finish_turn(self) -> None:
        if self._heard or self._in or _ran_out:
            self._turns += 1
            timers = [list(key) for key in _ran_out]
            self._write(turn=self._turns, **{"in": [frame.hex() for frame in self._in]}, timers=timers)
            self._in.clear()
            _ran_out.clear()
        super()._finish_turn()
        if _unsent:
            self._write(unsent=[[to, frame.hex()] for to, frame in _unsent])
            _unsent.clear()

    def _write(self, **line: Any) -> None:
        if self._file >= 0:
            os.write(self._file, json.dumps({**line, "time": time.monotonic_ns()}).encode() + b"\n")


def _note_what_finds_nobody() -> None:
    send = Transport.send

    def noted(self: Transport, to: NodeId, payload: bytes) -> None:
        before = self.dropped
        send(self, to, payload)
        if self.dropped != before:
            _unsent.append((to, payload))

    setattr(Transport, "send", noted)  # noqa: B010 - in this process alone


if __name__ == "__main__":
    TracedRuntime.folder = Path(sys.argv.pop(1))
    _note_what_finds_nobody()
    setattr(node.runtime, "Timers", _NotedTimers)  # noqa: B010 - what the runtime makes one of
    sys.exit(node.__main__.main(TracedRuntime))
