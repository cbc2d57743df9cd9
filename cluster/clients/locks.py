"""Locks: the methods of a client's `locks`, and `Lock` and `AsyncLock`, which renew their lease while they are held.

```python
with cluster.lock("printer", ttl_s=10) as token:
    printer.print(page, token)

async with client.lock("printer") as token:
    await printer.print(page, token)
```

What a lock can promise
-----------------------
The log gives a lock to no other owner before the holder's lease has ended by the log's time. But a holder cannot know how
long ago it last checked: it may have been suspended since, or its network may be slow. So the lock itself does not keep two
holders from a resource. The **token** does: it rises with every holder, and a resource that refuses a token below the highest
that it has seen refuses every earlier holder. `Lock.lost`, `on_lost` and the cancelling of an asyncio block are courtesies that
save work.

A process that has restarted
----------------------------
A lock belongs to a session. A process that has the token of an earlier one may **resume** its lock, as long as its lease lasts:
it gets a new token, with which it renews and releases the lock. The old token is refused from then on, so an earlier process
that lives on after all cannot use what the lock protects.
"""

import os
import platform
from itertools import count
from time import monotonic
from typing import Any, Final

from cluster.clients import lock_operations as operations
from cluster.clients.derived import AsyncClient, AsyncOperations, BlockingClient, BlockingOperations, awaited, blocking
from cluster.clients.lease_renewal import AsyncKept, Kept, Leased, OnLost
from cluster.clients.lock_queue import LEAST_S, lock_wait, wait_in_queue
from cluster.clients.operation import TIMEOUT_S, TTL_S, Operation, Steps

_numbers: Final = count(1)


class Locks(BlockingOperations):
    """Locks by hand: a lease is renewed only by `renew`.

    `owner` is the holder's name that others see. It distinguishes the users of this client; by default it is the client's id.
    """

    def acquire(self, name: str, ttl_s: float = TTL_S, wait_s: float | None = None, owner: str | None = None) -> int:
        """Acquire a lock, waiting in its queue. See `cluster.clients.lock_queue.lock_wait`."""
        return self._client.do(lock_wait(name, self._owner(owner), ttl_s, wait_s))

    def try_acquire(
        self, name: str, ttl_s: float = TTL_S, owner: str | None = None, timeout_s: float = TIMEOUT_S
    ) -> int:
        """Acquire a lock if no other owner holds it. See `cluster.clients.lock_operations.lock_try`."""
        return self._client.do(operations.lock_try(name, self._owner(owner), ttl_s, timeout_s))

    def give_up(self, name: str, owner: str | None = None, timeout_s: float = TIMEOUT_S) -> bool:
        """Leave the queue of a lock. See `cluster.clients.lock_operations.lock_give_up`."""
        return self._client.do(operations.lock_give_up(name, self._owner(owner), timeout_s))

    def resume(
        self, name: str, token: int, ttl_s: float = TTL_S, owner: str | None = None, timeout_s: float = TIMEOUT_S
    ) -> int:
        """Go on with a lock of an earlier process. See `cluster.clients.lock_operations.lock_resume`."""
        return self._client.do(operations.lock_resume(name, token, self._owner(owner), ttl_s, timeout_s))

    renew = blocking(operations.lock_renew)
    release = blocking(operations.lock_release)
    holder = blocking(operations.lock_holder)

    def _owner(self, owner: str | None) -> str:
        return self._client.id if owner is None else owner


class AsyncLocks(AsyncOperations):
    """Locks by hand for asyncio: a lease is renewed only by `renew`.

    Tasks share a session, so each task that wants a lock for itself names an `owner` of its own: two tasks that name the same
    owner are the same holder.
    """

    acquire = awaited(lock_wait)
    try_acquire = awaited(operations.lock_try)
    resume = awaited(operations.lock_resume)
    give_up = awaited(operations.lock_give_up)
    renew = awaited(operations.lock_renew)
    release = awaited(operations.lock_release)
    holder = awaited(operations.lock_holder)


class LeasedLock(Leased):
    """A lock, as the operations that get it, renew it and release it."""

    def __init__(self, name: str, ttl_s: float, wait_s: float | None, owner: str | None, resume: int | None) -> None:
        self.what = f"the lock {name!r}"
        self.name, self.ttl_s, self.wait_s, self.resumes = name, ttl_s, wait_s, resume
        # The users of a client share a session, so a number distinguishes their locks. Without it two would be one holder.
        self.owner = f"{owner or _this_process()}:{next(_numbers)}"
        self.token = 0
        """The fencing token of the last holding."""

    def _obtain(self) -> Steps[float]:
        if self.resumes is None:
            self.token, since = yield from wait_in_queue(self.name, self.owner, self.ttl_s, self.wait_s, monotonic)
        else:
            since = monotonic()
            self.token = yield operations.lock_resume(self.name, self.resumes, self.owner, self.ttl_s)
        return since

    def _renew(self, timeout_s: float) -> Operation[Any]:
        return operations.lock_renew(self.name, self.token, timeout_s)

    def _let_go(self) -> Operation[Any]:
        return operations.lock_release(self.name, self.token)

    def _abandon(self) -> Operation[Any]:
        return operations.lock_give_up(self.name, self.owner, LEAST_S)


class Lock(LeasedLock, Kept):
    """A lock for a `with` block, which yields the fencing token. A thread renews the lease each time a third of it has passed."""

    def __init__(
        self,
        client: BlockingClient,
        name: str,
        ttl_s: float = TTL_S,
        wait_s: float | None = None,
        owner: str | None = None,
        on_lost: OnLost | None = None,
        resume: int | None = None,
    ) -> None:
        """Describe a lock. It is acquired by `acquire`, or by a `with` block.

        Args:
            client: the client through which this lock is kept.
            name: the lock's name.
            ttl_s: how long others wait if this process vanishes, in seconds: 0.1 to 600.
            wait_s: how long to wait in the queue, in seconds; None: without an end.
            owner: the holder's name that others see, with a number behind it; None: this machine's name and the process's number.
            on_lost: called once if the lock is lost, or may be, such as `event.set`: by the thread that renews it, or in the
                event loop.
            resume: the token with which an earlier process holds the lock: this one goes on, instead of waiting in the queue.
        """
        LeasedLock.__init__(self, name, ttl_s, wait_s, owner, resume)
        Kept.__init__(self, client, on_lost)

    def acquire(self) -> int:
        """Wait in the queue, or resume, and return the fencing token.

        Raises:
            Mistake: this object holds the lock already.
            CommandRefused: "held": another owner held it for `wait_s` seconds; "not_held" or "stale_token": it cannot be resumed,
                since its lease has ended.
            Unknown: no reply came in that time.
        """
        self.start()
        return self.token

    def release(self) -> None:
        """Release the lock. The next one in the queue holds it then. Raises as `Kept.stop` does."""
        self.stop()

    def __enter__(self) -> int:
        return self.acquire()


class AsyncLock(LeasedLock, AsyncKept):
    """A lock for an `async with` block, which yields the fencing token. A task renews it when a third of the lease has passed.

    A task that is cancelled while it waits in the queue leaves the queue. If the lock is lost, or may be, the block is cancelled,
    and raises LeaseLost.
    """

    def __init__(
        self,
        client: AsyncClient,
        name: str,
        ttl_s: float = TTL_S,
        wait_s: float | None = None,
        owner: str | None = None,
        on_lost: OnLost | None = None,
        resume: int | None = None,
    ) -> None:
        """Describe a lock. The arguments are those of `Lock`."""
        LeasedLock.__init__(self, name, ttl_s, wait_s, owner, resume)
        AsyncKept.__init__(self, client, on_lost)

    async def __aenter__(self) -> int:
        await self._enter_block()
        return self.token


def _this_process() -> str:
    return f"{platform.node()}:{os.getpid()}"
