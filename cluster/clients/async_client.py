"""The asyncio twin of `LogClient`: the same protocol, the same calls, awaited.

```python
async with AsyncLogClient(cluster_id, addresses) as client:
    await client.kv.put("owner", "alice")
```

Theory of operation
-------------------
Any number of tasks share a client: what they begin in one round of the event loop leaves in one frame. A turn of the client
(`_turn`) sends what is to be sent, takes in what has come, and asks to be called again when something is due. A task that is
cancelled gives its call up: a command that has not left then never does; one that has may take effect.

ZeroMQ's descriptors are edge-triggered, and sending clears the edge as well as receiving does (zmq_getsockopt, ZMQ_FD). So a
turn that has sent reads every socket until there is nothing more, whether or not a descriptor was ready.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from cluster.clients import operations as asks
from cluster.clients.async_uses import AsyncAssignment, AsyncLock, AsyncLocks, AsyncMembers
from cluster.clients.calls import outcome_value
from cluster.clients.connections import Connections
from cluster.clients.lease_renewal import TTL_S
from cluster.clients.lock_queue import Steps
from cluster.clients.operations import TIMEOUT_S, Ask, Change, Entry, Membership
from cluster.clients.pipeline import Pipeline
from cluster.errors import ConsensusError
from node.contract import NodeId

T = TypeVar("T")

_WATCH_S: Final = 5.0


class _LoopPoller:
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
        """A turn looks at every socket after it has sent."""


class AsyncLogClient:
    """A client for the tasks of one event loop. Make it in a coroutine; use it as a context manager, or `close` it."""

    def __init__(
        self,
        cluster: str,
        addresses: Callable[[], Mapping[NodeId, str]],
        name: str | None = None,
        resume: int | None = None,
    ) -> None:
        """Make a client. The arguments are those of `LogClient`. Raises RuntimeError outside of an event loop."""
        self._loop = asyncio.get_running_loop()
        self._pipeline = Pipeline(cluster, addresses, name, resume)
        self._poller = _LoopPoller(self._loop, self._soon)
        self._connections = Connections(self._poller, monitors=True)
        self._next: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.kv = AsyncKv(self)
        self.locks = AsyncLocks(self)
        self.members = AsyncMembers(self)
        self.assignment = AsyncAssignment(self)
        self.configuration = AsyncClusterConfiguration(self)

    def lock(self, name: str, ttl_s: float = TTL_S, wait_s: float | None = None, owner: str | None = None) -> AsyncLock:
        """A lock for an `async with` block, which is told the fencing token. As `LogClient.lock`."""
        return AsyncLock(self, name, ttl_s, wait_s, owner)

    @property
    def session(self) -> int | None:
        """As `LogClient.session`."""
        return self._pipeline.session

    # --- calls ------------------------------------------------------------------------------------------------------

    async def ask(self, ask: Ask[T], timeout_s: float = TIMEOUT_S) -> T:
        """Ask something of a machine and return what its answer means. Raises as `LogClient.call` does."""
        answer = await self.call(ask.machine, ask.command, read=ask.read, timeout_s=timeout_s, wait_ms=ask.wait_ms)
        return ask.decode(answer)

    async def call(
        self,
        machine: str,
        command: list[Any],
        *,
        read: bool = False,
        timeout_s: float = TIMEOUT_S,
        wait_ms: int = 0,
    ) -> Any:
        """As `LogClient.call`. A task that is cancelled meanwhile waits for nothing, and leaves nothing behind."""
        call = self._pipeline.call(machine, command, time.monotonic(), timeout_s, read=read, wait_ms=wait_ms)
        done: asyncio.Future[None] = self._loop.create_future()
        call.then = lambda _: None if done.done() else done.set_result(None)
        self._soon()
        try:
            await done
        except asyncio.CancelledError:
            self._pipeline.cancel(call)
            raise
        return outcome_value(call)

    async def run(self, steps: Steps[T]) -> T:
        """Ask one thing after the other, and return what comes of it. Raises what it raises."""
        try:
            ask, timeout_s = next(steps)
            while True:
                try:
                    answer = await self.ask(ask, timeout_s)
                except ConsensusError as error:
                    ask, timeout_s = steps.throw(error)
                else:
                    ask, timeout_s = steps.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result

    async def end_session(self, timeout_s: float = TIMEOUT_S) -> None:
        """As `LogClient.end_session`."""
        if self.session is not None:
            with suppress(ConsensusError):
                await self.call("session", ["close", self.session], timeout_s=timeout_s)

    def close(self) -> None:
        """Close the sockets. Calls under way are told at once."""
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

    def _soon(self) -> None:
        if self._next is None:
            self._next = self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Send what is to be sent, and take in what has come."""
        self._next = None
        now = time.monotonic()
        try:
            for node, address, data in self._pipeline.outgoing(now):
                self._connections.send(node, address, data)
            took = self._take_in(now)
        except BaseException:  # `addresses` failed, say: nobody must wait for ever. The loop tells why
            self.close()
            raise
        if took:
            self._soon()  # it may have made something due; and other tasks go first
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._pipeline.idle:
            self._timer = self._loop.call_later(max(self._pipeline.due() - now, 0.0), self._soon)

    def _take_in(self, now: float) -> bool:
        took = False
        for socket in list(self._poller.sockets):
            while (taken := self._connections.take(socket)) is not None:
                took = True
                node, data = taken
                if data is None:
                    self._pipeline.disconnected(node, now)
                else:
                    self._pipeline.incoming(node, data, now)
        return took


class AsyncKv:
    """Keys and values: `Kv`, awaited."""

    def __init__(self, client: AsyncLogClient) -> None:
        self._client = client

    async def put(self, key: str, value: object, timeout_s: float = TIMEOUT_S) -> int:
        """Set a key. Returns its new version."""
        return await self._client.ask(asks.kv_put(key, value), timeout_s)

    async def get(self, key: str, timeout_s: float = TIMEOUT_S) -> Any:
        """The value of a key, or None. Never older than the question."""
        entry = await self.get_with_version(key, timeout_s)
        return None if entry is None else entry[0]

    async def get_with_version(self, key: str, timeout_s: float = TIMEOUT_S) -> tuple[Any, int] | None:
        """The value of a key and its version, or None."""
        return await self._client.ask(asks.kv_get(key), timeout_s)

    async def delete(self, key: str, timeout_s: float = TIMEOUT_S) -> bool:
        """Remove a key. Returns whether it was there."""
        return await self._client.ask(asks.kv_delete(key), timeout_s)

    async def compare_and_set(self, key: str, version: int, value: object, timeout_s: float = TIMEOUT_S) -> int:
        """Set a key whose version is `version`, 0 for absent. Raises CommandRefused "mismatch". Returns the new version."""
        return await self._client.ask(asks.kv_compare_and_set(key, version, value), timeout_s)

    async def range(self, prefix: str = "", timeout_s: float = TIMEOUT_S) -> AsyncIterator[Entry]:
        """Every key that begins with `prefix`, in order, with its value and version. Pages are read as they are needed."""
        after, more = "", True
        while more:
            page, more = await self._client.ask(asks.kv_range(prefix, after), timeout_s)
            for entry in page:
                after = entry[0]
                yield entry

    async def watch(self, prefix: str, after: int) -> AsyncIterator[Change]:
        """Every change of keys that begin with `prefix`, above version `after`, as it comes, without an end.

        Each is a version, a key and a value, None for a key that was deleted. Raises CommandRefused "compacted" if changes
        that were not told are forgotten already.
        """
        while True:
            for change in await self._client.ask(asks.kv_watch(prefix, after, _WATCH_S), _WATCH_S + TIMEOUT_S):
                after = change[0]
                yield change


class AsyncClusterConfiguration:
    """Who votes, who learns: `ClusterConfiguration`, awaited."""

    def __init__(self, client: AsyncLogClient) -> None:
        self._client = client

    async def list(self, timeout_s: float = TIMEOUT_S) -> Membership:
        """Voters, learners, and the ids that were removed."""
        return await self._client.ask(asks.cluster_members(), timeout_s)

    async def add(self, node: NodeId, timeout_s: float = TIMEOUT_S) -> None:
        """Make `node` a learner; it becomes a voter by itself when it has caught up. Raises CommandRefused."""
        await self._client.ask(asks.cluster_add(node), timeout_s)

    async def remove(self, node: NodeId, timeout_s: float = TIMEOUT_S) -> None:
        """Remove `node` for ever. Raises CommandRefused."""
        await self._client.ask(asks.cluster_remove(node), timeout_s)

    async def hand_over(self, node: NodeId, timeout_s: float = TIMEOUT_S) -> None:
        """Ask the leader to have `node` lead instead. It may take some milliseconds, or not happen."""
        await self._client.ask(asks.cluster_hand_over(node), timeout_s)
