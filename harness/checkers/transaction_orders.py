"""An order of transactions on registers that explains every read: the proof that a history is serializable, or snapshot
isolated.

Theory of operation
-------------------
Run the transactions one after the other on one copy of the registers. A transaction can run next if every register that it
reads has the value that it read, if no transaction that must come before it is left, and if every register that it writes
has no reader left of the value that goes. For snapshot isolation a transaction has two moments instead: at its start it
reads, and at its commit it writes, if nobody else has written these registers since its start (the first committer wins).

First, of all that can run, the one that ended first in real time runs: a system that keeps to its promise has done much the
same. If that gets stuck, a history of few transactions is searched exhaustively. Otherwise the question is open.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

#: Up to so many transactions are searched exhaustively.
EXHAUSTIVE_MAX: Final = 20
#: How many states an exhaustive search may visit.
_STATES_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a transaction does to registers.

    Attributes:
        ended: its place in real time; infinity if its outcome is unknown.
        reads: the value that it read of each register before it wrote it.
        writes: the value that it left in each register.
    """

    ended: float
    reads: dict[Any, Any]
    writes: dict[Any, Any]


def serial_order(footprints: Sequence[Footprint], after: Sequence[Sequence[int]]) -> bool | None:
    """Return whether some order explains every read, each transaction as a whole; None if that is open.

    Args:
        footprints: the transactions.
        after: for each node of a graph without cycles, the nodes that come after it. The first nodes are the transactions.
    """
    if _greedily(footprints, after, _Registers(footprints).run):
        return True
    if len(footprints) > EXHAUSTIVE_MAX:
        return None
    return _search(_SerialRun(footprints, _predecessors(after, len(footprints))))


def snapshot_order(footprints: Sequence[Footprint]) -> bool | None:
    """Return whether some order of starts and commits explains every read; None if that is open."""
    if _greedily(footprints, [()] * len(footprints), _Registers(footprints).commit):
        return True
    if len(footprints) > EXHAUSTIVE_MAX:
        return None
    return _search(_SnapshotRun(footprints))


class _Blocked(Exception):
    """A transaction cannot run before the value of `key` changes, or before others have read it."""

    def __init__(self, key: Any) -> None:
        self.key = key


class _Stuck(Exception):
    """A transaction can never run any more."""


class _Registers:
    """The registers, and which transactions have still to read each value."""

    def __init__(self, footprints: Sequence[Footprint]) -> None:
        self.footprints = footprints
        self.values: dict[Any, Any] = {}
        self.readers: dict[tuple[Any, Any], set[int]] = {}
        self.snapshots: dict[int, dict[Any, Any]] = {}
        for number, one in enumerate(footprints):
            for item in one.reads.items():
                self.readers.setdefault(item, set()).add(number)

    def run(self, number: int) -> None:
        """Run a transaction as a whole."""
        one = self.footprints[number]
        self._check_reads(one)
        for key in one.writes:
            if self._readers_left(key) - {number}:
                raise _Blocked(key)
        for item in one.reads.items():
            self.readers[item].discard(number)
        self.values.update(one.writes)

    def commit(self, number: int) -> None:
        """Commit a transaction, after it and all who have still to read what it replaces have started."""
        one = self.footprints[number]
        self._start(number)
        if any(self.values.get(key) != value for key, value in self.snapshots[number].items()):
            raise _Stuck
        for key in one.writes:
            for reader in list(self._readers_left(key)):
                self._start(reader)
        self.values.update(one.writes)

    def _start(self, number: int) -> None:
        one = self.footprints[number]
        if number in self.snapshots:
            return
        self._check_reads(one)
        self.snapshots[number] = {key: self.values.get(key) for key in one.writes}
        for item in one.reads.items():
            self.readers[item].discard(number)

    def _check_reads(self, one: Footprint) -> None:
        for key, value in one.reads.items():
            if self.values.get(key) != value:
                raise _Blocked(key)

    def _readers_left(self, key: Any) -> set[int]:
        """Return who has still to read the value that a register has now."""
        return self.readers.get((key, self.values.get(key)), set())


def _greedily(footprints: Sequence[Footprint], after: Sequence[Sequence[int]], attempt: Callable[[int], None]) -> bool:
    """Return whether all transactions run if of those that can run the one that ended first is next.

    Args:
        footprints: the transactions.
        after: for each node of a graph, the nodes that come after it.
        attempt: runs one; it raises `_Blocked` or `_Stuck` if that cannot be.
    """
    count, done = len(footprints), 0
    waits = _entering(after)
    ready: list[tuple[float, int]] = []
    blocked: dict[Any, list[int]] = {}

    def make_ready(numbers: Iterable[int]) -> None:
        for number in numbers:
            heapq.heappush(ready, (footprints[number].ended, number))

    def release(nodes: list[int]) -> None:
        for node in nodes:  # the loop appends to this list
            if node < count:
                make_ready((node,))
            else:
                nodes += _passed(node, after, waits)

    release([node for node, number in enumerate(waits) if not number])
    while ready:
        _, number = heapq.heappop(ready)
        try:
            attempt(number)
        except _Blocked as obstacle:
            blocked.setdefault(obstacle.key, []).append(number)
            continue
        except _Stuck:
            return False
        done += 1
        one = footprints[number]
        make_ready({other for key in (*one.reads, *one.writes) for other in blocked.pop(key, ())})
        release(_passed(number, after, waits))
    return done == count


def _entering(after: Sequence[Sequence[int]]) -> list[int]:
    """Return how many edges enter each node."""
    found = [0] * len(after)
    for targets in after:
        for target in targets:
            found[target] += 1
    return found


def _passed(node: int, after: Sequence[Sequence[int]], waits: list[int]) -> list[int]:
    """Take away the edges from a node, and return the nodes that no edge enters any more."""
    free = []
    for target in after[node]:
        waits[target] -= 1
        if not waits[target]:
            free.append(target)
    return free


def _predecessors(after: Sequence[Sequence[int]], count: int) -> list[int]:
    """Return, for each of the first `count` nodes, the bits of those of them from which a path leads to it."""
    found = [0] * len(after)
    waits = _entering(after)
    free = [node for node, number in enumerate(waits) if not number]
    for node in free:  # the loop appends to this list
        reaching = found[node] | (1 << node if node < count else 0)
        for target in after[node]:
            found[target] |= reaching
        free += _passed(node, after, waits)
    return found[:count]


class _State(NamedTuple):
    started: int
    committed: int
    values: dict[Any, Any]


class _SerialRun:
    """Transactions that run as a whole."""

    def __init__(self, footprints: Sequence[Footprint], before: Sequence[int]) -> None:
        self.footprints, self.before = footprints, before
        self.all = (1 << len(footprints)) - 1

    def next_states(self, state: _State) -> Iterator[_State]:
        left = [number for number in range(len(self.footprints)) if not state.committed >> number & 1]
        for number in left:
            one = self.footprints[number]
            if self.before[number] & ~state.committed or not _matches(one, state.values):
                continue
            if any(_still_reads(self.footprints[other], state.values, one) for other in left if other != number):
                continue
            yield _State(state.started, state.committed | 1 << number, {**state.values, **one.writes})


class _SnapshotRun:
    """Transactions with a start and a commit."""

    def __init__(self, footprints: Sequence[Footprint]) -> None:
        self.footprints = footprints
        self.all = (1 << len(footprints)) - 1

    def next_states(self, state: _State) -> Iterator[_State]:
        for number, one in enumerate(self.footprints):
            bit = 1 << number
            if state.committed & bit:
                continue
            if not state.started & bit:
                if _matches(one, state.values):
                    snapshot = {("snapshot", number, key): state.values.get(key) for key in one.writes}
                    yield _State(state.started | bit, state.committed, {**state.values, **snapshot})
                continue
            if any(state.values.get(key) != state.values.get(("snapshot", number, key)) for key in one.writes):
                continue
            unstarted = (other for place, other in enumerate(self.footprints) if not state.started >> place & 1)
            if not any(_still_reads(other, state.values, one) for other in unstarted):
                yield _State(state.started, state.committed | bit, {**state.values, **one.writes})


def _matches(one: Footprint, values: dict[Any, Any]) -> bool:
    return all(values.get(key) == value for key, value in one.reads.items())


def _still_reads(reader: Footprint, values: dict[Any, Any], writer: Footprint) -> bool:
    """Return whether a transaction has still to read a value that the writer replaces."""
    return any(key in writer.writes and values.get(key) == value for key, value in reader.reads.items())


def _search(run: _SerialRun | _SnapshotRun) -> bool | None:
    seen: set[tuple[Any, ...]] = set()
    stack = [_State(0, 0, {})]
    while stack:
        state = stack.pop()
        if state.committed == run.all:
            return True
        for after in run.next_states(state):
            key = (after.started, after.committed, frozenset(after.values.items()))
            if key not in seen:
                seen.add(key)
                stack.append(after)
        if len(seen) > _STATES_MAX:
            return None
    return False
