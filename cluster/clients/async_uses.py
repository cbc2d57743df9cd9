"""Locks, members and assignment for the tasks of an event loop: `cluster/clients/locks.py` and
`cluster/clients/groups.py`, awaited.

```python
async with client.lock("printer") as token:
    await printer.print(page, token)
```

What is kept for an `async with` block is kept by the session of the client, and renewed by a task. A task that is cancelled
while it waits in line leaves the line.
"""

import asyncio
import contextlib
import os
import platform
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from itertools import count
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from cluster.clients import operations as asks
from cluster.clients.lease_renewal import TTL_S, Lease, LeaseLost
from cluster.clients.lock_queue import LEAST_S, acquiring
from cluster.clients.operations import TIMEOUT_S, Holder, Share, Spread, View
from cluster.errors import ConsensusError, Mistake

if TYPE_CHECKING:
    from cluster.clients.async_client import AsyncLogClient

_WATCH_S: Final = 5.0
_numbers: Final = count(1)


class AsyncKept(ABC):
    """What is kept for an `async with` block, or from `start` to `stop`: `Kept`, awaited."""

    def __init__(self, client: "AsyncLogClient", what: str, ttl_s: float) -> None:
        self.what, self.ttl_s = what, ttl_s
        self._client = client
        self._taken = False  # from the beginning of `start` to the end of `stop`
        self._lease: Lease | None = None
        self._renewer: asyncio.Task[None] | None = None

    @abstractmethod
    async def _begin(self) -> float:
        """Get it. Returns since when, by the monotonic clock, its lease lasts at least."""

    @abstractmethod
    async def _renew(self, timeout_s: float) -> None:
        """Have the lease begin anew."""

    @abstractmethod
    async def _finish(self) -> None:
        """Let go of it."""

    @property
    def lost(self) -> bool:
        """As `Kept.lost`."""
        return self._lease is not None and self._lease.lost

    async def start(self) -> None:
        """Get it, and renew its lease from now on. Raises as whatever it is does."""
        if self._taken:
            raise Mistake(f"{self.what} is kept already: one object keeps one, so each task makes its own")
        self._taken = True
        try:
            self._lease = Lease(self.what, self.ttl_s, await self._begin())
        except BaseException:
            self._taken = False
            raise
        self._renewer = asyncio.create_task(self._go_on(self._lease), name=self.what)

    async def stop(self) -> None:
        """Let go of it. Raises as `Kept.stop` does."""
        lease, renewer = self._lease, self._renewer
        if lease is None or renewer is None:
            raise Mistake(f"{self.what} is not kept")
        self._lease = self._renewer = None
        renewer.cancel()
        try:
            await self._finish()
        except ConsensusError as error:
            raise lease.ended_with(error) from error
        finally:
            self._taken = False

    async def _go_on(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(self.ttl_s / 3)
            began = monotonic()
            try:
                await self._renew(self.ttl_s / 3)
            except ConsensusError as error:
                if lease.refused(error):
                    return
            else:
                lease.renewed(began)

    async def __aexit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        try:
            await self.stop()
        except LeaseLost:
            if kind is None:
                raise
        except ConsensusError:
            pass  # it was kept to the end of the block, and goes with its lease


class AsyncLock(AsyncKept):
    """A lock for an `async with` block, which is told the fencing token: `Lock`, awaited."""

    def __init__(
        self, client: "AsyncLogClient", name: str, ttl_s: float, wait_s: float | None, owner: str | None
    ) -> None:
        super().__init__(client, f"the lock {name!r}", ttl_s)
        self.name, self.wait_s = name, wait_s
        # Tasks share a session, so the number is what tells them apart: without it two would be one holder.
        self.owner = f"{owner or f'{platform.node()}:{os.getpid()}'}:{next(_numbers)}"
        self.token = 0

    async def _begin(self) -> float:
        try:
            steps = acquiring(self.name, self.owner, self.ttl_s, self.wait_s, monotonic)
            self.token, since = await self._client.run(steps)
        except asyncio.CancelledError:
            with contextlib.suppress(ConsensusError):  # at worst its place ends with its lease
                await self._client.ask(asks.lock_give_up(self.name, self.owner), LEAST_S)
            raise
        return since

    async def _renew(self, timeout_s: float) -> None:
        await self._client.ask(asks.lock_renew(self.name, self.token), timeout_s)

    async def _finish(self) -> None:
        await self._client.ask(asks.lock_release(self.name, self.token))

    async def __aenter__(self) -> int:
        await self.start()
        return self.token


class AsyncJoined(AsyncKept):
    """A membership for an `async with` block: `Joined`, awaited."""

    def __init__(self, client: "AsyncLogClient", machine: str, name: str, details: Any, ttl_s: float) -> None:
        super().__init__(client, f"the membership of {name!r}", ttl_s)
        self.machine, self.name, self.details = machine, name, details

    async def _begin(self) -> float:
        since = monotonic()
        await self._client.ask(asks.member_join(self.machine, self.name, self.details, self.ttl_s))
        return since

    async def _renew(self, timeout_s: float) -> None:
        await self._client.ask(asks.member_heartbeat(self.machine, self.name), timeout_s)

    async def _finish(self) -> None:
        await self._client.ask(asks.member_leave(self.machine, self.name))

    async def __aenter__(self) -> Self:
        await self.start()
        return self


class AsyncMembers:
    """Who is there: `Members`, awaited."""

    machine = "members"

    def __init__(self, client: "AsyncLogClient") -> None:
        self._client = client

    def joined(self, name: str, details: Any = None, ttl_s: float = TTL_S) -> AsyncJoined:
        """For an `async with` block that `name` is a member of."""
        return AsyncJoined(self._client, self.machine, name, details, ttl_s)

    async def join(self, name: str, details: Any = None, ttl_s: float = TTL_S, timeout_s: float = TIMEOUT_S) -> int:
        """Become a member. Returns the number of a view that it is in. Raises as `Members.join` does."""
        return await self._client.ask(asks.member_join(self.machine, name, details, ttl_s), timeout_s)

    async def heartbeat(self, name: str, timeout_s: float = TIMEOUT_S) -> int:
        """Stay a member. Returns the present view's number. Raises CommandRefused "not_member" or "not_yours"."""
        return await self._client.ask(asks.member_heartbeat(self.machine, name), timeout_s)

    async def leave(self, name: str, timeout_s: float = TIMEOUT_S) -> int:
        """Be a member no more. Returns a view that it is not in. Raises CommandRefused "not_member" or "not_yours"."""
        return await self._client.ask(asks.member_leave(self.machine, name), timeout_s)

    async def view(self, timeout_s: float = TIMEOUT_S) -> View:
        """The present members. Never older than the question."""
        return await self._client.ask(asks.member_view(self.machine), timeout_s)

    async def watch(self, after: View) -> AsyncIterator[View]:
        """Every view that follows `after`, as it comes, without an end. Raises CommandRefused "compacted"."""
        seen = after
        while True:
            ask = asks.member_watch(self.machine, seen, _WATCH_S)
            for view in await self._client.ask(ask, _WATCH_S + TIMEOUT_S):
                seen = view
                yield view


class AsyncAssignment(AsyncMembers):
    """Tasks spread over members of its own: `Assignment`, awaited."""

    machine = "assignment"

    async def add(self, task: str, timeout_s: float = TIMEOUT_S) -> bool:
        """Add a task. Returns whether it is new."""
        return await self._client.ask(asks.task_add(task), timeout_s)

    async def remove(self, task: str, timeout_s: float = TIMEOUT_S) -> None:
        """Remove a task. Raises CommandRefused "no_task"."""
        await self._client.ask(asks.task_remove(task), timeout_s)

    async def mine(self, name: str, after: Share | None = None, wait_s: float = 0.0) -> Share:
        """As `Assignment.mine`."""
        ask = asks.task_mine(name, after, wait_s)
        return await self._client.ask(ask, wait_s + TIMEOUT_S) or after or Share(0, {})

    async def owners(self, after: Spread | None = None, wait_s: float = 0.0) -> Spread:
        """As `Assignment.owners`."""
        ask = asks.task_owners(after, wait_s)
        return await self._client.ask(ask, wait_s + TIMEOUT_S) or after or Spread(0, {})


class AsyncLocks:
    """Locks by hand: `Locks`, awaited. Nothing is renewed unless you do it.

    Tasks share a session, so each that wants a lock for itself is an `owner` of its own: two that name the same one are the
    same holder.
    """

    def __init__(self, client: "AsyncLogClient") -> None:
        self._client = client

    async def acquire(self, name: str, owner: str, ttl_s: float = TTL_S, wait_s: float | None = None) -> int:
        """Wait in line, and return the fencing token. Raises as `Locks.acquire` does."""
        return (await self._client.run(acquiring(name, owner, ttl_s, wait_s, monotonic))).token

    async def try_acquire(self, name: str, owner: str, ttl_s: float = TTL_S, timeout_s: float = TIMEOUT_S) -> int:
        """Acquire a lock that nobody holds, and return the fencing token. Raises CommandRefused "held"."""
        return await self._client.ask(asks.lock_try(name, owner, ttl_s), timeout_s)

    async def give_up(self, name: str, owner: str, timeout_s: float = TIMEOUT_S) -> bool:
        """Leave the line, whether waiting in it or holding the lock. Returns whether there was a place to leave."""
        return await self._client.ask(asks.lock_give_up(name, owner), timeout_s)

    async def renew(self, name: str, token: int, timeout_s: float = TIMEOUT_S) -> None:
        """Let the lease begin anew. Raises CommandRefused "not_held", "stale_token" or "not_yours"."""
        await self._client.ask(asks.lock_renew(name, token), timeout_s)

    async def release(self, name: str, token: int, timeout_s: float = TIMEOUT_S) -> None:
        """Let the next one have it. Raises CommandRefused "not_held", "stale_token" or "not_yours"."""
        await self._client.ask(asks.lock_release(name, token), timeout_s)

    async def holder(self, name: str, timeout_s: float = TIMEOUT_S) -> Holder | None:
        """Who holds it. Never older than the question."""
        return await self._client.ask(asks.lock_holder(name), timeout_s)
