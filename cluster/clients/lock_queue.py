"""Waiting in line for a lock, step by step, with no I/O: the blocking client and its asyncio twin share it."""

from collections.abc import Callable, Generator
from typing import Any, Final, NamedTuple, TypeVar

from cluster.clients import operations as asks
from cluster.clients.operations import TIMEOUT_S, Ask
from cluster.errors import CommandRefused, Unknown

T = TypeVar("T")

#: Asks one after the other, each with the seconds that its answer may take; is sent the answers, or thrown what was raised.
Steps = Generator[tuple[Ask[Any], float], Any, T]

#: Seconds for an answer, however short of time the caller is.
LEAST_S: Final = 1.0


class Held(NamedTuple):
    """A lock that was acquired: its token, and the clock's time from which its lease lasts at least."""

    token: int
    since: float


def acquiring(name: str, owner: str, ttl_s: float, wait_s: float | None, clock: Callable[[], float]) -> Steps[Held]:
    """Wait in line for a lock.

    Every step can be repeated, so what is not answered is asked again, of another leader if need be.

    Raises:
        BadValue: a name is no string, or a time no number.
        CommandRefused: "held": somebody else had it for `wait_s` seconds (None: wait for ever). The place in line is given up.
        Unknown: no answer came in that time. The place in line, or the lock, ends with its lease.
    """
    deadline = float("inf") if wait_s is None else clock() + asks.check_seconds(wait_s)
    while True:
        since = clock()
        left_s = deadline - since
        try:
            ticket, token = yield asks.lock_acquire(name, owner, ttl_s), min(TIMEOUT_S, max(left_s, LEAST_S))
            if not token and left_s > 0:
                watch_s = min(ttl_s / 3, left_s)
                token = yield asks.lock_granted(name, ticket, watch_s), watch_s + LEAST_S
        except Unknown:
            if left_s <= 0:
                raise
        except CommandRefused as error:
            if left_s <= 0 or error.kind not in ("not_waiting", "not_sent"):
                raise
        else:
            if token:
                return Held(token, since)
            if left_s <= 0:
                yield asks.lock_give_up(name, owner), LEAST_S
                raise CommandRefused("held", f"{name!r} was held by others for {wait_s:g} s")
