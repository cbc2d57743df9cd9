"""The workload "mixed": everything that the clients of a replicated log can ask, at the same time."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import zip_longest
from typing import ClassVar

from harness.checkers.evidence import Checker
from harness.checkers.models import KvModel
from harness.checkers.sequential_model import Model
from harness.workloads.groups import AssignmentWorkload, MembersWorkload
from harness.workloads.key_values import KeyValueWorkload
from harness.workloads.locks import LockWorkload
from harness.workloads.planned_call import PlannedCall
from harness.workloads.reads import ReadsWorkload
from harness.workloads.set_once import SetOnceWorkload
from harness.workloads.watches import WatchWorkload
from harness.workloads.workload import Callers, CallUnderWay, Workload
from node.contract import NodeId


class MixedWorkload(Workload):
    """Clients of every other workload of a log, and some that propose and query."""

    name = "mixed"
    summary = "all of these together, on a replicated log"
    functions: ClassVar[tuple[str, ...]] = (
        "put",
        "get",
        "watch",
        "range",
        "join",
        "view",
        "owners",
        "acquire",
        "propose",
    )
    model: ClassVar[Model | None] = KvModel()
    needs_log = True

    def __init__(self, nodes: tuple[NodeId, ...], seed: int, time_s: float, clients: int | None = None) -> None:
        self._parts: list[Workload] = []
        first = 0
        for part in (
            KeyValueWorkload(nodes, seed, time_s, clients=6),
            ReadsWorkload(nodes, seed, time_s, clients=5 + len(nodes)),
            WatchWorkload(nodes, seed, time_s, clients=6),
            MembersWorkload(nodes, seed, time_s, clients=5),
            AssignmentWorkload(nodes, seed, time_s, clients=5),
            LockWorkload(nodes, seed, time_s, clients=6),
            SetOnceWorkload(nodes, seed, time_s, clients=2),
        ):
            part.first = first
            self._parts.append(part)
            first += part.clients
        super().__init__(nodes, seed, time_s, clients=first)

    @property
    def judges(self) -> dict[str, Checker]:
        return {
            name: judge for part in self._parts for name, judge in part.judges.items() if name != "linearizability"
        } | {"linearizability": super().judges["linearizability"]}

    def _part_of(self, client: int) -> Workload:
        return next(part for part in self._parts if part.first <= client < part.first + part.clients)

    def pause_s(self, client: int) -> float:
        part = self._part_of(client)
        return part.pause_s(client - part.first)

    def next_call(self, client: int, now_s: float) -> PlannedCall:
        part = self._part_of(client)
        return part.next_call(client - part.first, now_s)

    def begin(self, callers: Callers, client: int, call: PlannedCall) -> CallUnderWay:
        part = self._part_of(client)
        return part.begin(callers, client - part.first, call)

    def ended(self, callers: Callers, client: int, call: PlannedCall, outcome: object) -> None:
        part = self._part_of(client)
        part.ended(callers, client - part.first, call, outcome)

    def final_calls(self) -> Iterator[tuple[PlannedCall, ...]]:
        """Yield the last rounds of all parts, each round of them together."""
        for rounds in zip_longest(*(self._last_rounds(part) for part in self._parts), fillvalue=()):
            yield tuple(call for calls in rounds for call in calls)

    @staticmethod
    def _last_rounds(part: Workload) -> Iterator[tuple[PlannedCall, ...]]:
        for calls in part.final_calls():
            yield tuple(
                replace(call, client=part.first + (number % part.clients if call.client is None else call.client))
                for number, call in enumerate(calls)
            )
