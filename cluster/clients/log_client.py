"""A client of a replicated log: keys and values, members of the cluster, and any machine by name.

```python
with cluster.log_client() as client:
    client.kv.put("owner", "alice")
    client.kv.get("owner")
```

Calls can overlap: `begin` returns at once, `wait` collects outcomes; what is begun between two waits leaves in one frame. A
client is for one thread. The protocol is in `cluster/clients/pipeline.py`, the sockets are in `cluster/clients/connections.py`.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from cluster.clients import operations as asks
from cluster.clients.calls import Call, outcome_value
from cluster.clients.connections import Connections, shared_poller
from cluster.clients.groups import Assignment, Members
from cluster.clients.lease_renewal import TTL_S
from cluster.clients.lock_queue import Steps
from cluster.clients.locks import Lock, Locks
from cluster.clients.operations import TIMEOUT_S, Ask, Change, Entry, Membership
from cluster.clients.pipeline import Pipeline
from cluster.errors import CommandRefused, ConsensusError
from node.contract import NodeId
from node.transport import Poller

T = TypeVar("T")

__all__ = ["TIMEOUT_S", "ClusterConfiguration", "CommandRefused", "Connections", "Kv", "LogClient", "shared_poller"]


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
    ) -> None:
        """Make a client.

        Args:
            cluster: the cluster's id.
            addresses: where each node is found now; asked at every send, since a node that restarts may move.
            name: what records call this client.
            poller: whoever owns it polls, and calls `send` and `take`: many clients, one loop.
            resume: `session` of a client that has ended: what that had on its way takes effect no more once the first command
                of this one is done.
            monitors: whether a connection that closes is noticed at once. Without it, if the poller is nobody else's.
        """
        self._cluster, self._addresses = cluster, addresses
        self.pipeline = Pipeline(cluster, addresses, name, resume)
        self._poller = poller or Poller()
        self._connections = Connections(self._poller, monitors=poller is None if monitors is None else monitors)
        self.kv = Kv(self)
        self.locks = Locks(self)
        self.members = Members(self)
        self.assignment = Assignment(self)
        self.configuration = ClusterConfiguration(self)

    @property
    def session(self) -> int | None:
        """The number under which the log knows this client; None before its first command. Kept, it lets another `resume`."""
        return self.pipeline.session

    def another(self, name: str | None = None) -> "LogClient":
        """A client of the same log with sockets and a session of its own. Close it."""
        return LogClient(self._cluster, self._addresses, name)

    def lock(self, name: str, ttl_s: float = TTL_S, wait_s: float | None = None, owner: str | None = None) -> Lock:
        """A lock for a `with` block, which is told the fencing token; it has a client of its own. See `Lock`."""
        return Lock(self, name, ttl_s, wait_s, owner)

    # --- calls ------------------------------------------------------------------------------------------------------

    def begin(
        self,
        machine: str,
        command: list[Any],
        *,
        read: bool = False,
        timeout_s: float = TIMEOUT_S,
        wait_ms: int = 0,
    ) -> Call:
        """Begin a command, or a question if `read`. Raises BadValue if it cannot be sent, WindowFull and Closed."""
        return self.pipeline.call(machine, command, time.monotonic(), timeout_s, read=read, wait_ms=wait_ms)

    def call(self, machine: str, command: list[Any], **options: Any) -> Any:
        """Do a command, or ask a question, and wait for the result.

        Raises:
            BadValue: it cannot be sent.
            CommandRefused: the machine refused it; it changed nothing.
            Refused: it was definitely not done.
            Unknown: it may have been done, or may still be.
        """
        return self.result(self.begin(machine, command, **options))

    def ask(self, ask: Ask[T], timeout_s: float = TIMEOUT_S) -> T:
        """Ask something of a machine and return what its answer means. Raises as `call` does."""
        answer = self.call(ask.machine, ask.command, read=ask.read, timeout_s=timeout_s, wait_ms=ask.wait_ms)
        return ask.decode(answer)

    def run(self, steps: Steps[T]) -> T:
        """Ask one thing after the other, and return what comes of it. Raises what it raises."""
        try:
            ask, timeout_s = next(steps)
            while True:
                try:
                    answer = self.ask(ask, timeout_s)
                except ConsensusError as error:
                    ask, timeout_s = steps.throw(error)
                else:
                    ask, timeout_s = steps.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result

    def result(self, call: Call) -> Any:
        """The result of a call. Raises as `call` does."""
        self.wait([call])
        return outcome_value(call)

    def wait(self, calls: Iterable[Call]) -> None:
        """Return when each of the calls has an outcome."""
        for call in calls:
            while call.outcome is None:
                self.step(1.0)

    def step(self, most_s: float) -> None:
        """Send what is to be sent, wait for something to arrive, at most `most_s` seconds, and take it in."""
        now = time.monotonic()
        self.send(now)
        wait_s = min(max(self.pipeline.due() - now, 0.0), most_s)
        for source in self._poller.poll(int(wait_s * 1000 + 0.999)):
            self.take(source)

    def send(self, now: float) -> None:
        """Send what is to be sent."""
        for node, address, data in self.pipeline.outgoing(now):
            self._connections.send(node, address, data)

    def owns(self, source: Any) -> bool:
        """Whether `take` is to be called for this socket."""
        return self._connections.owns(source)

    def take(self, source: Any) -> None:
        """Take in what a socket holds first. If it holds more, the poller says so; asking it here would cost more."""
        taken = self._connections.take(source)
        if taken is None:
            return
        node, data = taken
        if data is None:
            self.pipeline.disconnected(node, time.monotonic())
        else:
            self.pipeline.incoming(node, data, time.monotonic())

    def end_session(self, timeout_s: float = TIMEOUT_S) -> None:
        """End the session now, with all that it holds; if no answer comes, it ends when it has been idle for long."""
        if self.session is not None:
            with contextlib.suppress(ConsensusError):
                self.call("session", ["close", self.session], timeout_s=timeout_s)

    def close(self) -> None:
        """Close the sockets. Calls under way get an outcome. The session ends by itself when it has been idle for long."""
        self.pipeline.close()
        self._connections.close()

    def __enter__(self) -> "LogClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Kv:
    """Keys and values. A value is plain data, as for `propose`."""

    def __init__(self, client: LogClient) -> None:
        self._client = client

    def put(self, key: str, value: object, timeout_s: float = TIMEOUT_S) -> int:
        """Set a key. Returns its new version."""
        return self._client.ask(asks.kv_put(key, value), timeout_s)

    def get(self, key: str, timeout_s: float = TIMEOUT_S) -> Any:
        """The value of a key, or None. Never older than the question."""
        entry = self.get_with_version(key, timeout_s)
        return None if entry is None else entry[0]

    def get_with_version(self, key: str, timeout_s: float = TIMEOUT_S) -> tuple[Any, int] | None:
        """The value of a key and its version, or None."""
        return self._client.ask(asks.kv_get(key), timeout_s)

    def version(self, timeout_s: float = TIMEOUT_S) -> int:
        """The version of the latest change of any key: where to `watch` from, if only what comes is wanted."""
        return self._client.ask(asks.kv_version(), timeout_s)

    def delete(self, key: str, timeout_s: float = TIMEOUT_S) -> bool:
        """Remove a key. Returns whether it was there."""
        return self._client.ask(asks.kv_delete(key), timeout_s)

    def compare_and_set(self, key: str, version: int, value: object, timeout_s: float = TIMEOUT_S) -> int:
        """Set a key whose version is `version`, 0 for absent. Raises CommandRefused "mismatch". Returns the new version."""
        return self._client.ask(asks.kv_compare_and_set(key, version, value), timeout_s)

    def range(self, prefix: str = "", timeout_s: float = TIMEOUT_S) -> Iterator[Entry]:
        """Every key that begins with `prefix`, in order, with its value and version. Pages are read as they are needed."""
        after, more = "", True
        while more:
            page, more = self._client.ask(asks.kv_range(prefix, after), timeout_s)
            for entry in page:
                after = entry[0]
                yield entry

    def watch(self, prefix: str, after: int, wait_s: float = 1.0) -> list[Change]:
        """The changes of keys that begin with `prefix`, above version `after`; empty if none comes within `wait_s` seconds.

        Each is a version, a key and a value, None for a key that was deleted. Raises CommandRefused "compacted" if
        changes above `after` are forgotten already.
        """
        return self._client.ask(asks.kv_watch(prefix, after, wait_s), wait_s + TIMEOUT_S)


class ClusterConfiguration:
    """Who votes, who learns, and changes of that, one at a time."""

    def __init__(self, client: LogClient) -> None:
        self._client = client

    def list(self, timeout_s: float = TIMEOUT_S) -> Membership:
        """Voters, learners, and the ids that were removed."""
        return self._client.ask(asks.cluster_members(), timeout_s)

    def add(self, node: NodeId, timeout_s: float = TIMEOUT_S) -> None:
        """Make `node` a learner; it becomes a voter by itself when it has caught up. Raises CommandRefused."""
        self._client.ask(asks.cluster_add(node), timeout_s)

    def remove(self, node: NodeId, timeout_s: float = TIMEOUT_S) -> None:
        """Remove `node` for ever. Raises CommandRefused."""
        self._client.ask(asks.cluster_remove(node), timeout_s)

    def hand_over(self, node: NodeId, timeout_s: float = TIMEOUT_S) -> None:
        """Ask the leader to have `node` lead instead. It may take some milliseconds, or not happen."""
        self._client.ask(asks.cluster_hand_over(node), timeout_s)
