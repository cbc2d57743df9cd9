"""Keeps a lease: a lock, or a membership. It is renewed while a `with` block lasts, or from `start` to `stop`.

Theory of operation
-------------------
A lease lasts at least `ttl_s` seconds from the moment at which it was requested, since the log's time never runs faster than
real time. So its keeper is sure of the lease for that long after the last renewal that was answered, and in doubt from then
on: see `Leased.lost`. The keeper renews at a third of the lease.

A thread keeps a lease for a blocking client (`Kept`), a task for an asyncio client (`AsyncKept`). Everything else is the same
for both and has no I/O: `Lease`, and the steps of `Leased`.

Rules
-----
1. What a thread keeps belongs to a client of its own, so to a session of its own, which ends with it.
2. What a task keeps belongs to the session of its client.
"""

import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol

from cluster.clients.derived import AsyncClient, BlockingClient
from cluster.clients.lock_queue import LEAST_S
from cluster.clients.operation import Operation, Steps
from cluster.errors import CommandRefused, ConsensusError, LeaseLost, Mistake

if TYPE_CHECKING:
    import asyncio

#: What a machine answers if a lease has ended.
_ENDED: Final = ("not_held", "stale_token", "not_member", "not_yours")


class Lease:
    """What a keeper knows of its lease. Times are in seconds of the monotonic clock."""

    def __init__(self, what: str, ttl_s: float, since: float) -> None:
        """Describe a lease.

        Args:
            what: names the lease in errors.
            ttl_s: how long it lasts, in seconds.
            since: when it was requested.
        """
        self.what, self.ttl_s = what, ttl_s
        self.renewals = 0
        self._refused = False
        self._sure_until = since + ttl_s

    @property
    def lost(self) -> bool:
        """Whether the lease has ended, or may have ended."""
        return self._refused or monotonic() > self._sure_until

    def renewed(self, since: float) -> None:
        """Note a renewal that was requested at `since` and answered. It ends any doubt: no other client held it meanwhile."""
        self._sure_until = since + self.ttl_s
        self.renewals += 1

    def refused(self, error: ConsensusError) -> bool:
        """Note that a renewal has failed. Returns whether the lease has ended; if not, the next renewal may succeed."""
        self._refused = self._refused or (isinstance(error, CommandRefused) and error.kind in _ENDED)
        return self._refused

    def ended_with(self, error: ConsensusError) -> ConsensusError:
        """Return what to raise if letting go of the lease has failed with `error`."""
        if isinstance(error, CommandRefused) and error.kind in _ENDED:
            return LeaseLost(f"{self.what} was lost meanwhile: {error}")
        if self.lost:
            return LeaseLost(f"{self.what} was not renewed in time, so it may have been lost: {error}")
        return error


class Leased(ABC):
    """Something that a log gives for a limited time, as the operations that get it, renew it and let go of it."""

    what: str
    """Names it in errors."""
    ttl_s: float
    """How long its lease lasts, in seconds."""
    _lease: Lease | None = None

    @abstractmethod
    def _obtain(self) -> Steps[float]:
        """Get it. Returns the time from which its lease lasts at least `ttl_s`, by the monotonic clock."""

    @abstractmethod
    def _renew(self, timeout_s: float) -> Operation[Any]:
        """Begin its lease anew."""

    @abstractmethod
    def _let_go(self) -> Operation[Any]:
        """End its lease."""

    def _abandon(self) -> Operation[Any] | None:
        """Undo an `_obtain` that was interrupted, if there is anything to undo."""
        return None

    @property
    def lost(self) -> bool:
        """Whether the lease has ended, or may have: no renewal was answered in time, or this process did not run."""
        return self._lease is not None and self._lease.lost

    @property
    def renewals(self) -> int:
        """How often the lease was renewed."""
        return 0 if self._lease is None else self._lease.renewals

    def _renewal(self, lease: Lease) -> Steps[bool]:
        """Renew the lease once. Returns whether it has ended, so that there is nothing more to renew."""
        since = monotonic()
        try:
            yield self._renew(self.ttl_s / 3)
        except ConsensusError as error:
            return lease.refused(error)
        lease.renewed(since)
        return False

    def _ending(self, lease: Lease) -> Steps[None]:
        """Let go of the lease. Raises LeaseLost if it was lost before, or Unknown: it ends by itself."""
        try:
            yield self._let_go()
        except ConsensusError as error:
            raise lease.ended_with(error) from error


class LeasingClient(BlockingClient, Protocol):
    """A blocking client that can make another one for what a thread keeps. `LogClient` is one."""

    @property
    def session(self) -> int | None:
        """The number of its session."""

    def another(self, name: str | None = None) -> "LeasingClient":
        """Return a client of the same log with a session of its own."""

    def end_session(self, timeout_s: float = ...) -> None:
        """End its session."""

    def close(self) -> None:
        """Close its sockets."""


class Kept(Leased):
    """What a thread keeps for a `with` block, or from `start` to `stop`. For one thread at a time; it can be used again."""

    def __init__(self, client: LeasingClient) -> None:
        """Make a keeper. It talks through a client of its own, which `client` makes."""
        self._parent = client
        self._client: LeasingClient | None = None
        self._stopped = threading.Event()
        self._renewer: threading.Thread | None = None

    def start(self) -> None:
        """Get it, and renew its lease from now on.

        Raises:
            Mistake: this object keeps it already.
            ConsensusError: it could not be obtained.
        """
        if self._client is not None:
            raise Mistake(f"{self.what} is kept already: one object keeps one")
        client = self._client = self._parent.another("keeper")
        try:
            lease = self._lease = Lease(self.what, self.ttl_s, client.do(self._obtain()))
        except BaseException:
            self._end_client()
            raise
        self._stopped.clear()
        self._renewer = threading.Thread(target=self._keep_renewing, args=(client, lease), name=self.what, daemon=True)
        self._renewer.start()

    def stop(self) -> None:
        """Let go of it.

        Raises:
            Mistake: it is not kept.
            LeaseLost: it was lost, or may have been lost, before that.
            Unknown: no reply came. It ends with its lease.
        """
        client, lease = self._client, self._lease
        if client is None or lease is None or self._renewer is None:
            raise Mistake(f"{self.what} is not kept")
        self._stopped.set()
        self._renewer.join()
        try:
            client.do(self._ending(lease))
        finally:
            self._end_client()

    def _end_client(self) -> None:
        if self._client is not None:
            self._client.end_session(LEAST_S)
            self._client.close()
        self._client = self._lease = self._renewer = None

    def _keep_renewing(self, client: LeasingClient, lease: Lease) -> None:
        """Renew the lease until it has ended or `stop` is called. The thread runs this, and no other uses the client."""
        while not self._stopped.wait(self.ttl_s / 3):
            if client.do(self._renewal(lease)):
                return

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        except LeaseLost:
            if kind is None:  # else the exception of the block is the one to report
                raise
        except ConsensusError:
            pass  # it was kept to the end of the block, and ends with its lease


class AsyncKept(Leased):
    """What a task keeps for an `async with` block, or from `start` to `stop`. For one task at a time; it can be used again."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._in_use = False  # from the beginning of `start` to the end of `stop`
        self._renewer: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Get it, and renew its lease from now on. Raises as `Kept.start` does."""
        import asyncio  # noqa: PLC0415 - its import takes a tenth of the start of a program that goes without

        if self._in_use:
            raise Mistake(f"{self.what} is kept already: one object keeps one, so each task makes its own")
        self._in_use = True
        try:
            lease = self._lease = Lease(self.what, self.ttl_s, await self._client.do(self._obtain()))
        except BaseException as error:
            undo = self._abandon()
            if isinstance(error, asyncio.CancelledError) and undo is not None:
                with suppress(ConsensusError):  # without a reply it ends with its lease
                    await self._client.do(undo)
            self._in_use = False
            raise
        self._renewer = asyncio.create_task(self._keep_renewing(lease), name=self.what)

    async def stop(self) -> None:
        """Let go of it. Raises as `Kept.stop` does."""
        lease, renewer = self._lease, self._renewer
        if lease is None or renewer is None:
            raise Mistake(f"{self.what} is not kept")
        self._lease = self._renewer = None
        renewer.cancel()
        try:
            await self._client.do(self._ending(lease))
        finally:
            self._in_use = False

    async def _keep_renewing(self, lease: Lease) -> None:
        """Renew the lease until it has ended. The task runs this; `stop` cancels it."""
        import asyncio  # noqa: PLC0415 - as above

        while True:
            await asyncio.sleep(self.ttl_s / 3)
            if await self._client.do(self._renewal(lease)):
                return

    async def __aexit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        try:
            await self.stop()
        except LeaseLost:
            if kind is None:  # else the exception of the block is the one to report
                raise
        except ConsensusError:
            pass  # it was kept to the end of the block, and ends with its lease
