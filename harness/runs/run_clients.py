"""The clients of a run: their calls are recorded in the run's history."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cluster.clients.client import Client, VariableCall
from cluster.clients.outcomes import Outcome
from cluster.cluster import Cluster
from harness.records.history_recorder import HistoryRecorder
from harness.runs.variable_calls import VariableCalls
from harness.workloads.log_calls import LogCalls
from node.contract import NodeId

if TYPE_CHECKING:
    from harness.workloads.api_calls import ApiCalls

#: How long a call may take by default, in seconds. A call that takes longer counts as unanswered. An answer usually takes
#: a few milliseconds here.
OWED_S: Final = 3.0


class RunClients:
    """A client of the variables, and the clients of a replicated log. Each is made when it is first used.

    One thread makes all calls.
    """

    def __init__(self, cluster: Cluster, begin_history: Callable[[], HistoryRecorder]) -> None:
        """Prepare clients of `cluster`. The first client calls `begin_history`, which returns the recorder of the history."""
        self.cluster = cluster
        self._begin_history = begin_history
        self._variable_calls: VariableCalls | None = None
        self._log_calls: LogCalls | None = None
        self._api_calls: ApiCalls | None = None

    @property
    def client(self) -> Client:
        """The client that makes the calls below."""
        return self._calls.client

    @property
    def _calls(self) -> VariableCalls:
        if self._variable_calls is None:
            self._variable_calls = VariableCalls(self.cluster, self._begin_history())
        return self._variable_calls

    @property
    def log(self) -> LogCalls:
        """The clients of a replicated log. `log.begin` begins a call."""
        if self._log_calls is None:
            settings = self.cluster.spec.settings
            self._log_calls = LogCalls(
                settings.cluster, self.cluster.client_addresses, self._begin_history(), settings.tuning
            )
        return self._log_calls

    @property
    def api(self) -> "ApiCalls":
        """The clients of a replicated log that call the API as people do. `api.begin` begins a call."""
        if self._api_calls is None:
            from harness.workloads.api_calls import ApiCalls  # noqa: PLC0415 - with asyncio it costs a node's start

            settings = self.cluster.spec.settings
            self._api_calls = ApiCalls(
                settings.cluster, self.cluster.client_addresses, self._begin_history(), settings.tuning
            )
        return self._api_calls

    def begin_propose(
        self, variable: str, value: object, at: NodeId | None = None, timeout_s: float = OWED_S
    ) -> VariableCall:
        """Propose `value` for `variable` at a node, or at any node, without waiting for the answer."""
        return self._calls.begin_propose(variable, value, at, timeout_s)

    def begin_query(self, variable: str, at: NodeId | None = None, timeout_s: float = OWED_S) -> VariableCall:
        """Query `variable` at a node, or at any node, without waiting for the answer."""
        return self._calls.begin_query(variable, at, timeout_s)

    def propose(self, variable: str, value: object, at: NodeId | None = None, timeout_s: float = OWED_S) -> Outcome:
        """Propose, and wait for the outcome, at most `timeout_s` seconds."""
        return self.client.wait(self.begin_propose(variable, value, at, timeout_s))

    def query(self, variable: str, at: NodeId | None = None, timeout_s: float = OWED_S) -> Outcome:
        """Query, and wait for the outcome, at most `timeout_s` seconds."""
        return self.client.wait(self.begin_query(variable, at, timeout_s))

    def query_all(self, variable: str, timeout_s: float = OWED_S) -> dict[NodeId, Outcome]:
        """Query every node at once, and wait for all outcomes."""
        calls = {node: self.begin_query(variable, node, timeout_s) for node in self.cluster.nodes}
        return {node: self.client.wait(call) for node, call in calls.items()}

    def settle(self, *calls: VariableCall) -> list[Outcome]:
        """Wait for the outcomes of calls that were begun."""
        return [self.client.wait(call) for call in calls]

    def poll(self) -> None:
        """Take in what has arrived for open calls, also for those on a replicated log. Does not wait."""
        if self._variable_calls is not None:
            self._variable_calls.client.poll()
        if self._log_calls is not None:
            self._log_calls.poll()
        if self._api_calls is not None:
            self._api_calls.poll()

    def close_clients(self) -> None:
        """Close every client. Open calls are recorded as unknown."""
        for calls in (self._variable_calls, self._log_calls, self._api_calls):
            if calls is not None:
                calls.close()
