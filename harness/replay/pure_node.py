"""A node without I/O that takes in what a real node took in, turn by turn, and boots on the disk that the real node found."""

from typing import NamedTuple

from harness.virtual.core import VirtualTimers
from harness.virtual.disk import Variables, VirtualDisk
from node.contract import Algorithm, NodeId, Request
from node.dispatch import dispatch
from node.instances import TimerKey
from node.log_contract import Record
from node.settings import Settings
from node.turn import NodeCore, Output
from node.wire import Envelope


class NotSet(Exception):
    """A timer expired at the real node that the pure node has not set. The message names the timer."""


class DiskContents(NamedTuple):
    """What a disk holds: the keys of each variable, and the records and snapshot parts of a log."""

    variables: Variables
    records: dict[int, Record]
    parts: dict[tuple[int, int], bytes]


NOTHING = DiskContents({}, {}, {})


class PureNode:
    """The node core of one node, over all its lives, without process, disk or sockets."""

    def __init__(self, settings: Settings, algorithm: type[Algorithm], node: NodeId) -> None:
        self._settings, self._algorithm, self._node = settings, algorithm, node
        self._before = NOTHING
        self._first_turn = False
        self._start_life(NOTHING)

    def _start_life(self, contents: DiskContents) -> None:
        self._disk = VirtualDisk()
        self._disk.load({name: dict(of_one) for name, of_one in contents.variables.items()}, None)
        self._disk.log.records, self._disk.log.parts = dict(contents.records), dict(contents.parts)
        self._disk.log.first = min(contents.records, default=1)
        self._timers = VirtualTimers()
        settings = self._settings
        self._core = NodeCore(
            self._algorithm, self._node, settings.nodes, self._disk, self._timers, settings.machines, settings.tuning
        )

    # --- disks ------------------------------------------------------------------------------------------------------

    def contents(self) -> DiskContents:
        """Return what the disk holds after the last turn."""
        log = self._disk.log
        return DiskContents(self._disk.synced, log.records, log.parts)

    def contents_before(self) -> DiskContents:
        """Return what the disk held before the last turn: the commit of that turn may have failed."""
        log = self._disk.log
        records, parts = log.before_commit[:2] if log.before_commit else (log.records, log.parts)
        return DiskContents(self._before.variables, records, parts)

    # --- turns ------------------------------------------------------------------------------------------------------

    def boot(self, contents: DiskContents) -> list[Output]:
        """Begin a life on a disk that holds `contents`. Return what leaves the node, in order."""
        self._start_life(contents)
        self._before = self._copy()
        self._core.boot()
        # A traced node of a log writes a line for every turn, so the trace has the first turn of this life. Other nodes write
        # no line for a turn that takes in nothing, such as the first, so that turn ends here.
        self._first_turn = self._algorithm.keeps_log
        return [] if self._first_turn else self.end_turn(retires=False)

    def begin_turn(self, commit_ms: int | None) -> None:
        """Take in what the node sent to itself, and how long its last commit took, if the node reported that.

        The first turn of a life ends the boot, and takes in nothing.
        """
        self._before = self._copy()
        if not self._first_turn:
            self._core.take_own_messages()
        self._first_turn = False
        self._core.commit_took(commit_ms)

    def take(self, envelope: Envelope) -> None:
        """Take in a frame of a node or a client.

        Raises:
            Malformed: the node has no use for such a frame.
        """
        dispatch(self._core, self._settings, (envelope.sender,), envelope)

    def lose(self, peer: NodeId) -> None:
        """Take in that a connection has closed."""
        self._core.peer_lost(peer)

    def expire(self, key: TimerKey) -> None:
        """Take in that a timer has expired.

        Raises:
            NotSet: this node has not set that timer.
        """
        if isinstance(key, Request):
            if key not in self._core.waiting:
                raise NotSet(f"the deadline of request {key.client}/{key.number}, which does not wait")
        elif key not in self._timers.running:
            raise NotSet(f"the timer {key[1]!r} of {key[0]!r}")
        self._timers.cancel(key)
        self._core.timer_expired(key)

    def end_turn(self, *, retires: bool) -> list[Output]:
        """Commit, and return what leaves the node, in order."""
        self._core.end_of_input()
        if retires:
            self._core.retire()
        early = self._core.take_early()
        self._disk.commit()
        output = self._core.take_output()
        self._core.after_turn()
        return [each for each in (early, output) if each is not None]

    def _copy(self) -> DiskContents:
        variables = {name: dict(of_one) for name, of_one in self._disk.stored.items()}
        return DiskContents(variables, {}, {})
