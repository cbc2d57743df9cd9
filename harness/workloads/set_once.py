"""What clients do with variables that are set once."""

from collections.abc import Iterator
from typing import Final

from harness.checkers.models import ConsensusModel
from harness.workloads.workload import LIVE_S, Callers, CallUnderWay, PlannedCall, Workload
from node.contract import NodeId


class SetOnceWorkload(Workload):
    """Variables that are set once. A new one every now and then, so that something is undecided whenever things break; all
    clients turn to it at about the same time, so that rivals propose at all nodes. Older ones are asked for again.
    """

    name = "register"
    summary = "propose and query on variables that are set once, with rivals at all nodes"
    functions = ("propose", "query")
    model = ConsensusModel()
    #: A variable's time, in seconds. It is longer in a long run: an algorithm may have to keep every variable alive.
    _EACH_S: Final = 0.3
    _VARIABLES_MAX: Final = 24

    def __init__(self, nodes: tuple[NodeId, ...], seed: int, time_s: float) -> None:
        super().__init__(nodes, seed, time_s)
        self._each_s = max(self._EACH_S, time_s / self._VARIABLES_MAX)
        self._last = 0
        self._proposed = [0] * self.clients

    def next_call(self, client: int, now_s: float) -> PlannedCall:
        rng = self._rngs[client]
        current = int(now_s / self._each_s)
        self._last = max(self._last, current)
        number = current if rng.random() < 0.8 else rng.randint(0, current)
        node = rng.choice(self.nodes) if rng.random() < 0.9 else None
        if rng.random() < 0.6:
            self._proposed[client] += 1
            return PlannedCall("propose", f"x{number}", f"c{client}-{self._proposed[client]}", node)
        return PlannedCall("query", f"x{number}", None, node)

    def final_calls(self) -> Iterator[tuple[PlannedCall, ...]]:
        yield tuple(PlannedCall("propose", f"after-{node}", f"at {node}", node, LIVE_S) for node in self.nodes)
        names = [*(f"x{number}" for number in range(self._last + 1)), *(f"after-{node}" for node in self.nodes)]
        yield tuple(PlannedCall("query", name, None, node, LIVE_S) for name in names for node in self.nodes)

    def begin(self, callers: Callers, client: int, ask: PlannedCall) -> CallUnderWay:
        if ask.f == "propose":
            return callers.begin_propose(ask.key, ask.value, ask.node, ask.timeout_s)
        return callers.begin_query(ask.key, ask.node, ask.timeout_s)
