"""`python -m harness.systems.traced_node FOLDER …`: a node that also notes what it takes in. The rest of the command
line is its own.

`FOLDER/ID.jsonl` gets a line at each boot, and one for each turn that took in anything, before the turn's commit: so whatever
a node has sent, the line of what made it do so stands there, however it ended. `harness.replay.trace_validation` reads it.

| field | what it holds |
|---|---|
| `boot`, `disk` | the incarnation, and a digest of what the disk held |
| `turn` | the turn's number since the boot, from 1 |
| `in` | the frames that were taken in, of nodes and clients, in order, in hex |
| `lost` | the peers whose connection was seen to close, after that |
| `timers` | what ran out after that: `[variable, name]`, or `[client, number]` for a request whose time was up |
| `retires` | whether the algorithm was asked to hand over, after that |
| `unsent` | a line of its own: frames of the turn that found no connection, with whom they were for |
| `time` | nanoseconds of the machine's monotonic clock |

The node's code is that of any node; all that is added is here.
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
from node.contract import BadInput, NodeId, Record, Stored
from node.runtime import Runtime
from node.timers import Timers
from node.transport import Route, Transport
from node.variables import TimerKey
from node.wire import Envelope, StatusRequest, pack

FOLDER_NAME: Final = "traces"

#: What this process has noted in the present turn.
_ran_out: Final[list[TimerKey]] = []
_lost: Final[list[NodeId]] = []
_unsent: Final[list[tuple[NodeId, bytes]]] = []


def traced(folder: Path, command: tuple[str, ...]) -> tuple[str, ...]:
    """What starts such a node instead of the plain one of `command`. `folder` is the experiment's. Raises BadInput."""
    if command[: len(NODE_COMMAND)] != NODE_COMMAND:
        raise BadInput(f"only plain nodes can be traced, and these are started by {' '.join(command)}")
    start = (sys.executable, "-P", "-m", "harness.systems.traced_node", str(folder / FOLDER_NAME))
    return (*start, *command[len(NODE_COMMAND) :])


def digest(
    variables: Mapping[str, Mapping[str, Stored]],
    records: Mapping[int, Record],
    parts: Mapping[tuple[int, int], bytes],
) -> str:
    """Equal for disks that hold the same."""
    held = pack([[name, [list(item) for item in sorted(of.items())]] for name, of in sorted(variables.items()) if of])
    found = sha256(held)
    for record in sorted(records.values()):
        found.update(repr(tuple(record)).encode())
    for key, data in sorted(parts.items()):
        found.update(repr((key, data)).encode())
    return found.hexdigest()[:16]


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
        self._turns = 0
        self._goes_on = self._retires = False
        self._in: list[bytes] = []
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / f"{self._id}.jsonl"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        length = os.fstat(self._file).st_size
        if length and os.pread(self._file, 1, length - 1) != b"\n":
            os.write(self._file, b"\n")  # SIGKILL can cut a long write short
        self._write(boot=self._disk.incarnation, disk=self._digest())
        retire = self._variables.retire

        def noted() -> bool:
            self._retires = True
            return retire()

        self._variables.retire = noted  # type: ignore[method-assign]  # of this one object

    def _digest(self) -> str:
        """Of what the disk holds at the boot."""
        disk = self._disk
        held = {name: dict(disk.variable(name)) for name in disk.variables()}
        rows = disk._read("SELECT slot, number, data FROM snapshot", ())
        parts = {(int(slot), int(number)): bytes(data) for slot, number, data in rows}
        return digest(held, {record.slot: record for record in disk.log.since(0, 2**62)}, parts)

    def _take_in(self) -> None:
        self._goes_on = bool(self._to_self) or self._variables.has_gathered
        super()._take_in()

    def _dispatch(self, route: Route, envelope: Envelope) -> None:
        super()._dispatch(route, envelope)  # raises for what is no message of anybody's, which then counts for nothing
        if not isinstance(envelope.message, StatusRequest):
            self._in.append(self._codec.encode(envelope))

    def _finish_turn(self) -> None:
        # A log does something in every turn, if only to write a part of a snapshot.
        if self._serves_all or self._goes_on or self._in or _lost or _ran_out or self._retires:
            self._turns += 1
            frames, timers = [frame.hex() for frame in self._in], [list(key) for key in _ran_out]
            self._write(turn=self._turns, **{"in": frames}, lost=list(_lost), timers=timers, retires=self._retires)
            for noted in (self._in, _lost, _ran_out):
                noted.clear()
            self._retires = False
        super()._finish_turn()
        if _unsent:
            self._write(unsent=[[to, frame.hex()] for to, frame in _unsent])
            _unsent.clear()

    def _write(self, **line: Any) -> None:
        os.write(self._file, json.dumps({**line, "time": time.monotonic_ns()}).encode() + b"\n")


def _note_connections() -> None:
    """Have what finds no connection noted, and which have closed."""
    send, lost = Transport.send, Transport.lost

    def noted(self: Transport, to: NodeId, payload: bytes) -> None:
        before = self.dropped
        send(self, to, payload)
        if self.dropped != before:
            _unsent.append((to, payload))

    def closed(self: Transport) -> tuple[NodeId, ...]:
        peers = lost(self)
        _lost.extend(peers)
        return peers

    setattr(Transport, "send", noted)  # noqa: B010 - in this process alone
    setattr(Transport, "lost", closed)  # noqa: B010


if __name__ == "__main__":
    TracedRuntime.folder = Path(sys.argv.pop(1))
    _note_connections()
    setattr(node.runtime, "Timers", _NotedTimers)  # noqa: B010 - what the runtime makes one of
    sys.exit(node.__main__.main(TracedRuntime))
