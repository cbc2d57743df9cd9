"""Waiting in the queue of a lock, step by step. No I/O: every client drives these steps."""

from collections.abc import Callable
from time import monotonic
from typing import Final, NamedTuple

from cluster.clients.lock_operations import Place, lock_acquire, lock_give_up, lock_granted
from cluster.clients.operation import TIMEOUT_S, TTL_S, Steps, checked_seconds
from cluster.errors import CommandRefused, Unknown

#: How long a reply may take however little of the caller's time is left, in seconds.
LEAST_S: Final = 1.0


class AcquiredLock(NamedTuple):
    """A lock that was acquired: its fencing token, and the time of the clock from which its lease lasts at least `ttl_s`."""

    token: int
    since: float


def lock_wait(name: str, owner: str, ttl_s: float = TTL_S, wait_s: float | None = None) -> Steps[int]:
    """Acquire a lock, waiting in its queue.

    Args:
        name: the lock's name.
        owner: the holder's name, which others see. An owner that holds the lock already gets the same token and a new lease.
        ttl_s: how long the lease lasts, in seconds: 0.1 to 600. It is not renewed.
        wait_s: how long to wait in the queue, in seconds; None: without an end.

    Returns:
        The fencing token.

    Raises:
        CommandRefused: "held": another owner held it for `wait_s` seconds. The place in the queue is given up.
        Unknown: no reply came in that time. The place in the queue, or the lock, ends with its lease.
    """
    return (yield from wait_in_queue(name, owner, ttl_s, wait_s)).token


def wait_in_queue(
    name: str, owner: str, ttl_s: float, wait_s: float | None, clock: Callable[[], float] = monotonic
) -> Steps[AcquiredLock]:
    """Do what `lock_wait` does, by a clock, and return also since when the lease lasts.

    Every step can be repeated, so a step without a reply is done again, at another leader if there is one.
    """
    deadline = float("inf") if wait_s is None else clock() + checked_seconds(wait_s)
    while True:
        since = clock()
        left_s = deadline - since
        try:
            place: Place = yield lock_acquire(name, owner, ttl_s, min(TIMEOUT_S, max(left_s, LEAST_S)))
            token = place.token
            if not token and left_s > 0:
                watch_s = min(ttl_s / 3, left_s)
                token = yield lock_granted(name, place.ticket, watch_s, watch_s + LEAST_S)
        except Unknown:
            if left_s <= 0:
                raise
        except CommandRefused as error:
            if left_s <= 0 or error.kind not in ("not_waiting", "not_sent"):
                raise
        else:
            if token:
                return AcquiredLock(token, since)
            if left_s <= 0:
                yield lock_give_up(name, owner, LEAST_S)
                raise CommandRefused("held", f"{name!r} was held by others for {wait_s:g} s")
