"""The base class of workloads: seeded generators of the calls that clients make while faults happen.

A workload has several clients. Each client has one call open at a time. After the call has ended, the client pauses,
and then makes the next call. `next_call` depends only on the client's own generator and on the time, so two runs of a
plan make the same calls unless the cluster has behaved differently. Values are unique, so each answer shows which
proposal it belongs to.

README.md says how to add a workload.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Final, Protocol

from cluster.clients.client import VariableCall
from harness.checkers.sequential_model import Model
from harness.records.history_recorder import HistoryRecorder
from harness.workloads.log_calls import LogCalls
from node.contract import NodeId

#: How long an answer may take after all faults are healed, in seconds.
ANSWER_AFTER_HEAL_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call that a client is to make.

    `f` is the operation, as in the history. `key` is the variable, key or lock. `value` is what the history records
    with the call. `node` is the node to ask, or None for any. `timeout_s` is how long the client waits, in seconds.
    """

    f: str
    key: str
    value: object = None
    node: NodeId | None = None
    timeout_s: float = 4.0


class CallUnderWay(Protocol):
    """A call that a client has begun."""

    @property
    def outcome(self) -> object | None:
        """The outcome of the call: ok, refused or unknown; None while the call waits for it."""


class Callers(Protocol):
    """The clients through which a workload makes its calls, with the recorder of their history.

    `harness.runs.experiment.Experiment` is one. `log` holds the clients of a replicated log.
    """

    @property
    def log(self) -> LogCalls:
        """The clients of a replicated log."""

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
    model: ClassVar[Model]
    """The sequential model by which the checker judges the history."""
    needs_log: ClassVar[bool] = False
    """Whether only an algorithm with a replicated log can serve the workload."""

    def __init__(self, nodes: tuple[NodeId, ...], seed: int, time_s: float) -> None:
        """Prepare the clients' generators.

        Args:
            nodes: the nodes of the cluster.
            seed: the same seed gives the same calls at the same times.
            time_s: how long the run lasts, in seconds.
        """
        self.nodes, self.time_s = nodes, time_s
        self._rngs = [Random(f"workload/{self.name}/{seed}/{client}") for client in range(self.clients)]

    @property
    def clients(self) -> int:
        """The number of clients."""
        return len(self.nodes) + 3

    def pause_s(self, client: int) -> float:
        """Return how long a client pauses before its next call, in seconds."""
        return min(self._rngs[client].expovariate(1 / 0.05), 0.4)

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
