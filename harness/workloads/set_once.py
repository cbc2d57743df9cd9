"""The workload "register": clients propose and query on variables that are set once."""

from collections.abc import Iterator
from typing import Final

from harness.checkers.evidence import Checker
from harness.checkers.models import ConsensusModel
from harness.checkers.properties import PROPERTIES
from harness.workloads.planned_call import PlannedCall
from harness.workloads.workload import ANSWER_AFTER_HEAL_S, Callers, CallUnderWay, Workload
from node.contract import NodeId

#: How long a client waits that may ask any node, in seconds.
_ANY_NODE_S: Final = 4.0


class SetOnceWorkload(Workload):
    """Proposals and queries on variables that are set once.

    The clients turn to a new variable again and again, all at about the same time. So some variable is undecided
    whenever a fault happens, and rivals propose at all nodes. Some calls go to older variables.
    """

    name = "register"
    summary = "propose and query on variables that are set once, with rivals at all nodes"
    functions = ("propose", "query")
    model = ConsensusModel()
    #: The least time for which clients use a variable, in seconds. It is longer in a long run, which limits the number
    #: of variables: an algorithm may have to work for each of them until the end.
    _EACH_S: Final = 0.3
    _VARIABLES_MAX: Final = 24
    #: How long a client waits at one node, in seconds. An answer is owed within a second; short waits soon show that none comes.
    _TIMEOUTS_S: Final = (1.1, 1.5, 4.0)

    def __init__(self, nodes: tuple[NodeId, ...], seed: int, time_s: float, clients: int | None = None) -> None:
        super().__init__(nodes, seed, time_s, clients)
        self._each_s = max(self._EACH_S, time_s / self._VARIABLES_MAX)
        self._last = 0
        self._proposed = [0] * self.clients

    @property
    def judges(self) -> dict[str, Checker]:
        return {**PROPERTIES, **super().judges}

    def next_call(self, client: int, now_s: float) -> PlannedCall:
        rng = self._rngs[client]
        current = int(now_s / self._each_s)
        self._last = max(self._last, current)
        number = current if rng.random() < 0.8 else rng.randint(0, current)
        node = rng.choice(self.nodes) if rng.random() < 0.9 else None
        timeout_s = rng.choice(self._TIMEOUTS_S) if node is not None else _ANY_NODE_S
        if rng.random() < 0.6:
            self._proposed[client] += 1
            return PlannedCall("propose", f"x{number}", f"c{client}-{self._proposed[client]}", node, timeout_s)
        return PlannedCall("query", f"x{number}", None, node, timeout_s)

    def final_calls(self) -> Iterator[tuple[PlannedCall, ...]]:
        yield tuple(
            PlannedCall("propose", f"after-{node}", f"at {node}", node, ANSWER_AFTER_HEAL_S) for node in self.nodes
        )
        yield tuple(
            PlannedCall("propose", "after-all", f"rival at {node}", node, ANSWER_AFTER_HEAL_S) for node in self.nodes
        )
        names = [
            "after-all",
            *(f"x{number}" for number in range(self._last + 1)),
            *(f"after-{node}" for node in self.nodes),
        ]
        yield tuple(
            PlannedCall("query", name, None, node, ANSWER_AFTER_HEAL_S) for name in names for node in self.nodes
        )

    def begin(self, callers: Callers, client: int, call: PlannedCall) -> CallUnderWay:
        if call.f == "propose":
            return callers.begin_propose(call.key, call.value, call.node, call.timeout_s)
        return callers.begin_query(call.key, call.node, call.timeout_s)
