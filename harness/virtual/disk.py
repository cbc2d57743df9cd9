"""A virtual node's disk in memory: keys and values, and a log. It knows what a crash would leave of it.

Theory of operation
-------------------
A commit makes every assignment of the turn durable. Under a fault model in which the disk syncs late, a commit is synced only
by the next commit: the disk reports the last commit as durable, and a crash loses it.
"""

from collections.abc import Iterator, MutableMapping
from functools import lru_cache

from node.contract import Stored, check_stored
from node.log_contract import Doubt, Record
from node.storage.log_store import MemoryLog
from node.wire import pack, unpack

Variables = dict[str, dict[str, Stored]]
_LogContents = tuple[dict[int, Record], dict[tuple[int, int], bytes], int]


@lru_cache(maxsize=65536, typed=True)
def _checked(key: str, value: Stored) -> None:
    check_stored(key, value)
    pack(value)


class VirtualVariable(MutableMapping[str, Stored]):
    """The keys and values of one variable. Iteration yields the keys in order, as SQLite does at boot."""

    def __init__(self, name: str, stored: dict[str, Stored], changed: dict[str, None]) -> None:
        self._name, self._stored, self._changed = name, stored, changed

    def __getitem__(self, key: str) -> Stored:
        return self._stored[key]

    def __setitem__(self, key: str, value: Stored) -> None:
        _check_storable(key, value)
        self._stored[key] = value
        self._changed[self._name] = None

    def __delitem__(self, key: str) -> None:
        del self._stored[key]
        self._changed[self._name] = None

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._stored))

    def __len__(self) -> int:
        return len(self._stored)


class VirtualLog(MemoryLog):
    """A log that knows what a crash would leave of it. If `late`, a commit is synced only by the next commit."""

    def __init__(self, *, late: bool = False) -> None:
        super().__init__()
        self._late = late
        self.before_turn: _LogContents | None = None
        """The contents before this turn, if the turn has changed them."""
        self.unsynced: _LogContents | None = None
        """The contents before the last commit, if that commit is not synced yet."""
        self.before_commit: _LogContents | None = None
        """The contents before the last commit, if that commit has changed them."""

        self.wrong: str | None = None
        """What a comparison with the log of a real disk has found: see `compared_log.py`."""
        self.resizes = False
        """Whether this turn writes or deletes parts of a snapshot, or shortens the log."""

    def put(self, record: Record) -> None:
        self._note_change()
        super().put(record)

    def truncate(self, first: int) -> None:
        self._note_change()
        self.resizes = True
        super().truncate(first)

    def keep_up_to(self, last: int) -> None:
        self._note_change()
        super().keep_up_to(last)

    def put_part(self, slot: int, number: int, data: bytes) -> None:
        self._note_change()
        self.resizes = True
        super().put_part(slot, number, data)

    def keep_only(self, slot: int) -> None:
        self._note_change()
        self.resizes = True
        super().keep_only(slot)

    def _note_change(self) -> None:
        if self.before_turn is None:
            self.before_turn = self.records.copy(), self.parts.copy(), self.first

    @property
    def dirty(self) -> bool:
        """Whether there is something to commit."""
        return self.before_turn is not None

    def commit(self) -> None:
        """Make the changes of the turn durable."""
        self.before_commit = self.before_turn
        if self._late and self.before_turn is not None:
            self.unsynced = self.before_turn
        self.before_turn = None
        self.resizes = False

    def crash(self) -> None:
        """Undo what was not synced."""
        self.restore(self.unsynced or self.before_turn)

    def restore(self, left: _LogContents | None) -> None:
        """Set the contents, between two turns; None leaves them as they are."""
        if left is not None:
            self.records, self.parts, self.first = left
        self.before_turn = self.unsynced = None
        self.resizes = False


class VirtualDisk:
    """The disk of one virtual node. It implements `node.instances.Storage`, and can crash."""

    def __init__(self, *, late: bool = False, log_late: bool = False) -> None:
        """Make an empty disk.

        Args:
            late: a commit is synced only by the next commit.
            log_late: the same, of the log alone.
        """
        self._late = late
        self.stored: Variables = {}
        self.synced: Variables = {}
        self._committed: Variables = {}
        self._changed: dict[str, None] = {}  # the variables that this turn has changed
        self.log = VirtualLog(late=late or log_late)
        self.doubt, self.doubts, self._doubt_ends = Doubt.NONE, 0, False
        self._before_last: tuple[Variables, _LogContents | None] = ({}, None)
        """What the last commit has changed: what was synced before it, and the log's contents if they differ."""

    @property
    def dirty(self) -> bool:
        """Whether something was assigned since the last commit."""
        return bool(self._changed) or self.log.before_turn is not None or self._doubt_ends

    def end_doubt(self) -> None:
        """End the doubt with the next commit."""
        self._doubt_ends = True

    def variables(self) -> list[str]:
        """Return the names of the variables that have a key stored."""
        return [name for name, of_one in self.stored.items() if of_one]

    def variable(self, name: str) -> VirtualVariable:
        """Return the keys and values of one variable, as a mapping that writes to this disk."""
        return VirtualVariable(name, self.stored.setdefault(name, {}), self._changed)

    def commit(self, *, ends_doubt: bool = True) -> None:
        """Make the assignments of the turn durable; of a disk that syncs late, those of the turn before.

        Args:
            ends_doubt: note the end of a doubt, too. A real disk does so after the commit, in another file.
        """
        if self._doubt_ends and ends_doubt:
            self.doubt, self._doubt_ends = Doubt.NONE, False
        if self._changed or self.log.before_turn is not None:
            self._before_last = self.synced.copy(), self.log.before_turn
        if self._changed:
            if self._late:
                self.synced = self._committed.copy()
            durable = self._committed if self._late else self.synced
            for name in self._changed:
                durable[name] = dict(self.stored[name])
            self._changed.clear()
        if self.log.before_turn is not None or self.log.before_commit is not None:
            self.log.commit()

    def crash(self) -> None:
        """Keep only what was synced, decoded from its encoding as a real node reads it at boot."""
        self.log.crash()
        self._doubt_ends = False
        self.load({name: _reread(of_one) for name, of_one in self.synced.items()}, None)

    def boot(self) -> None:
        """Note that the node boots. A real node's boot is a commit of its own, after which no earlier one is the last."""
        self._before_last = self.synced.copy(), None

    def begin_doubt(self, doubt: Doubt, *, loses_commit: bool) -> None:
        """Put the disk of a node that is down in doubt about its last commit, and lose that commit if `loses_commit`."""
        self.doubt, self.doubts = max(doubt, self.doubt), self.doubts + 1
        if loses_commit:
            synced, log = self._before_last
            self.log.restore(log)
            self.load({name: _reread(of_one) for name, of_one in synced.items()}, None)
            self._before_last = synced, None

    def unsynced(self) -> tuple[Variables, _LogContents | None]:
        """Return what a crash would leave of the keys and values, and of the log if that differs."""
        return self.synced, self.log.unsynced

    def load(self, stored: Variables, synced: Variables | None) -> None:
        """Set the keys and values between two turns. `synced` is what a crash leaves; None: everything in `stored`."""
        self.stored = stored
        self._changed.clear()
        self._committed = {name: dict(of_one) for name, of_one in stored.items()}
        self.synced = dict(self._committed) if synced is None else synced


def _reread(of_one: dict[str, Stored]) -> dict[str, Stored]:
    return {key: unpack(pack(value)) for key, value in of_one.items()}


def _check_storable(key: str, value: Stored) -> None:
    """Check that a real disk could store a value. Raise ContractBroken or BadValue if not."""
    try:
        _checked(key, value)
    except TypeError:  # one of them is not hashable, so it cannot be a key of the cache
        check_stored(key, value)
        pack(value)
