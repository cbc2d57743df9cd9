"""Locks of a replicated log, for blocking clients: `Locks` by hand, and `Lock`, which renews its lease while it is held.

```python
with cluster.lock("printer", ttl_s=10) as token:
    printer.print(page, token)
```

What a lock can promise
-----------------------
Nobody is given the lock before the lease of whoever had it has ended by the log's time. But a holder cannot know how long ago
it has looked: it may have been suspended since, or its network be slow. So what keeps a resource from two holders is not the
lock but the **token**: it rises with every holder, and a resource that refuses a token below the highest it has seen refuses
whoever held the lock before. `Lock.lost` is a courtesy: it saves work.
"""

import os
import platform
from time import monotonic
from typing import TYPE_CHECKING

from cluster.clients import operations as asks
from cluster.clients.lease_renewal import TTL_S, Kept
from cluster.clients.lock_queue import acquiring
from cluster.clients.operations import TIMEOUT_S, Holder

if TYPE_CHECKING:
    from cluster.clients.log_client import LogClient


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


class Lock(Kept):
    """A lock for a `with` block, which is told the fencing token. The lease is renewed at a third of it."""

    def __init__(
        self,
        client: "LogClient",
        name: str,
        ttl_s: float = TTL_S,
        wait_s: float | None = None,
        owner: str | None = None,
    ) -> None:
        """Describe a lock.

        Args:
            client: one like the client of its own that it makes.
            name: what it is called.
            ttl_s: how long others have to wait if this process vanishes.
            wait_s: how long to wait in line; None: for ever.
            owner: what others see of its holder; None: this machine's name and the process's number.
        """
        super().__init__(client, f"the lock {name!r}", ttl_s)
        self.name, self.wait_s = name, wait_s
        self.owner = owner or f"{platform.node()}:{os.getpid()}"
        self.token = 0

    def acquire(self) -> int:
        """Wait in line, and return the fencing token. Raises as `Locks.acquire` does."""
        self.start()
        return self.token

    def release(self) -> None:
        """Let the next one have it. Raises as `Kept.stop` does."""
        self.stop()

    def _begin(self, client: "LogClient") -> float:
        self.token, since = client.run(acquiring(self.name, self.owner, self.ttl_s, self.wait_s, monotonic))
        return since

    def _renew(self, client: "LogClient", timeout_s: float) -> None:
        client.locks.renew(self.name, self.token, timeout_s)

    def _finish(self, client: "LogClient") -> None:
        client.locks.release(self.name, self.token)

    def __enter__(self) -> int:
        return self.acquire()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._leave_block(quietly=kind is not None)
