"""One client of a run that proposes and queries variables, with each call recorded in the run's history.

In a history a process has one call open at a time. The client may have several calls open, so each open call is recorded
under a process of its own. A process is used again when its call has ended, unless the outcome of the call is unknown: such
a call may still take effect.

The counterpart for a replicated log is `harness.workloads.log_calls`.
"""

from cluster.clients.client import VariableCall
from cluster.clients.outcomes import NotDone, NotKnown, Ok
from cluster.cluster import Cluster
from harness.records.history import Event
from harness.records.history_recorder import HistoryRecorder
from node.contract import NodeId


class VariableCalls:
    """The calls of one client, for one thread."""

    def __init__(self, cluster: Cluster, recorder: HistoryRecorder) -> None:
        self._recorder = recorder
        self._open: dict[int, Event] = {}
        self._idle_processes: list[str] = []
        self._process_count = 0
        self.client = cluster.client("client", on_outcome=self._record)

    def begin_propose(self, variable: str, value: object, at: NodeId | None, timeout_s: float) -> VariableCall:
        """Begin a proposal. The arguments are those of `cluster.clients.client.Client.begin_propose`."""
        event = self._invoke("propose", variable, value, at, timeout_s)
        return self._track(self.client.begin_propose(variable, value, at, timeout_s), event)

    def begin_query(self, variable: str, at: NodeId | None, timeout_s: float) -> VariableCall:
        """Begin a query. The arguments are those of `cluster.clients.client.Client.begin_query`."""
        event = self._invoke("query", variable, None, at, timeout_s)
        return self._track(self.client.begin_query(variable, at, timeout_s), event)

    def close(self) -> None:
        """Close the client. Open calls are recorded as unknown."""
        for event in self._open.values():
            self._recorder.info(event, "the run ended first")
        self._open.clear()
        self.client.close()

    def _invoke(self, f: str, variable: str, value: object, at: NodeId | None, timeout_s: float) -> Event:
        if not self._idle_processes:
            self._process_count += 1
            self._idle_processes.append(f"c{self._process_count}")
        return self._recorder.invoke(self._idle_processes.pop(), f, variable, value, node=at, timeout_s=timeout_s)

    def _track(self, call: VariableCall, event: Event) -> VariableCall:
        self._open[call.number] = event
        return call

    def _record(self, call: VariableCall) -> None:
        event = self._open.pop(call.number)
        match call.outcome:
            case Ok(value, node):
                self._recorder.ok(event, value, node=node)
            case NotDone(_, reason):
                self._recorder.fail(event, reason)
            case NotKnown(reason):
                self._recorder.info(event, reason)
                return  # the call may still take effect, so its process is not used again
        self._idle_processes.append(event.process)
