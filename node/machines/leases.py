"""What is kept for a while, for a session: shared by the machines whose holders may vanish.

A lease ends when the log's time says so, when its session ends, or when its machine drops it. It can only end too late: the
log's time never runs faster than real time. Nothing here is part of a snapshot: a machine keeps `session` and `due_ms` of
each lease in its own state, and calls `keep` again when it is restored.
"""

import heapq
from typing import Final, Generic, TypeVar

from node.machine import BEAT_MS, Moment, Refusal

LEASE_MS_MIN: Final = 100
LEASE_MS_MAX: Final = 10 * 60 * 1000  # a session that is not used for longer than that may end before its leases
NAME_BYTES_MAX: Final = 200

_Key = TypeVar("_Key", int, str)


class Leases(Generic[_Key]):
    """Leases by their keys. Every answer has one order, whatever came before."""

    def __init__(self) -> None:
        self._leases: dict[_Key, tuple[int, int]] = {}  # session and due_ms
        self._of_session: dict[int, dict[_Key, None]] = {}
        self._heap: list[tuple[int, _Key]] = []  # may hold what is dropped, or kept for longer by now

    def keep(self, key: _Key, session: int, due_ms: int) -> None:
        """Begin a lease, or let it last until `due_ms`, for `session`."""
        self.drop(key)
        self._leases[key] = (session, due_ms)
        self._of_session.setdefault(session, {})[key] = None
        heapq.heappush(self._heap, (due_ms, key))
        if len(self._heap) > 2 * len(self._leases) + 64:
            self._heap = [(due_ms, key) for key, (_, due_ms) in self._leases.items()]
            heapq.heapify(self._heap)

    def drop(self, key: _Key) -> None:
        """End a lease, if there is one."""
        session, _ = self._leases.pop(key, (0, 0))
        keys = self._of_session.get(session, {})
        keys.pop(key, None)
        if not keys:
            self._of_session.pop(session, None)

    def due_ms(self) -> int | None:
        """When the next lease ends."""
        while self._heap:
            due_ms, key = self._heap[0]
            if key in self._leases and self._leases[key][1] == due_ms:
                return due_ms
            heapq.heappop(self._heap)
        return None

    def ended(self, time_ms: int) -> list[_Key]:
        """Drop the leases that have ended at `time_ms`, and tell which, the earliest first."""
        ended = []
        while (due_ms := self.due_ms()) is not None and due_ms <= time_ms:
            ended.append(self._heap[0][1])
            self.drop(ended[-1])
        return ended

    def of(self, session: int) -> list[_Key]:
        """The leases of a session, in the order of their keys, which is the same at every replica."""
        return sorted(self._of_session.get(session, {}))


def lease_ends_ms(at: Moment, lease_ms: int) -> int:
    """When a lease that begins at that moment has certainly lasted for `lease_ms`, by the log's time."""
    return at.time_ms + BEAT_MS + lease_ms


def check_lease(lease_ms: int) -> None:
    """Raises CommandRefused "bad_ttl"."""
    if not LEASE_MS_MIN <= lease_ms <= LEASE_MS_MAX:
        raise Refusal(
            "bad_ttl", f"a lease lasts {LEASE_MS_MIN:,} to {LEASE_MS_MAX:,} ms, and {lease_ms:,} is asked for"
        )


def check_name(name: str, of_what: str) -> None:
    """Raises CommandRefused "bad_name"."""
    size = len(name.encode())
    if not 0 < size <= NAME_BYTES_MAX:
        raise Refusal("bad_name", f"the name of a {of_what} has 1 to {NAME_BYTES_MAX} bytes, and this has {size:,}")


def check_session(session: int) -> None:
    """Raises CommandRefused "no_session"."""
    if session == 0:
        raise Refusal("no_session", "what is held is held by a session: open one first")
