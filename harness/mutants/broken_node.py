"""`python -m harness.mutants.broken_node BREAK …`: a node whose runtime, disk or wire is broken on purpose.

Each break replaces something in this process alone, before the node starts; the rest of the command line is the node's own.
"""

import sys
from collections import Counter
from collections.abc import Iterator, MutableMapping
from typing import Any, Final

import node.__main__
import node.storage.disk_contents
from harness.mutants import log_breaks  # noqa: F401 - lists its breaks
from harness.mutants.breaks import BREAKS, listed, replace
from node.contract import NodeId, Request, Stored, Value
from node.runtime import Runtime
from node.storage.disk import Contents, Disk, DiskFailed
from node.timers import Timers
from node.transport import Route, Transport
from node.variables import Answer, TimerKey, Variables
from node.wire import Codec, Envelope, Malformed, unpack

__all__ = ["BREAKS"]  # all of them are listed once this module is here

#: Sends that a leaking queue takes before it is full for ever.
_SENDS_MAX: Final = 3

# --- the turn -------------------------------------------------------------------------------------------------------


@listed
def replies_before_the_commit() -> None:
    """Sends and replies leave before the commit."""

    def finish_turn(self: Any) -> None:
        self._release()
        self._disk.commit()

    replace(Runtime, "_finish_turn", finish_turn)


@listed
def no_messages_to_oneself() -> None:
    """What a node sends itself is lost."""
    take_in = Runtime._take_in

    def without(self: Any) -> None:
        self._to_self.clear()
        take_in(self)

    replace(Runtime, "_take_in", without)


@listed
def timers_never_fire() -> None:
    """No timer of an algorithm runs out."""
    run_out = Timers.run_out

    def requests_alone(self: Timers[TimerKey]) -> Iterator[TimerKey]:
        return (key for key in run_out(self) if isinstance(key, Request))

    replace(Timers, "run_out", requests_alone)


@listed
def answers_are_crossed() -> None:
    """Two answers of a turn go to each other's requests."""
    take_turn = Variables.take_turn

    def crossed(self: Variables) -> Any:
        turn = take_turn(self)
        values = [answer.value for answer in turn.answers]
        for answer, value in zip(turn.answers, reversed(values), strict=True):
            answer.value = value
        return turn

    replace(Variables, "take_turn", crossed)


@listed
def retries_are_taken_for_done() -> None:
    """A proposal that comes again is answered with its own value: the table of requests has no answers in it."""
    propose = Variables.propose
    seen: set[Request] = set()

    def proposed(
        self: Variables, variable: str, request: Request, route: Route, timeout_s: float, value: Value
    ) -> None:
        if request in seen:
            self.turn.answers.append(Answer(route, request.number, value))
        seen.add(request)
        propose(self, variable, request, route, timeout_s, value)

    replace(Variables, "propose", proposed)


@listed
def names_are_cut_short() -> None:
    """Only the first eight letters of a variable's name tell it from others."""
    decode = Codec.decode

    def shortened(self: Codec, frame: bytes) -> Envelope:
        envelope = decode(self, frame)
        return Envelope(envelope.sender, envelope.incarnation, envelope.variable[:8], envelope.message)

    replace(Codec, "decode", shortened)


# --- the wire -------------------------------------------------------------------------------------------------------


@listed
def the_queue_leaks() -> None:
    """After a few sends to a peer its queue is taken for full, and nothing leaves any more."""
    send = Transport.send
    sent: Counter[NodeId] = Counter()

    def leaking(self: Transport, to: NodeId, payload: bytes) -> None:
        sent[to] += 1
        if sent[to] <= _SENDS_MAX:
            send(self, to, payload)

    replace(Transport, "send", leaking)


@listed
def malformed_frames_kill() -> None:
    """A frame that does not decode ends the node."""
    decode = Codec.decode

    def strict(self: Codec, frame: bytes) -> Envelope:
        try:
            return decode(self, frame)
        except Malformed as error:
            raise RuntimeError("a frame that does not decode") from error

    replace(Codec, "decode", strict)


@listed
def incarnations_go_back() -> None:
    """A boot counts backwards, so that peers take the new life of a node for an old one."""
    open_disk = Disk._open

    def back(self: Disk, *arguments: Any) -> Any:
        contents = open_disk(self, *arguments)
        self.incarnation = 2 - self.incarnation
        return contents

    replace(Disk, "_open", back)


# --- the disk -------------------------------------------------------------------------------------------------------


@listed
def nothing_is_committed() -> None:
    """A commit does nothing."""
    replace(Disk, "commit", lambda self: self._dirty.clear())


@listed
def a_commit_saves_one_thing() -> None:
    """Of what a turn assigned, the first is saved."""
    commit = Disk.commit

    def partly(self: Disk) -> None:
        for key in list(self._dirty)[1:]:
            del self._dirty[key]
        commit(self)

    replace(Disk, "commit", partly)


def _synchronous(how: str) -> None:
    open_disk = Disk._open

    def opened(self: Disk, *arguments: Any) -> Any:
        contents = open_disk(self, *arguments)
        self._db.execute(f"PRAGMA synchronous={how}")
        return contents

    replace(Disk, "_open", opened)


@listed
def synchronous_normal() -> None:
    """SQLite syncs its log at checkpoints alone."""
    _synchronous("NORMAL")


@listed
def synchronous_off() -> None:
    """SQLite never syncs."""
    _synchronous("OFF")


@listed
def failed_commits_are_ignored() -> None:
    """A node whose disk has failed goes on as if it had not."""
    commit = Disk.commit

    def careless(self: Disk) -> None:
        try:
            commit(self)
        except DiskFailed:
            self._dirty.clear()

    replace(Disk, "commit", careless)


@listed
def a_wiped_disk_votes() -> None:
    """A node whose directory has gone starts on a new one."""
    init = Disk.__init__

    def forgiving(self: Disk, *arguments: Any, **more: Any) -> None:
        init(self, *arguments, **{**more, "must_exist": False})

    replace(Disk, "__init__", forgiving)


@listed
def checksums_are_not_checked() -> None:
    """What is stored is believed."""

    def believing(_file: str, contents: Contents, variable: Any, key: Any, packed: Any, _checksum: Any) -> None:
        contents.variables.setdefault(variable, {})[key] = unpack(packed)

    replace(node.storage.disk_contents, "read_row", believing)


@listed
def variables_share_their_rows() -> None:
    """On disk all variables of a node are one."""

    def shared(self: Disk, _name: str) -> MutableMapping[str, Stored]:
        return variable(self, "all")

    variable = Disk.variable
    replace(Disk, "variable", shared)


if __name__ == "__main__":
    BREAKS[sys.argv.pop(1)]()
    sys.exit(node.__main__.main())
