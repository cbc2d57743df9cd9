"""Leases that belong to sessions, for machines whose holders may vanish: locks and members.

A lease ends when the log's time reaches its end, when its session ends, or when its machine drops it. It may end late,
but never early, because the log's time never runs faster than real time. `Leases` is not part of a snapshot: a machine
stores the `session` and `due_ms` of each lease in its own state, and calls `renew` for each of them when it is
restored.
"""

import heapq
from typing import Final, Generic, TypeVar

from node.machine import BEAT_MS, Moment, Refusal

LEASE_MS_MIN: Final = 100
NAME_BYTES_MAX: Final = 200
#: How many entries of the heap may be of leases that were dropped or renewed, beside as many as there are leases. It is small, so
#: that short runs rebuild the heap, too.
_DROPPED_MAX: Final = 4

_Key = TypeVar("_Key", int, str)


class Leases(Generic[_Key]):
    """Leases by their keys. The order of every result depends only on the leases, and not on how they came about."""

    def __init__(self) -> None:
        self._leases: dict[_Key, tuple[int, int]] = {}  # by key: session and due_ms
        self._of_session: dict[int, dict[_Key, None]] = {}
        self._heap: list[tuple[int, _Key]] = []  # may also hold leases that were dropped or renewed

    def renew(self, key: _Key, session: int, due_ms: int) -> None:
        """Begin the lease `key` of `session`, or renew it: it ends when the log's time reaches `due_ms`, in milliseconds."""
        self.drop(key)
        self._leases[key] = (session, due_ms)
        self._of_session.setdefault(session, {})[key] = None
        heapq.heappush(self._heap, (due_ms, key))
        if len(self._heap) > 2 * len(self._leases) + _DROPPED_MAX:
            self._heap = [(due_ms, key) for key, (_, due_ms) in self._leases.items()]
            heapq.heapify(self._heap)

    def drop(self, key: _Key) -> None:
        """Drop the lease `key`, if there is one."""
        session, _ = self._leases.pop(key, (0, 0))
        keys = self._of_session.get(session, {})
        keys.pop(key, None)
        if not keys:
            self._of_session.pop(session, None)

    def due_ms(self) -> int | None:
        """Return the log's time in milliseconds at which the next lease ends, or None without leases."""
        while self._heap:
            due_ms, key = self._heap[0]
            if key in self._leases and self._leases[key][1] == due_ms:
                return due_ms
            heapq.heappop(self._heap)
        return None

    def drop_ended(self, time_ms: int) -> list[_Key]:
        """Drop the leases that have ended at the log's time `time_ms`. Returns their keys, the earliest end first."""
        ended = []
        while (due_ms := self.due_ms()) is not None and due_ms <= time_ms:
            ended.append(self._heap[0][1])
            self.drop(ended[-1])
        return ended

    def of_session(self, session: int) -> list[_Key]:
        """Return the keys of a session's leases, sorted, so that the order is the same at every replica."""
        return sorted(self._of_session.get(session, {}))


def lease_ends_ms(at: Moment, lease_ms: int) -> int:
    """Return the log's time at which a lease that begins at `at` has lasted for at least `lease_ms` of real time."""
    return at.time_ms + BEAT_MS + lease_ms


def check_lease(lease_ms: int, most_ms: int) -> None:
    """Check the length of a lease, in milliseconds. `most_ms` is the setting `lease_ms_max`.

    Raises:
        Refusal: "bad_ttl", it is not between LEASE_MS_MIN and `most_ms`.
    """
    if not LEASE_MS_MIN <= lease_ms <= most_ms:
        raise Refusal(
            "bad_ttl", f"a lease lasts {LEASE_MS_MIN:,} to {most_ms:,} ms, but this one would last {lease_ms:,}"
        )


def check_name(name: str, of_what: str) -> None:
    """Check the length of a name. `of_what` is the kind of thing that it names, for the message.

    Raises:
        Refusal: "bad_name", it has no bytes or more than NAME_BYTES_MAX.
    """
    size = len(name.encode())
    if not 0 < size <= NAME_BYTES_MAX:
        raise Refusal("bad_name", f"the name of a {of_what} has 1 to {NAME_BYTES_MAX} bytes, but this one has {size:,}")


def check_session(session: int) -> None:
    """Check that a command has a session.

    Raises:
        Refusal: "no_session", the session is 0.
    """
    if session == 0:
        raise Refusal("no_session", "only a session can hold a lock or be a member: open a session first")
