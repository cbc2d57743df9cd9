"""What a program asks of a cluster, whoever runs it: `Cluster` runs its own, `RunningCluster` finds one that runs already."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

from cluster.clients.client import TIMEOUT_S, Call, Client
from cluster.clients.groups import Assignment, Members
from cluster.clients.lease_renewal import TTL_S
from cluster.clients.locks import Lock
from cluster.clients.log_client import Kv, LogClient
from cluster.errors import Mistake
from node.contract import NodeId

if TYPE_CHECKING:
    from cluster.clients.async_client import AsyncLogClient


class Service(ABC):
    """One shared client for the thread that made it, and clients of their own for others."""

    def __init__(self, cluster: str, algorithm: str, *, keeps_log: bool) -> None:
        """Make what is asked. `cluster` is the cluster's id."""
        self._id, self._algorithm, self.keeps_log = cluster, algorithm, keeps_log
        self._client: Client | None = None
        self._log_client: LogClient | None = None

    @abstractmethod
    def client_addresses(self) -> Mapping[NodeId, str]:
        """Where clients find each node."""

    def close(self) -> None:
        """Close the shared clients."""
        for client in (self._client, self._log_client):
            if client is not None:
                client.close()
        self._client = self._log_client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- clients ----------------------------------------------------------------------------------------------------

    def client(self, name: str | None = None, on_outcome: Callable[[Call], None] | None = None) -> Client:
        """A client of your own, for a thread of your own. Close it."""
        return Client(self._id, self.client_addresses, name, on_outcome)

    def log_client(self, name: str | None = None) -> LogClient:
        """A client of a replicated log (algorithm multipaxos), for a thread of your own. Close it. Raises Mistake."""
        self.check_log()
        return LogClient(self._id, self.client_addresses, name)

    def async_log_client(self, name: str | None = None) -> "AsyncLogClient":
        """A client of a replicated log for the tasks of the running event loop. Close it. Raises Mistake."""
        from cluster.clients.async_client import AsyncLogClient  # noqa: PLC0415 - asyncio, which most programs go without

        self.check_log()
        return AsyncLogClient(self._id, self.client_addresses, name)

    def check_log(self) -> None:
        """Raises Mistake if the cluster keeps no log."""
        if not self.keeps_log:
            raise Mistake(
                f"{self._algorithm} keeps no log, it decides values once: what changes needs another cluster, "
                "Cluster(algorithm='multipaxos') or `consensus up --algorithm multipaxos`"
            )

    def _shared_client(self) -> Client:
        if self._client is None:
            self._client = self.client()
        return self._client

    def _shared_log_client(self) -> LogClient:
        if self._log_client is None:
            self._log_client = self.log_client()
        return self._log_client

    # --- what is asked ----------------------------------------------------------------------------------------------

    def propose(self, variable: str, value: object, at: NodeId | None = None, timeout_s: float = TIMEOUT_S) -> Any:
        """Try to have `value` decided, and return the value that is. See `Client.propose`."""
        return self._shared_client().propose(variable, value, at, timeout_s)

    def query(self, variable: str, at: NodeId | None = None, timeout_s: float = TIMEOUT_S) -> Any:
        """The decided value, or None if nothing had been decided. See `Client.query`."""
        return self._shared_client().query(variable, at, timeout_s)

    @property
    def kv(self) -> Kv:
        """Keys and values that change. For one thread: others have a `log_client` each. Raises Mistake if there is no log."""
        return self._shared_log_client().kv

    def lock(self, name: str, ttl_s: float = TTL_S, wait_s: float | None = None, owner: str | None = None) -> Lock:
        """A lock for a `with` block, which is told the fencing token. See `cluster.clients.locks.Lock`. Raises Mistake."""
        return self._shared_log_client().lock(name, ttl_s, wait_s, owner)

    @property
    def members(self) -> Members:
        """Who is there, of those who use this cluster, not of its own nodes. As `kv`."""
        return self._shared_log_client().members

    @property
    def assignment(self) -> Assignment:
        """Who of those who use this cluster does what. As `kv`."""
        return self._shared_log_client().assignment
