"""What a program can do with a cluster, whichever process runs it: `Cluster` launches nodes, `RunningCluster` finds them."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cluster.clients.client import TIMEOUT_S, Client, VariableCall
from cluster.clients.groups import Assignment, Members
from cluster.clients.kv import Kv
from cluster.clients.lease_renewal import OnLost
from cluster.clients.locks import Lock
from cluster.clients.log_client import LogClient
from cluster.clients.operation import TTL_S
from cluster.clients.sharing import OwnProcess
from cluster.errors import Mistake
from node.algorithms import DEFAULT_LOG
from node.contract import NodeId
from node.tuning import SHIPPED, Tuning

if TYPE_CHECKING:
    from cluster.clients.async_client import AsyncLogClient
    from cluster.save_file import SaveHeader
    from cluster.saving import ShowBytes


class Service(ABC):
    """A cluster with clients that its threads share, and with more clients for those that ask for one."""

    def __init__(
        self, cluster: str, algorithm: str, *, keeps_log: bool, machines: tuple[str, ...] = (), tuning: Tuning = SHIPPED
    ) -> None:
        """Describe the cluster.

        Args:
            cluster: the cluster's id.
            algorithm: the algorithm's name, for messages.
            keeps_log: whether the algorithm keeps a log, so that it has `kv`, `lock`, `members` and `assignment`.
            machines: the machines of its spec; empty for the standard ones.
            tuning: the settings of its spec.
        """
        self._machines, self._tuning = machines, tuning
        self._id, self._algorithm, self.keeps_log = cluster, algorithm, keeps_log
        self._process = OwnProcess("this cluster object", "open the cluster in this process, with RunningCluster")
        self._making = threading.Lock()
        self._client: Client | None = None
        self._log_client: LogClient | None = None

    @abstractmethod
    def client_addresses(self) -> Mapping[NodeId, str]:
        """Return the address at which clients find each node."""

    def close(self) -> None:
        """Close the shared clients. In a forked child process this does nothing."""
        for client in (self._client, self._log_client):
            if client is not None:
                client.close()
        self._client = self._log_client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- clients ----------------------------------------------------------------------------------------------------

    def client(self, name: str | None = None, on_outcome: Callable[[VariableCall], None] | None = None) -> Client:
        """Return a new client for variables. Close it. The arguments are those of `Client`."""
        self._process.check()
        return Client(self._id, self.client_addresses, name, on_outcome, self._tuning)

    def log_client(self, name: str | None = None) -> LogClient:
        """Return a new client of the log. Close it. Raises Mistake if the cluster keeps no log, or in a forked process."""
        self.check_log()
        return LogClient(self._id, self.client_addresses, name, tuning=self._tuning)

    def async_log_client(self, name: str | None = None) -> "AsyncLogClient":
        """Return a new client of the log for the tasks of the running event loop. Close it.

        Raises:
            Mistake: the cluster keeps no log.
            RuntimeError: no event loop runs.
        """
        from cluster.clients.async_client import AsyncLogClient  # noqa: PLC0415 - asyncio, which most programs go without

        self.check_log()
        return AsyncLogClient(self._id, self.client_addresses, name, tuning=self._tuning)

    def check_log(self) -> None:
        """Raise Mistake if the cluster keeps no log, or if this is a forked child process."""
        self._process.check()
        if not self.keeps_log:
            raise Mistake(
                f"{self._algorithm} keeps no log, it decides values once: what changes needs another cluster, "
                f"Cluster(algorithm={DEFAULT_LOG!r}) or `consensus up --algorithm {DEFAULT_LOG}`"
            )

    def save(self, file: Path | str, timeout_s: float = TIMEOUT_S, show: "ShowBytes | None" = None) -> "SaveHeader":
        """Save the whole state to a file, from which `restore` makes a new cluster. The cluster goes on meanwhile.

        The save holds everything that any client was answered before this call.

        Args:
            file: a file that does not exist.
            timeout_s: how long each reply may take, in seconds.
            show: called as the state arrives, with the number of bytes that are there and of all.

        Returns:
            What the save says about itself: slot, members, size.

        Raises:
            Mistake: the cluster keeps no log, or the file exists.
            Unknown: no leader replies. Nothing was written.
            CommandRefused: two other clients are saving now. Nothing was written.
            BadInput: the file cannot be written. Nothing of it is left.
        """
        from cluster.saving import ignore_bytes, save_cluster  # noqa: PLC0415 - most programs save nothing

        with self.log_client("save") as client:
            return save_cluster(
                client, Path(file), self._id, self._algorithm, self._machines, timeout_s, show or ignore_bytes
            )

    def _shared_client(self) -> Client:
        self._process.check()
        with self._making:
            if self._client is None:
                self._client = self.client()
            return self._client

    def _shared_log_client(self) -> LogClient:
        self._process.check()
        with self._making:
            if self._log_client is None:
                self._log_client = self.log_client()
            return self._log_client

    # --- operations, through the shared clients ---------------------------------------------------------------------

    def propose(self, variable: str, value: object, at: NodeId | None = None, timeout_s: float = TIMEOUT_S) -> Any:
        """Try to have `value` decided, and return the decided value. See `Client.propose`."""
        return self._shared_client().propose(variable, value, at, timeout_s)

    def query(self, variable: str, at: NodeId | None = None, timeout_s: float = TIMEOUT_S) -> Any:
        """Return the decided value, or None if none had been decided. See `Client.query`."""
        return self._shared_client().query(variable, at, timeout_s)

    @property
    def kv(self) -> Kv:
        """Keys and values. Raises Mistake if the cluster keeps no log, or if this is a forked child process."""
        return self._shared_log_client().kv

    def lock(
        self,
        name: str,
        ttl_s: float = TTL_S,
        wait_s: float | None = None,
        owner: str | None = None,
        on_lost: OnLost | None = None,
        resume: int | None = None,
    ) -> Lock:
        """Return a lock for a `with` block, which yields the fencing token. See `Lock`. Raises Mistake without a log."""
        return self._shared_log_client().lock(name, ttl_s, wait_s, owner, on_lost, resume)

    @property
    def members(self) -> Members:
        """The users of this cluster that have joined; its nodes are a client's `configuration`. Conditions as for `kv`."""
        return self._shared_log_client().members

    @property
    def assignment(self) -> Assignment:
        """Tasks that are spread over users of this cluster. Conditions as for `kv`."""
        return self._shared_log_client().assignment
