"""The blocking client of a replicated log: keys and values, locks, members, tasks, the cluster's nodes, and any machine by name.

```python
with cluster.log_client() as client:
    client.kv.put("owner", "alice")
    client.kv.get("owner")
```

Calls can overlap: `begin` returns at once, and `wait` collects outcomes. Calls that begin between two waits leave in one frame.
Threads may share a client (`cluster/clients/sharing.py`); a forked child process may not.

The protocol is in `cluster/clients/pipeline.py`, the sockets are in `cluster/clients/connections.py`, and the operations are in
`cluster/clients/operations.py`.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from cluster.clients.configuration import ClusterConfiguration
from cluster.clients.connections import Connections
from cluster.clients.groups import Assignment, Members
from cluster.clients.kv import Kv
from cluster.clients.lease_renewal import OnLost
from cluster.clients.locks import Lock, Locks
from cluster.clients.log_call import LogCall
from cluster.clients.operation import TIMEOUT_S, TTL_S, Operation, Steps, Stream, session_close
from cluster.clients.outcomes import value_of
from cluster.clients.pipeline import Pipeline
from cluster.clients.sharing import ThreadSharing
from cluster.errors import ConsensusError
from node.contract import NodeId
from node.transport import Poller
from node.tuning import SHIPPED, Tuning

T = TypeVar("T")

_STEP_S: Final = 1.0


class LogClient:
    """A blocking client. Use it as a context manager, or `close` it."""

    def __init__(
        self,
        cluster: str,
        addresses: Callable[[], Mapping[NodeId, str]],
        name: str | None = None,
        poller: Poller | None = None,
        resume: int | None = None,
        monitors: bool | None = None,
        tuning: Tuning = SHIPPED,
    ) -> None:
        """Make a client.

        Args:
            cluster: the cluster's id.
            addresses: returns where each node is found now. Called at every send, since a node that restarts may move. It may
                raise a ConsensusError: there is no cluster any more.
            name: what records call this client.
            poller: a poller that several clients share. Its owner polls it, and calls `send` and `receive`. Such clients are for
                the owner's thread.
            resume: the `session` of a client that has ended. Nothing that it had on its way takes effect once the first command
                of this client is done.
            monitors: whether the client notices at once that a connection has closed. None: yes, unless it shares a poller.
            tuning: the settings of the cluster.
        """
        self.pipeline = Pipeline(cluster, addresses, name, resume, tuning)
        self._poller = poller or Poller()
        self._sharing = ThreadSharing(wakes=poller is None)
        if poller is None:
            self._poller.register(self._sharing.wake_up)
        self._connections = Connections(self._poller, monitors=poller is None if monitors is None else monitors)
        self.kv = Kv(self)
        self.locks = Locks(self)
        self.members = Members(self)
        self.assignment = Assignment(self)
        self.configuration = ClusterConfiguration(self)

    @property
    def id(self) -> str:
        """The client's name, made unique."""
        return self.pipeline.id

    @property
    def session(self) -> int | None:
        """The number of the client's session in the log; None before its first command. Another client can `resume` it."""
        return self.pipeline.session

    def lock(
        self,
        name: str,
        ttl_s: float = TTL_S,
        wait_s: float | None = None,
        owner: str | None = None,
        on_lost: OnLost | None = None,
        resume: int | None = None,
    ) -> Lock:
        """Return a lock for a `with` block, which yields the fencing token. The arguments are those of `Lock`."""
        return Lock(self, name, ttl_s, wait_s, owner, on_lost, resume)

    # --- calls that wait --------------------------------------------------------------------------------------------

    def do(self, operation: Operation[T] | Steps[T]) -> T:
        """Carry out one operation, or steps of several, and return the result. Raises as `call` does."""
        if isinstance(operation, Operation):
            answer = self.call(
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
                    answer = self.do(step)
                except ConsensusError as error:
                    step = operation.throw(error)
                else:
                    step = operation.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def each(self, stream: Stream[T]) -> Iterator[T]:
        """Carry out a stream, and yield its items. Raises as `call` does."""
        answer: Any = None
        with contextlib.suppress(StopIteration), contextlib.closing(stream):
            while True:
                step = stream.send(answer)
                answer = None
                if isinstance(step, Operation):
                    answer = self.do(step)
                else:
                    yield from step

    def call(
        self,
        machine: str,
        command: list[Any],
        *,
        read: bool = False,
        timeout_s: float = TIMEOUT_S,
        wait_ms: int = 0,
    ) -> Any:
        """Carry out a command of any machine, and wait for the result.

        Args:
            machine: the machine's name.
            command: the command, or the question if `read`, as the machine defines it: plain data.
            read: whether it changes nothing.
            timeout_s: how long to wait, in seconds.
            wait_ms: for a question that waits for a change: how long the leader may hold back the answer, in milliseconds.

        Returns:
            What the machine answered. Tuples come back as lists.

        Raises:
            BadValue: the command cannot be sent.
            CommandRefused: it was definitely not done. `kind` is the machine's reason, or the client's.
            Unknown: no reply came in time. It may have been done, or may still be.
            WindowFull: too many calls are under way.
            ClientClosed: the client is closed.
        """
        return self.result(self.begin(machine, command, read=read, timeout_s=timeout_s, wait_ms=wait_ms))

    # --- calls that overlap -----------------------------------------------------------------------------------------

    def begin(
        self,
        machine: str,
        command: list[Any],
        *,
        read: bool = False,
        timeout_s: float = TIMEOUT_S,
        wait_ms: int = 0,
    ) -> LogCall:
        """Begin what `call` does, without waiting. Raises BadValue, WindowFull and ClientClosed."""
        self._sharing.process.check()
        with self._sharing.mutex:
            return self.pipeline.call(machine, command, time.monotonic(), timeout_s, read=read, wait_ms=wait_ms)

    def result(self, call: LogCall) -> Any:
        """Wait for a call, and return its result. Raises as `call` does."""
        self.wait([call])
        assert call.outcome is not None
        return value_of(call.outcome, read=call.read)

    def wait(self, calls: Iterable[LogCall]) -> None:
        """Return when each of the calls has an outcome."""
        for call in calls:
            self._sharing.until(partial(_has_outcome, call), self._step)

    def _step(self) -> None:
        """Send what is due, wait for a message, and take in what has arrived."""
        now = time.monotonic()
        with self._sharing.mutex:
            self.send(now)
            wait_s = min(max(self.due() - now, 0.0), _STEP_S)
        ready = self._poller.poll(int(wait_s * 1000 + 0.999))
        with self._sharing.mutex:
            for source in ready:
                if source == self._sharing.wake_up:
                    self._sharing.woken()
                else:
                    self.receive(source)

    def send(self, now: float) -> None:
        """Send what is due at `now`, a time of the monotonic clock."""
        for node, address, data in self.pipeline.outgoing(now):
            self._connections.send(node, address, data)

    def due(self) -> float:
        """Return when `send` is to be called again, at the latest, unless a call begins or something arrives before."""
        return self.pipeline.due()

    def owns(self, source: Any) -> bool:
        """Return whether `receive` is to be called for this socket."""
        return self._connections.owns(source)

    def receive(self, source: Any) -> None:
        """Take in one message of a socket. The poller reports the socket again if it holds more."""
        received = self._connections.receive(source)
        if received is None:
            return
        node, data = received
        if data is None:
            self.pipeline.disconnected(node, time.monotonic())
        else:
            self.pipeline.incoming(node, data, time.monotonic())

    # --- the end ----------------------------------------------------------------------------------------------------

    def end_session(self, timeout_s: float = TIMEOUT_S) -> None:
        """End the session now, with all locks and memberships that it holds.

        If no reply comes within `timeout_s` seconds, the session ends by itself when it has been idle for long.
        """
        if self.session is not None:
            with contextlib.suppress(ConsensusError):
                self.do(session_close(self.session, timeout_s))

    def close(self) -> None:
        """Close the sockets. Calls under way get an outcome. The session ends by itself when it has been idle for long.

        In a forked child process this does nothing: the sockets are its parent's.
        """
        if self._sharing.process.is_here:
            with self._sharing.mutex:
                self.pipeline.close()
            self._sharing.close(self._close_sockets)

    def _close_sockets(self) -> None:
        self._connections.close()
        if self._sharing.wake_up >= 0:
            self._poller.unregister(self._sharing.wake_up)

    def __enter__(self) -> "LogClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _has_outcome(call: LogCall) -> bool:
    return call.outcome is not None
