"""Locks of a replicated log, for blocking clients: `Locks` by hand, and `Lock`, which renews its lease while it is held.

```python
with cluster.lock("printer", ttl_s=10) as token:
    printer.print(page, token)
```

What a lock can promise
-----------------------
Nobody is given the lock before the lease of whoever had it has ended by the log's time, which never runs faster than real
time. But a holder cannot know how long ago it has looked: it may have been suspended since, or its network be slow. So what
keeps a resource from two holders is not the lock but the **token**: it rises with every holder, and a resource that refuses
a token below the highest it has seen refuses whoever held the lock before. `Lock.lost` is a courtesy: it saves work.
"""

import os
import platform
import threading
from collections.abc import Callable, Generator
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from cluster import asks
from cluster.asks import TIMEOUT_S, Ask, Holder
from cluster.errors import CommandRefused, ConsensusError, Mistake, Unknown

if TYPE_CHECKING:
    from cluster.log_client import LogClient

TTL_S: Final = 10.0
_LEAST_S: Final = 1.0  # for an answer, however short of time the caller is

T = TypeVar("T")

#: Asks one after the other, each with the seconds that its answer may take; is sent the answers, or thrown what was raised.
Steps = Generator[tuple[Ask[Any], float], Any, T]


class Held(NamedTuple):
    """A lock that was acquired: its token, and the clock's time from which its lease lasts at least."""

    token: int
    since: float


class LockLost(ConsensusError):
    """The lock was lost while it was held: its lease has ended, or may have. Somebody else may have held it meanwhile."""


def acquiring(name: str, owner: str, ttl_s: float, wait_s: float | None, clock: Callable[[], float]) -> Steps[Held]:
    """Wait in line for a lock. No I/O: whoever drives it sends and waits.

    Every step can be repeated, so what is not answered is asked again, of another leader if need be.

    Raises:
        CommandRefused: "held": somebody else had it for `wait_s` seconds (None: wait for ever). The place in line is given up.
        Unknown: no answer came in that time. The place in line, or the lock, ends with its lease.
    """
    deadline = float("inf") if wait_s is None else clock() + wait_s
    while True:
        since = clock()
        left_s = deadline - since
        try:
            ticket, token = yield asks.lock_acquire(name, owner, ttl_s), min(TIMEOUT_S, max(left_s, _LEAST_S))
            if not token and left_s > 0:
                watch_s = min(ttl_s / 3, left_s)
                token = yield asks.lock_granted(name, ticket, watch_s), watch_s + _LEAST_S
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
                yield asks.lock_give_up(name, owner), _LEAST_S
                raise CommandRefused("held", f"{name!r} was held by others for {wait_s:g} s")


class Locks:
    """Locks by hand: nothing is renewed unless you do it. `owner` is for people, and tells apart who shares this client."""

    def __init__(self, client: "LogClient") -> None:
        self._client = client

    def acquire(self, name: str, ttl_s: float = TTL_S, wait_s: float | None = None, owner: str | None = None) -> int:
        """Wait in line for a lock, and return the fencing token. Who has it already gets the same token, and a new lease.

        Raises:
            CommandRefused: "held": not within `wait_s` seconds (None: wait for ever). Nothing is kept of it.
            Unknown: no answer came in that time. What it may have got ends with its lease.
        """
        return self._client.run(acquiring(name, self._owner(owner), ttl_s, wait_s, monotonic)).token

    def try_acquire(
        self, name: str, ttl_s: float = TTL_S, owner: str | None = None, timeout_s: float = TIMEOUT_S
    ) -> int:
        """Acquire a lock that nobody holds, and return the fencing token. Raises CommandRefused "held"."""
        return self._client.ask(asks.lock_try(name, self._owner(owner), ttl_s), timeout_s)

    def renew(self, name: str, token: int, timeout_s: float = TIMEOUT_S) -> None:
        """Let the lease begin anew. Raises CommandRefused "not_held", "stale_token" or "not_yours"."""
        self._client.ask(asks.lock_renew(name, token), timeout_s)

    def release(self, name: str, token: int, timeout_s: float = TIMEOUT_S) -> None:
        """Let the next one have it. Raises CommandRefused "not_held", "stale_token" or "not_yours"."""
        self._client.ask(asks.lock_release(name, token), timeout_s)

    def give_up(self, name: str, owner: str | None = None, timeout_s: float = TIMEOUT_S) -> bool:
        """Leave the line, whether waiting in it or holding the lock. Returns whether there was a place to leave."""
        return self._client.ask(asks.lock_give_up(name, self._owner(owner)), timeout_s)

    def holder(self, name: str, timeout_s: float = TIMEOUT_S) -> Holder | None:
        """Who holds it. Never older than the question."""
        return self._client.ask(asks.lock_holder(name), timeout_s)

    def _owner(self, owner: str | None) -> str:
        return self._client.pipeline.id if owner is None else owner


class Lock:
    """A lock for a `with` block, which is told the fencing token. For one thread at a time; it can be used again.

    While it is held, a thread renews the lease at a third of it. The lock has a client, and so a session, of its own.
    """

    def __init__(
        self,
        name: str,
        connect: "Callable[[], LogClient]",
        ttl_s: float = TTL_S,
        wait_s: float | None = None,
        owner: str | None = None,
    ) -> None:
        """Describe a lock.

        Args:
            name: what it is called.
            connect: makes a client of the log.
            ttl_s: how long others have to wait if this process vanishes.
            wait_s: how long to wait in line; None: for ever.
            owner: what others see of its holder; None: this machine's name and the process's number.
        """
        self.name, self.ttl_s, self.wait_s = name, ttl_s, wait_s
        self.owner = owner or f"{platform.node()}:{os.getpid()}"
        self.token = 0  # 0: not held
        self.renewals = 0
        self._connect = connect
        self._client: LogClient | None = None
        self._released = threading.Event()
        self._renewer: threading.Thread | None = None
        self._refused = False
        self._sure_until = 0.0

    @property
    def lost(self) -> bool:
        """Whether the lease has ended, or may have: nobody could be reached to renew it, or this process did not run."""
        return self._refused or (self.token > 0 and monotonic() > self._sure_until)

    def acquire(self) -> int:
        """Wait in line, and return the fencing token. Raises as `Locks.acquire` does."""
        if self._client is not None:
            raise Mistake(f"this Lock holds {self.name!r} already: one Lock is for one holder")
        client = self._client = self._connect()
        try:
            held = client.run(acquiring(self.name, self.owner, self.ttl_s, self.wait_s, monotonic))
        except BaseException:
            self._end()
            raise
        self.token, self._sure_until, self._refused = held.token, held.since + self.ttl_s, False
        self._released.clear()
        self._renewer = threading.Thread(target=self._renew, args=(client,), name=f"lock {self.name}", daemon=True)
        self._renewer.start()
        return self.token

    def release(self) -> None:
        """Let the next one have it.

        Raises:
            LockLost: it was lost before.
            Unknown: no answer came. It ends with its lease.
        """
        client = self._client
        if client is None or self._renewer is None:
            raise Mistake(f"this Lock does not hold {self.name!r}")
        self._released.set()
        self._renewer.join()
        try:
            client.locks.release(self.name, self.token)
        except CommandRefused as error:
            raise LockLost(f"{self.name!r} was lost while it was held: {error}") from error
        except Unknown as error:
            if self.lost:
                raise LockLost(f"{self.name!r} was not renewed in time, so it may have been lost: {error}") from error
            raise
        finally:
            self._end()

    def _end(self) -> None:
        if self._client is not None:
            self._client.end_session(_LEAST_S)
            self._client.close()
        self._client, self._renewer, self.token = None, None, 0

    def _renew(self, client: "LogClient") -> None:
        """The thread. Until it ends, the client is its own."""
        while not self._released.wait(self.ttl_s / 3):
            began = monotonic()
            try:
                client.locks.renew(self.name, self.token, self.ttl_s / 3)
            except CommandRefused as error:
                if error.kind in ("not_held", "stale_token", "not_yours"):
                    self._refused = True
                    return
            except Unknown:
                pass  # the next one may be answered
            else:
                # Nobody else has held it meanwhile, even if that was in doubt.
                self._sure_until = began + self.ttl_s
                self.renewals += 1

    def __enter__(self) -> int:
        return self.acquire()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.release()
        except Unknown:
            pass  # what was to be done under the lock is done, and the lock ends with its lease
        except LockLost:
            if kind is None:
                raise
