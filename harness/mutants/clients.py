"""Clients of a log that are broken, as workloads: `consensus test multipaxos --workload harness.mutants.clients:NAME`.

Each is the workload "mixed", whose clients of the API, blocking and asyncio, are broken in one way. No script knows them.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from time import monotonic
from typing import Any, ClassVar, Final

from cluster.clients.async_client import AsyncLogClient
from cluster.clients.lease_renewal import Lease
from cluster.clients.locks import AsyncLock, Lock
from cluster.clients.log_client import LogClient
from cluster.clients.operation import Steps
from cluster.clients.pipeline import Pipeline
from harness.workloads.mixed import MixedWorkload
from harness.workloads.planned_call import PlannedCall
from harness.workloads.workload import Callers, CallUnderWay
from node.contract import NodeId
from node.frames import CommandFrame


class MixedWith(MixedWorkload):
    """The workload "mixed" with other clients of the API."""

    blocking_class: ClassVar[type[LogClient]] = LogClient
    async_class: ClassVar[type[AsyncLogClient]] = AsyncLogClient

    def begin(self, callers: Callers, client: int, call: PlannedCall) -> CallUnderWay:
        callers.api.blocking_class, callers.api.async_class = self.blocking_class, self.async_class
        return super().begin(callers, client, call)


# --- leases -----------------------------------------------------------------------------------------------------------


def _not_renewed(lease: Lease) -> Steps[bool]:
    lease.renewed(monotonic())
    return False
    yield


class RenewalsStop(MixedWith):
    """The keeper of a lock takes its lease for renewed, and sends nothing."""

    class _Blocking(LogClient):
        def lock(self, *arguments: Any, **more: Any) -> Lock:
            made = super().lock(*arguments, **more)
            made._renewal = _not_renewed  # type: ignore[method-assign]
            return made

    class _Async(AsyncLogClient):
        def lock(self, *arguments: Any, **more: Any) -> AsyncLock:
            made = super().lock(*arguments, **more)
            made._renewal = _not_renewed  # type: ignore[method-assign]
            return made

    blocking_class = _Blocking
    async_class = _Async


# --- sessions ---------------------------------------------------------------------------------------------------------


class _RenumberingPipeline(Pipeline):
    def outgoing(self, now: float) -> Iterator[tuple[NodeId, str, bytes]]:
        for frame in self._frames.values():
            if frame.sends and frame.sequence > 0 and frame.send_at <= now and isinstance(frame.message, CommandFrame):
                self._unanswered.pop(frame.sequence, None)
                self._sequence += 1
                frame.sequence = self._sequence
                self._unanswered[frame.sequence] = None
                frame.message = replace(frame.message, sequence=frame.sequence)
        yield from super().outgoing(now)


class RetriesAreNumberedAnew(MixedWith):
    """A frame that is sent again gets a number of its own, so the log takes it for another one."""

    class _Blocking(LogClient):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            self.pipeline.__class__ = _RenumberingPipeline

    class _Async(AsyncLogClient):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            self._pipeline.__class__ = _RenumberingPipeline

    blocking_class = _Blocking
    async_class = _Async


# --- ranges -----------------------------------------------------------------------------------------------------------


def _without_the_last(each: Callable[..., Any]) -> Callable[..., Any]:
    """Return `each` for which a list of several items has one item less."""

    def shorter(self: Any, stream: Any) -> Any:
        return each(self, _shortened(stream))

    return shorter


def _shortened(stream: Any) -> Any:
    answer: Any = None
    try:
        while True:
            step = stream.send(answer)
            answer = yield step[:-1] if isinstance(step, list) and len(step) > 1 else step
    except StopIteration:
        return


class PagesSkipAKey(MixedWith):
    """The iterator over a range, or over changes, leaves out the last one of a page."""

    class _Blocking(LogClient):
        each = _without_the_last(LogClient.each)

    class _Async(AsyncLogClient):
        each = _without_the_last(AsyncLogClient.each)

    blocking_class = _Blocking
    async_class = _Async


BROKEN_CLIENTS: Final = (RenewalsStop, RetriesAreNumberedAnew, PagesSkipAKey)
