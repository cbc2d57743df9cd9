"""The base class of workloads: seeded generators of the calls that clients make while faults happen.

A workload has several clients. Each client has one call open at a time. After the call has ended, the client pauses,
and then makes the next call. `next_call` depends only on the client's own generator and on the time, so two runs of a
plan make the same calls unless the cluster has behaved differently. Values are unique, so each answer shows which
proposal it belongs to.

README.md says how to add a workload.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import partial
from random import Random
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from cluster.clients.client import VariableCall
from harness.checkers.evidence import Checker
from harness.checkers.linearizable import linearizable
from harness.checkers.properties import fault_tolerance
from harness.checkers.sequential_model import Model
from harness.records.history_recorder import HistoryRecorder
from harness.workloads.log_calls import LogCalls
from harness.workloads.planned_call import PlannedCall
from node.contract import NodeId

if TYPE_CHECKING:
    from harness.workloads.api_calls import ApiCalls

#: How long an answer may take after all faults are healed, in seconds.
ANSWER_AFTER_HEAL_S: Final = 5.0


class CallUnderWay(Protocol):
    """A call that a client has begun."""

    @property
    def outcome(self) -> object | None:
        """The outcome of the call: ok, refused or unknown; None while the call waits for it."""


class Callers(Protocol):
    """The clients through which a workload makes its calls, with the recorder of their history.

    `harness.runs.experiment.Experiment` is one. `log` and `api` hold the clients of a replicated log.
    """

    @property
    def log(self) -> LogCalls:
        """The clients of a replicated log."""

    @property
    def api(self) -> "ApiCalls":
        """The clients of a replicated log that call the API as people do."""

    @property
    def recorder(self) -> HistoryRecorder:
        """The recorder of the history."""

    def begin_propose(
        self, variable: str, value: object, at: NodeId | None = None, timeout_s: float = ...
    ) -> VariableCall:
        """Begin to propose `value` for `variable`, at one node or at any, without waiting for the answer."""

    def begin_query(self, variable: str, at: NodeId | None = None, timeout_s: float = ...) -> VariableCall:
        """Begin to query `variable`, at one node or at any, without waiting for the answer."""


class Workload(ABC):
    """The calls of the clients of one run."""

    name: ClassVar[str]
    """The name of the workload in plans and on the command line."""
    summary: ClassVar[str]
    """What its clients do, in one line."""
    functions: ClassVar[tuple[str, ...]]
    """The operations, as in the history. If no call of one of them succeeds, a run has shown nothing."""
    model: ClassVar[Model | None] = None
    """The sequential model of one key, by which a checker judges the history; None if there is none."""
    needs_log: ClassVar[bool] = False
    """Whether only an algorithm with a replicated log can serve the workload."""

    first = 0
    """The number of the first client among all clients of the run: workloads that run together have clients of their own."""

    def __init__(self, nodes: tuple[NodeId, ...], seed: int, time_s: float, clients: int | None = None) -> None:
        """Prepare the clients' generators.

        Args:
            nodes: the nodes of the cluster.
            seed: the same seed gives the same calls at the same times.
            time_s: how long the run lasts, in seconds.
            clients: the number of clients; None: as many as suit a run of this workload alone.
        """
        self.nodes, self.time_s = nodes, time_s
        self.clients = self.clients_alone(nodes) if clients is None else clients
        """The number of clients."""
        self._rngs = [Random(f"workload/{self.name}/{seed}/{client}") for client in range(self.clients)]
        self._repeats = {client: Random(f"repeats/{self.name}/{seed}/{client}") for client in range(1, self.clients, 2)}

    @classmethod
    def clients_alone(cls, nodes: tuple[NodeId, ...]) -> int:
        """Return how many clients a run of this workload alone has."""
        return len(nodes) + 3

    def pause_s(self, client: int) -> float:
        """Return how long a client pauses before its next call, in seconds."""
        return min(self._rngs[client].expovariate(1 / 0.05), 0.4)

    def repeats(self, client: int) -> Random | None:
        """Return the generator of a client of the log whose frames arrive again (`repeating.py`). Every other client is one."""
        return self._repeats.get(client)

    @property
    def judges(self) -> dict[str, Checker]:
        """The checkers of what this workload asks, by the names of their verdicts. Every run has further ones."""
        found: dict[str, Checker] = {"fault tolerance": fault_tolerance}
        if self.model is not None:
            found["linearizability"] = partial(linearizable, model=self.model)
        return found

    @abstractmethod
    def next_call(self, client: int, now_s: float) -> PlannedCall:
        """Return the next call of a client. `now_s` is the time since the start of the run, in seconds."""

    @abstractmethod
    def final_calls(self) -> Iterator[tuple[PlannedCall, ...]]:
        """Yield the calls that must be answered after all faults are healed, in rounds. The calls of a round are concurrent."""

    @abstractmethod
    def begin(self, callers: Callers, client: int, call: PlannedCall) -> CallUnderWay:
        """Begin a call of a client, and return it without waiting for the answer."""

    def ended(self, callers: Callers, client: int, call: PlannedCall, outcome: object) -> None:  # noqa: B027 - may be nothing
        """Take note of the outcome of a call. A workload whose next calls depend on outcomes overrides this."""
