"""More clients of the API that are broken, as workloads: keepers, calls given up, shared clients, frames that are sent again.

`consensus test multipaxos --workload harness.mutants.unasked_clients:NAME` is to find them by what "mixed" asks anyway.
"""

from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import Any, ClassVar, Final

from cluster.clients.async_client import AsyncLogClient
from cluster.clients.lease_renewal import Lease
from cluster.clients.lock_operations import lock_give_up, lock_holder
from cluster.clients.locks import AsyncLock, Lock
from cluster.clients.log_call import LogCall
from cluster.clients.log_client import LogClient
from cluster.clients.operation import Operation, Steps
from cluster.clients.outcomes import NotDone
from cluster.clients.pipeline import Pipeline
from cluster.clients.sharing import ThreadSharing
from harness.mutants.clients import MixedWith
from node.contract import NodeId
from node.frames import CommandFrame, FrameReply

# --- how long a keeper is sure ----------------------------------------------------------------------------------------


def _with_renewals(lock: Any, renewed: Callable[[Lease], None]) -> Any:
    """Return a lock whose keeper does something more with each renewal that is answered."""
    shipped = lock._renewal

    def renewal(lease: Lease) -> Steps[bool]:
        before = lease.renewals
        ended: bool = yield from shipped(lease)
        if lease.renewals > before:
            renewed(lease)
        return ended

    lock._renewal = renewal
    return lock


class _WithKeepers(MixedWith):
    """The keepers of locks do something more with each renewal."""

    @staticmethod
    def renewed(lease: Lease) -> None:
        """Take in that a renewal was answered."""
        raise NotImplementedError

    def __init_subclass__(cls) -> None:
        class Blocking(LogClient):
            def lock(self, *arguments: Any, **more: Any) -> Lock:
                lock: Lock = _with_renewals(super().lock(*arguments, **more), cls.renewed)
                return lock

        class Asynchronous(AsyncLogClient):
            def lock(self, *arguments: Any, **more: Any) -> AsyncLock:
                lock: AsyncLock = _with_renewals(super().lock(*arguments, **more), cls.renewed)
                return lock

        cls.blocking_class, cls.async_class = Blocking, Asynchronous


class LeasesBeginWithTheAnswer(_WithKeepers):
    """A lease that is renewed counts from the moment at which the answer came."""

    @staticmethod
    def renewed(lease: Lease) -> None:
        lease._sure_until = monotonic() + lease.ttl_s


class DoubtComesLate(_WithKeepers):
    """A keeper that hears nothing is sure of its lease for half as long again."""

    @staticmethod
    def renewed(lease: Lease) -> None:
        lease._sure_until += lease.ttl_s / 2


# --- calls that are given up ------------------------------------------------------------------------------------------


class _ShiftingPipeline(Pipeline):
    def cancel(self, call: LogCall) -> None:
        super().cancel(call)
        for frame in self._frames.values():
            if call in frame.calls:
                frame.calls.remove(call)


class _EndingPipeline(Pipeline):
    def cancel(self, call: LogCall) -> None:
        super().cancel(call)
        for number, frame in list(self._frames.items()):
            if call in frame.calls:
                self._finish(number, frame)


class _WithPipeline(MixedWith):
    """The asyncio clients have another pipeline."""

    pipeline_class: ClassVar[type[Pipeline]]

    def __init_subclass__(cls) -> None:
        class Asynchronous(AsyncLogClient):
            def __init__(self, *arguments: Any, **more: Any) -> None:
                super().__init__(*arguments, **more)
                self._pipeline.__class__ = cls.pipeline_class

        cls.async_class = Asynchronous


class AnswersShiftWhenACallIsGivenUp(_WithPipeline):
    """A call that is given up is taken out of its frame, so each later call of the frame gets the answer of the one before."""

    pipeline_class = _ShiftingPipeline


class FramesEndWithACallThatIsGivenUp(_WithPipeline):
    """A call that is given up ends the wait for its frame's answer, so the other calls of the frame get none."""

    pipeline_class = _EndingPipeline


class _WithAbandoned(MixedWith):
    """The asyncio clients undo an acquire that is given up by another operation."""

    @staticmethod
    def abandon(lock: AsyncLock) -> Operation[Any]:
        """Return what undoes an acquire."""
        raise NotImplementedError

    def __init_subclass__(cls) -> None:
        class Asynchronous(AsyncLogClient):
            def lock(self, *arguments: Any, **more: Any) -> AsyncLock:
                lock: Any = super().lock(*arguments, **more)
                lock._abandon = lambda: cls.abandon(lock)
                made: AsyncLock = lock
                return made

        cls.async_class = Asynchronous


class CancelledAcquiresStay(_WithAbandoned):
    """A task that is cancelled while it waits for a lock stays in the queue."""

    @staticmethod
    def abandon(lock: AsyncLock) -> Operation[Any]:
        return lock_holder(lock.name)


class OthersAreGivenUp(_WithAbandoned):
    """A task that is cancelled while it waits for a lock gives up the place of an owner whose name has no number."""

    @staticmethod
    def abandon(lock: AsyncLock) -> Operation[Any]:
        return lock_give_up(lock.name, lock.owner.rpartition(":")[0], 1.0)


# --- clients that are shared ------------------------------------------------------------------------------------------


def _without_number(lock: Any) -> Any:
    """Return a lock whose owner is that of every other lock of its client."""
    lock.owner = lock.owner.rpartition(":")[0]
    return lock


class LocksOfAClientAreOne(MixedWith):
    """The locks of a client that have one name have one owner, so each of them is the holder."""

    class _Blocking(LogClient):
        def lock(self, *arguments: Any, **more: Any) -> Lock:
            lock: Lock = _without_number(super().lock(*arguments, **more))
            return lock

    class _Async(AsyncLogClient):
        def lock(self, *arguments: Any, **more: Any) -> AsyncLock:
            lock: AsyncLock = _without_number(super().lock(*arguments, **more))
            return lock

    blocking_class = _Blocking
    async_class = _Async


class _SilentSharing(ThreadSharing):
    def _notify(self) -> None:
        pass


class SleepersAreNotWoken(MixedWith):
    """A thread whose call is answered sleeps until the thread ends its own call that drives the client."""

    class _Blocking(LogClient):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            self._sharing.__class__ = _SilentSharing

    blocking_class = _Blocking


# --- frames that are sent again ---------------------------------------------------------------------------------------


class HastyPipeline(Pipeline):
    """A pipeline that takes the refusal of any copy of a frame for a proof that the frame was not done."""

    def _answered(self, node: NodeId, frame: Any, reply: FrameReply, now: float) -> None:
        if reply.refused is None or frame.sequence < 0:
            super()._answered(node, frame, reply, now)
            return
        self._finish(reply.number, frame)
        for call in frame.calls:
            call.settle(NotDone("refused", f"{node}: {reply.refused}"))


class ConfirmingPipeline(Pipeline):
    """A pipeline that confirms with each frame the answers to all earlier ones, also those that it lacks."""

    def _make_frames(self, now: float) -> None:
        super()._make_frames(now)
        for frame in self._frames.values():
            if isinstance(frame.message, CommandFrame) and frame.sequence > 0 and not frame.sends:
                frame.message = replace(frame.message, done=frame.sequence)


class RefusedCopiesAreNotDone(_WithPipeline):
    """A command whose frame was sent twice counts as not done once one copy is refused."""

    pipeline_class = HastyPipeline


class AnswersAreConfirmedUnseen(_WithPipeline):
    """A client confirms answers that it has not got, so a leader forgets them, and refuses the frame that is sent again."""

    pipeline_class = ConfirmingPipeline


#: By what shows them.
UNASKED_CLIENTS: Final[dict[str, tuple[type[MixedWith], ...]]] = {
    "keepers that hear late": (LeasesBeginWithTheAnswer, DoubtComesLate),
    "calls that are given up": (AnswersShiftWhenACallIsGivenUp, FramesEndWithACallThatIsGivenUp),
    "acquires that are given up": (CancelledAcquiresStay, OthersAreGivenUp),
    "clients that are shared": (LocksOfAClientAreOne, SleepersAreNotWoken),
    "frames that are sent again": (RefusedCopiesAreNotDone, AnswersAreConfirmedUnseen),
}
