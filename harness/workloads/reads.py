"""The workload "reads": many reads of one hot key overlap, few writes; at each node a client asks that stays there."""

from collections.abc import Iterator
from typing import ClassVar, Final

from harness.checkers.evidence import Checker
from harness.checkers.models import KvModel
from harness.checkers.replicas import effects
from harness.checkers.sequential_model import Model
from harness.workloads.log_workload import LogWorkload
from harness.workloads.planned_call import PlannedCall
from harness.workloads.workload import ANSWER_AFTER_HEAL_S, Callers, CallUnderWay
from node.contract import NodeId


class ReadsWorkload(LogWorkload):
    """Clients read one key, many times a second, and one in eight writes it. The key changes every two seconds.

    Several of those that call by single operations share a client of the log, so its reads overlap. The last clients stay at one
    node each, and read there again and again whether it leads or not: so a node that wrongly believes to lead is asked at once.
    """

    name = "reads"
    summary = "reads of one hot key that overlap, and few writes"
    functions: ClassVar[tuple[str, ...]] = ("put", "get", "version")
    model: ClassVar[Model | None] = KvModel()
    _ERA_S: Final = 2.0
    #: The clients of single operations are multiples of 3, and so is this: they share two clients of the log.
    _SHARED: Final = 6
    #: A reader that may ask any node pauses for so long at most, in seconds. A quorum confirms each read, which takes some ten
    #: messages: with pauses of up to 0.03 s, a third of all messages of a run on an idle machine served reads.
    _PAUSE_S: Final = 0.1
    #: How long a client that stays at a node waits for its answer, in seconds.
    _STAYS_S: Final = 0.3

    def __init__(self, nodes: tuple[NodeId, ...], seed: int, time_s: float, clients: int | None = None) -> None:
        super().__init__(nodes, seed, time_s, clients)
        self._written = [0] * self.clients
        self._eras = 0

    @property
    def judges(self) -> dict[str, Checker]:
        return {**super().judges, "effects": effects}

    @classmethod
    def clients_alone(cls, nodes: tuple[NodeId, ...]) -> int:
        return 12 + len(nodes)

    def _stays_at(self, client: int) -> NodeId | None:
        """Return the node at which a client stays; None if it asks any."""
        number = client - self.clients + len(self.nodes)
        return self.nodes[number] if number >= 0 else None

    def is_public(self, client: int) -> bool:
        return super().is_public(client) and self._stays_at(client) is None

    def pause_s(self, client: int) -> float:
        if client % 8 == 0:
            return min(self._rngs[client].expovariate(1 / 0.05), 0.3)
        return self._rngs[client].uniform(0.0, 0.03 if self._stays_at(client) else self._PAUSE_S)

    def next_call(self, client: int, now_s: float) -> PlannedCall:
        self._eras = max(self._eras, int(now_s / self._ERA_S))
        key = f"hot-{int(now_s / self._ERA_S)}"
        node = self._stays_at(client)
        if node is not None:
            return PlannedCall("get", key, node=node, timeout_s=self._STAYS_S)
        if client % 8 == 0:
            self._written[client] += 1
            return PlannedCall("put", key, f"hot{client}-{self._written[client]}")
        return PlannedCall("version", "") if self._rngs[client].random() < 0.05 else PlannedCall("get", key)

    def begin(self, callers: Callers, client: int, call: PlannedCall) -> CallUnderWay:
        alone = self.is_public(client) or self._stays_at(client) is not None
        shared = client if alone else client % self._SHARED
        return super().begin(callers, shared, call)

    def final_calls(self) -> Iterator[tuple[PlannedCall, ...]]:
        yield tuple(
            PlannedCall(f, key, value, timeout_s=ANSWER_AFTER_HEAL_S)
            for f, key, value in (("put", "hot-after", "last"), ("version", "", None))
        )
        yield tuple(PlannedCall("get", f"hot-{era}", timeout_s=ANSWER_AFTER_HEAL_S) for era in range(self._eras + 1))
