"""The shell of a traced node: a node process that also records what it takes in.

`python -m harness.systems.traced_node FOLDER ...` starts one; the rest of the command line is that of any node.

Theory of operation
-------------------
The node writes a line to `FOLDER/ID.jsonl` at each boot, and one for each turn that took in anything, before the turn's commit.
So for everything that a node has sent, the file has the line of the input that caused it, however the node ended. Trace
validation (`harness/replay/trace_validation.py`) reads the file.

| field | what it holds |
|---|---|
| `boot`, `disk` | the incarnation, and a digest of what the disk held |
| `turn` | the turn's number since the boot, from 1 |
| `in` | the frames of nodes and clients that were taken in, in order, in hex |
| `lost` | the peers whose connection the node then saw close |
| `timers` | what then expired: `[variable, name]`, or `[client, number]` for the deadline of a request |
| `retires` | whether the algorithm was then asked to hand over |
| `commit_ms` | how long the last commit took, if that was reported before the frames; otherwise null |
| `unsent` | a line of its own: frames of the turn that were not sent for want of a connection, with their receivers |
| `time` | nanoseconds of the machine's monotonic clock |
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from cluster.processes import NODE_COMMAND
from harness.records.run_files import RunFiles
from harness.systems.disk_digest import digest
from node.__main__ import main
from node.client_messages import StatusRequest
from node.contract import BadInput, NodeId
from node.instances import TimerKey
from node.parts import Parts
from node.runtime import Runtime
from node.timers import Timers
from node.transport import Route, Transport
from node.turn import NodeCore
from node.wire import Envelope


@dataclass
class _TurnInput:
    """What the node takes in during the present turn, and what it cannot send."""

    frames: list[bytes] = field(default_factory=list)
    lost: list[NodeId] = field(default_factory=list)
    timers: list[TimerKey] = field(default_factory=list)
    unsent: list[tuple[NodeId, bytes]] = field(default_factory=list)
    retires: bool = False
    commit_ms: int | None = None

    def __bool__(self) -> bool:
        return bool(self.frames or self.lost or self.timers or self.retires or self.commit_ms is not None)


def traced(folder: Path, command: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command that starts a traced node instead of the plain node that `command` starts.

    Args:
        folder: the folder of the run.
        command: the command that starts a plain node.

    Raises:
        BadInput: `command` does not start a plain node.
    """
    if command[: len(NODE_COMMAND)] != NODE_COMMAND:
        raise BadInput(f"only plain nodes can be traced, and these are started by {' '.join(command)}")
    start = (sys.executable, "-P", "-m", "harness.systems.traced_node", str(RunFiles(folder).traces))
    return (*start, *command[len(NODE_COMMAND) :])


class _TracedTimers(Timers[TimerKey]):
    def __init__(self, seen: _TurnInput, clock: Callable[[], float], rng: Random) -> None:
        super().__init__(clock, rng)
        self._seen = seen

    def take_expired(self) -> Iterator[TimerKey]:
        for key in super().take_expired():
            self._seen.timers.append(key)
            yield key


class _TracedTransport(Transport):
    def __init__(self, seen: _TurnInput, *arguments: int) -> None:
        super().__init__(*arguments)
        self._seen = seen

    def send(self, to: NodeId, payload: bytes) -> None:
        before = self.dropped
        super().send(to, payload)
        if self.dropped != before:
            self._seen.unsent.append((to, payload))

    def lost(self) -> tuple[NodeId, ...]:
        peers = super().lost()
        self._seen.lost.extend(peers)
        return peers


class _TracedCore(NodeCore):
    seen: _TurnInput

    def commit_took(self, milliseconds: int | None) -> None:
        self.seen.commit_ms = milliseconds
        super().commit_took(milliseconds)

    def retire(self) -> bool:
        self.seen.retires = True
        return super().retire()


class TracedRuntime(Runtime):
    """A node process that records its input."""

    def __init__(self, folder: Path, seen: _TurnInput, *arguments: Any) -> None:
        """Make a node.

        Args:
            folder: where the traces of all nodes are written. It is created.
            seen: the input of the present turn, which the node's timers and transport share.
            arguments: those of `Runtime`.
        """
        super().__init__(*arguments)
        assert isinstance(self.core, _TracedCore)
        self._seen = self.core.seen = seen
        self._turns = 0
        self._goes_on = False
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(folder / f"{self.id}.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        length = os.fstat(self._file).st_size
        if length and os.pread(self._file, 1, length - 1) != b"\n":
            os.write(self._file, b"\n")  # ends a line that SIGKILL has cut short
        self._write(boot=self._disk.incarnation, disk=self._digest())

    def _digest(self) -> str:
        disk = self._disk
        held = {name: dict(disk.variable(name)) for name in disk.variables()}
        return digest(held, {record.slot: record for record in disk.log.since(0, 2**62)}, disk.log.all_parts())

    def take_input(self) -> None:
        self._goes_on = self.core.has_work
        super().take_input()

    def take_envelope(self, route: Route, envelope: Envelope) -> None:
        super().take_envelope(route, envelope)  # raises if the envelope is no input, so that it is not recorded
        if not isinstance(envelope.message, StatusRequest):
            self._seen.frames.append(self._codec.encode(envelope))

    def finish_turn(self) -> None:
        seen = self._seen
        # A log works in every turn: it may write a part of a snapshot without input.
        if self.core.keeps_log or self._goes_on or seen:
            self._turns += 1
            frames, timers = [frame.hex() for frame in seen.frames], [list(key) for key in seen.timers]
            self._write(
                turn=self._turns,
                **{"in": frames},
                lost=seen.lost,
                timers=timers,
                retires=seen.retires,
                commit_ms=seen.commit_ms,
            )
            for noted in (seen.frames, seen.lost, seen.timers):
                noted.clear()
            seen.retires, seen.commit_ms = False, None
        super().finish_turn()
        if seen.unsent:
            self._write(unsent=[[to, frame.hex()] for to, frame in seen.unsent])
            seen.unsent.clear()

    def _write(self, **line: Any) -> None:
        os.write(self._file, json.dumps({**line, "time": time.monotonic_ns()}).encode() + b"\n")


if __name__ == "__main__":
    this_turn = _TurnInput()
    parts = Parts(
        transport=partial(_TracedTransport, this_turn), timers=partial(_TracedTimers, this_turn), core=_TracedCore
    )
    sys.exit(main(partial(TracedRuntime, Path(sys.argv.pop(1)), this_turn), parts))
