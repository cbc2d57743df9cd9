"""The breaks of a node below its algorithm: each replaces one part by a subclass that does something wrong.

`BREAKS` lists them. `broken_node.py` starts a node with one of them. Everything but the replaced part is shipped code.
"""

import errno
import os
from collections import Counter
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from harness.systems.forgiving_disk import ForgivingDisk
from node.contract import NodeId, Request, Stored, Value
from node.instances import Route, TimerKey
from node.log_contract import Record
from node.parts import Parts
from node.runtime import Runtime
from node.storage.disk import Contents, Disk, DiskFailed
from node.storage.log_store import DiskLog, record_checksum
from node.timers import Timers
from node.transport import Transport
from node.turn import ClientReply, NodeCore, Output
from node.wire import Codec, Envelope, Malformed, unpack

#: How many frames `TheQueueLeaks` sends to each peer.
_SENDS_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Break:
    """The parts and the runtime of a broken node."""

    parts: Parts = Parts()  # noqa: RUF009 - frozen
    runtime: type[Runtime] = Runtime


# --- the turn -------------------------------------------------------------------------------------------------------


class _UncheckedCore(NodeCore):
    def refuse_output(self) -> None:
        pass


class RepliesBeforeTheCommit(Runtime):
    """Sends and replies leave before the commit."""

    def commit(self) -> None:
        output = self.core.take_output()
        if output is not None:
            self.release(output)
        super().commit()


class NoMessagesToOneself(NodeCore):
    """What a node sends to itself is lost."""

    def take_own_messages(self) -> None:
        self.to_itself.clear()


class TimersNeverFire(Timers[TimerKey]):
    """No timer of an algorithm expires."""

    def take_expired(self) -> Iterator[TimerKey]:
        return (key for key in super().take_expired() if isinstance(key, Request))


class AnswersAreCrossed(NodeCore):
    """Two requests that are answered in one turn get each other's answers."""

    def take_output(self) -> Output | None:
        output = super().take_output()
        if output is not None:
            values = [reply.value for reply in output.replies]
            crossed = zip(output.replies, reversed(values), strict=True)
            return output._replace(replies=[reply._replace(value=value) for reply, value in crossed])
        return None


class RetriesAreTakenForDone(NodeCore):
    """A proposal that arrives again is answered with its own value: the table of requests holds no answers."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seen: dict[Request, None] = {}

    def propose(self, variable: str, request: Request, route: Route, timeout_s: float, value: Value) -> None:
        if request in self.seen:
            self._replies.append(ClientReply(route, request, value, None))
        self.seen[request] = None
        super().propose(variable, request, route, timeout_s, value)


class NamesAreCutShort(Codec):
    """A variable's name is cut to its first eight characters."""

    def decode(self, frame: bytes) -> Envelope:
        envelope = super().decode(frame)
        return envelope._replace(variable=envelope.variable[:8])


# --- the wire -------------------------------------------------------------------------------------------------------


class TheQueueLeaks(Transport):
    """After a few sends to a peer the node drops everything for that peer, as if the queue were full."""

    def __init__(self, *arguments: int) -> None:
        super().__init__(*arguments)
        self.sent: Counter[NodeId] = Counter()

    def send(self, to: NodeId, payload: bytes) -> None:
        self.sent[to] += 1
        if self.sent[to] <= _SENDS_MAX:
            super().send(to, payload)


class GoneClientsKill(Transport):
    """A reply to a client that has gone ends the node."""

    def send_back(self, route: Route, payload: bytes) -> None:
        dropped = self.dropped
        super().send_back(route, payload)
        if self.dropped > dropped:
            raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))


class DamagedFramesKill(Codec):
    """A frame that does not decode ends the node as an error of the system does."""

    def decode(self, frame: bytes) -> Envelope:
        try:
            return super().decode(frame)
        except Malformed as error:
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG)) from error


class MalformedFramesKill(Codec):
    """A frame that does not decode ends the node."""

    def decode(self, frame: bytes) -> Envelope:
        try:
            return super().decode(frame)
        except Malformed as error:
            raise RuntimeError("a frame that does not decode") from error


# --- the disk -------------------------------------------------------------------------------------------------------


class IncarnationsGoBack(Disk):
    """A boot decreases the incarnation, so peers drop the node's messages as stale."""

    def _open(self, *arguments: Any) -> Any:
        variables = super()._open(*arguments)
        self.incarnation = 2 - self.incarnation
        return variables


class NothingIsCommitted(Disk):
    """A commit does nothing."""

    def commit(self) -> None:
        self._dirty.clear()


class ACommitSavesOneThing(Disk):
    """Of all keys that a turn assigned, only the first is saved."""

    def commit(self) -> None:
        for key in list(self._dirty)[1:]:
            del self._dirty[key]
        super().commit()


class SynchronousNormal(Disk):
    """SQLite syncs its write-ahead log only at checkpoints."""

    def _open(self, *arguments: Any) -> Any:
        variables = super()._open(*arguments)
        self._db.execute("PRAGMA synchronous=NORMAL")
        return variables


class SynchronousOff(Disk):
    """SQLite never syncs."""

    def _open(self, *arguments: Any) -> Any:
        variables = super()._open(*arguments)
        self._db.execute("PRAGMA synchronous=OFF")
        return variables


class FailedCommitsAreIgnored(Disk):
    """A node whose commit failed continues as if it had succeeded."""

    def commit(self) -> None:
        try:
            super().commit()
        except DiskFailed:
            self._dirty.clear()


class FailedCommitsAreRepeated(Disk):
    """A node whose commit failed commits once more, and goes on."""

    def commit(self) -> None:
        try:
            super().commit()
        except DiskFailed:
            super().commit()


class AnOldCopyVotes(Disk):
    """A node boots on an old copy of its disk."""

    def _check_newest(self, *_: object) -> None:
        pass


class ChecksumsAreNotChecked(Disk):
    """The node does not check the checksums of what it reads from its disk."""

    def read_row(self, file: str, contents: Contents, variable: Any, key: Any, packed: Any, checksum: Any) -> None:
        contents.variables.setdefault(variable, {})[key] = unpack(packed)


class VariablesShareTheirRows(Disk):
    """All variables of a node share one set of rows on disk."""

    def variable(self, name: str) -> MutableMapping[str, Stored]:
        return super().variable("all")


class _TornLog(DiskLog):
    def since(self, slot: int, bytes_max: int) -> list[Record]:
        found = []
        for row in self._read("SELECT * FROM log WHERE slot >= ? ORDER BY slot", (slot,)):
            if row[-1] != record_checksum(Record(*row[:-1])):
                break
            found.append(Record(*row[:-1]))
        return found


class TornTailsEverywhere(Disk):
    """The node treats a record whose checksum does not match as the end of the log."""

    log_class = _TornLog


#: The breaks of a node, by their names on the command line.
BREAKS: Final[dict[str, Break]] = {
    "replies-before-the-commit": Break(Parts(core=_UncheckedCore), RepliesBeforeTheCommit),
    "no-messages-to-oneself": Break(Parts(core=NoMessagesToOneself)),
    "timers-never-fire": Break(Parts(timers=TimersNeverFire)),
    "answers-are-crossed": Break(Parts(core=AnswersAreCrossed)),
    "retries-are-taken-for-done": Break(Parts(core=RetriesAreTakenForDone)),
    "names-are-cut-short": Break(Parts(codec=NamesAreCutShort)),
    "the-queue-leaks": Break(Parts(transport=TheQueueLeaks)),
    "malformed-frames-kill": Break(Parts(codec=MalformedFramesKill)),
    "gone-clients-kill": Break(Parts(transport=GoneClientsKill)),
    "damaged-frames-kill": Break(Parts(codec=DamagedFramesKill)),
    "incarnations-go-back": Break(Parts(disk=IncarnationsGoBack)),
    "nothing-is-committed": Break(Parts(disk=NothingIsCommitted)),
    "a-commit-saves-one-thing": Break(Parts(disk=ACommitSavesOneThing)),
    "synchronous-normal": Break(Parts(disk=SynchronousNormal)),
    "synchronous-off": Break(Parts(disk=SynchronousOff)),
    "failed-commits-are-ignored": Break(Parts(disk=FailedCommitsAreIgnored)),
    "failed-commits-are-repeated": Break(Parts(disk=FailedCommitsAreRepeated)),
    "a-wiped-disk-votes": Break(Parts(disk=ForgivingDisk)),
    "an-old-copy-votes": Break(Parts(disk=AnOldCopyVotes)),
    "checksums-are-not-checked": Break(Parts(disk=ChecksumsAreNotChecked)),
    "variables-share-their-rows": Break(Parts(disk=VariablesShareTheirRows)),
    "torn-tails-everywhere": Break(Parts(disk=TornTailsEverywhere)),
}
