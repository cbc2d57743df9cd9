"""The asyncio client of a replicated log: the protocol and the operations of `LogClient`, awaited.

```python
async with AsyncLogClient(cluster_id, addresses) as client:
    await client.kv.put("owner", "alice")
```

Theory of operation
-------------------
Any number of tasks share a client: calls that begin in one round of the event loop leave in one frame. A turn of the client
(`_turn`) sends what is due, takes in what has arrived, and asks the loop to be called again when something is due. A task that
is cancelled gives its call up: a command that has not left then never does; a command that has left may take effect.

ZeroMQ's descriptors are edge-triggered, and sending clears the edge as well as receiving does (zmq_getsockopt, ZMQ_FD). So a
turn that has sent reads every socket until there is nothing more, whether or not a descriptor was ready.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import closing, suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from cluster.clients.configuration import AsyncClusterConfiguration
from cluster.clients.connections import Connections
from cluster.clients.groups import AsyncAssignment, AsyncMembers
from cluster.clients.kv import AsyncKv
from cluster.clients.lease_renewal import OnLost
from cluster.clients.locks import AsyncLock, AsyncLocks
from cluster.clients.operation import TIMEOUT_S, TTL_S, Operation, Steps, Stream, session_close
from cluster.clients.outcomes import value_of
from cluster.clients.pipeline import Pipeline
from cluster.clients.sharing import OwnProcess
from cluster.errors import ConsensusError, Mistake
from node.contract import NodeId
from node.tuning import SHIPPED, Tuning

T = TypeVar("T")


class _LoopWatcher:
    """Has the event loop watch sockets by their descriptors."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ready: Callable[[], None]) -> None:
        self._loop, self._ready = loop, ready
        self.sockets: dict[Any, int] = {}

    def register(self, socket: Any) -> None:
        self.sockets[socket] = descriptor = socket.fileno()
        self._loop.add_reader(descriptor, self._ready)

    def unregister(self, socket: Any) -> None:
        self._loop.remove_reader(self.sockets.pop(socket))

    def touched(self, socket: Any) -> None:
        """Do nothing: a turn reads every socket after it has sent."""


class AsyncLogClient:
    """A client for the tasks of one event loop. Make it in a coroutine; use it as a context manager, or `close` it."""

    def __init__(
        self,
        cluster: str,
        addresses: Callable[[], Mapping[NodeId, str]],
        name: str | None = None,
        resume: int | None = None,
        tuning: Tuning = SHIPPED,
    ) -> None:
        """Make a client. The arguments are those of `LogClient`. Raises RuntimeError outside of an event loop."""
        self._loop = asyncio.get_running_loop()
        self._process = OwnProcess("this client", "make a client in this process")
        self._pipeline = Pipeline(cluster, addresses, name, resume, tuning)
        self._watcher = _LoopWatcher(self._loop, self._schedule_turn)
        self._connections = Connections(self._watcher, monitors=True)
        self._next: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.kv = AsyncKv(self)
        self.locks = AsyncLocks(self)
        self.members = AsyncMembers(self)
        self.assignment = AsyncAssignment(self)
        self.configuration = AsyncClusterConfiguration(self)

    def lock(
        self,
        name: str,
        ttl_s: float = TTL_S,
        wait_s: float | None = None,
        owner: str | None = None,
        on_lost: OnLost | None = None,
        resume: int | None = None,
    ) -> AsyncLock:
        """Return a lock for an `async with` block, which yields the fencing token. The arguments are those of `Lock`."""
        return AsyncLock(self, name, ttl_s, wait_s, owner, on_lost, resume)

    @property
    def session(self) -> int | None:
        """The number of the client's session in the log; None before its first command."""
        return self._pipeline.session

    # --- calls ------------------------------------------------------------------------------------------------------

    async def do(self, operation: Operation[T] | Steps[T]) -> T:
        """Carry out one operation, or steps of several, and return the result. Raises as `LogClient.call` does."""
        if isinstance(operation, Operation):
            answer = await self.call(
                operation.machine,
                operation.command,
                read=operation.read,
                timeout_s=operation.timeout_s,
                wait_ms=operation.wait_ms,
            )
            return operation.decode(answer)
        try:
            step = next(operation)
            while True:
                try:
                    answer = await self.do(step)
                except ConsensusError as error:
                    step = operation.throw(error)
                else:
                    step = operation.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    async def each(self, stream: Stream[T]) -> AsyncIterator[T]:
        """Carry out a stream, and yield its items. Raises as `LogClient.call` does."""
        answer: Any = None
        with suppress(StopIteration), closing(stream):
            while True:
                step = stream.send(answer)
                answer = None
                if isinstance(step, Operation):
                    answer = await self.do(step)
                else:
                    for item in step:
                        yield item

    async def call(
        self,
        machine: str,
        command: list[Any],
        *,
        read: bool = False,
        timeout_s: float = TIMEOUT_S,
        wait_ms: int = 0,
    ) -> Any:
        """Carry out a command of any machine: see `LogClient.call`. If the task is cancelled meanwhile, the call is given up.

        Raises also Mistake: this is another event loop than the client's, or a forked child process.
        """
        self._process.check()
        if asyncio.get_running_loop() is not self._loop:
            raise Mistake("this client belongs to another event loop: make one in each loop. Nothing was sent")
        call = self._pipeline.call(machine, command, time.monotonic(), timeout_s, read=read, wait_ms=wait_ms)
        done: asyncio.Future[None] = self._loop.create_future()
        call.on_outcome = lambda _: None if done.done() else done.set_result(None)
        self._schedule_turn()
        try:
            await done
        except asyncio.CancelledError:
            self._pipeline.cancel(call)
            raise
        assert call.outcome is not None
        return value_of(call.outcome, read=read)

    async def end_session(self, timeout_s: float = TIMEOUT_S) -> None:
        """End the session now: see `LogClient.end_session`."""
        if self.session is not None:
            with suppress(ConsensusError):
                await self.do(session_close(self.session, timeout_s))

    def close(self) -> None:
        """Close the sockets. Calls under way get an outcome at once. In a forked child process this does nothing."""
        if not self._process.is_here:
            return
        self._pipeline.close()
        self._connections.close()
        for handle in (self._next, self._timer):
            if handle is not None:
                handle.cancel()
        self._next = self._timer = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    # --- turns ------------------------------------------------------------------------------------------------------

    def _schedule_turn(self) -> None:
        """Have the loop call `_turn` soon, once."""
        if self._next is None:
            self._next = self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Send what is due, and take in what has arrived."""
        self._next = None
        now = time.monotonic()
        try:
            for node, address, data in self._pipeline.outgoing(now):
                self._connections.send(node, address, data)
            received = self._receive_all(now)
        except BaseException:  # such as a mistake in `addresses`: no task must wait for ever. The loop reports it
            self.close()
            raise
        if received:
            self._schedule_turn()  # a message may have made something due; other tasks go first
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._pipeline.idle:
            self._timer = self._loop.call_later(max(self._pipeline.due() - now, 0.0), self._schedule_turn)

    def _receive_all(self, now: float) -> bool:
        """Take in every message that has arrived. Returns whether there was one."""
        any_received = False
        for socket in list(self._watcher.sockets):
            while (received := self._connections.receive(socket)) is not None:
                any_received = True
                node, data = received
                if data is None:
                    self._pipeline.disconnected(node, now)
                else:
                    self._pipeline.incoming(node, data, now)
        return any_received
