"""What clients do while things break: seeded generators of calls.

A workload has several clients. Each has one call open at a time; it pauses, and asks for the next. `next_call` depends only
on the client's own generator and on the time, so a run of a plan differs from the next one only by what really differed.
Values are unique: an answer tells whose proposal it was.

To add one, subclass `Workload` and list it in `harness/workloads/registry.py`. It says which calls there are, how one is
begun, what must be answered once everything is whole again, and which sequential model its answers are to have an order in.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Final, Protocol

from cluster.clients.client import VariableCall
from harness.checkers.models import Model
from harness.records.history_recorder import HistoryRecorder
from harness.workloads.log_calls import LogCalls
from node.contract import NodeId

#: How long an answer may take once everything is whole again, in seconds.
LIVE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call to be made: `node` is None for any. Times are in seconds."""

    f: str
    key: str
    value: object = None
    node: NodeId | None = None
    timeout_s: float = 4.0


class CallUnderWay(Protocol):
    """A call under way."""

    @property
    def outcome(self) -> object | None:
        """What came of it; None as long as nobody knows."""


class Callers(Protocol):
    """Through which a workload calls, with everything recorded. `harness.runs.experiment.Experiment` is one."""

    @property
    def log(self) -> LogCalls:
        """The clients of a replicated log."""

    @property
    def recorder(self) -> HistoryRecorder:
        """The recorder of the history."""

    def begin_propose(
        self, variable: str, value: object, at: NodeId | None = None, timeout_s: float = ...
    ) -> VariableCall:
        """Propose, without waiting for the answer."""

    def begin_query(self, variable: str, at: NodeId | None = None, timeout_s: float = ...) -> VariableCall:
        """Query, without waiting for the answer."""


class Workload(ABC):
    """What the clients of one run do."""

    name: ClassVar[str]
    summary: ClassVar[str]
    functions: ClassVar[tuple[str, ...]]
    """The kinds of calls; in a run that is to show something, some of each must succeed."""
    model: ClassVar[Model]
    needs_log: ClassVar[bool] = False
    """Whether only an algorithm that keeps a log can serve it."""

    def __init__(self, nodes: tuple[NodeId, ...], seed: int, time_s: float) -> None:
        self.nodes, self.time_s = nodes, time_s
        self._rngs = [Random(f"workload/{self.name}/{seed}/{client}") for client in range(self.clients)]

    @property
    def clients(self) -> int:
        """How many."""
        return len(self.nodes) + 3

    def pause_s(self, client: int) -> float:
        """How long a client rests before its next call, in seconds."""
        return min(self._rngs[client].expovariate(1 / 0.05), 0.4)

    @abstractmethod
    def next_call(self, client: int, now_s: float) -> PlannedCall:
        """What a client asks at that time, in seconds since the start."""

    @abstractmethod
    def final_calls(self) -> Iterator[tuple[PlannedCall, ...]]:
        """What must be answered once everything is whole: rounds of calls that are made at once."""

    @abstractmethod
    def begin(self, callers: Callers, client: int, ask: PlannedCall) -> CallUnderWay:
        """Begin a call of a client's."""

    def ended(self, callers: Callers, client: int, ask: PlannedCall, outcome: object) -> None:  # noqa: B027 - may be nothing
        """What came of it, for whoever asks better with that."""
