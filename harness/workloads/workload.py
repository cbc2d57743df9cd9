"""What clients do while things break: seeded generators of calls.

A workload has several clients. Each has one call open at a time; it pauses, and asks for the next. `next_call` depends only
on the client's own generator and on the time, so a run of a plan differs from the next one only by what really differed.
Values are unique: an answer tells whose proposal it was.

To add one, subclass `Workload` and put it into `WORKLOADS`. It says which calls there are, how one is begun on an experiment,
what must be answered once everything is whole again, and which sequential model its answers are to have an order in. Those
for machines that only a replicated log drives are in `harness/workloads/log_workloads.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Final, Protocol

from harness.checkers.models import Consensus, Model
from harness.runs.experiment import Experiment
from node.contract import Algorithm, BadInput, NodeId


class UnknownWorkload(BadInput):
    """No workload is called that. The message says which are."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A call to be made: `node` is None for any. Times are in seconds."""

    f: str
    key: str
    value: object = None
    node: NodeId | None = None
    timeout_s: float = 4.0


class Begun(Protocol):
    """A call under way."""

    @property
    def outcome(self) -> object | None:
        """What came of it; None as long as nobody knows."""


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
    def next_call(self, client: int, now_s: float) -> Ask:
        """What a client asks at that time, in seconds since the start."""

    @abstractmethod
    def final_calls(self) -> Iterator[tuple[Ask, ...]]:
        """What must be answered once everything is whole: rounds of calls that are made at once."""

    @abstractmethod
    def begin(self, experiment: Experiment, client: int, ask: Ask) -> Begun:
        """Begin a call of a client's."""

    def ended(self, experiment: Experiment, client: int, ask: Ask, outcome: object) -> None:  # noqa: B027 - may be nothing
        """What came of it, for whoever asks better with that."""


class Variables(Workload):
    """Variables that are set once. A new one every now and then, so that something is undecided whenever things break; all
    clients turn to it at about the same time, so that rivals propose at all nodes. Older ones are asked for again.
    """

    name = "register"
    summary = "propose and query on variables that are set once, with rivals at all nodes"
    functions = ("propose", "query")
    model = Consensus()
    #: A variable's time, in seconds. It is longer in a long run: an algorithm may have to keep every variable alive.
    _EACH_S: Final = 0.3
    _VARIABLES_MAX: Final = 24

    def __init__(self, nodes: tuple[NodeId, ...], seed: int, time_s: float) -> None:
        super().__init__(nodes, seed, time_s)
        self._each_s = max(self._EACH_S, time_s / self._VARIABLES_MAX)
        self._last = 0
        self._proposed = [0] * self.clients

    def next_call(self, client: int, now_s: float) -> Ask:
        rng = self._rngs[client]
        current = int(now_s / self._each_s)
        self._last = max(self._last, current)
        number = current if rng.random() < 0.8 else rng.randint(0, current)
        node = rng.choice(self.nodes) if rng.random() < 0.9 else None
        if rng.random() < 0.6:
            self._proposed[client] += 1
            return Ask("propose", f"x{number}", f"c{client}-{self._proposed[client]}", node)
        return Ask("query", f"x{number}", None, node)

    def final_calls(self) -> Iterator[tuple[Ask, ...]]:
        yield tuple(Ask("propose", f"after-{node}", f"at {node}", node, LIVE_S) for node in self.nodes)
        names = [*(f"x{number}" for number in range(self._last + 1)), *(f"after-{node}" for node in self.nodes)]
        yield tuple(Ask("query", name, None, node, LIVE_S) for name in names for node in self.nodes)

    def begin(self, experiment: Experiment, client: int, ask: Ask) -> Begun:
        if ask.f == "propose":
            return experiment.begin_propose(ask.key, ask.value, ask.node, ask.timeout_s)
        return experiment.begin_query(ask.key, ask.node, ask.timeout_s)


#: How long an answer may take once everything is whole again, in seconds.
LIVE_S: Final = 5.0


def _workloads() -> dict[str, type[Workload]]:
    """By name."""
    from harness.workloads.log_workloads import LOG_WORKLOADS  # noqa: PLC0415 - it builds on this module

    every: tuple[type[Workload], ...] = (Variables, *LOG_WORKLOADS)
    return {each.name: each for each in every}


def workload(name: str) -> type[Workload]:
    """The workload called `name`. Raises UnknownWorkload."""
    known = _workloads()
    if name not in known:
        raise UnknownWorkload(f"no workload is called {name!r}; there are {', '.join(known)}")
    return known[name]


def workload_for(name: str, algorithm: type[Algorithm]) -> type[Workload]:
    """The workload called `name`, if `algorithm` can serve it. Raises UnknownWorkload."""
    found = workload(name)
    if found.needs_log and not algorithm.serves_all:
        raise UnknownWorkload(
            f"the workload {name} changes state, and {algorithm.__name__} decides values once: "
            "test an algorithm that keeps a log, such as multipaxos"
        )
    return found
