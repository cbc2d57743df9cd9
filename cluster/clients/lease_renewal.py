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
1. What is kept belongs to the session of the client through which it is kept. So each object that keeps a lock names an owner of
   its own: two that name the same owner would be one holder.
2. The keeper reports the loss of a lease when it is in doubt, once, and not later because a renewal is under way: no renewal
   waits beyond that moment. After that it goes on to renew, so that no other client gets what is kept. But a loss that was
   reported stays one: `lost` remains true, and the end of the block raises `LeaseLost`.
"""

import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from cluster.clients.derived import AsyncClient, BlockingClient
from cluster.clients.operation import Operation, Steps
from cluster.errors import CommandRefused, ConsensusError, LeaseLost, Mistake, Refused

if TYPE_CHECKING:
    import asyncio

_SHORTEST_S: Final = 0.01
#: Called when a lease is lost, or may be.
OnLost: TypeAlias = Callable[[], object]
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
        self.reported = False
        """Whether the keeper has reported its loss."""
        self._refused = False
        self._sure_until = since + ttl_s

    @property
    def lost(self) -> bool:
        """Whether the lease has ended, or may have ended. It stays true once `take_loss` has returned True."""
        return self._refused or self.reported or monotonic() > self._sure_until

    def take_loss(self) -> bool:
        """Return whether the lease is lost, or may be, the first time that it is."""
        first = self.lost and not self.reported
        self.reported = self.reported or first
        return first

    def wait_s(self) -> float:
        """Return how long a pause or a renewal may last, in seconds: a third of the lease, and not beyond the moment of doubt."""
        left_s = self._sure_until - monotonic()
        return min(self.ttl_s / 3, max(left_s, _SHORTEST_S)) if left_s > 0 else self.ttl_s / 3

    def renewed(self, since: float) -> None:
        """Note a renewal that was requested at `since` and answered: no other client held it meanwhile."""
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

    @abstractmethod
    def _abandon(self) -> Operation[Any]:
        """Undo an `_obtain` that was interrupted."""

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
            yield self._renew(lease.wait_s())
        except Mistake:  # the client is closed
            return lease.lost
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
        if lease.reported:
            raise LeaseLost(f"{self.what} was not renewed in time, so it may have been lost before it was let go")


class Kept(Leased):
    """What a thread keeps for a `with` block, or from `start` to `stop`. For one thread at a time; it can be used again."""

    def __init__(self, client: BlockingClient, on_lost: OnLost | None = None) -> None:
        """Make a keeper.

        Args:
            client: the client through which it keeps.
            on_lost: called once if the lease is lost, or may be, by the thread that renews it. It must not wait for long.
        """
        self._client, self._on_lost = client, _checked(on_lost)
        self._in_use = False  # from the beginning of `start` to the end of `stop`
        self._stopped = threading.Event()
        self._renewer: threading.Thread | None = None

    def start(self) -> None:
        """Get it, and renew its lease from now on.

        Raises:
            Mistake: this object keeps it already.
            ConsensusError: it could not be obtained.
        """
        if self._in_use:
            raise Mistake(f"{self.what} is kept already: one object keeps one, so each thread makes its own")
        self._in_use = True
        try:
            lease = self._lease = Lease(self.what, self.ttl_s, self._client.do(self._obtain()))
        except BaseException as error:
            if not isinstance(error, Refused):
                with suppress(ConsensusError):  # without a reply it ends with its lease
                    self._client.do(self._abandon())
            self._in_use = False
            raise
        self._stopped.clear()
        self._renewer = threading.Thread(target=self._keep_renewing, args=(lease,), name=self.what, daemon=True)
        self._renewer.start()

    def stop(self) -> None:
        """Let go of it.

        Raises:
            Mistake: it is not kept.
            LeaseLost: it was lost, or may have been lost, before that.
            Unknown: no reply came. It ends with its lease.
        """
        lease, renewer = self._lease, self._renewer
        if lease is None or renewer is None:
            raise Mistake(f"{self.what} is not kept")
        self._lease = self._renewer = None
        self._stopped.set()
        try:
            if renewer is not threading.current_thread():  # else `on_lost` lets go
                renewer.join()
            self._client.do(self._ending(lease))
        finally:
            self._in_use = False

    def _keep_renewing(self, lease: Lease) -> None:
        """Renew the lease until it has ended or `stop` is called. The thread runs this."""
        ended = False
        while not ended and not self._stopped.wait(lease.wait_s()):
            self._report(lease)
            ended = self._client.do(self._renewal(lease))
            self._report(lease)

    def _report(self, lease: Lease) -> None:
        if lease.take_loss() and self._on_lost is not None:
            _call(self._on_lost)

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
    """What a task keeps for an `async with` block, or from `start` to `stop`. For one task at a time; it can be used again.

    If the lease is lost, or may be, the block is cancelled as by `asyncio.timeout`, and raises LeaseLost at its end.
    """

    def __init__(self, client: AsyncClient, on_lost: OnLost | None = None) -> None:
        """Make a keeper. `on_lost` is called once if the lease is lost, or may be, in the event loop."""
        self._client, self._on_lost = client, _checked(on_lost)
        self._in_use = False  # from the beginning of `start` to the end of `stop`
        self._renewer: asyncio.Task[None] | None = None
        self._block: asyncio.Timeout | None = None  # expires if the lease is lost

    async def start(self) -> None:
        """Get it, and renew its lease from now on. Raises as `Kept.start` does."""
        import asyncio  # noqa: PLC0415 - most programs go without it

        if self._in_use:
            raise Mistake(f"{self.what} is kept already: one object keeps one, so each task makes its own")
        self._in_use = True
        try:
            lease = self._lease = Lease(self.what, self.ttl_s, await self._client.do(self._obtain()))
        except BaseException as error:
            if not isinstance(error, Refused):
                with suppress(ConsensusError):  # without a reply it ends with its lease
                    await self._client.do(self._abandon())
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
        import asyncio  # noqa: PLC0415 - most programs go without it

        ended = False
        while not ended:
            await asyncio.sleep(lease.wait_s())
            self._report(lease)
            ended = await self._client.do(self._renewal(lease))
            self._report(lease)

    def _report(self, lease: Lease) -> None:
        import asyncio  # noqa: PLC0415 - most programs go without it

        if not lease.take_loss():
            return
        if self._block is not None:
            self._block.reschedule(asyncio.get_running_loop().time())
        if self._on_lost is not None:
            _call(self._on_lost)

    async def _enter_block(self) -> None:
        import asyncio  # noqa: PLC0415 - most programs go without it

        await self.start()
        self._block = asyncio.timeout(None)
        await self._block.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._block is not None
        block, self._block = self._block, None
        cancelled = False
        try:
            await block.__aexit__(kind, error, trace)
        except TimeoutError:
            cancelled = True
        try:
            await self.stop()
        except LeaseLost as lost:
            if cancelled:
                raise lost from error
            if kind is None:  # else the exception of the block is the one to report
                raise
        except ConsensusError:
            pass  # it was kept to the end of the block, and ends with its lease


def _checked(on_lost: OnLost | None) -> OnLost | None:
    if on_lost is not None and not callable(on_lost):
        raise Mistake(f"on_lost is {on_lost!r}, and must be a function without arguments")
    return on_lost


def _call(on_lost: OnLost) -> None:
    """Call a user's function. If it raises, the renewing goes on."""
    try:
        on_lost()
    except Exception:  # noqa: BLE001 - it is the user's mistake, and is reported
        traceback.print_exc()
